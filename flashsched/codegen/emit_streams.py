"""Stores that go past the caches, for loops that a pragma marks ``nontemporal``.

An ordinary store reads the cache line first, and pushes out of the cache what may be needed. One that goes past costs
neither, and pays where an array is larger than the caches. Other threads see such stores only after a fence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flashsched.codegen.emit_code import BITS, Code, Value, literal
from flashsched.codegen.emit_state import State

__all__ = ["past_the_caches", "stream"]


def stream(code: Code, value: Value, pointer: Value, alignment: int) -> None:
    """Store the vector *value* at *pointer*, of which *alignment* is certain, past the caches.

    Whole vectors go past at once only where they are aligned, which is asked here if it is not certain; elsewhere they
    go in the parts that the CPU can store so.
    """
    size = value.lanes * BITS[value.kind] // 8
    if alignment >= size or size & (size - 1):
        _past(code, value, pointer, alignment)
        return
    address = code.make(f"ptrtoint ptr {pointer.text} to i64", "i64")
    rest = code.op("and", address, literal(size - 1, "i64"))
    aligned = code.compare("icmp eq", rest, literal(0, "i64"))
    whole, parts, after = code.fresh("whole"), code.fresh("parts"), code.fresh("stored")
    code.line(f"br i1 {aligned.text}, label %{whole}, label %{parts}")
    for label, certain in ((whole, size), (parts, alignment)):
        with code.branch():
            code.enter(label)
            _past(code, value, pointer, certain)
            code.line(f"br label %{after}")
    code.enter(after)


def _past(code: Code, value: Value, pointer: Value, alignment: int) -> None:
    code.line(f"store {value.type} {value.text}, ptr {pointer.text}, align {alignment}, !nontemporal !{{i32 1}}")


@contextmanager
def past_the_caches(state: State, wanted: bool = True) -> Iterator[None]:
    """A stretch whose stores go past the caches where that is *wanted*; at its end other threads see them."""
    state.streaming = wanted
    try:
        yield
    finally:
        state.streaming = False
    if wanted:
        state.code.line("fence seq_cst")
