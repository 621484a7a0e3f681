"""tidy: index arithmetic simplified, certain conditions decided, loops of one turn or none gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.codegen.passes.guards import guarded, lasting
from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Prefetch, Seq, Stmt, Store, seq
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Compare, Const, Expr, SizeVar, Var
from flashsched.te.simplify import Ranges, linear, prove, simplify, within_loop
from flashsched.te.visit import conjuncts

__all__ = ["EMPTY", "tidy", "tidy_under"]

EMPTY = Seq(())
"""The statement that does nothing."""


def tidy(body: Stmt) -> Stmt:
    """Simplify all index arithmetic, and leave out what never runs.

    Rewrite::

        for i in range(1):
            if i * 4 < 8:            ->    A[0] = B[1]
                A[i * 4] = B[i + 1]
    """
    return tidy_under(body, {}, ())


def tidy_under(stmt: Stmt, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    """*stmt* tidied, given the *ranges* of the loops around it and *facts* that hold there."""
    match stmt:
        case For():
            return _for(stmt, ranges, facts)
        case Seq():
            return seq([tidy_under(inner, ranges, facts) for inner in stmt.stmts])
        case Alloc():
            body = tidy_under(stmt.body, ranges, facts)
            return EMPTY if _is_empty(body) else replace(stmt, body=body)
        case Let():
            value = simplify(stmt.value, ranges, facts)
            known = value.value if isinstance(value, Const) and isinstance(stmt.var, SizeVar) else None
            inner = ranges if known is None else {**ranges, stmt.var: (known, known)}
            body = tidy_under(stmt.body, inner, facts)
            return EMPTY if _is_empty(body) else Let(stmt.var, value, body)
        case If():
            return _if(stmt, ranges, facts)
        case Store():
            indices = tuple(simplify(i, ranges, facts) for i in stmt.indices)
            return Store(stmt.buffer, indices, simplify(stmt.value, ranges, facts))
        case Prefetch():
            return Prefetch(stmt.buffer, tuple(simplify(i, ranges, facts) for i in stmt.indices))
        case _:
            pass
    return stmt


def _is_empty(stmt: Stmt) -> bool:
    return isinstance(stmt, Seq) and not stmt.stmts


def _for(node: For, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    extent = simplify(node.extent, ranges, facts)
    node = node if extent is node.extent else replace(node, extent=extent)
    turns = node.turns
    if turns == 0:
        return EMPTY
    if turns == 1 and not (node.kind.is_block or node.kind.is_thread or node.kind is LoopKind.TENSORIZE):
        return tidy_under(substituted(node.body, {node.var: Const(0, dtypes.INDEX)}), ranges, facts)
    inner = within_loop(ranges, node.var, node.extent)
    body = tidy_under(node.body, inner, facts)
    if _is_empty(body):
        return EMPTY
    return _shortened(node.around(body))


def _shortened(node: For) -> Stmt:
    """A serial loop that does nothing from some turn on ends there."""
    if node.kind not in (LoopKind.SERIAL, LoopKind.UNROLL) or node.turns is None:
        return node
    inner = node.body
    if not isinstance(inner, If) or inner.otherwise is not None:
        return node
    limits = [(term, _limit(term, node.var)) for term in conjuncts(inner.condition)]
    bounded = [limit for _, limit in limits if limit is not None]
    if not bounded:
        return node
    kept = [term for term, limit in limits if limit is None]
    return replace(node, extent=Const(min(node.turns, *bounded), dtypes.INDEX), body=guarded(kept, inner.then))


def _limit(condition: Expr, var: Var) -> int | None:
    """The number of turns for which *condition* holds, where it just bounds *var* from above."""
    if not isinstance(condition, Compare) or condition.op not in ("<", "<=") or condition.a.dtype != dtypes.INDEX:
        return None
    form = linear(condition.a) - linear(condition.b)
    factor = form.coefficient(var)
    if len(form.terms) != 1 or factor <= 0:
        return None
    strict = 1 if condition.op == "<" else 0  # factor * var + constant + strict <= 0
    return max(0, -(form.constant + strict) // factor + 1)


def _if(node: If, ranges: Ranges, facts: Sequence[Expr]) -> Stmt:
    terms: list[Expr] = []
    for term in conjuncts(simplify(node.condition, ranges, facts)):
        certain = prove(term, ranges, (*facts, *terms))
        if certain is False:
            return EMPTY if node.otherwise is None else tidy_under(node.otherwise, ranges, facts)
        if certain is None:
            terms.append(term)
    then = tidy_under(node.then, ranges, (*facts, *lasting(terms)))
    otherwise = None if node.otherwise is None else tidy_under(node.otherwise, ranges, facts)
    if not terms:
        return then
    if otherwise is None or _is_empty(otherwise):
        return EMPTY if _is_empty(then) else guarded(terms, then)
    whole = guarded(terms, then)
    return replace(whole, otherwise=otherwise) if isinstance(whole, If) else whole
