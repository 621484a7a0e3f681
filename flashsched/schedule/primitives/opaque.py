"""What can't be done to an extern stage, nor to what it reads: its function sees arrays, and none sees into it."""

from __future__ import annotations

from flashsched.errors import StructureError
from flashsched.schedule.state import Stage, State, refuse

__all__ = ["require_plain_readers", "require_te"]


def require_te(state: State, stage: Stage, verb: str) -> None:
    """Refuse a stage that is not written in te.

    Raises:
        StructureError: *stage* is extern.
    """
    if stage.block.extern is not None:
        refuse(
            state,
            f"{stage.name!r} is an extern stage: its function fills whole arrays, so it can't be {verb}",
            error=StructureError,
            block=stage.name,
            hint="schedule the stages around it; a copy of what it gives (cache_read) can be moved",
        )


def require_plain_readers(state: State, stage: Stage, verb: str) -> None:
    """Refuse a stage whose memory an extern stage sees.

    Raises:
        StructureError: *stage* is extern, or one that reads it is.
    """
    require_te(state, stage, verb)
    for other in state.stages.values():
        extern = other.block.extern
        if extern is not None and any(buffer in extern.inputs for buffer in stage.buffers):
            refuse(
                state,
                f"the extern stage {other.name!r} reads {stage.name!r}, an array in memory, so it can't be {verb}",
                error=StructureError,
                block=other.name,
                hint=f"let it read a copy: cache_read({stage.name!r}, 'global', [{other.name!r}])",
            )
