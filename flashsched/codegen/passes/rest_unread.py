"""rest_unread: what is computed only for a reader behind a condition rests where the condition fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from flashsched.codegen.passes.guards import guarded
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    Prefetch,
    Seq,
    Stmt,
    Store,
    seq,
    walk_stmt,
)
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges, prove, structural_key, weakest, within_loop
from flashsched.te.visit import conjuncts, uses, walk

__all__ = ["rest_unread"]

_Terms: TypeAlias = Mapping[object, Expr]


def rest_unread(body: Stmt) -> Stmt:
    """Test, before memory is made and filled, whether what it is for happens at all.

    Rewrite::

        for c in range(n):                         for c in range(n):
            P = alloc([m])                             if c * m < i + 8:
            for j in range(m): P[j] = f(c, j)              P = alloc([m])
            for l in range(8):                ->           for j in range(m): P[j] = f(c, j)
                if c * m <= i + l:                         for l in range(8):
                    C[l] = C[l] + g(P)                         if c * m <= i + l:
                                                                   C[l] = C[l] + g(P)

    Nothing reads P but what stands behind the condition, so where that fails in every turn of the loops around it, P
    need not be computed; here the last turn is asked, where it holds first. This leaves out the keys of a causal
    attention that no query looks at.
    """
    if any(isinstance(node, For) and (node.kind.is_thread or node.kind.is_block) for node in walk_stmt(body)):
        return body  # threads that meet at barriers must all come there
    return _visit(body, {}, ())


def _visit(stmt: Stmt, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    match stmt:
        case For():
            inner = _visit(stmt.body, within_loop(ranges, stmt.var, stmt.extent), facts)
            return stmt if inner is stmt.body else For(stmt.var, stmt.extent, inner, stmt.kind, stmt.notes)
        case Seq():
            return seq([_visit(child, ranges, facts) for child in stmt.stmts])
        case Let():
            return Let(stmt.var, stmt.value, _visit(stmt.body, ranges, facts))
        case If():
            then = _visit(stmt.then, ranges, (*facts, *conjuncts(stmt.condition)))
            return If(stmt.condition, then, None if stmt.otherwise is None else _visit(stmt.otherwise, ranges, facts))
        case Alloc():
            asked = _asked(stmt.body, frozenset((stmt.buffer,)), ranges) or {}
            new = [term for term in asked.values() if not prove(term, ranges, facts)]
            return guarded(new, Alloc(stmt.buffer, _visit(stmt.body, ranges, (*facts, *new))))
        case _:
            pass
    return stmt


def _asked(stmt: Stmt, own: frozenset[Buffer], ranges: Ranges) -> _Terms | None:
    """Conditions without which *stmt* changes nothing but the buffers *own*; None if it changes nothing else anyway."""
    match stmt:
        case Store():
            return None if stmt.buffer in own else {}
        case Prefetch():
            return None
        case Seq():
            found = [asked for child in stmt.stmts if (asked := _asked(child, own, ranges)) is not None]
            if not found:
                return None
            return {key: term for key, term in found[0].items() if all(key in other for other in found[1:])}
        case If():
            inner = _asked(stmt.then, own, ranges)
            if stmt.otherwise is not None:
                other = _asked(stmt.otherwise, own, ranges)
                return inner if other is None else other if inner is None else {}
            if inner is None:
                return None
            terms = [term for term in conjuncts(stmt.condition) if not any(isinstance(n, Load) for n in walk(term))]
            return {**inner, **{structural_key(term): term for term in terms}}
        case For():
            inner = _asked(stmt.body, own, within_loop(ranges, stmt.var, stmt.extent))
            return None if inner is None else _for_some_turn(inner, stmt.var, stmt.turns)
        case Let():
            inner = _asked(stmt.body, own, ranges)
            return None if inner is None else {k: term for k, term in inner.items() if not uses(term, stmt.var)}
        case Alloc():
            return _asked(stmt.body, own | {stmt.buffer}, ranges)
        case _:
            pass
    return {}


def _for_some_turn(terms: _Terms, var: Var, turns: int | None) -> _Terms:
    """What *terms* demand so that they hold in some turn of the loop of *var*."""
    result: dict[object, Expr] = {}
    for term in terms.values():
        weaker = term if not uses(term, var) else None if not turns else weakest(term, var, turns - 1)
        if weaker is not None:
            result[structural_key(weaker)] = weaker
    return result
