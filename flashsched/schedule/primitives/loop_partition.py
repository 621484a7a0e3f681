"""loop_partition and peel: the middle of a loop without conditions, and what is left before and after it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["loop_partition", "peel"]


@primitive(on_loops=True)
def loop_partition(state: State, stage: str, loop: str) -> Result:
    """Cut the range of *loop* where conditions inside it change, so that its middle runs without them.

    Rewrite, made by lowering::

        for i in range(n):             ->    for i in range(1):          # before: with conditions
            if i >= 1 and i < n - 1:             S
                S                            for i in range(n - 2):      # the middle: without
            else:                                S[i := i + 1]
                T                            for i in range(1):          # after: with conditions
                                                 T[i := i + n - 1]

    The conditions are those that tails and borders leave, and those of a ``te.select``. The middle is the longest part
    in which each of them is certain, whatever the loops inside do. The loop stays one loop for later steps. The turns
    of a parallel or bound loop stay one loop in the lowered nest too: each turn then tests which part it is in.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: te.select(i >= 1, A[i - 1], 0.0), name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].loop_partition("i")
    >>> print(lower(s))
    def kernel(A: float32[10], C: float32[10]):
      C[0] = 0.0
      for i in range(9):
        C[i + 1] = A[i]

    Raises:
        UnknownNameError: there is no such loop.
        StructureError: *loop* is vectorized (its conditions are masks) or tensorized.
    """
    return _marked(state, stage, loop, "partition", True)


@primitive(on_loops=True)
def peel(state: State, stage: str, loop: str, front: int = 0, back: int = 0) -> Result:
    """Give the first *front* and the last *back* turns of *loop* code of their own.

    Rewrite, made by lowering, for ``front=1``::

        for i in range(n):     ->    S[i := 0]
            S                        for i in range(n - 1):
                                         S[i := i + 1]

    What is certain in a part is decided there: an ``i == 0`` costs nothing in the others.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].peel("i", back=1)
    >>> print(lower(s))
    def kernel(A: float32[10], C: float32[10]):
      for i in range(9):
        C[i] = A[i] + 1.0
      C[9] = A[9] + 1.0

    Raises:
        UnknownNameError: there is no such loop.
        ArgumentError: a count is below 0, or both are 0.
        StructureError: *loop* is vectorized or tensorized.
    """
    if front < 0 or back < 0 or front + back == 0:
        refuse(
            state,
            f"front={front} and back={back} peel no turns",
            error=ArgumentError,
            loop=state.loop(stage, loop).var,
            hint="count the turns at one end: peel(i, front=1)",
        )
    return _marked(state, stage, loop, "peel", (front, back))


def _marked(state: State, stage: str, loop: str, mark: str, value: Any) -> Result:
    node = state.loop(stage, loop)
    if node.kind is LoopKind.VTHREAD:
        refuse(
            state,
            f"the turns of loop {loop!r} are virtual threads, which are written out inside, and leave no parts",
            error=StructureError,
            loop=node.var,
            hint="name another loop; conditions on what is written out are settled anyway",
        )
    if node.kind in (LoopKind.VECTORIZE, LoopKind.TENSORIZE):
        refuse(
            state,
            f"loop {loop!r} is {node.kind.value}d, and its turns are one instruction, which has no parts",
            error=StructureError,
            loop=node.var,
            hint="name a loop around it",
        )

    def change(old: For) -> For:
        return replace(old, notes=MappingProxyType({**old.notes, mark: value}))

    return state.with_body(replace_loop(state.body, node.var, change)), ()
