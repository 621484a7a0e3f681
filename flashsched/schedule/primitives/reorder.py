"""reorder: loops change places."""

from __future__ import annotations

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.derive import rebuild_chain
from flashsched.schedule.ir import For, LoopKind, Stmt
from flashsched.schedule.nest import loop_chain
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_ordered
from flashsched.schedule.state import State, refuse

__all__ = ["reorder"]


@primitive(on_loops=True)
def reorder(state: State, stage: str, loops: list[str]) -> Result:
    """Give the places that *loops* have now to the same loops in the order in which they are named.

    Rewrite::

        for i in range(n):        ->    for j in range(m):
            for j in range(m):              for i in range(n):
                S                               S

    A reduction may go outside the loops of the output: its elements are then set to the identity by a nest of their
    own before it. Among reduction loops the order changes the rounding of floats, not the meaning. Stages that are
    computed at one of the loops move with it.

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> C = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].reorder("k", "i")
    >>> print(s)
    for k in range(6):
      for i in range(4):
        C(i=i, k=k):  # reduces k
          init C[i] = 0.0
          C[i] = C[i] + A[i, k]

    Raises:
        ScheduleError: a loop is absent, is named twice, or is vectorized and would not stay innermost; a stage that is
            computed at one of them would be read outside of it.
    """
    nodes = [state.loop(stage, name) for name in loops]
    for position, name in enumerate(loops):
        if name in loops[:position]:
            refuse(
                state,
                f"loop {name!r} is named twice",
                error=ArgumentError,
                loop=nodes[position].var,
                hint="name each loop once; those that are not named stay where they are",
            )
    if len(nodes) < 2:
        return state, ()
    known = state.stage(stage)
    chain = loop_chain(state.body, stage, known.loops)
    order = iter(nodes)
    wanted = [next(order) if any(loop is node for node in nodes) else loop for loop in chain]
    for old, new in zip(chain, wanted, strict=True):
        if old is not new:
            require_ordered(state, stage, old, "put elsewhere")
    for loop in wanted[:-1]:
        if loop.kind is LoopKind.VECTORIZE:
            refuse(
                state,
                f"loop {loop.var.name!r} is vectorized and must stay innermost",
                error=StructureError,
                loop=loop.var,
                hint="name it last, or vectorize after reordering",
            )

    def change(old: list[For], body: Stmt) -> Stmt:
        inside = {loop.var: loop for loop in old}
        new = [inside[loop.var] for loop in wanted if loop.var in inside]
        for loop in reversed(new):
            body = loop.around(body)
        return body

    return rebuild_chain(state, stage, change, [node.var for node in nodes]), ()
