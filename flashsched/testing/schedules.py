"""Random schedules of a te graph, for hypothesis: any primitive, any stage, most arguments legal and some not.

Apart from `flashsched.testing.graphs`, which draws what is computed; here is drawn how. A step that the primitives
refuse is left out, so whatever comes out is a schedule that a person could have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from flashsched.errors import ScheduleError
from flashsched.schedule.ir import SCOPES, Block, For, LoopKind, Stmt, block_loads, sub_stmts
from flashsched.schedule.schedule import Schedule, create_schedule
from flashsched.schedule.state import Stage
from flashsched.te.tensor import Tensor

__all__ = ["CPU_PRIMITIVES", "GPU_PRIMITIVES", "schedules", "take_step"]

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Arguments: TypeAlias = "tuple[str, dict[str, Any]] | None"
"""What to apply a primitive to, and its arguments; None where the schedule has nothing for it."""

CPU_PRIMITIVES = (
    "split", "split", "split", "tile", "fuse", "reorder", "reorder", "unroll", "vectorize", "vectorize", "parallel",
    "compute_at", "compute_at", "compute_at", "compute_root", "compute_inline", "cache_read", "cache_write",
    "set_scope", "transform_layout",
)  # fmt: skip
"""What is drawn from, the more often the more can go wrong with it."""

_MOST_POINTS = 50_000  # a few tenths of a second in the interpreter

GPU_PRIMITIVES = (*CPU_PRIMITIVES, "bind", "bind", "bind")


@st.composite
def schedules(
    draw: Draw, outputs: Sequence[Tensor], most_steps: int = 14, primitives: Sequence[str] = CPU_PRIMITIVES
) -> Schedule:
    """A schedule of *outputs* after up to *most_steps* steps drawn from *primitives*."""
    schedule = create_schedule(list(outputs))
    for _ in range(draw(st.integers(0, most_steps))):  # a list of steps would be short as a rule
        take_step(draw, schedule, draw(st.sampled_from(primitives)))
    return schedule


def take_step(draw: Draw, schedule: Schedule, primitive: str) -> bool:
    """Apply *primitive* with drawn arguments; returns whether it was accepted.

    A step that makes the nest compute so much again that the interpreter would take long counts as refused.

    Raises:
        AssertionError: a refused step changed the schedule.
    """
    drawn = _ARGUMENTS[primitive](draw, schedule)
    if drawn is None:
        return False
    before = schedule.state, schedule.trace
    tried = schedule.copy()
    try:
        tried.apply(primitive, *drawn)
        if _points(tried.body) > max(_MOST_POINTS, _points(schedule.body)):
            return False
        schedule.apply(primitive, *drawn)
    except ScheduleError:
        assert (schedule.state, schedule.trace) == before
        return False
    return True


def _points(stmt: Stmt, turns: int = 1) -> int:
    """How often blocks are run, whatever their conditions say."""
    if isinstance(stmt, For):
        turns *= stmt.turns or 0
    return turns if isinstance(stmt, Block) else sum(_points(inner, turns) for inner in sub_stmts(stmt))


def _stage(draw: Draw, schedule: Schedule) -> Stage | None:
    stages = [stage for stage in schedule.state.stages.values() if not stage.inlined]
    return draw(st.sampled_from(stages)) if stages else None


def _with_loops(draw: Draw, schedule: Schedule) -> Stage | None:
    stages = [stage for stage in schedule.state.stages.values() if stage.loops and not stage.inlined]
    return draw(st.sampled_from(stages)) if stages else None


def _one_loop(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _with_loops(draw, schedule)
    return None if stage is None else (stage.name, {"loop": draw(st.sampled_from(list(stage.loops)))})


def _innermost_loop(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly a loop that stands last, which is what a vector loop needs."""
    stage = _with_loops(draw, schedule)
    if stage is None:
        return None
    names = list(stage.loops)
    return stage.name, {"loop": names[-1] if draw(st.booleans()) else draw(st.sampled_from(names))}


def _split(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = _one_loop(draw, schedule)
    if drawn is None:
        return None
    size = draw(st.integers(1, 9))
    how: dict[str, Any] = {"nparts": size} if draw(st.integers(0, 3)) == 0 else {"factor": size}
    return drawn[0], {**drawn[1], **how, **_tail(draw)}


def _tail(draw: Draw) -> dict[str, Any]:
    return {"tail": "cut"} if draw(st.booleans()) else {}


def _tile(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _with_loops(draw, schedule)
    if stage is None or len(stage.loops) < 2:
        return None
    loops = draw(st.permutations(list(stage.loops)))[:2]
    factors = {"x_factor": draw(st.integers(1, 5)), "y_factor": draw(st.integers(1, 5))}
    return stage.name, {"loops": loops, **factors, **_tail(draw)}


def _fuse(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _with_loops(draw, schedule)
    if stage is None:
        return None
    names = list(stage.loops)
    first = draw(st.integers(0, len(names) - 1))
    return stage.name, {"loops": names[first : first + draw(st.integers(1, 3))]}


def _reorder(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _with_loops(draw, schedule)
    if stage is None:
        return None
    order = draw(st.permutations(list(stage.loops)))
    return stage.name, {"loops": order[: draw(st.integers(1, len(order)))]}


def _bind(draw: Draw, schedule: Schedule) -> Arguments:
    drawn = _one_loop(draw, schedule)
    if drawn is None:
        return None
    axes = [kind.value for kind in LoopKind if kind.is_block or kind.is_thread]
    return drawn[0], {**drawn[1], "axis": draw(st.sampled_from(axes))}


def _readers(schedule: Schedule, stage: Stage) -> list[Stage]:
    return [
        other
        for other in schedule.state.stages.values()
        if not other.inlined and any(load.buffer in stage.buffers for load in block_loads(other.block))
    ]


def _compute_at(draw: Draw, schedule: Schedule) -> Arguments:
    """Mostly at a reader, or at a stage that a reader is computed in."""
    stage = _stage(draw, schedule)
    if stage is None:
        return None
    near = [reader for reader in _readers(schedule, stage) if reader.name != stage.name]
    around = [schedule.state.stages[r.attach[0]] for r in near if r.attach is not None]
    places = [other for other in (*near, *around) if other.loops]
    consumer = draw(st.sampled_from(places)) if places else _with_loops(draw, schedule)
    if consumer is None:
        return None
    return stage.name, {"at": [consumer.name, draw(st.sampled_from(list(consumer.loops)))]}


def _no_arguments(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _stage(draw, schedule)
    return None if stage is None else (stage.name, {})


def _scope(draw: Draw, schedule: Schedule) -> Arguments:
    stage = _stage(draw, schedule)
    return None if stage is None else (stage.name, {"scope": draw(st.sampled_from(SCOPES))})


def _cache_read(draw: Draw, schedule: Schedule) -> Arguments:
    state = schedule.state
    names = [b.name for b in state.params] + [b.name for s in state.stages.values() for b in s.buffers]
    name = draw(st.sampled_from(names))
    users = [
        s.name
        for s in state.stages.values()
        if not s.inlined and any(load.buffer.name == name for load in block_loads(s.block))
    ]
    arguments: dict[str, Any] = {"scope": draw(st.sampled_from(SCOPES))}
    if users and draw(st.booleans()):
        arguments["readers"] = draw(st.lists(st.sampled_from(users), min_size=1, unique=True))
    return name, arguments


def _transform_layout(draw: Draw, schedule: Schedule) -> Arguments:
    """The dimensions in any order, some of them in two parts."""
    stage = _stage(draw, schedule)
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
    return stage.name, {"layout": f"{', '.join(names)} -> {', '.join(order)}"}


_ARGUMENTS: dict[str, Callable[[Draw, Schedule], Arguments]] = {
    "split": _split,
    "tile": _tile,
    "fuse": _fuse,
    "reorder": _reorder,
    "unroll": _one_loop,
    "vectorize": _innermost_loop,
    "parallel": _one_loop,
    "bind": _bind,
    "compute_at": _compute_at,
    "compute_root": _no_arguments,
    "compute_inline": _no_arguments,
    "cache_read": _cache_read,
    "cache_write": _scope,
    "set_scope": _scope,
    "transform_layout": _transform_layout,
}
