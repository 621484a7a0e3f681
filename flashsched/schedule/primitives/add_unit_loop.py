"""add_unit_loop: a loop of one turn, to have one more."""

from __future__ import annotations

from flashsched.errors import StructureError
from flashsched.schedule.ir import For, LoopKind, Stmt
from flashsched.schedule.nest import find_block
from flashsched.schedule.primitives.loops import block_of, put_around
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["add_unit_loop", "require_outside_vectors"]


@primitive(on_loops=True)
def add_unit_loop(state: State, stage: str, loop: str | None = None) -> Result:
    """Put a loop of one turn around *loop*, or right around the computation.

    Rewrite::

        for i in range(n):     ->    for unit in range(1):
            S                            for i in range(n):
                                             S

    What has no loops, a total say, gets one that can be bound to a GPU or that a stage can be computed at.

    >>> from flashsched import te
    >>> A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
    >>> C = te.compute((), lambda: te.sum(A[k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].add_unit_loop(k)
    C.unit
    >>> print(s)
    for unit in range(1):
      for k in range(8):
        C(k=k):  # reduces k
          init C[] = 0.0
          C[] = C[] + A[k]

    Returns:
        The name of the new loop.

    Raises:
        UnknownNameError: there is no such loop.
        StructureError: the new loop would stand inside a vector or a tensorized loop.
    """
    name = state.stage(stage).unused_name("unit")
    target: Stmt = block_of(state, stage) if loop is None else state.loop(stage, loop)
    require_outside_vectors(state, stage, target)
    return put_around(state, stage, target, name, 1), (name,)


def require_outside_vectors(state: State, stage: str, target: Stmt) -> None:
    """Refuse a place for a new loop, around *target*, that lies inside a vector or a tensorized loop of *stage*."""
    for node in find_block(state.body, stage):
        if node is target:
            break
        if isinstance(node, For) and node.kind in (LoopKind.VECTORIZE, LoopKind.TENSORIZE):
            refuse(
                state,
                f"loop {node.var.name!r} is {node.kind.value}d, and must stay innermost",
                error=StructureError,
                loop=node.var,
                hint="name a loop further out",
            )
