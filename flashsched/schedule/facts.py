"""What stands in a statement, gathered once: statements never change, so a search need not walk what it can rule out.

A step makes a few statements anew and shares the rest with the nest before it. With these facts it costs what is new,
and not the whole program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flashsched.schedule.ir import Block, Buffer, Extern, For, Load, LoopKind, Stmt, Store, own_exprs, sub_stmts
from flashsched.te.expr import Expr, Var
from flashsched.te.visit import walk

__all__ = ["Facts", "facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands in a statement, itself included.

    Attributes:
        stages: the names of its blocks.
        kinds: the kinds of its loops.
        notes: the names of the notes on its loops.
        buffers: what its expressions and its stores speak of.
        vars: the ids of the variables of its loops, which it keeps alive.
    """

    stages: frozenset[str]
    kinds: frozenset[LoopKind]
    notes: frozenset[str]
    buffers: frozenset[Buffer]
    vars: frozenset[int]

    def loops_over(self, var: Var) -> bool:
        """Whether one of the loops is over *var*."""
        return id(var) in self.vars


_NONE: frozenset[str] = frozenset()
_NO_LOOPS: tuple[frozenset[LoopKind], frozenset[int]] = (frozenset(), frozenset())


def facts(stmt: Stmt) -> Facts:
    """What stands in *stmt*."""
    try:
        known: Facts = stmt._facts  # type: ignore[attr-defined]
    except AttributeError:
        known = _gathered(stmt)
        object.__setattr__(stmt, "_facts", known)
    return known


def _gathered(stmt: Stmt) -> Facts:
    match stmt:
        case For():
            body = facts(stmt.body)
            own = _loaded(own_exprs(stmt))
            return Facts(
                body.stages,
                body.kinds | {stmt.kind},
                body.notes.union(stmt.notes),
                body.buffers | own if own else body.buffers,
                body.vars | {id(stmt.var)},
            )
        case Block():
            spoken = (*stmt.where, *stmt.within, *(item.value for item in stmt.iters))
            done = (*stmt.stores, *stmt.init) if stmt.extern is None else (stmt.extern,)
            buffers = _loaded(spoken).union(*(facts(part).buffers for part in done))
            return Facts(frozenset((stmt.name,)), _NO_LOOPS[0], _NONE, buffers, _NO_LOOPS[1])
        case Store():
            return Facts(_NONE, _NO_LOOPS[0], _NONE, _loaded(own_exprs(stmt)) | {stmt.buffer}, _NO_LOOPS[1])
        case Extern():
            return Facts(_NONE, _NO_LOOPS[0], _NONE, frozenset((*stmt.inputs, *stmt.outputs)), _NO_LOOPS[1])
        case _:
            inner = [facts(part) for part in sub_stmts(stmt)]
            return Facts(
                _NONE.union(*[part.stages for part in inner]),
                _NO_LOOPS[0].union(*[part.kinds for part in inner]),
                _NONE.union(*[part.notes for part in inner]),
                _loaded(own_exprs(stmt)).union(*[part.buffers for part in inner]),
                _NO_LOOPS[1].union(*[part.vars for part in inner]),
            )


def _loaded(exprs: Iterable[Expr]) -> frozenset[Buffer]:
    return frozenset(node.buffer for expr in exprs for node in walk(expr) if isinstance(node, Load))
