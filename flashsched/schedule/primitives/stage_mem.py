"""stage_mem: a reduction sums up each turn of an outer loop in a small buffer."""

from __future__ import annotations

from flashsched.errors import StructureError
from flashsched.schedule.arguments import LoopName
from flashsched.schedule.nest import loop_chain
from flashsched.schedule.primitives.registry import Result, apply, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["stage_mem"]


@primitive()
def stage_mem(state: State, stage: str, loop: str, inside: LoopName | None = None, scope: str = "local") -> Result:
    """Combine what belongs to one turn of the reduction's *loop* in a small buffer, and that with *stage*.

    Rewrite, ``inside`` being ``j.o``::

        for k.o: for j.o:                       for k.o: for j.o:
            for j.i: for k.i:                       T = alloc(a tile of j.i)
                C[j] += A[k] * B[k, j]    ->        for j.i: for k.i: T[j.i] += A[k] * B[k, j]
                                                    for j.i: C[j] += T[j.i]

    So a product that is blocked over k holds its accumulators in registers. It is `rfactor` over *loop*,
    ``compute_at`` *inside* (a loop of *stage* inside of *loop*, or *loop* itself) and ``set_scope``. The new stage's
    loops are made anew: order and mark them as `rfactor`'s.

    >>> from flashsched import te
    >>> A, B = te.placeholder((8,), name="A"), te.placeholder((8, 6), name="B")
    >>> k = te.reduce_axis((0, 8), name="k")
    >>> C = te.compute((6,), lambda j: te.sum(A[k] * B[k, j], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> ko, ki = s[C].split(k, factor=4)
    >>> jo, ji = s[C].split("j", factor=3)
    >>> s[C].reorder(ko, jo, ji, ki)
    >>> tile = s.stage_mem(C, ko, inside=jo)
    >>> print(s)
    for k.o in range(2):
      for j.o in range(2):
        for k.o_1 in range(1):
          for j in range(3):
            for k.i in range(4):
              C.rf(k.o=k.o, j=j.o * 3 + j, k.i=k.i):  # reduces k.i
                init C.rf[k.o, j] = 0.0
                C.rf[k.o, j] = C.rf[k.o, j] + A[k.o * 4 + k.i] * B[k.o * 4 + k.i, j]
        for j.i in range(3):
          C(j=j.o * 3 + j.i, k.o=k.o):  # reduces k.o
            init C[j] = 0.0
            C[j] = C[j] + C.rf[k.o, j]

    Args:
        state: the schedule's state.
        stage: the reduction.
        loop: its loop over the reduction, each turn of which is combined apart.
        inside: the loop of *stage* in whose turns there is a buffer; by default *loop*.
        scope: where the buffer is.

    Returns:
        The name of the new stage.

    Raises:
        StructureError: *inside* is outside of *loop*, and the buffer would hold all its turns.
        ScheduleError: as `rfactor`, `compute_at` and `set_scope`.
    """
    place = state.loop(stage, loop if inside is None else inside)
    chain = loop_chain(state.body, stage, state.stage(stage).loops)
    if chain.index(place) < chain.index(state.loop(stage, loop)):
        refuse(
            state,
            f"loop {inside!r} is outside of {loop!r}, and a buffer in it would hold what all turns of {loop!r} combine",
            error=StructureError,
            loop=place.var,
            hint=f"reorder({loop!r}, {inside!r}) first, or choose a loop inside of {loop!r}",
        )
    state, (made,) = apply(state, "rfactor", stage, {"loop": loop})
    state, _ = apply(state, "compute_at", made, {"at": [stage, loop if inside is None else inside]})
    state, _ = apply(state, "set_scope", made, {"scope": scope})
    return state, (made,)
