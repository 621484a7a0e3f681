"""parallel: a loop's turns are shared among threads."""

from __future__ import annotations

from flashsched.errors import StructureError
from flashsched.schedule.ir import LoopKind
from flashsched.schedule.primitives.loops import (
    loops_around,
    loops_inside,
    require_independent,
    require_serial,
    set_kind,
)
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["parallel"]


@primitive(on_loops=True)
def parallel(state: State, stage: str, loop: str) -> Result:
    """Share the turns of *loop* among the threads of the CPU.

    >>> from flashsched import te
    >>> A = te.placeholder((4, 6), name="A")
    >>> C = te.compute((4, 6), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].parallel("i")
    >>> print(s)
    for i in range(4):  # parallel
      for j in range(6):
        C(i=i, j=j):
          C[i, j] = A[i, j] + 1.0

    Raises:
        ScheduleError: *loop* is absent, has a kind already, runs over a reduction, or stands inside or around another
            loop whose turns run at once.
    """
    node = state.loop(stage, loop)
    require_serial(state, node, loop, "made parallel", "a loop has one kind; split it to give each part its own")
    require_independent(state, stage, node, loop, LoopKind.PARALLEL)
    for other in (*loops_around(state, node), *loops_inside(node)):
        if other.kind is LoopKind.PARALLEL or other.kind.is_block or other.kind.is_thread:
            refuse(
                state,
                f"loop {other.var.name!r} around or inside {loop!r} is {other.kind.value} already, "
                "and there is one level",
                error=StructureError,
                loop=other.var,
                hint="fuse the two loops, and make the fused one parallel",
            )
    return set_kind(state, node, LoopKind.PARALLEL), ()
