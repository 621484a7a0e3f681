"""Upper bounds of differences of minima and maxima: how far apart ``min(x + 4, n)`` and ``min(x, n)`` can lie.

`bounds` takes each atom by itself, so two atoms that move together look as if they moved apart. Here each minimum and
maximum is replaced by its sides in turn, which is exact, and lets the linear forms cancel.
"""

from __future__ import annotations

from flashsched.te import dtypes
from flashsched.te.expr import Binary, Expr
from flashsched.te.simplify import Linear, Ranges, linear

__all__ = ["least", "most"]

_DEEPEST = 6  # extremes that are opened one after another: each doubles the work


def most(expr: Expr, ranges: Ranges) -> float:
    """An upper bound of *expr*, an index; infinite where nothing is known.

    >>> from flashsched import te
    >>> from flashsched.te.simplify import bounds
    >>> x = te.Var("x")
    >>> apart = te.minimum(x + 4, 100) - te.minimum(x, 100)
    >>> bounds(apart, {x: (0, 200)})[1], most(apart, {x: (0, 200)})
    (100, 4.0)
    """
    return float(_most(linear(expr, ranges), ranges, _DEEPEST))


def least(expr: Expr, ranges: Ranges) -> float:
    """A lower bound of *expr*, an index."""
    return -float(_most(linear(expr, ranges).times(-1), ranges, _DEEPEST))


def _most(form: Linear, ranges: Ranges, depth: int) -> float:
    plain = form.bounds(ranges)[1]
    extremes = [
        (atom, factor, (atom.op == "min") == (factor > 0))
        for atom, factor in form.terms.values()
        if isinstance(atom, Binary) and atom.op in ("min", "max") and atom.dtype == dtypes.INDEX
    ]
    if depth == 0 or not extremes:
        return plain
    # Where the whole is the greater of two forms nothing is lost by taking them apart; where it is the lesser, the
    # bound of each may be reached elsewhere, so these come last.
    atom, factor, lesser = min(extremes, key=lambda item: item[2])
    rest = Linear({key: term for key, term in form.terms.items() if term[0] is not atom}, form.constant)
    sides = [_most(rest + linear(side, ranges).times(factor), ranges, depth - 1) for side in (atom.a, atom.b)]
    return min(plain, min(sides) if lesser else max(sides))
