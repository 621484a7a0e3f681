"""What primitives leave for lowering to do, and what must hold of a nest for that to stay right.

A mark stands on a loop (its ``notes``) or on a stage's memory (its `Buffer`). It outlives the steps that come after it,
so the whole nest is looked at after each step, and the step that would leave a mark without its ground is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from flashsched.errors import DependenceError, LimitError, StructureError
from flashsched.schedule.accesses import accesses
from flashsched.schedule.facts import marks_in
from flashsched.schedule.ir import Buffer, For, LoopKind, Stmt, block_loads, blocks, sub_stmts
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.pipelines import pieces_of, plan, private_to
from flashsched.schedule.regions import Span, region
from flashsched.schedule.rolling import require_turns
from flashsched.schedule.state import State, refuse
from flashsched.schedule.units import UNIT, require_unit
from flashsched.te import dtypes
from flashsched.te.sizes import is_static, numbers
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import uses

__all__ = ["LINE", "MARKS", "MOST_LINES", "lines_of", "require_sound_marks"]

MARKS = {
    "prefetch": "prefetch",
    "pipeline": "software_pipeline",
    "partition": "loop_partition",
    "peel": "peel",
    UNIT: "blockize",
}
"""The notes of a loop that count on its turns, each with the primitive that makes it."""

LINE = 64
"""Bytes of a cache line."""

MOST_LINES = 256
"""Cache lines that one turn may ask for: a quarter of a usual first-level cache."""


def require_sound_marks(state: State) -> None:
    """Refuse a nest in which a mark does not fit what it stands on.

    Raises:
        StructureError: that is so.
        DependenceError: a pipelined loop would compute something before what it needs.
        LimitError: a turn would prefetch more than `MOST_LINES` lines.
    """
    for stage in state.stages.values():
        if stage.rolling and stage.attach is not None and not stage.inlined:
            require_turns(state, stage, state.loop(*stage.attach))
    _require_doubled(state)
    _visit(state, state.body, ())


def _visit(state: State, stmt: Stmt, path: tuple[Stmt, ...]) -> None:
    if marks_in(stmt).isdisjoint(MARKS):
        return
    path = (*path, stmt)
    if isinstance(stmt, For) and "prefetch" in stmt.notes:
        for name in stmt.notes["prefetch"]:
            _require_prefetch(state, name, stmt, path)
    if isinstance(stmt, For) and "pipeline" in stmt.notes:
        _require_pipeline(state, stmt, path)
    if isinstance(stmt, For) and UNIT in stmt.notes:
        require_unit(state, stmt)
    if isinstance(stmt, For) and stmt.kind in (LoopKind.VECTORIZE, LoopKind.VTHREAD):
        _require_whole(state, stmt)
    for inner in sub_stmts(stmt):
        _visit(state, inner, path)


def _require_pipeline(state: State, loop: For, path: tuple[Stmt, ...]) -> None:
    filled = {name for piece in pieces_of(loop) for name in piece.writes}
    gone = [name for name in loop.notes["pipeline"] if name not in filled]
    if gone:
        refuse(
            state,
            f"loop {loop.var.name!r} pipelines {gone[0]!r}, which is not computed in it",
            error=StructureError,
            loop=loop.var,
            hint="call software_pipeline last, when all that the loop computes stands in it",
        )
    _require_plan(state, loop, loop.notes["pipeline"], ())


def _require_doubled(state: State) -> None:
    """Refuse a loop that can't fill the doubled buffers of the stages computed at it one turn ahead."""
    found: dict[tuple[str, str], list[str]] = {}
    for stage in state.stages.values():
        if stage.attach is not None and not stage.inlined:
            doubled = [buffer.name for buffer in stage.buffers if buffer.doubled]
            if doubled:
                found.setdefault(stage.attach, []).extend(doubled)
    for place, names in found.items():
        loop = state.loop(*place)
        if "pipeline" in loop.notes:
            refuse(
                state,
                f"loop {loop.var.name!r} is pipelined, and {names[0]!r}, which is computed at it, is double-buffered",
                error=StructureError,
                loop=loop.var,
                hint="software_pipeline makes as many versions as are needed; leave double_buffer out",
            )
        _require_plan(state, loop, {}, names)


def _require_plan(state: State, loop: For, wanted: Mapping[str, tuple[int, int]], doubled: Sequence[str]) -> None:
    if loop.kind is not LoopKind.SERIAL:
        what = f"{', '.join(map(repr, doubled))} double-buffered in it" if doubled else "pipelined"
        refuse(
            state,
            f"loop {loop.var.name!r} is marked {loop.kind.value}, and {what}: that needs turns that come one by one",
            error=StructureError,
            loop=loop.var,
            hint="split the loop, and leave the one at which it is computed serial",
        )
    times = [item for block in blocks(loop.body) for item in block.iters if item.kind is AxisKind.ORDERED]
    if doubled and any(uses(item.value, loop.var) for item in times):
        refuse(
            state,
            f"loop {loop.var.name!r} is the time of a recurrence, whose turns need those before, and "
            f"{', '.join(map(repr, doubled))} would be computed a turn ahead",
            error=DependenceError,
            loop=loop.var,
            hint="choose a loop inside one row, or a stage outside the recurrence",
        )
    try:
        plan(pieces_of(loop), private_to(state, loop), wanted, doubled)
    except DependenceError as error:
        refuse(state, error.reason, error=DependenceError, loop=loop.var, hint=error.hint)


def _require_whole(state: State, loop: For) -> None:
    cut = [made for note, made in MARKS.items() if note in ("partition", "peel") and note in loop.notes]
    if cut:
        refuse(
            state,
            f"{cut[0]} is at loop {loop.var.name!r}, and a vectorized loop has no parts: its conditions are masks"
            if loop.kind is LoopKind.VECTORIZE
            else f"{cut[0]} is at loop {loop.var.name!r}, whose turns are virtual threads: written out, without parts",
            error=StructureError,
            loop=loop.var,
            hint=f"call {cut[0]} at a loop around it",
        )


def _require_prefetch(state: State, name: str, loop: For, path: tuple[Stmt, ...]) -> None:
    around = [node for node in path if isinstance(node, For)]
    lanes = next((node for node in around if node.kind is LoopKind.VECTORIZE), None)
    if lanes is not None or loop.kind.is_block or loop.kind.is_thread or loop.kind is LoopKind.VTHREAD:
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
    spans = region(found, buffer.shape, loop_ranges(list(path)))
    if not is_static([span.extent for span in spans]):
        refuse(
            state,
            f"how much of {name!r} a turn of loop {loop.var.name!r} reads depends on a size, and prefetch asks for a "
            "number of cache lines",
            error=StructureError,
            loop=loop.var,
            hint="split by numbers, and prefetch at a loop further in",
        )
    lines = lines_of(spans, buffer)
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
    extents = numbers([span.extent for span in spans], buffer.name)
    last = max(extents[-1], 1)
    return prod(extents[:-1]) * (-(-(last - 1) // per_line) + 1)
