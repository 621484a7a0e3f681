"""What the drawers of arguments share: drawing a stage, a loop, a stage's readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from flashsched.schedule.ir import block_loads
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.state import Stage

__all__ = ["Arguments", "Draw", "Drawer", "a_stage", "a_stage_with_loops", "one_loop", "readers"]

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Arguments: TypeAlias = "tuple[str, dict[str, Any]] | None"
"""What to apply a primitive to, and its arguments; None where the schedule has nothing for it."""
Drawer: TypeAlias = Callable[[Draw, Schedule], Arguments]


def a_stage(draw: Draw, schedule: Schedule) -> Stage | None:
    stages = [stage for stage in schedule.state.stages.values() if not stage.inlined]
    return draw(st.sampled_from(stages)) if stages else None


def a_stage_with_loops(draw: Draw, schedule: Schedule) -> Stage | None:
    stages = [stage for stage in schedule.state.stages.values() if stage.loops and not stage.inlined]
    return draw(st.sampled_from(stages)) if stages else None


def one_loop(draw: Draw, schedule: Schedule) -> Arguments:
    stage = a_stage_with_loops(draw, schedule)
    return None if stage is None else (stage.name, {"loop": draw(st.sampled_from(list(stage.loops)))})


def readers(schedule: Schedule, stage: Stage) -> list[Stage]:
    return [
        other
        for other in schedule.state.stages.values()
        if not other.inlined and any(load.buffer in stage.buffers for load in block_loads(other.block))
    ]
