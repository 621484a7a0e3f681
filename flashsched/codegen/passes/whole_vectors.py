"""whole_vectors: a condition that holds for all lanes of a vector or for none is asked of the first."""

from __future__ import annotations

from math import gcd

from flashsched.schedule.ir import For, If, LoopKind, Stmt, Store, rewrite_stmt
from flashsched.te.expr import Compare, Expr, Select, Var
from flashsched.te.simplify import at_most_zero, below
from flashsched.te.visit import rewrite, uses

__all__ = ["whole_vectors"]


def whole_vectors(body: Stmt) -> Stmt:
    """Ask of its first lane what is true of a whole vector or of nothing in it.

    Rewrite::

        for j in range(4):  # vectorize                        for j in range(4):  # vectorize
            P[j] = select(i * 4 + j < 12, A[i * 4 + j], 0) ->      P[j] = select(i * 4 < 12, A[i * 4 + j], 0)

    No vector lies across the end of a row whose length is a multiple of it. So it is copied by one instruction or by
    none, where a condition that differs between the lanes would want a mask, which GPUs do not have.
    """

    def change(node: Stmt) -> Stmt | None:
        if not isinstance(node, For) or node.kind is not LoopKind.VECTORIZE or not node.turns:
            return None
        var, last = node.var, node.turns - 1

        def asked(condition: Expr) -> Expr:
            return rewrite(condition, lambda part: _of_the_first(part, var, last))

        def on_expr(part: Expr) -> Expr | None:
            return Select(asked(part.condition), part.a, part.b) if isinstance(part, Select) else None

        def inside(stmt: Stmt) -> Stmt | None:
            match stmt:
                case If():
                    return If(asked(stmt.condition), stmt.then, stmt.otherwise)
                case Store():
                    return Store(stmt.buffer, stmt.indices, rewrite(stmt.value, on_expr))
                case _:
                    return None

        return For(var, node.extent, rewrite_stmt(node.body, inside), node.kind, node.notes)

    return rewrite_stmt(body, change)


def _of_the_first(condition: Expr, lane: Var, last: int) -> Expr | None:
    """*condition* with lane 0 for *lane*, which is from 0 to *last*, if all lanes agree on it; None if they may not."""
    if not isinstance(condition, Compare) or not uses(condition, lane):
        return None
    form = at_most_zero(condition)
    if form is None:
        return None
    factor = form.coefficient(lane)
    first = form.plus(lane, -factor)  # the condition is first + factor * lane <= 0
    if any(uses(atom, lane) for atom, _ in first.terms.values()):
        return None
    step = gcd(*(number for _, number in first.terms.values()))
    if not step:
        return None
    if factor > 0:  # what is nearest to failing among the values of *first* that are at most 0
        agreed = -(-first.constant % step) + factor * last <= 0
    else:  # what is nearest to holding among those above 0
        agreed = (first.constant - 1) % step + 1 + factor * last > 0
    return below(first) if agreed else None
