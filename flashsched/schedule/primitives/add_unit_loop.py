"""add_unit_loop: a loop of one turn, to have one more."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import StructureError
from flashsched.schedule.ir import For, LoopKind, Stmt, rewrite_stmt
from flashsched.schedule.nest import find_block, replace_loop
from flashsched.schedule.primitives.loops import block_of
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Const, Var

__all__ = ["add_unit_loop"]


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
    known = state.stage(stage)
    name = known.unused_name("unit")
    unit = Var(name)
    target: Stmt = block_of(state, stage) if loop is None else state.loop(stage, loop)
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

    def wrap(body: Stmt) -> Stmt:
        return For(unit, Const(1, dtypes.INDEX), body)

    if isinstance(target, For):
        body = replace_loop(state.body, target.var, wrap)
    else:
        body = rewrite_stmt(state.body, lambda node: wrap(node) if node is target else None)
    loops: dict[str, Var] = {}
    for old, var in known.loops.items():
        if old == loop:
            loops[name] = unit
        loops[old] = var
    loops.setdefault(name, unit)
    state = state.with_body(body)
    return state.with_stage(replace(known, loops=MappingProxyType(loops))), (name,)
