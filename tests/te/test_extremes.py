"""Bounds of what minima and maxima lie apart: never too small, and sharp where they move together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Binary, Const, Expr, Var
from flashsched.te.extremes import least, most
from flashsched.te.simplify import bounds

X, Y = Var("x"), Var("y")


def expressions() -> st.SearchStrategy[Expr]:
    leaves = st.one_of(st.sampled_from([X, Y]), st.integers(-9, 9).map(lambda n: Const(n, "int64")))
    return st.recursive(
        leaves,
        lambda inner: st.builds(Binary, st.sampled_from(["+", "-", "min", "max"]), inner, inner),
        max_leaves=9,
    )


@settings(max_examples=300)
@given(expressions(), st.integers(-5, 5), st.integers(0, 6), st.integers(-5, 5), st.integers(0, 6))
def test_no_value_lies_beyond(expr: Expr, x: int, m: int, y: int, n: int) -> None:
    ranges = {X: (float(x), float(x + m)), Y: (float(y), float(y + n))}
    low, high = least(expr, ranges), most(expr, ranges)
    plain = bounds(expr, ranges)
    assert plain[0] <= low
    assert high <= plain[1]
    for at in range(x, x + m + 1):
        for to in range(y, y + n + 1):
            value = int(evaluate(expr, {X: at, Y: to}, lambda *_: None))  # type: ignore[dict-item, arg-type, return-value]
            assert low <= value <= high
            assert plain[0] <= value <= plain[1]


def test_what_moves_together_stays_together() -> None:
    ranges = {X: (0.0, 99.0)}
    assert most(te.clip(X + 4, 0, 50) - te.clip(X, 0, 50), ranges) == 4
    assert most(te.maximum(X + 4, -X) - te.maximum(X - 1, -X - 5), ranges) == 5
    assert least(te.minimum(X + 4, 60) - te.minimum(X, 60), ranges) == 0
    assert bounds(te.minimum(X, 15 - X), ranges) == (-84, 7)
