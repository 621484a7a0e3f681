"""What stands in a statement, gathered once: statements never change, so a search need not walk what it can rule out.

A step makes a few statements anew and shares the rest with the nest before it. With these facts it costs what is new,
and not the whole program.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.schedule.ir import Block, For, LoopKind, Seq, Stmt, sub_stmts
from flashsched.te.expr import Var

__all__ = ["Facts", "facts", "parts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands in a statement, itself included.

    Attributes:
        stages: the names of its blocks.
        loops: the variables of its loops.
        kinds: the kinds of its loops.
        notes: the names of the notes on its loops.
    """

    stages: frozenset[str]
    loops: frozenset[Var]
    kinds: frozenset[LoopKind]
    notes: frozenset[str]


_NOTHING = Facts(frozenset(), frozenset(), frozenset(), frozenset())


def facts(stmt: Stmt) -> Facts:
    """What stands in *stmt*."""
    try:
        known: Facts = stmt._facts  # type: ignore[attr-defined]
    except AttributeError:
        known = _gathered(stmt)
        object.__setattr__(stmt, "_facts", known)
    return known


def _gathered(stmt: Stmt) -> Facts:
    if isinstance(stmt, Block):
        return Facts(frozenset((stmt.name,)), frozenset(), frozenset(), frozenset())
    inner = [facts(part) for part in sub_stmts(stmt)]
    if isinstance(stmt, For):
        (body,) = inner
        return Facts(body.stages, body.loops | {stmt.var}, body.kinds | {stmt.kind}, body.notes | stmt.notes.keys())
    if not inner:
        return _NOTHING
    return Facts(
        frozenset().union(*(part.stages for part in inner)),
        frozenset().union(*(part.loops for part in inner)),
        frozenset().union(*(part.kinds for part in inner)),
        frozenset().union(*(part.notes for part in inner)),
    )


def parts(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements of a sequence; what is no sequence is one part."""
    return stmt.stmts if isinstance(stmt, Seq) else (stmt,)
