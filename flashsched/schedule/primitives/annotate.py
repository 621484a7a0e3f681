"""annotate and unannotate: free notes on a loop."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flashsched.errors import ArgumentError, UnknownNameError, did_you_mean
from flashsched.schedule.ir import For
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["annotate", "unannotate"]

_SIGN = "@"  # before a key, so that no note of a person is taken for one that lowering reads


@primitive(on_loops=True)
def annotate(state: State, stage: str, loop: str, key: str, value: str | int | float | bool) -> Result:
    """Note *value* under *key* on *loop*, for people and tools: nothing here reads it.

    The note is printed with the loop, and is still there in the lowered nest. Loops that `split` and `fuse` make of the
    loop have it too. A second note under one key takes the place of the first.

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].annotate("i", "hot", True)
    >>> print(s)
    for i in range(10):  # @hot=True
      C(i=i):
        C[i] = A[i] + 1.0

    Raises:
        UnknownNameError: there is no such loop.
        ArgumentError: *key* is empty, or has spaces around it.
    """
    node = state.loop(stage, loop)
    if not key.strip() or key != key.strip():
        refuse(
            state, f"{key!r} is no key", error=ArgumentError, loop=node.var, hint="a word or two: annotate(i, 'hot', 1)"
        )
    return _noted(state, node, {**node.notes, _SIGN + key: value})


@primitive(on_loops=True)
def unannotate(state: State, stage: str, loop: str, key: str) -> Result:
    """Take the note under *key* away from *loop*.

    Raises:
        UnknownNameError: there is no such loop, or no such note on it.
    """
    node = state.loop(stage, loop)
    known = [note.removeprefix(_SIGN) for note in node.notes if note.startswith(_SIGN)]
    if key not in known:
        refuse(
            state,
            f"loop {loop!r} has no note {key!r}",
            error=UnknownNameError,
            loop=node.var,
            hint=did_you_mean(key, known) if known else "annotate puts one there",
        )
    return _noted(state, node, {note: value for note, value in node.notes.items() if note != _SIGN + key})


def _noted(state: State, loop: For, notes: dict[str, Any]) -> Result:
    change = MappingProxyType(notes)
    return state.with_body(replace_loop(state.body, loop.var, lambda old: replace(old, notes=change))), ()
