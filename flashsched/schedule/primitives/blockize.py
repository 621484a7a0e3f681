"""blockize: a loop and all inside it become one unit."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State
from flashsched.schedule.units import UNIT, loops_of_unit

__all__ = ["blockize"]


@primitive(on_loops=True)
def blockize(state: State, stage: str, loop: str) -> Result:
    """Make one unit of *loop* and the loops inside it: none of them leaves it, and none comes in.

    The nest means and computes what it did; what is frozen is its shape. Loops outside go on being split, fused and
    reordered around the unit, which stays whole and innermost, and what it reads may be computed at them. The loops of
    the unit may still be given kinds (`vectorize`, `unroll`), and `tensorize` takes the unit as it takes any loop. A
    step that would change the loops of the unit, or compute another stage inside it, is refused.

    >>> from flashsched import te
    >>> A = te.placeholder((8, 8), name="A")
    >>> C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> io, jo, ii, ji = s[C].tile("i", "j", 4, 4)
    >>> s[C].blockize(ii)
    >>> s[C].reorder(jo, io)
    >>> print(s)
    for j.o in range(2):
      for i.o in range(2):
        for i.i in range(4):  # unit=('j.i',)
          for j.i in range(4):
            C(i=i.o * 4 + i.i, j=j.o * 4 + j.i):
              C[i, j] = A[i, j] + 1.0

    Raises:
        UnknownNameError: there is no such loop.
        StructureError: another stage is computed in it, or a unit is in it already.
    """
    node = state.loop(stage, loop)
    notes = MappingProxyType({**node.notes, UNIT: loops_of_unit(state, node)})
    return state.with_body(replace_loop(state.body, node.var, lambda old: replace(old, notes=notes))), ()
