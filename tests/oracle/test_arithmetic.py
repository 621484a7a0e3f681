"""bounds, prove and simplify against what an expression is at every point of its domain."""

from __future__ import annotations

import numpy as np
from hypothesis import given, note, settings
from hypothesis import strategies as st

from flashsched.te.expr import Expr, Not, Var, logical_and, logical_or
from flashsched.te.simplify import at_most_zero, bounds, linear, prove, simplify
from flashsched.testing.grids import EXAMPLES, conditions, indices, points, values

VARS = [Var("x"), Var("y"), Var("z")]
RANGE = st.tuples(st.integers(-4, 6), st.integers(0, 7)).map(lambda pair: (float(pair[0]), float(pair[0] + pair[1])))
BOX = st.tuples(RANGE, RANGE, RANGE).map(lambda box: dict(zip(VARS, box, strict=True)))
Box = dict[Var, tuple[float, float]]


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(expr=indices(VARS), box=BOX)
def test_bounds_hold_all_values(expr: Expr, box: Box) -> None:
    found = values(expr, points(box))
    low, high = bounds(expr, box)
    note(f"{expr} in {box}: {low}..{high}, is {found.min()}..{found.max()}")
    assert low <= found.min()
    assert found.max() <= high


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(
    factors=st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5)), constant=st.integers(-9, 9), box=BOX
)
def test_bounds_of_a_sum_of_multiples_are_exact(factors: tuple[int, int, int], constant: int, box: Box) -> None:
    expr: Expr = VARS[0] * factors[0] + VARS[1] * factors[1] - VARS[2] * factors[2] + constant
    found = values(expr, points(box))
    assert bounds(expr, box) == (found.min(), found.max())


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(expr=indices(VARS), box=BOX)
def test_a_simplified_index_is_the_same(expr: Expr, box: Box) -> None:
    at = points(box)
    for ranges in (box, {}):
        simple = simplify(expr, ranges)
        note(f"{expr} -> {simple}")
        np.testing.assert_array_equal(values(simple, at), values(expr, at))
        np.testing.assert_array_equal(values(linear(expr, ranges).expr(), at), values(expr, at))


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(data=st.data(), box=BOX)
def test_what_is_proven_is_so(data: st.DataObject, box: Box) -> None:
    at = points(box)
    terms = [data.draw(conditions(VARS)) for _ in range(data.draw(st.integers(1, 3)))]
    join = data.draw(st.sampled_from([logical_and, logical_or, lambda *t: Not(t[0])]))
    condition = join(*terms)
    facts = [data.draw(conditions(VARS)) for _ in range(data.draw(st.integers(0, 2)))]
    holds = np.ones(len(at[VARS[0]]), bool)
    for fact in facts:
        holds &= values(fact, at)
    truth = values(condition, at)[holds]  # what facts exclude proves nothing either way
    said = prove(condition, box, facts)
    note(f"{condition} under {[str(f) for f in facts]} in {box}: {said}")
    if said is not None:
        assert (truth == said).all()
    simple = simplify(condition, box, facts)
    np.testing.assert_array_equal(values(simple, at)[holds], truth)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(condition=conditions(VARS), box=BOX)
def test_a_comparison_as_a_form_that_is_at_most_zero(condition: Expr, box: Box) -> None:
    at = points(box)
    form = at_most_zero(condition, box)
    if form is not None:
        np.testing.assert_array_equal(values(form.expr(), at) <= 0, values(condition, at))
