"""A stage that is computed inside a stage that it reads: what its nest runs over there, and when that is right.

Such a follower computes, in each turn of a loop of its producer, the points for which that turn has finished what they
read. So the parts of different turns must not meet, and no loop around the place may run over the producer's
reduction. Each point is then computed once, since the producer computes each of its elements in just one turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from flashsched.errors import DependenceError
from flashsched.schedule.accesses import Access
from flashsched.schedule.disjoint import disjoint, turning
from flashsched.schedule.ir import Block, Buffer, For, Stmt, block_loads, blocks
from flashsched.schedule.nest import find_block, loop_ranges
from flashsched.schedule.regions import Span, region
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te.expr import Expr, compare, is_const
from flashsched.te.simplify import prove
from flashsched.te.sizes import Size, extent_expr
from flashsched.te.tensor import Axis, AxisKind
from flashsched.te.visit import loop_vars, uses

__all__ = ["part_that_follows", "require_sound_followers"]


def part_that_follows(
    state: State, stage: Stage, owner: Stage, path: Sequence[Stmt]
) -> tuple[dict[Axis, Span], list[Expr]]:
    """What *stage* computes in each turn of the last loop of *path*, which is a loop of *owner*.

    Returns:
        The part of each axis that is not run over as a whole, and the conditions under which the turn does nothing.

    Raises:
        DependenceError: a point might be computed before what it reads is finished, or not at all.
    """
    around = [node for node in path if isinstance(node, For)]
    target = around[-1]

    def no(reason: str, hint: str) -> NoReturn:
        refuse(state, reason, error=DependenceError, loop=target.var, hint=hint)

    if owner.attach is not None and not owner.follows:
        no(
            f"{owner.name!r} is computed at loop {owner.attach[1]!r} of {owner.attach[0]!r}, just what is read there, "
            f"and {stage.name!r} needs all of it",
            f"compute {owner.name!r} at the root first, or compute {stage.name!r} as it is",
        )
    if any(b.scope == "shared" for b in (*owner.buffers, *stage.buffers)) and any(n.kind.is_thread for n in around):
        no(f"GPU threads share what {owner.name!r} and {stage.name!r} write", "choose a loop outside the threads")
    bound = find_block(state.body, owner.name)[-1]
    assert isinstance(bound, Block)
    for loop in around:
        if any(uses(item.value, loop.var) for item in bound.iters if item.kind is AxisKind.REDUCE):
            no(
                f"loop {loop.var.name!r} runs over the reduction of {owner.name!r}, whose elements are not finished "
                "before its last turn",
                "choose a loop outside of the reduction, or reorder the reduction inside",
            )
    idle = next((loop for loop in around if loop.turns == 0), None)
    if idle is not None and 0 not in [axis.extent for axis in stage.spatial]:
        no(f"loop {idle.var.name!r} has no turns, and {stage.name!r} would never be computed", "choose a loop outside")
    ranges = loop_ranges(list(path))
    inner = tuple((n.var, n.extent) for n in find_block(target.body, owner.name) if isinstance(n, For))
    written = tuple(item.value for item in bound.iters if item.kind is AxisKind.SPATIAL)
    shape = owner.buffers[0].shape
    spans = region([Access(written, inner)], shape, ranges)
    rest = [w for w in bound.where if loop_vars(w) <= ranges.keys()]
    if not disjoint(spans, turning(around, ranges, rest), ranges):
        no(
            f"the parts of {owner.name!r} that turns of {target.var.name!r} and the loops around it finish can't be "
            "told apart",
            "choose a loop further out; loops that were fused and then split give such parts",
        )
    wanted: dict[Axis, Span] = {}
    for dimension, (span, size) in enumerate(zip(spans, shape, strict=True)):
        if is_const(span.first, 0) and span.extent == size:
            continue
        axis = _axis_of(state, stage, owner, dimension)
        if axis is None or wanted.get(axis, span) is not span or not _fits(axis, size):
            no(
                f"{stage.name!r} does not read {owner.name!r} element by element in dimension {dimension}, so it would "
                "need what other turns finish",
                f"compute {owner.name!r} at a loop of {stage.name!r} instead: compute_at",
            )
        if axis.kind is AxisKind.REDUCE:
            no(
                f"{stage.name!r} combines over {axis.name!r}, and a turn of {target.var.name!r} finishes only a part",
                "choose a loop further out, whose turns finish all that is combined",
            )
        wanted[axis] = span
    return wanted, rest


def _fits(axis: Axis, size: Size) -> bool:
    return prove(compare("<=", extent_expr(axis.extent), extent_expr(size)), {}) is True


def _axis_of(state: State, stage: Stage, owner: Stage, dimension: int) -> Axis | None:
    """The axis of *stage* that is the index of each of its reads of *owner* in *dimension*."""
    found = {load.indices[dimension] for load in block_loads(stage.block) if load.buffer in owner.buffers}
    axis = next(iter(found)) if len(found) == 1 else None
    return axis if isinstance(axis, Axis) and axis in stage.axes else None


def require_sound_followers(state: State) -> None:
    """Refuse a nest with followers in which something is read before all of it is there.

    Raises:
        DependenceError: that is so.
    """
    followers = [stage for stage in state.stages.values() if stage.follows]
    if not followers:
        return
    order = [block.name for block in blocks(state.body)]
    first = {name: position for position, name in reversed(list(enumerate(order)))}
    last = {name: position for position, name in enumerate(order)}
    there = [stage for stage in state.stages.values() if stage.name in first]
    loads = {stage.name: {load.buffer for load in block_loads(stage.block)} for stage in there}
    for reader in there:
        for read in there:
            other = read is not reader and read.init_of is None
            if other and last[read.name] > first[reader.name] and loads[reader.name] & {*read.buffers}:
                _refuse_order(state, reader.name, read.name)
    for stage in followers:
        _require_apart(state, stage, there, loads)


def _require_apart(state: State, stage: Stage, there: Sequence[Stage], loads: Mapping[str, set[Buffer]]) -> None:
    """Refuse reads between the follower *stage* and others in the same loops, but for what serves or follows it."""
    assert stage.attach is not None
    way = find_block(state.body, stage.name)
    inside = {block.name for block in blocks(next(node for node in way if isinstance(node, For)))}
    for other in there:
        if other.name not in inside or other.name == stage.name or stage.name == other.init_of:
            continue
        served = stage.attach[0] in (other.name, other.init_of) or (other.attach is not None and not other.follows)
        if loads[stage.name] & {*other.buffers} and not served:
            _refuse_order(state, stage.name, other.name)
        led = other.follows and other.attach is not None and other.attach[0] == stage.name
        if loads[other.name] & {*stage.buffers} and not led:
            _refuse_order(state, other.name, stage.name)


def _refuse_order(state: State, reader: str, read: str) -> NoReturn:
    refuse(
        state,
        f"{reader!r} reads {read!r}, and not all that it reads is computed before",
        error=DependenceError,
        block=reader,
        hint=f"move {reader!r} behind the loops that {read!r} stands in, or the stage that follows there",
    )
