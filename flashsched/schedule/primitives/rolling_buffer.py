"""rolling_buffer: a window over a stage that moves with the turns of a loop."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import OutputError, StructureError
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.loops import require_whole
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse

__all__ = ["rolling_buffer"]


@primitive()
def rolling_buffer(state: State, stage: str) -> Result:
    """Keep, from turn to turn of the loop at which *stage* is computed, what is needed again; compute what is new.

    Rewrite, for a reader of three rows that moves by one::

        for t in range(n):                     P = alloc([3])
            P = alloc([3])                     for t in range(n):
            for i in range(3):                     for i in range(3):
                P[i] = f(t + i)        ->              if t == 0 or i >= 2:
            C[t] = P[0] + P[1] + P[2]                      P[(t + i) % 3] = f(t + i)
                                                   C[t] = P[t % 3] + P[(t + 1) % 3] + P[(t + 2) % 3]

    Each point is computed once (for each turn of the loops further out), and the memory is as small as before.

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> P = te.compute((10,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda t: P[t] + P[t + 1] + P[t + 2], name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "t")
    >>> s[P].rolling_buffer()
    >>> print(s)
    for t in range(8):
      for i in range(3):
        P(i=t + i):  # rolling_buffer
          where t == 0 or i >= 2
          P[i] = A[i] + 1.0
      C(t=t):
        C[t] = P[t] + P[t + 1] + P[t + 2]

    It stays with the stage: computed elsewhere, it rolls there, or the move is refused.

    Raises:
        OutputError: *stage* is an output.
        StructureError: it is not computed at a loop, or at one whose turns do not come one after another; it follows
            what it reads; it is double-buffered, or padded by a split.
        DependenceError: the parts that the turns need do not overlap, or do not move by a constant in one dimension.
    """
    known = state.stage(stage)
    require_unscanned(state, known, "kept in a window")
    require_whole(state, known, "rolling_buffer")
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller sees all of it",
            error=OutputError,
            block=stage,
            hint=f"roll what it reads, or a copy of it: cache_write({stage!r}, 'local')",
        )
    if known.attach is None:
        refuse(
            state,
            f"{stage!r} is not computed at a loop, and nothing moves over it",
            error=StructureError,
            block=stage,
            hint=f"move it first: s[{stage}].compute_at(reader, loop)",
        )
    return moved(state.with_stage(replace(known, rolling=True)), stage, known.attach, follows=known.follows), ()
