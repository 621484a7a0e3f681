"""tile: two loops become four, blocks outside and points inside."""

from __future__ import annotations

from flashsched.errors import ArgumentError
from flashsched.schedule.primitives.registry import Result, apply, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["tile"]


@primitive()
def tile(state: State, stage: str, loops: list[str], x_factor: int, y_factor: int, tail: str = "guard") -> Result:
    """Split two loops and bring the inner ones inside: ``x, y -> x.o, y.o, x.i, y.i``.

    Rewrite::

        for x in range(n):        ->    for x.o in range(ceil(n / x_factor)):
            for y in range(m):              for y.o in range(ceil(m / y_factor)):
                S                               for x.i in range(x_factor):
                                                    for y.i in range(y_factor):
                                                        S

    >>> from flashsched import te
    >>> A = te.placeholder((4, 6), name="A")
    >>> C = te.compute((4, 6), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].tile("i", "j", 2, 3)
    (C.i.o, C.j.o, C.i.i, C.j.i)
    >>> print(s)
    for i.o in range(2):
      for j.o in range(2):
        for i.i in range(2):
          for j.i in range(3):
            C(i=i.o * 2 + i.i, j=j.o * 3 + j.i):
              C[i, j] = A[i, j] + 1.0

    Returns:
        The names of the four loops, outermost first.

    Raises:
        ScheduleError: as `split` and `reorder`.
    """
    if len(loops) != 2:
        refuse(
            state,
            f"a tile has two loops, got {len(loops)}",
            error=ArgumentError,
            hint="split and reorder tile any number of them",
        )
    x, y = loops
    state, (x_outer, x_inner) = apply(state, "split", stage, {"loop": x, "factor": x_factor, "tail": tail})
    state, (y_outer, y_inner) = apply(state, "split", stage, {"loop": y, "factor": y_factor, "tail": tail})
    names = (x_outer, y_outer, x_inner, y_inner)
    state, _ = apply(state, "reorder", stage, {"loops": list(names)})
    return state, names
