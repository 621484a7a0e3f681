"""vectorize: a loop's turns become the lanes of vector instructions."""

from __future__ import annotations

from flashsched.errors import LimitError, StructureError
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.primitives.loops import (
    loops_inside,
    require_independent,
    require_number,
    require_serial,
    set_kind,
)
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["MOST_LANES", "vectorize"]

MOST_LANES = 1024
"""Lanes that one loop may have."""


@primitive(on_loops=True)
def vectorize(state: State, stage: str, loop: str) -> Result:
    """Run all turns of *loop* at once, as the lanes of vector instructions.

    The machine code does as the schedule says: reads and writes that step by one element become vector loads and
    stores, those that do not step become broadcasts, any others gather and scatter. Conditions become masks.

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> _, inner = s[C].split("i", factor=5)
    >>> s[C].vectorize(inner)
    >>> print(s)
    for i.o in range(2):
      for i.i in range(5):  # vectorize
        C(i=i.o * 5 + i.i):
          C[i] = A[i] + 1.0

    Raises:
        ScheduleError: *loop* is absent, has a kind already, runs over a reduction, is not innermost, or has more than
            `MOST_LANES` turns, or as many as a size says.
    """
    node = state.loop(stage, loop)
    require_serial(state, node, loop, "vectorized", "a loop has one kind; split it to give each part its own")
    require_independent(state, stage, node, loop, LoopKind.VECTORIZE)
    inside = loops_inside(node)
    if inside:
        refuse(
            state,
            f"loop {loop!r} is not innermost: {_named(inside)} inside it",
            error=StructureError,
            loop=node.var,
            hint=f"reorder so that {loop!r} comes last",
        )
    require_number(state, node, loop, "vectorized")
    if node.turns is not None and node.turns > MOST_LANES:
        refuse(
            state,
            f"loop {loop!r} has {node.turns} turns, and a vector loop at most {MOST_LANES}",
            error=LimitError,
            loop=node.var,
            hint=f"split it first: split({loop!r}, factor=16)",
        )
    return set_kind(state, node, LoopKind.VECTORIZE), ()


def _named(loops: list[For]) -> str:
    names = ", ".join(repr(loop.var.name) for loop in loops)
    return f"loop {names} is" if len(loops) == 1 else f"loops {names} are"
