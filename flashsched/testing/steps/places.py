"""Arguments for the primitives that say where a stage is computed."""

from __future__ import annotations

from hypothesis import strategies as st

from flashsched.schedule.ir import block_loads
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.state import Stage
from flashsched.te.visit import uses
from flashsched.testing.steps.base import Arguments, Draw, Drawer, a_stage, a_stage_with_loops, readers

__all__ = ["ARGUMENTS"]


def _compute_at(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly at a reader, or at a stage that a reader is computed in; often where a window slides over it."""
    slid = _windows(schedule)
    if slid and draw(st.booleans()):
        found: Arguments = draw(st.sampled_from(slid))
        return found
    stage = _an_inner_stage(draw, schedule)
    if stage is None:
        return None
    near = [reader for reader in readers(schedule, stage) if reader.name != stage.name]
    around = [schedule.state.stages[r.attach[0]] for r in near if r.attach is not None]
    places = [other for other in (*near, *around) if other.loops]
    consumer = draw(st.sampled_from(places)) if places else a_stage_with_loops(draw, schedule)
    if consumer is None:
        return None
    return stage.name, {"at": [consumer.name, draw(st.sampled_from(list(consumer.loops)))]}


def _windows(schedule: Schedule) -> list[Arguments]:
    """Inner stages of which a reader takes a window, each with the loop over which it slides."""
    stages = [stage for stage in schedule.state.stages.values() if not stage.inlined]
    made = {buffer: stage.name for stage in stages if not stage.output for buffer in stage.buffers}
    return [
        (made[load.buffer], {"at": [reader.name, axis.name]})
        for reader in stages
        for load in block_loads(reader.block)
        if load.buffer in made
        for index in load.indices
        for axis in reader.spatial
        if axis.name in reader.loops and uses(index, axis) and any(uses(index, other) for other in reader.reduced)
    ]


def _an_inner_stage(draw: Draw, schedule: Schedule) -> Stage | None:
    """Mostly a stage that the caller does not see, as most of these primitives need."""
    inner = [stage for stage in schedule.state.stages.values() if not stage.inlined and not stage.output]
    return draw(st.sampled_from(inner)) if inner and draw(st.integers(0, 5)) else a_stage(draw, schedule)


def _compute_inline(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _an_inner_stage(draw, schedule)
    return None if stage is None else (stage.name, {})


def _no_arguments(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    return None if stage is None else (stage.name, {})


def _a_reduction(draw: Draw, schedule: Schedule) -> Stage | None:
    """Mostly a stage that has a reduction, where there is one."""
    reductions = [s for s in schedule.state.stages.values() if s.loops and s.reduced]
    if reductions and draw(st.integers(0, 9)):
        return draw(st.sampled_from(reductions))  # type: ignore[no-any-return]
    return a_stage_with_loops(draw, schedule)


def _decompose_reduction(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _a_reduction(draw, schedule)
    return None if stage is None else (stage.name, {"loop": draw(st.sampled_from(list(stage.loops)))})


def _reverse_compute_at(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly at a stage that it reads."""
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    loads = {load.buffer for load in block_loads(stage.block)}
    read = [other for other in schedule.state.stages.values() if other.loops and loads & {*other.buffers}]
    producer = draw(st.sampled_from(read)) if read else a_stage_with_loops(draw, schedule)
    if producer is None:
        return None
    return stage.name, {"at": [producer.name, draw(st.sampled_from(list(producer.loops)))]}


def _reverse_compute_inline(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a stage that reads one other, neither of them a reduction."""
    stages = [stage for stage in schedule.state.stages.values() if not stage.inlined]
    made = {buffer: stage for stage in stages for buffer in stage.buffers}
    plain = []
    for stage in stages:
        read = {made[load.buffer].name for load in block_loads(stage.block) if load.buffer in made}
        if not stage.reduced and len(read) == 1 and not schedule.state.stages[read.pop()].reduced:
            plain.append(stage)
    chosen = draw(st.sampled_from(plain)) if plain and draw(st.integers(0, 5)) else a_stage(draw, schedule)
    return None if chosen is None else (chosen.name, {})


def _store_at(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a stage that is computed at a loop, and a loop of the same stage."""
    moved = [s for s in schedule.state.stages.values() if s.attach is not None and not s.inlined]
    stage = draw(st.sampled_from(moved)) if moved else None
    if stage is None or stage.attach is None:
        return None
    loops = list(schedule.state.stages[stage.attach[0]].loops)
    return (stage.name, {"at": [stage.attach[0], draw(st.sampled_from(loops))]}) if loops else None


def _rfactor(draw: Draw, schedule: Schedule) -> Arguments:
    """A loop that may be over the reduction."""
    stage = _a_reduction(draw, schedule)
    if stage is None:
        return None
    loop = draw(st.sampled_from(list(stage.loops)[-3:]))
    place = draw(st.integers(-2, 2))
    return stage.name, {"loop": loop, "factor_axis": place} if place else {"loop": loop}


def _stage_mem(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a loop over the reduction, and any other inside."""
    drawn = _rfactor(draw, schedule)
    if drawn is None:
        return None
    loop = drawn[1]["loop"]
    inside = draw(st.sampled_from([loop, *schedule.state.stages[drawn[0]].loops]))
    return drawn[0], {"loop": loop} if inside == loop else {"loop": loop, "inside": inside}


ARGUMENTS: dict[str, Drawer] = {
    "compute_at": _compute_at,
    "compute_root": _no_arguments,
    "compute_inline": _compute_inline,
    "decompose_reduction": _decompose_reduction,
    "reverse_compute_at": _reverse_compute_at,
    "reverse_compute_inline": _reverse_compute_inline,
    "rfactor": _rfactor,
    "stage_mem": _stage_mem,
    "store_at": _store_at,
}
