"""Proofs about index arithmetic, and the simplifier built on them.

What a form is and how it is bounded is told in `flashsched.te.linear` and `flashsched.te.bounds`, whose names are shown
here too.
"""

from __future__ import annotations

from collections.abc import Iterable

from flashsched.te import dtypes
from flashsched.te.bounds import NO_RANGES, bounds, form_bounds, linear, rejoined, within_loop
from flashsched.te.expr import Binary, Compare, Const, Expr, Not, Select, Var
from flashsched.te.linear import Linear, Ranges, fold, index, structural_key
from flashsched.te.visit import rewrite, uses

__all__ = [
    "Linear",
    "Ranges",
    "at_most_zero",
    "below",
    "bounds",
    "fold",
    "linear",
    "prove",
    "simplify",
    "structural_key",
    "weakest",
    "within_loop",
]


def prove(condition: Expr, ranges: Ranges, facts: Iterable[Expr] = ()) -> bool | None:
    """True or False where *condition* is certain under *ranges* and *facts* (conditions known to hold), else None."""
    if isinstance(condition, Const):
        return bool(condition.value)
    if isinstance(condition, Not):
        inner = prove(condition.value, ranges, facts)
        return None if inner is None else not inner
    if isinstance(condition, Binary) and condition.op in ("and", "or"):
        facts = tuple(facts)
        a, b = prove(condition.a, ranges, facts), prove(condition.b, ranges, facts)
        decisive = condition.op == "or"
        if a is decisive or b is decisive:
            return decisive
        return (not decisive) if a is not None and b is not None else None
    form = at_most_zero(condition, ranges)
    if form is None:
        return _prove_equality(condition, ranges)
    low, high = form_bounds(form, ranges)
    if high <= 0:
        return True
    if low > 0:
        return False
    for fact in facts:
        known = at_most_zero(fact, ranges)
        if known is not None:
            if form_bounds(form - known, ranges)[1] <= 0:
                return True
            if form_bounds(form + known, ranges)[0] > 0:
                return False
    return None


def at_most_zero(condition: Expr, ranges: Ranges = NO_RANGES) -> Linear | None:
    """The form that is at most zero exactly when *condition* holds; None if it is no order between indices."""
    if not isinstance(condition, Compare) or condition.a.dtype != dtypes.INDEX or condition.op in ("==", "!="):
        return None
    a, b = linear(condition.a, ranges), linear(condition.b, ranges)
    form = a - b if condition.op in ("<", "<=") else b - a
    return rejoined(form + Linear({}, 1) if condition.op in ("<", ">") else form, ranges)


def below(form: Linear) -> Expr:
    """The condition that *form* is at most zero, as a person would write it: ``i * 4 + j < 10``."""
    left = {key: term for key, term in form.terms.items() if term[1] > 0}
    right = {key: (atom, -factor) for key, (atom, factor) in form.terms.items() if factor < 0}
    limit = 1 - form.constant
    if not left and right:  # -i + 3 <= 0 reads better as i >= 3
        return Compare(">=", Linear(right, 0).expr(), index(form.constant))
    return Compare("<", Linear(left, 0).expr(), Linear(right, limit).expr())


def weakest(condition: Expr, var: Var, last: int) -> Expr | None:
    """*condition* for the value of *var* from 0 to *last* at which it holds most easily; None where that is not clear.

    >>> from flashsched import te
    >>> i, j = te.Var("i"), te.Var("j")
    >>> weakest(i * 4 + j < 10, j, 3), weakest(i >= j, j, 3), weakest(i > 7 - j, j, 3)
    (i * 4 < 10, i >= 0, i >= 5)
    """
    form = at_most_zero(condition)
    if form is None:
        return None
    factor = form.coefficient(var)
    rest = form.plus(var, -factor)
    if any(uses(atom, var) for atom, _ in rest.terms.values()):
        return None
    return below(rest + Linear({}, min(0, factor * last)))


def _prove_equality(condition: Expr, ranges: Ranges) -> bool | None:
    if not isinstance(condition, Compare) or condition.a.dtype != dtypes.INDEX:
        return None
    form = rejoined(linear(condition.a, ranges) - linear(condition.b, ranges), ranges)
    low, high = form_bounds(form, ranges)
    if low == high == 0:
        return condition.op == "=="
    if low > 0 or high < 0:
        return condition.op == "!="
    return None


def simplify(expr: Expr, ranges: Ranges = NO_RANGES, facts: Iterable[Expr] = ()) -> Expr:
    """*expr* with its index arithmetic in linear form, and its conditions decided where they are certain.

    Values that are not indices keep their operations in the order in which they were written.
    """
    facts = tuple(facts)
    if expr.dtype == dtypes.INDEX and isinstance(expr, Binary | Var | Const):
        return linear(expr, ranges).expr()

    def change(node: Expr) -> Expr | None:
        if isinstance(node, Compare):
            certain = prove(node, ranges, facts)
            if certain is not None:
                return Const(certain, "bool")
            form = at_most_zero(node, ranges)
            return None if form is None else below(form)
        if isinstance(node, Select) and isinstance(node.condition, Const):
            return node.a if node.condition.value else node.b
        if isinstance(node, Not) and isinstance(node.value, Const):
            return Const(not node.value.value, "bool")
        if isinstance(node, Binary) and node.op in ("and", "or"):
            decisive = node.op == "or"
            for side, other in ((node.a, node.b), (node.b, node.a)):
                if isinstance(side, Const):
                    return side if bool(side.value) is decisive else other
        return None

    def whole(node: Expr) -> Expr | None:
        """An index at once: a form takes all of its parts apart."""
        return linear(node, ranges).expr() if isinstance(node, Binary) and node.dtype == dtypes.INDEX else None

    return rewrite(expr, change, whole)
