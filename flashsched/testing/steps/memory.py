"""Arguments for the primitives on memory."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import strategies as st

from flashsched.schedule.default import loop_names
from flashsched.schedule.ir import SCOPES, block_loads
from flashsched.schedule.schedule import Schedule
from flashsched.te.visit import uses
from flashsched.testing.steps.base import Arguments, Draw, Drawer, a_stage, a_stage_with_loops, one_loop

__all__ = ["ARGUMENTS"]

_SCOPES = SCOPES[:-1]  # what asks for registers is refused by lowering only


def _scope(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    return None if stage is None else (stage.name, {"scope": draw(st.sampled_from(_SCOPES))})


def _cache_read(draw: Draw, schedule: Schedule) -> Arguments:
    state = schedule.state
    names = [b.name for b in state.params] + [b.name for s in state.stages.values() for b in s.buffers]
    name = draw(st.sampled_from(names))
    users = [
        s.name
        for s in state.stages.values()
        if not s.inlined and any(load.buffer.name == name for load in block_loads(s.block))
    ]
    arguments: dict[str, Any] = {"scope": draw(st.sampled_from(_SCOPES))}
    if users and draw(st.booleans()):
        arguments["readers"] = draw(st.lists(st.sampled_from(users), min_size=1, unique=True))
    if draw(st.integers(0, 3)) == 0:
        arguments["dtype"] = draw(st.sampled_from(["float32", "float64", "int32", "int64"]))
    return name, arguments


def _transform_layout(draw: Draw, schedule: Schedule) -> Arguments:
    """The dimensions in any order, some of them in two parts."""
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    names = [f"d{n}" for n in range(len(stage.buffers[0].shape))]
    parts: list[str] = []
    for name in names:
        factor = draw(st.integers(1, 5))
        parts += [f"{name} // {factor}", f"{name} % {factor}"] if factor > 1 else [name]
    order = draw(st.permutations(parts))
    if not order:
        return None
    pad = {"pad_value": draw(st.integers(0, 2))} if draw(st.integers(0, 2)) == 0 else {}
    return stage.name, {"layout": f"{', '.join(names)} -> {', '.join(order)}", **pad}


def _reindex(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    names = sorted({load.buffer.name for load in block_loads(stage.block)})
    return (stage.name, {"tensor": draw(st.sampled_from(names))}) if names else None


def _flatten_axes(draw: Draw, schedule: Schedule) -> Arguments:
    """The axes in any order, cut anywhere: those of the output, and those that are reduced."""
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    names = dict(zip(stage.axes, loop_names(stage.axes), strict=True))
    groups: list[list[str]] = []
    for axes in (stage.spatial, stage.reduced):
        new = True
        for axis in draw(st.permutations(axes)):
            if new:
                groups.append([])
            groups[-1].append(names[axis])
            new = draw(st.booleans())
    return stage.name, {"groups": groups}


def _join_axes(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly two axes that meet in an index: a window over what is no output."""
    met: list[Arguments] = [
        (stage.name, {"first": a.name, "second": b.name})
        for stage in schedule.state.stages.values()
        if not stage.output and not stage.inlined
        for load in block_loads(stage.block)
        for index in load.indices
        for a, b in combinations([axis for axis in stage.spatial if uses(index, axis)], 2)
    ]
    if met and draw(st.integers(0, 5)):
        found: Arguments = draw(st.sampled_from(met))
        return found
    stage = a_stage_with_loops(draw, schedule)
    if stage is None:
        return None
    first, second = (draw(st.sampled_from(list(stage.loops))) for _ in range(2))
    return stage.name, {"first": first, "second": second}


def _pad_einsum(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    count = len(stage.axes)
    return stage.name, {"padding": draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))}


def _prefetch(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    names = [buffer.name for buffer in schedule.state.params] + list(schedule.state.stages)
    if drawn is None:
        return None
    return drawn[0], {"tensor": draw(st.sampled_from(names)), **drawn[1], "offset": draw(st.integers(1, 3))}


def _computed_at_a_loop(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a stage that is computed at a loop, as what keeps more than one turn's part needs it."""
    moved = [s for s in schedule.state.stages.values() if s.attach is not None and not s.inlined and not s.output]
    stage = draw(st.sampled_from(moved)) if moved and draw(st.integers(0, 5)) else a_stage(draw, schedule)
    return None if stage is None else (stage.name, {})


def _no_arguments(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    return None if stage is None else (stage.name, {})


def _storage_align(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    if stage is None or not stage.buffers[0].shape:
        return None
    factor = draw(st.integers(1, 9))
    axis = draw(st.integers(0, len(stage.buffers[0].shape) - 1))
    return stage.name, {"axis": axis, "factor": factor, "offset": draw(st.integers(0, factor - 1))}


ARGUMENTS: dict[str, Drawer] = {
    "cache_read": _cache_read,
    "cache_write": _scope,
    "flatten_axes": _flatten_axes,
    "join_axes": _join_axes,
    "pad_einsum": _pad_einsum,
    "reindex": _reindex,
    "double_buffer": _computed_at_a_loop,
    "prefetch": _prefetch,
    "rolling_buffer": _computed_at_a_loop,
    "set_scope": _scope,
    "storage_align": _storage_align,
    "transform_layout": _transform_layout,
}
