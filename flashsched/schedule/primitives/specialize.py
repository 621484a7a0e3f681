"""specialize: a nest gets code of its own for sizes that are frequent."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.schedule.conditions import parse_condition
from flashsched.schedule.ir import Block, Stmt, rewrite_stmt
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State
from flashsched.te.expr import SizeVar
from flashsched.te.linear import structural_key
from flashsched.te.sizes import sizes_in

__all__ = ["sizes_of", "specialize"]


@primitive(on_loops=True)
def specialize(state: State, stage: str, condition: str) -> Result:
    """Test *condition*, on sizes, once before the nest that *stage* is in, and run code for such sizes where it holds.

    Rewrite, when the nest is lowered::

        for i.o in range((n + 15) // 16):         if n % 16 == 0:
            for i.i in range(16):                     for i.o in range(n // 16): for i.i in range(16): S
                if i.o * 16 + i.i < n:    ->      else:
                    S                                 ... as before

    Of several conditions the first that holds is taken. The nest is the whole one at the root, with all that is
    computed inside it; what other primitives do to it, before or after, they do to all of its copies.

    >>> from flashsched import te
    >>> n = te.var("n")
    >>> A = te.placeholder((n,), name="A")
    >>> C = te.compute((n,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> _, inner = s[C].split("i", factor=4)
    >>> s[C].specialize(n % 4 == 0)
    >>> s[C].vectorize(inner)
    >>> print(s)
    for i.o in range((n + 3) // 4):
      for i.i in range(4):  # vectorize
        C(i=i.o * 4 + i.i):  # specialize n % 4 == 0
          where i.o * 4 + i.i < n
          C[i] = A[i] + 1.0

    Raises:
        UnknownNameError: *condition* speaks of something else than the sizes of the program.
        ArgumentError: it is none, or holds for all sizes, or for none.
    """
    state.stage(stage)
    wanted = parse_condition(condition, {size.name: size for size in sizes_of(state)})

    def mark(node: Stmt) -> Stmt | None:
        if not isinstance(node, Block) or node.name != stage:
            return None
        before = node.notes.get("specialize", ())
        if any(structural_key(other) == structural_key(wanted) for other in before):
            return None
        return replace(node, notes=MappingProxyType({**node.notes, "specialize": (*before, wanted)}))

    return state.with_body(rewrite_stmt(state.body, mark)), ()


def sizes_of(state: State) -> tuple[SizeVar, ...]:
    """The sizes that the program speaks of."""
    shapes = [size for buffer in state.params for size in buffer.shape]
    for stage in state.stages.values():
        shapes += [size for buffer in stage.buffers for size in buffer.shape]
        shapes += [item.extent for item in stage.block.iters]
        shapes += [store.value for store in stage.block.stores]
    return sizes_in(shapes)
