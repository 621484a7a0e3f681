"""double_buffer: a stage is computed one turn ahead of those who read it."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import OutputError, StructureError
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.loops import require_no_init
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse

__all__ = ["double_buffer"]


@primitive()
def double_buffer(state: State, stage: str) -> Result:
    """Give *stage*, computed at a loop, two buffers, and fill one for the next turn while the other one is read.

    Rewrite, made by lowering::

        for t in range(n):                   P = alloc([2, ...])
            P = alloc([...])                 P[0] = f(0)
            P[...] = f(t)            ->      for t in range(n - 1):
            C[t] = g(P)                          P[(t + 1) % 2] = f(t + 1)
                                                 C[t] = g(P[t % 2])
                                             C[n - 1] = g(P[(n - 1) % 2])

    What *stage* reads of other stages computed at the loop is computed ahead, too. On a GPU the copy of the next tile
    into shared memory is then on its way while the threads compute with this one.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((4, 8), name="A")
    >>> P = te.compute((4, 8), lambda i, j: A[i, j] + 1, name="P")
    >>> C = te.compute((4, 8), lambda i, j: P[i, j] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "i")
    >>> s[P].double_buffer()
    >>> print(lower(s))
    def kernel(A: float32[4, 8], C: float32[4, 8]):
      P = alloc(float32[2, 1, 8], 'global')
      for j in range(8):
        P[0, 0, j] = A[0, j] + 1.0
      for i in range(3):
        for j in range(8):
          P[(i + 1) % 2, 0, j] = A[i + 1, j] + 1.0
        for j in range(8):
          C[i, j] = P[i % 2, 0, j] * 2.0
      for j in range(8):
        C[3, j] = P[1, 0, j] * 2.0

    It stays with the stage: computed elsewhere, it is ahead of the loop there; at the root there is no turn to be ahead
    of.

    Raises:
        OutputError: *stage* is an output.
        StructureError: it is not computed at a loop, or at one that is parallel, unrolled or bound.
        DependenceError: something that it needs outlives a turn of the loop, and can't be computed ahead.
    """
    known = state.stage(stage)
    require_no_init(state, known)
    require_unscanned(state, known, "kept twice")
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller gave one buffer for it",
            error=OutputError,
            block=stage,
            hint=f"compute a tile of it ahead: cache_write({stage!r}, 'local'), then double_buffer what that reads",
        )
    if known.attach is None:
        refuse(
            state,
            f"{stage!r} is not computed at a loop, and without turns nothing is ahead",
            error=StructureError,
            block=stage,
            hint=f"move it first: s[{stage}].compute_at(reader, loop)",
        )
    for buffer in known.buffers:
        state = change_buffer(state, buffer, replace(buffer, doubled=True))
    return state, ()
