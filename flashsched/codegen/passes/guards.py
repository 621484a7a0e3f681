"""hoist_guards: a condition is tested outside the loops that it does not depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.schedule.ir import Alloc, For, If, Let, Load, Seq, Stmt, rewrite_stmt, seq
from flashsched.te.expr import Expr, logical_and
from flashsched.te.simplify import structural_key
from flashsched.te.visit import conjuncts, uses, walk

__all__ = ["guarded", "hoist_guards", "lasting"]


def lasting(conditions: Sequence[Expr]) -> list[Expr]:
    """Those of *conditions* that read no memory, so that they stay what they are whatever is stored."""
    return [c for c in conditions if not any(isinstance(node, Load) for node in walk(c))]


def guarded(conditions: Sequence[Expr], body: Stmt) -> Stmt:
    """*body* where all of *conditions* hold."""
    return If(logical_and(*conditions), body) if conditions else body


def hoist_guards(body: Stmt) -> Stmt:
    """Move conditions that hold for a whole loop out of it.

    Rewrite::

        for j in range(m):               if i < n:
            if i < n:            ->          for j in range(m):
                S                                S

    A condition that all statements of a sequence share is tested once before them. One that reads memory stays where it
    is: the loop may store there, or have no turns, or stand where that memory is not made yet.
    """

    def change(node: Stmt) -> Stmt | None:
        match node:
            case For(body=If(otherwise=None) as inner):
                terms = conjuncts(inner.condition)
                outside = [t for t in lasting(terms) if not uses(t, node.var)]
                if outside:
                    inside = [t for t in terms if all(t is not other for other in outside)]
                    return guarded(outside, replace(node, body=guarded(inside, inner.then)))
            case If(otherwise=None, then=If(otherwise=None) as inner):
                return If(logical_and(*conjuncts(node.condition), *conjuncts(inner.condition)), inner.then)
            case Seq():
                return _factored(node)
            case Let(body=If(otherwise=None) as inner):
                terms = conjuncts(inner.condition)
                if not any(uses(term, node.var) for term in terms):
                    return guarded(terms, replace(node, body=inner.then))
            case Alloc(body=If(otherwise=None) as inner) if lasting([inner.condition]):
                return If(inner.condition, replace(node, body=inner.then))
            case _:
                pass
        return None

    return rewrite_stmt(body, change)


def _factored(node: Seq) -> Stmt | None:
    if not node.stmts or not all(isinstance(s, If) and s.otherwise is None for s in node.stmts):
        return None
    tests = [{structural_key(t): t for t in conjuncts(s.condition)} for s in node.stmts if isinstance(s, If)]
    last = {structural_key(t) for t in lasting(list(tests[0].values()))}
    shared = [key for key in tests[0] if key in last and all(key in other for other in tests[1:])]
    if not shared:
        return None
    inner = [
        guarded([t for key, t in own.items() if key not in shared], s.then)
        for own, s in zip(tests, node.stmts, strict=True)
        if isinstance(s, If)
    ]
    return guarded([tests[0][key] for key in shared], seq(inner))
