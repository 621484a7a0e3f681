"""set_scope: where a stage's result lives."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import OutputError
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.cache_read import require_scope
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.loops import require_whole
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["set_scope"]


@primitive()
def set_scope(state: State, stage: str, scope: str) -> Result:
    """Keep what *stage* writes in *scope*: ``"global"``, ``"shared"``, ``"local"`` or ``"register"``.

    ``"local"`` memory is a thread's own, and in registers where it can be. ``"register"`` asks for that: lowering
    refuses a buffer whose size or whose indices are no constants once loops are unrolled and vectorized, and says
    which loop is to be unrolled.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "i")
    >>> s[P].set_scope("local")
    >>> s.state.stages["P"].buffers
    (Buffer(P[8], float32, local),)

    Raises:
        ScheduleError: there is no such scope, or *stage* is an output, which lives where the caller put it; the threads
            of a GPU share what would no longer be shared.
    """
    known = state.stage(stage)
    require_scope(state, scope)
    if scope == "shared":
        require_whole(state, known, "set_scope('shared')")
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and lives where the caller put it",
            error=OutputError,
            block=stage,
            hint=f"compute into a copy: cache_write({stage!r}, {scope!r})",
        )
    for buffer in known.buffers:
        state = change_buffer(state, buffer, replace(buffer, scope=scope))
    if known.attach is not None and "shared" in (scope, known.buffers[0].scope):
        state = moved(state, stage, known.attach)  # what it computes there serves one thread, or all of them
    return state, ()
