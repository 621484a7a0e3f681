"""Loops that were made one unit (`blockize`), and what must hold of a nest for them to stay one.

The outermost loop of a unit notes the names of the others, in order. The nest is looked at after each step, as for all
marks, so that no primitive needs to know of units.
"""

from __future__ import annotations

from flashsched.errors import StructureError
from flashsched.schedule.ir import Block, For, blocks
from flashsched.schedule.state import State, refuse

__all__ = ["UNIT", "loops_of_unit", "require_unit"]

UNIT = "unit"
"""The note on the outermost loop of a unit: the names of the loops inside, outermost first."""


def loops_of_unit(state: State, loop: For) -> tuple[str, ...]:
    """The names of the loops inside *loop*, which must hold one computation and no other unit.

    Raises:
        StructureError: that is not so.
    """
    names: list[str] = []
    node = loop.body
    while isinstance(node, For):
        if UNIT in node.notes:
            refuse(
                state,
                f"loop {node.var.name!r} inside loop {loop.var.name!r} is a unit already, and units do not nest",
                error=StructureError,
                loop=node.var,
                hint=f"call blockize once, at {loop.var.name!r} or at {node.var.name!r}",
            )
        names.append(node.var.name)
        node = node.body
    if not isinstance(node, Block):
        found = ", ".join(repr(block.name) for block in blocks(loop.body))
        refuse(
            state,
            f"a unit holds one computation, and in loop {loop.var.name!r} there are {found}",
            error=StructureError,
            loop=loop.var,
            hint=f"compute the others at a loop outside of {loop.var.name!r}",
        )
    return tuple(names)


def require_unit(state: State, loop: For) -> None:
    """Refuse a nest in which the unit of *loop* does not hold the loops that it was made of.

    Raises:
        StructureError: that is so.
    """
    wanted = loop.notes[UNIT]
    found = loops_of_unit(state, loop)
    if found != wanted:
        before, after = (", ".join(map(repr, names)) or "no loop" for names in (wanted, found))
        refuse(
            state,
            f"loop {loop.var.name!r} is a unit with {before} inside, and would hold {after}",
            error=StructureError,
            loop=loop.var,
            hint="change its loops first, then call blockize; loops outside may change places around it",
        )
