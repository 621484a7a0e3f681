"""reverse_compute_at: a consumer is computed inside what it reads."""

from __future__ import annotations

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.ir import block_loads
from flashsched.schedule.primitives.compute_at import inside_of, moved, require_room
from flashsched.schedule.primitives.loops import require_no_init
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse

__all__ = ["reverse_compute_at"]


@primitive()
def reverse_compute_at(state: State, stage: str, at: list[str]) -> Result:
    """Compute of *stage*, in each turn of a loop of a producer, the points for which that turn finishes what they read.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            C                                      C
        for i in range(n):                         S where all that it reads of C is finished in this turn
            S

    Each point is computed once, in a nest of its own after those of the turn: an epilogue works on a tile while it is
    near. Unlike ``compute_at``, it serves a *stage* that is an output. The stage's own steps are kept.

    >>> from flashsched import te
    >>> A, k = te.placeholder((8, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> R = te.compute((8,), lambda i: te.relu(C[i]), name="R")
    >>> s = te.create_schedule(R)
    >>> outer, _ = s[C].split("i", factor=4)
    >>> s[R].reverse_compute_at(s[C], outer)
    >>> print(s)
    for i.o in range(2):
      for i.i in range(4):
        for k in range(6):
          C(i=i.o * 4 + i.i, k=k):  # reduces k
            init C[i] = 0.0
            C[i] = C[i] + A[i, k]
      for i in range(4):
        R(i=i.o * 4 + i):
          R[i] = max(C[i], 0.0)

    Args:
        state: the schedule's state.
        stage: the consumer.
        at: the producer's stage and its loop.

    Raises:
        ScheduleError: *stage* does not read the producer, or not element by element where a turn finishes only a part;
            the loop or one around it runs over the producer's reduction; the parts that turns finish can't be told
            apart; *stage* reads, or is read by, what is computed in those loops; the loop is vectorized.
    """
    producer, loop = at
    known = state.stage(stage)
    require_unscanned(state, known, "computed at a loop")
    require_unscanned(state, state.stage(producer), "what a reader is computed at")
    require_no_init(state, known)
    target = state.loop(producer, loop)
    if producer == stage or not any(load.buffer in state.stages[producer].buffers for load in block_loads(known.block)):
        refuse(
            state,
            f"{stage!r} does not read {producer!r}, and can't follow it",
            error=ArgumentError,
            block=stage,
            hint="name a stage that it reads, and one of that stage's loops",
        )
    if producer in inside_of(state, stage):
        refuse(
            state,
            f"{producer!r} is computed inside {stage!r}, and can't hold it",
            error=StructureError,
            block=producer,
            hint=f"move {producer!r} first: compute_root",
        )
    require_room(state, stage, target)
    return moved(state, stage, (producer, loop), follows=True), ()
