"""What follows for indices inside loops whose extents are sizes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.te.expr import Compare, Const, Expr, SizeVar, Var
from flashsched.te.limits import greatest
from flashsched.te.linear import Linear
from flashsched.te.simplify import bounds, linear, prove, simplify, within_loop
from flashsched.te.visit import substitute

n, m = te.var("n"), te.var("m")
i, j, o, p = Var("i"), Var("j"), Var("o"), Var("p")
LOOPS: dict[Var, Expr] = {i: n, j: m, o: (n + 3) // 4, p: n * m}


def inside(*loops: Var) -> dict[Var, tuple[float, float]]:
    ranges: dict[Var, tuple[float, float]] = {}
    for var in loops:
        ranges = within_loop(ranges, var, LOOPS[var])
    return ranges


@pytest.mark.parametrize(
    ("condition", "loops", "certain"),
    [
        (n >= 0, (), True),
        (n + m * n >= 0, (), True),
        (n > 0, (), None),
        (n > 0, (i,), True),  # a loop that runs tells something of its size
        (m * n > 0, (i, j), True),
        (i < n, (i,), True),
        (i < m, (i,), None),
        (n - 1 - i >= 0, (i,), True),
        (i + 1 <= n, (i,), True),
        (i > n, (i,), False),
        (i * m + j < n * m, (i, j), True),
        (i * m + j < m * n - 1, (i, j), None),
        (o * 4 < n, (o,), True),
        (o * 4 + 3 < n, (o,), None),
        (o * 4 < n + 4, (o,), True),
        (p // m < n, (p,), True),
        (p % m < m, (p,), True),
        (p // m * m + p % m < m * n, (p,), True),
        (te.minimum(i, m) <= n, (i,), True),
        (te.maximum(n - 5, 0) <= n, (), True),
        (n * m - n >= 0, (j,), True),
        (n * m - n >= 0, (), None),
    ],
)
def test_proofs(condition: Expr, loops: tuple[Var, ...], certain: bool | None) -> None:
    assert prove(condition, inside(*loops)) is certain


@pytest.mark.parametrize(
    ("expr", "loops", "text"),
    [
        ((n + 1) * m, (), "n * m + m"),
        (m * n - n * m, (), "0"),
        ((2 * n + 1) // 2, (), "n"),
        (p // m * m + p % m, (p,), "p"),
        ((i * m + j) // m, (i, j), "i"),
        ((i * m + j) % m, (i, j), "j"),
        (te.minimum(n, n + 1), (), "n"),
        ((n + 3) // 4 * 4, (), "(n + 3) // 4 * 4"),
    ],
)
def test_forms(expr: Expr, loops: tuple[Var, ...], text: str) -> None:
    assert str(simplify(expr, inside(*loops))) in (text, text.replace("n * m", "m * n"))


def test_the_greatest_value_in_terms_of_sizes() -> None:
    last = greatest(linear(i * m + j, inside(i, j)), inside(i, j))
    assert last is not None
    assert str((last + Linear({}, 1)).expr()) == "m * n"
    assert greatest(linear(i * j), {}) is None


def _index(leaves: list[Expr]) -> st.SearchStrategy[Expr]:
    def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        small = st.integers(1, 5).map(lambda c: Const(c, "int64"))
        return st.one_of(
            st.tuples(inner, inner).map(lambda x: x[0] + x[1]),
            st.tuples(inner, inner).map(lambda x: x[0] - x[1]),
            st.tuples(inner, small).map(lambda x: x[0] * x[1]),
            st.tuples(inner, st.sampled_from([n, m])).map(lambda x: x[0] * x[1]),
            st.tuples(inner, small).map(lambda x: x[0] // x[1]),
            st.tuples(inner, small).map(lambda x: x[0] % x[1]),
            st.tuples(inner, st.sampled_from([n, m])).map(lambda x: x[0] // x[1]),
            st.tuples(inner, st.sampled_from([n, m])).map(lambda x: x[0] % x[1]),
            st.tuples(inner, inner).map(lambda x: te.minimum(*x)),
            st.tuples(inner, inner).map(lambda x: te.maximum(*x)),
        )

    consts = st.integers(0, 6).map(lambda c: Const(c, "int64"))
    return st.recursive(st.one_of(st.sampled_from(leaves), consts), grow, max_leaves=6)


def _value(expr: Expr, point: dict[Var, Expr]) -> int:
    value = simplify(substitute(expr, point))
    assert isinstance(value, Const)
    return int(value.value)


@settings(deadline=None)
@given(_index([i, j, o, n, m]), _index([i, j, o, n, m]))
def test_nothing_false_is_proven_nor_any_value_changed(a: Expr, b: Expr) -> None:
    ranges = inside(i, j, o)
    simple, low_high = simplify(a, ranges), bounds(a, ranges)
    certain = {op: prove(Compare(op, a, b), ranges) for op in ("<", "<=", "==", ">", ">=", "!=")}
    sizes: list[SizeVar] = [n, m]
    for numbers in itertools.product((1, 2, 3, 5), repeat=2):
        known: dict[Var, Expr] = {s: Const(v, "int64") for s, v in zip(sizes, numbers, strict=True)}
        turns = [_value(LOOPS[var], known) for var in (i, j, o)]
        for at in itertools.product(*({0, t // 2, t - 1} for t in turns)):
            point = {**known, **{var: Const(v, "int64") for var, v in zip((i, j, o), at, strict=True)}}
            x, y = _value(a, point), _value(b, point)
            assert _value(simple, point) == x
            assert low_high[0] <= x <= low_high[1]
            truth = {"<": x < y, "<=": x <= y, "==": x == y, ">": x > y, ">=": x >= y, "!=": x != y}
            assert all(certain[op] in (None, truth[op]) for op in truth), (a, b, certain, truth)
