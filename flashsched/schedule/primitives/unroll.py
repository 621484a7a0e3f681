"""unroll: a loop's turns are written out one after another."""

from __future__ import annotations

from flashsched.errors import LimitError
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.primitives.loops import require_number, require_serial, set_kind
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["MOST_TURNS", "require_short", "unroll"]

MOST_TURNS = 1024
"""Turns that may be written out; more gives code that no instruction cache holds."""


@primitive(on_loops=True)
def unroll(state: State, stage: str, loop: str) -> Result:
    """Write the turns of *loop* out one after another.

    Rewrite::

        for i in range(2):     ->    S[i := 0]
            S                        S[i := 1]

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> _, inner = s[C].split("i", factor=5)
    >>> s[C].unroll(inner)
    >>> print(s)
    for i.o in range(2):
      for i.i in range(5):  # unroll
        C(i=i.o * 5 + i.i):
          C[i] = A[i] + 1.0

    Raises:
        ScheduleError: *loop* is absent, has a kind already, or has more than `MOST_TURNS` turns, or as many as a size
            says.
    """
    node = state.loop(stage, loop)
    require_serial(state, node, loop, "unrolled", "a loop has one kind; undo the other or split the loop")
    require_number(state, node, loop, "unrolled")
    require_short(state, node, loop)
    return set_kind(state, node, LoopKind.UNROLL), ()


def require_short(state: State, loop: For, name: str) -> None:
    """Refuse a loop that has too many turns to write out."""
    if loop.turns is not None and loop.turns > MOST_TURNS:
        refuse(
            state,
            f"loop {name!r} has {loop.turns} turns, and at most {MOST_TURNS} can be written out",
            error=LimitError,
            loop=loop.var,
            hint=f"split it and take the inner loop: split({name!r}, factor=8)",
        )
