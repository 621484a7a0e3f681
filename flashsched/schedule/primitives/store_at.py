"""store_at: memory is made at one loop, and filled at a loop inside."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import OutputError, StructureError
from flashsched.schedule.primitives.loops import require_no_init
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse

__all__ = ["store_at"]


@primitive()
def store_at(state: State, stage: str, at: list[str]) -> Result:
    """Keep what *stage* computes through a whole turn of an outer loop, though it is computed at an inner one.

    Rewrite::

        for i:                            for i:
            for j:                            P = alloc(all that a turn of i touches)
                P = alloc(...)    ->          for j:
                P                                 P
                S reads P                         S reads P

    Without it a buffer lives in the innermost loop around all its uses, as small as can be. Stored further out it is
    made less often, and is as large as all turns together need.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((4, 8), name="A")
    >>> P = te.compute((4, 8), lambda i, j: A[i, j] + 1, name="P")
    >>> C = te.compute((4, 8), lambda i, j: P[i, j] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "j")
    >>> s[P].store_at(s[C], "i")
    >>> print(lower(s))
    def kernel(A: float32[4, 8], C: float32[4, 8]):
      for i in range(4):  # stores=('P',)
        P = alloc(float32[1, 8], 'global')
        for j in range(8):
          P[0, j] = A[i, j] + 1.0
          C[i, j] = P[0, j] * 2.0

    Args:
        state: the schedule's state.
        stage: the producer, computed at a loop.
        at: a stage and its loop, outside the one that *stage* is computed at.

    Raises:
        ScheduleError: *stage* is an output, or not computed inside that loop; turns between that run at once would
            write the same elements (give each its own: store inside); GPU threads share the memory.
    """
    known = state.stage(stage)
    require_no_init(state, known)
    require_unscanned(state, known, "stored at a loop")
    consumer, loop = at
    state.loop(consumer, loop)
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and lives where the caller put it",
            error=OutputError,
            block=stage,
            hint=f"store a copy of it: cache_write({stage!r}, 'local')",
        )
    if known.attach is None or known.follows:
        refuse(
            state,
            f"{stage!r} is not computed at a loop of what reads it, so its memory is outside already",
            error=StructureError,
            block=stage,
            hint=f"move it first: s[{stage}].compute_at(reader, loop)",
        )
    return state.with_stage(replace(known, store=(consumer, loop))), ()
