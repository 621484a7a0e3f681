"""Arguments for the primitives on a stage's own loops."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from flashsched import te
from flashsched.schedule.ir import For, LoopKind, blocks, walk_stmt
from flashsched.schedule.primitives.software_pipeline import unit_names
from flashsched.schedule.primitives.specialize import sizes_of
from flashsched.schedule.primitives.tails import TAILS
from flashsched.schedule.schedule import Schedule
from flashsched.testing.steps.base import Arguments, Draw, Drawer, a_stage, a_stage_with_loops, one_loop

__all__ = ["ARGUMENTS"]

_THREADS = ("threadIdx.x", "threadIdx.y", "threadIdx.z")


def _innermost_loop(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a loop that stands last, which is what a vector loop needs."""
    stage = a_stage_with_loops(draw, schedule)
    if stage is None:
        return None
    names = list(stage.loops)
    return stage.name, {"loop": names[-1] if draw(st.booleans()) else draw(st.sampled_from(names))}


def _split(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    if drawn is None:
        return None
    size = draw(st.integers(1, 9))
    how: dict[str, Any] = {"nparts": size} if draw(st.integers(0, 3)) == 0 else {"factor": size}
    return drawn[0], {**drawn[1], **how, **_tail(draw)}


def _tail(draw: Draw) -> dict[str, Any]:
    tail = draw(st.sampled_from(["guard", "guard", *TAILS]))
    return {} if tail == "guard" else {"tail": tail}


def _tile(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage_with_loops(draw, schedule)
    if stage is None or len(stage.loops) < 2:
        return None
    loops = draw(st.permutations(list(stage.loops)))[:2]
    factors = {"x_factor": draw(st.integers(1, 5)), "y_factor": draw(st.integers(1, 5))}
    return stage.name, {"loops": loops, **factors, **_tail(draw)}


def _fuse(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage_with_loops(draw, schedule)
    if stage is None:
        return None
    names = list(stage.loops)
    first = draw(st.integers(0, len(names) - 1))
    return stage.name, {"loops": names[first : first + draw(st.integers(1, 3))]}


def _reorder(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage_with_loops(draw, schedule)
    if stage is None:
        return None
    order = draw(st.permutations(list(stage.loops)))
    return stage.name, {"loops": order[: draw(st.integers(1, len(order)))]}


def _software_pipeline(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly at a loop that something is computed at."""
    attached = [stage.attach for stage in schedule.state.stages.values() if stage.attach is not None]
    if attached and draw(st.integers(0, 3)) > 0:
        stage, loop = draw(st.sampled_from(attached))
    else:
        drawn = one_loop(draw, schedule)
        if drawn is None:
            return None
        stage, loop = drawn[0], drawn[1]["loop"]
    units = unit_names(schedule.state, stage, loop)
    stages = sorted(draw(st.lists(st.integers(0, 2), min_size=len(units), max_size=len(units))))
    order = draw(st.permutations(range(len(units))))
    return stage, {"loop": loop, "stages": stages, "order": list(order), "units": units}


def _peel(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    if drawn is None:
        return None
    return drawn[0], {**drawn[1], "front": draw(st.integers(0, 2)), "back": draw(st.integers(0, 2))}


def _annotate(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    return drawn and (drawn[0], {**drawn[1], "key": "note", "value": draw(st.sampled_from(["word", 1, 0.5, True]))})


def _unit(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage(draw, schedule)
    if stage is None:
        return None
    loop = draw(st.sampled_from([None, *stage.loops]))
    return stage.name, {} if loop is None else {"loop": loop}


def _jam(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    return drawn and (drawn[0], {**drawn[1], "factor": draw(st.integers(1, 4)), **_tail(draw)})


def _bind(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    if drawn is None:
        return None
    axes = [kind.value for kind in LoopKind if kind.is_block or kind.is_thread or kind is LoopKind.VTHREAD]
    return drawn[0], {**drawn[1], "axis": draw(st.sampled_from(axes))}


def _env_threads(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly axes that loops of the schedule are bound to, with their extents."""
    drawn = a_stage(draw, schedule)
    if drawn is None:
        return None
    axes = draw(st.lists(st.sampled_from(_THREADS), min_size=1, max_size=2, unique=True))
    bound = {loop.kind.value: loop.turns for loop in walk_stmt(schedule.body) if isinstance(loop, For)}
    used = [axis for axis in _THREADS if axis in bound]
    if used and draw(st.integers(0, 4)):
        axes = used[:2]
    return drawn.name, {"axes": axes, "extents": [bound.get(axis) or draw(st.integers(1, 3)) for axis in axes]}


def _store_predicate(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly of a stage inside a loop over threads, and of their axis."""
    inside = [
        (block.name, loop.kind.value)
        for loop in walk_stmt(schedule.body)
        if isinstance(loop, For) and loop.kind.is_thread
        for block in blocks(loop.body)
    ]
    drawn = a_stage(draw, schedule)
    if drawn is None:
        return None
    name, axis = drawn.name, draw(st.sampled_from(_THREADS))
    if inside and draw(st.integers(0, 5)):
        name, axis = draw(st.sampled_from(inside))
    return name, {"condition": f"{axis} == {draw(st.sampled_from((0, 0, 0, 0, 0, 1)))}"}


def _pragma(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = one_loop(draw, schedule)
    if drawn is None:
        return None
    asked = draw(
        st.sampled_from(
            [
                ("auto_unroll_max_step", 4),
                ("auto_unroll_max_step", 30),
                ("unroll_explicit", False),
                ("nontemporal", True),
            ]
        )
    )
    return drawn[0], {**drawn[1], "key": asked[0], "value": asked[1]}


def _specialize(draw: Draw, schedule: Schedule) -> Arguments:
    drawn, sizes = one_loop(draw, schedule), sizes_of(schedule.state)
    if drawn is None or not sizes:
        return None
    size = draw(st.sampled_from(sizes))
    number = draw(st.integers(1, 8))
    forms = [size == number, size % number == 0, size >= number, te.all(size % 2 == 0, size < 8)]
    return drawn[0], {"condition": str(draw(st.sampled_from(range(4)).map(lambda n: forms[n])))}


ARGUMENTS: dict[str, Drawer] = {
    "specialize": _specialize,
    "split": _split,
    "software_pipeline": _software_pipeline,
    "tile": _tile,
    "fuse": _fuse,
    "reorder": _reorder,
    "unroll": one_loop,
    "unroll_and_jam": _jam,
    "add_unit_loop": _unit,
    "annotate": _annotate,
    "blockize": one_loop,
    "loop_partition": one_loop,
    "peel": _peel,
    "vectorize": _innermost_loop,
    "parallel": one_loop,
    "bind": _bind,
    "env_threads": _env_threads,
    "set_store_predicate": _store_predicate,
    "pragma": _pragma,
}
