"""The search space of any graph on a CPU.

The output of a nest is cut into blocks, which threads share out and whose data the caches hold; blocks into tiles,
which stay in registers while a reduction runs over them. What is computed block by block for it is such a nest itself.
"""

from __future__ import annotations

import math
from collections.abc import Set

from flashsched.errors import ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.ops.derived.accesses import StageFacts, facts_of
from flashsched.ops.derived.inlining import inline_stages
from flashsched.ops.derived.lanes import share_out_reductions, sum_in_lanes
from flashsched.ops.derived.nests import Nest, find_nests
from flashsched.ops.derived.packing import pack_operands, turn_operands
from flashsched.ops.derived.tiles import Tile, block_tiles, choose_dots, choose_tile, unroll_choices
from flashsched.ops.derived.vectors import NestFacts, local_sums, reused_whole, vector_choices
from flashsched.ops.derived.windows import take_windows_apart
from flashsched.ops.gemm_plan import block_counts, vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.default import loop_names
from flashsched.te.recurrence import ScanInitOp, ScanOp, cycles
from flashsched.te.tensor import Axis, ComputeOp, Tensor, graph

__all__ = ["derived_cpu", "recurrent_stages"]

_FOR_THREADS = 100_000.0
"""Instructions, a vector's counted as one a lane, that are worth waking threads for."""


def derived_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule every stage of *s*; *args* are the inputs, then the output."""
    apart = recurrent_stages(s)
    inline_stages(s, knobs, apart)
    take_windows_apart(s, knobs, apart)
    share_out_reductions(s, knobs, spec, apart)
    for nest in find_nests(s, knobs, apart):
        schedule_nest(s, nest, knobs, spec, None)


def recurrent_stages(s: Schedule) -> Set[str]:
    """The stages that no rule is about: recurrences, which run as they stand, and what reads their later states.

    Those are computed inside the loop of the first state, so that a reader of them can't be moved into a loop.
    """
    ops = graph(s.outputs)
    rows = {id(op) for op in ops if isinstance(op, ScanOp)} | cycles(ops).keys()
    later = {id(op) for op in ops if any(isinstance(t.op, ScanOp) and t.op.index > 0 for t in op.inputs)}
    return {
        stage.name
        for stage in s.stages
        if isinstance(stage.op, ScanInitOp) or not isinstance(stage.op, ComputeOp) or id(stage.op) in rows | later
    }


def schedule_nest(s: Schedule, nest: Nest, knobs: KnobsLike, spec: DeviceSpec, at: tuple[str, Loop] | None) -> None:
    """Schedule *nest*: a root nest, or one computed *at* a loop of another stage."""
    name = nest.finish
    finish = facts_of(s, name)
    turns = turns_at(s, finish, at)
    if turns is None:  # who reads it, or what it reads, is elsewhere: only a nest of its own is legal
        at, turns = None, {axis: axis.count for axis in finish.spatial}
    if 0 in turns.values() or 0 in (axis.count for axis in finish.reduced):
        return  # nothing to compute, or only what a reduction begins with: the plain nest will do
    sums = local_sums(s, name, nest.sums)
    if at is not None:
        s[name].compute_at(*at)
    facts = NestFacts.of(s, name, sums, turns)
    lanes, _ = vector_shape(spec, facts.body.buffers[0].dtype)
    choices = vector_choices(s, facts, lanes)
    if not choices:
        _single(s, facts)
        return
    vector, reduces = knobs.choice(f"{name}: vectors along", choices) if len(choices) > 1 else choices[0]
    plan = choose_dots(facts, knobs, spec) if reduces else choose_tile(facts, vector, knobs, spec, lanes)
    block, tile, copies = _cut(s, nest, facts, plan, knobs, spec, at)
    if sums is not None:
        if reduces:
            sum_in_lanes(s, sums, (name, tile), vector, knobs, lanes)
        else:
            _sum_tile(s, facts, plan, (name, tile), copies, knobs, lanes)
            pack_operands(s, facts, plan, knobs, spec)
    elif not reduces:
        turn_operands(s, facts, plan, tile, knobs)
    for inner in reversed(nest.inner):
        schedule_nest(s, inner, knobs, spec, (name, block))


def _single(s: Schedule, facts: NestFacts) -> None:
    """One element, made of one: there is nothing to decide."""
    if facts.sums is not None and facts.finish.spatial:
        s[facts.sums.name].compute_at(s[facts.finish.name], s[facts.finish.name].loops[-1])


def _cut(
    s: Schedule,
    nest: Nest,
    facts: NestFacts,
    plan: Tile,
    knobs: KnobsLike,
    spec: DeviceSpec,
    at: tuple[str, Loop] | None,
) -> tuple[Loop, Loop, int]:
    """Cut the loops of the finish into blocks and tiles.

    Returns the loop over blocks, the innermost over tiles, and of how many copies of a tile the code will be.
    """
    name, stage = facts.finish.name, s[facts.finish.name]
    axes = facts.finish.spatial
    if not axes:
        only = stage.add_unit_loop()
        return only, only, 1
    tiles = {axis: math.ceil(facts.turns[axis] / plan.count(axis)) for axis in axes}
    loops: dict[Axis, Loop] = {axis: Loop(name, loop) for axis, loop in zip(axes, loop_names(axes), strict=False)}
    inside: dict[Axis, Loop] = {}
    for axis in plan.inside():
        loops[axis], inside[axis] = stage.split(loops[axis], factor=plan.count(axis), tail="cut")
    blocks: dict[Axis, Loop] = {}
    if at is None:
        blocked = [axis for axis in nest.shared or axes if tiles[axis] > 1] or list(axes[:1])
        first = block_tiles(facts, plan, tiles, blocked, nest.held, spec)
        for axis in blocked:
            counts = block_counts(tiles[axis], 1)
            number = knobs.choice(
                f"{name}: blocks of {axis.name}", counts, default=math.ceil(tiles[axis] / first[axis])
            )
            blocks[axis], loops[axis] = stage.split(loops[axis], nparts=number)
    order = _order(facts, plan, tiles, knobs)
    outside = list(blocks.values())
    if len([axis for axis in blocks if tiles[axis] > 1]) > 1:
        outermost = knobs.choice(f"{name}: outermost", list(blocks))
        outside.insert(0, outside.pop(list(blocks).index(outermost)))
    stage.reorder(*outside, *(loops[axis] for axis in order), *(inside[axis] for axis in plan.inside()))
    for axis in plan.inside()[:-1]:
        stage.unroll(inside[axis])
    if plan.inside() and plan.count(plan.inside()[-1]) > 1:
        last = inside[plan.inside()[-1]]
        (stage.vectorize if plan.vector is not None else stage.unroll)(last)
    tested = [axis for axis in order if tiles[axis] > 1 and facts.inner(axis) in facts.body.tested]
    copies = 1
    if len(tested) > 0 and knobs.choice(f"{name}: partition", (False, True), default=True):
        copies = 3 ** len(tested)
        for axis in tested:
            stage.loop_partition(loops[axis])
    block = loops[order[-1]]
    if at is None:
        block = stage.fuse(*outside) if len(outside) > 1 else outside[0]
        _share(s, facts, nest, block, knobs, spec)
    ragged = sum(1 for axis in plan.inside() if facts.turns[axis] % plan.count(axis))
    return block, loops[order[-1]], copies * 2 ** (ragged if at is None else 2 * ragged)


def _order(facts: NestFacts, plan: Tile, tiles: dict[Axis, int], knobs: KnobsLike) -> list[Axis]:
    """The loops over tiles, outermost first: that over rows inside, where they use again what the vectors read."""
    rows = [axis for axis in plan.inside() if axis is not plan.vector]
    ends = [axis for axis in (plan.vector, *reversed(rows)) if axis is not None]
    order = [*(axis for axis in facts.finish.spatial if axis not in ends), *ends]
    if facts.sums is None or plan.vector is None or not rows or not reused_whole(facts, plan.vector, rows[0]):
        order = list(facts.finish.spatial)
    several = [axis for axis in reversed(order) if tiles[axis] > 1]
    if len(several) > 1:
        inner = knobs.choice(f"{facts.finish.name}: innermost", several)
        order = [*(axis for axis in order if axis is not inner), inner]
    return order


def _share(s: Schedule, facts: NestFacts, nest: Nest, block: Loop, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Give the blocks to threads where there is much to do, and write past the caches what overflows them."""
    name, stage = facts.finish.name, s[facts.finish.name]
    work = facts.work + sum(facts_of(s, inner.finish).points for inner in nest.inner)
    if spec.units > 1 and knobs.choice(f"{name}: threads", (False, True), default=work >= _FOR_THREADS):
        try:
            stage.parallel(block)
        except ScheduleError:
            return  # its turns depend on one another
    caches = max((level.size_bytes for level in spec.memory[:-1]), default=0)
    moved = facts.finish.bytes + sum({a.buffer: a.bytes for a in facts.body.reads}.values())
    if s.state.stages[name].output and knobs.choice(f"{name}: past caches", (False, True), default=moved >= caches > 0):
        stage.pragma(block, "nontemporal")


def _sum_tile(
    s: Schedule, facts: NestFacts, plan: Tile, at: tuple[str, Loop], copies: int, knobs: KnobsLike, lanes: int
) -> None:
    """The sums of a tile: for each turn of the reduction, all of the tile's points at once."""
    assert facts.sums is not None
    sums = s[facts.sums.name]
    sums.compute_at(*at)
    inner = [facts.inner(axis) for axis in plan.inside()]
    spatial = [*(axis for axis in facts.sums.spatial if axis not in inner), *inner]
    reduced: list[Axis | Loop] = list(facts.sums.reduced)
    options, default = unroll_choices(facts, plan, copies * math.ceil(math.prod(plan.turns.values()) / lanes))
    turns = knobs.choice(f"{facts.sums.name}: unroll", options, default=default)
    whole: list[Axis | Loop] = []
    for axis in reversed(facts.sums.reduced):
        if turns == 1:
            break
        if axis.count <= turns:
            whole.append(axis)
            turns //= max(1, axis.count)
            continue
        outer, part = sums.split(axis, factor=turns, tail="cut")
        reduced[facts.sums.reduced.index(axis)] = outer
        reduced.insert(facts.sums.reduced.index(axis) + 1, part)
        whole.append(part)
        break
    sums.reorder(*reduced, *spatial)
    for loop in (*whole, *spatial[:-1]):
        sums.unroll(loop)
    if spatial:
        sums.vectorize(spatial[-1])


def turns_at(s: Schedule, finish: StageFacts, at: tuple[str, Loop] | None) -> dict[Axis, int] | None:
    """How many turns each axis of a stage has *at* a place; None where it can't be computed there."""
    if at is None:
        return {axis: axis.count for axis in finish.spatial}
    twin = s.copy()
    try:
        twin[finish.name].compute_at(*at)
    except ScheduleError:
        return None
    names = loop_names((*finish.spatial, *finish.reduced))
    loops = [twin.state.loop(finish.name, name).turns for name in names[: len(finish.spatial)]]
    return dict(zip(finish.spatial, [axis.count if n is None else n for axis, n in
                                     zip(finish.spatial, loops, strict=True)], strict=True))  # fmt: skip
