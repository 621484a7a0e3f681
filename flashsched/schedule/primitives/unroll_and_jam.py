"""unroll_and_jam: some turns of an outer loop are done together in the innermost one."""

from __future__ import annotations

from flashsched.errors import DependenceError
from flashsched.schedule.ir import LoopKind, block_loads
from flashsched.schedule.nest import loop_chain
from flashsched.schedule.primitives.loops import block_of
from flashsched.schedule.primitives.registry import Result, apply, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["unroll_and_jam"]


@primitive()
def unroll_and_jam(state: State, stage: str, loop: str, factor: int, tail: str = "cut") -> Result:
    """Unroll *loop* by *factor*, and jam the copies of what is inside into one: what they share is loaded once.

    Rewrite::

        for i in range(n):        ->    for i.o in range(ceil(n / factor)):
            for j in range(m):              for j in range(m):
                S                               S[i := i.o * factor]
                                                …
                                                S[i := i.o * factor + factor - 1]

    It is a `split`, a `reorder` that brings the inner part inside (before a vector loop, which stays innermost), and
    an `unroll`. The turns of *loop* change places with those of the loops inside, so they may not depend on each other:
    points of an output do not, and those of a sum may be added in any order.

    >>> from flashsched import te
    >>> A = te.placeholder((4, 6), name="A")
    >>> C = te.compute((4, 6), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].unroll_and_jam("i", 2)
    (C.i.o, C.i.i)
    >>> print(s)
    for i.o in range(2):
      for j in range(6):
        for i.i in range(2):  # unroll
          C(i=i.o * 2 + i.i, j=j):
            C[i, j] = A[i, j] + 1.0

    Returns:
        The names of the outer loop, and of the one that is unrolled.

    Raises:
        DependenceError: a point of *stage* reads another.
        ScheduleError: as `split`, `reorder` and `unroll`.
    """
    block = block_of(state, stage)
    if not block.reduces and any(load.buffer in state.stage(stage).buffers for load in block_loads(block)):
        refuse(
            state,
            f"a point of {stage!r} reads another point of it, and its loops can't change places",
            error=DependenceError,
            block=stage,
            hint="unroll the innermost loop",
        )
    state, (outer, inner) = apply(state, "split", stage, {"loop": loop, "factor": factor, "tail": tail})
    known = state.stage(stage)
    names = {var: name for name, var in known.loops.items()}
    chain = loop_chain(state.body, stage, known.loops)
    place = [names[node.var] for node in chain].index(outer)
    inside = [node for node in chain[place + 1 :] if names[node.var] != inner]
    lanes = [node for node in inside if node.kind is LoopKind.VECTORIZE]
    order = [*(names[node.var] for node in inside if node not in lanes), inner, *(names[node.var] for node in lanes)]
    state, _ = apply(state, "reorder", stage, {"loops": order})
    state, _ = apply(state, "unroll", stage, {"loop": inner})
    return state, (outer, inner)
