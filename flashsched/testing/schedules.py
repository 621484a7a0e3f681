"""Random schedules of a te graph, for hypothesis: any primitive, any stage, most arguments legal and some not.

Apart from `flashsched.testing.graphs`, which draws what is computed; here is drawn how. A step that the primitives
refuse is left out, so whatever comes out is a schedule that a person could have written.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from flashsched.errors import ScheduleError
from flashsched.schedule.ir import Block, For, Stmt, sub_stmts, walk_stmt
from flashsched.schedule.schedule import Schedule, create_schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.steps import ARGUMENTS, Draw

__all__ = ["CPU_PRIMITIVES", "GPU_PRIMITIVES", "bound_programs", "is_bound", "schedules", "take_step"]

CPU_PRIMITIVES = (
    "split", "split", "split", "tile", "fuse", "reorder", "reorder", "unroll", "vectorize", "vectorize", "parallel",
    "rfactor", "rfactor", "decompose_reduction", "reverse_compute_at", "reverse_compute_at", "reverse_compute_inline",
    "pragma", "unroll_and_jam", "add_unit_loop", "annotate", "blockize", "flatten_axes", "join_axes", "loop_partition",
    "peel", "pad_einsum", "reindex", "stage_mem", "store_at", "store_at",
    "compute_at", "compute_at", "compute_at", "compute_root", "compute_inline", "cache_read", "cache_write",
    "double_buffer", "double_buffer", "specialize",
    "prefetch", "rolling_buffer", "rolling_buffer", "set_scope",
    "software_pipeline", "software_pipeline", "storage_align", "transform_layout",
)  # fmt: skip
"""What is drawn from, the more often the more can go wrong with it."""

_LONGEST = 22  # turns of a loop that depend on a size
_MOST_POINTS = 50_000  # a few tenths of a second in the interpreter

GPU_PRIMITIVES = (*CPU_PRIMITIVES, "bind", "bind", "bind", "env_threads", "set_store_predicate")


@st.composite
def schedules(
    draw: Draw, outputs: Sequence[Tensor], most_steps: int = 14, primitives: Sequence[str] = CPU_PRIMITIVES
) -> Schedule:
    """A schedule of *outputs* after up to *most_steps* steps drawn from *primitives*."""
    schedule = create_schedule(list(outputs))
    for _ in range(draw(st.integers(0, most_steps))):  # a list of steps would be short as a rule
        take_step(draw, schedule, draw(st.sampled_from(primitives)))
    return schedule


@st.composite
def bound_programs(draw: Draw) -> tuple[Graph, Schedule]:
    """A graph, and a schedule of it that binds loops more often than it does anything else."""
    drawn = draw(graphs(sized=True))
    often = (*CPU_PRIMITIVES, *["bind"] * 12, "set_scope", "set_scope", "env_threads", "set_store_predicate")
    return drawn, draw(schedules(drawn.outputs, primitives=often, most_steps=18))


def is_bound(schedule: Schedule) -> bool:
    """Whether a loop of *schedule* is bound to blocks or threads."""
    loops = (node for node in walk_stmt(schedule.body) if isinstance(node, For))
    return any(loop.kind.is_thread or loop.kind.is_block for loop in loops)


def take_step(draw: Draw, schedule: Schedule, primitive: str) -> bool:
    """Apply *primitive* with drawn arguments; returns whether it was accepted.

    A step that makes the nest compute so much again that the interpreter would take long counts as refused.

    Raises:
        AssertionError: a refused step changed the schedule.
    """
    drawn = ARGUMENTS[primitive](draw, schedule)
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
        turns *= _LONGEST if stmt.turns is None else stmt.turns
    return turns if isinstance(stmt, Block) else sum(_points(inner, turns) for inner in sub_stmts(stmt))
