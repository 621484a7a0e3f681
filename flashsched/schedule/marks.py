"""What primitives leave for lowering to do, and what must hold of a nest for that to stay right.

A mark stands on a loop (its ``notes``) or on a stage's memory (its `Buffer`). It outlives the steps that come after it,
so the whole nest is looked at after each step, and the step that would leave a mark without its ground is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from flashsched.errors import LimitError, StructureError
from flashsched.schedule.ir import Buffer, For, LoopKind, Stmt, block_loads, blocks, sub_stmts
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.regions import Span, accesses, region
from flashsched.schedule.state import State, refuse
from flashsched.te import dtypes

__all__ = ["LINE", "MARKS", "MOST_LINES", "lines_of", "require_sound_marks"]

MARKS = {"prefetch": "prefetch"}
"""The notes of a loop that count on its turns, each with the primitive that makes it."""

LINE = 64
"""Bytes of a cache line."""

MOST_LINES = 256
"""Cache lines that one turn may ask for: a quarter of a usual first-level cache."""


def require_sound_marks(state: State) -> None:
    """Refuse a nest in which a mark does not fit what it stands on.

    Raises:
        StructureError: that is so.
        LimitError: a turn would prefetch more than `MOST_LINES` lines.
    """
    _visit(state, state.body, ())


def _visit(state: State, stmt: Stmt, path: tuple[Stmt, ...]) -> None:
    path = (*path, stmt)
    if isinstance(stmt, For) and "prefetch" in stmt.notes:
        for name in stmt.notes["prefetch"]:
            _require_prefetch(state, name, stmt, path)
    for inner in sub_stmts(stmt):
        _visit(state, inner, path)


def _require_prefetch(state: State, name: str, loop: For, path: tuple[Stmt, ...]) -> None:
    around = [node for node in path if isinstance(node, For)]
    lanes = next((node for node in around if node.kind is LoopKind.VECTORIZE), None)
    if lanes is not None or loop.kind.is_block or loop.kind.is_thread:
        odd = lanes or loop
        what = "vectorized" if lanes is not None else f"bound to {loop.kind.value}"
        refuse(
            state,
            f"loop {odd.var.name!r} is {what}, and prefetch is at loop {loop.var.name!r}: a turn ahead is no later one",
            error=StructureError,
            loop=odd.var,
            hint="prefetch at a serial, unrolled or parallel loop",
        )
    read = {load.buffer for block in blocks(loop.body) for load in block_loads(block) if load.buffer.name == name}
    written = {store.buffer for block in blocks(loop.body) for store in block.stores}
    if not read or read & written:
        why = "computed in it" if read else "not read in it"
        refuse(
            state,
            f"loop {loop.var.name!r} prefetches {name!r}, which is {why}",
            error=StructureError,
            loop=loop.var,
            hint="prefetch what the loop reads and something before it has written; call it last",
        )
    (buffer,) = read
    found = accesses(loop.body, buffer, writes=False)
    lines = lines_of(region(found, buffer.shape, loop_ranges(list(path))), buffer)
    if lines > MOST_LINES:
        refuse(
            state,
            f"each turn of loop {loop.var.name!r} reads {lines} cache lines of {name!r}, and prefetch asks for "
            f"{MOST_LINES} at most",
            error=LimitError,
            loop=loop.var,
            hint="prefetch at a loop further in, or one that reads a smaller part of it",
        )


def lines_of(spans: Sequence[Span], buffer: Buffer) -> int:
    """How many cache lines are asked for, so that all of *spans* of *buffer* come."""
    if not spans:
        return 1
    per_line = max(1, LINE * 8 // dtypes.bits(buffer.dtype))
    last = max(spans[-1].extent, 1)
    return prod(span.extent for span in spans[:-1]) * (-(-(last - 1) // per_line) + 1)
