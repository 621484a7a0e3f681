"""Index expressions as numbers, against trying every point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.codegen.analysis.forms import Form, form_of, interval, rejoined, share, values
from flashsched.te.expr import Binary, Const, Expr, Var, compare

VARS = (Var("i"), Var("j"), Var("k"))


@st.composite
def indices(draw, depth: int = 3) -> Expr:  # type: ignore[no-untyped-def]
    inner = ("+", "-", "*", "//", "%", "min", "max") if depth else ()
    kind = draw(st.sampled_from(("var", "const", *inner)))
    if kind == "var":
        return draw(st.sampled_from(VARS))
    if kind == "const":
        return Const(draw(st.integers(-5, 9)), "int64")
    if kind in ("//", "%", "*"):
        return Binary(kind, draw(indices(depth - 1)), Const(draw(st.integers(1, 6)), "int64"))
    return Binary(kind, draw(indices(depth - 1)), draw(indices(depth - 1)))


def value(expr: Expr, at: dict[Var, int]) -> int:
    if isinstance(expr, Var):
        return at[expr]
    if isinstance(expr, Const):
        return int(expr.value)
    assert isinstance(expr, Binary)
    a, b = value(expr.a, at), value(expr.b, at)
    return {
        "+": a + b, "-": a - b, "*": a * b, "//": a // b if b else 0, "%": a % b if b else 0, "min": min(a, b),
        "max": max(a, b),
    }[expr.op]  # fmt: skip


EXTENTS = st.fixed_dictionaries({var: st.integers(1, 5) for var in VARS})


@given(expr=indices(), extents=EXTENTS)
def test_a_form_has_the_values_of_its_expression(expr: Expr, extents: dict[Var, int]) -> None:
    form = form_of(expr, {}, extents)
    low, high = interval(form, extents)
    for point in itertools.product(*(range(extents[var]) for var in VARS)):
        at = dict(zip(VARS, point, strict=True))
        points = {var: np.asarray(n) for var, n in at.items()}
        assert values(form, points) == value(expr, at)
        assert low <= value(expr, at) <= high


@given(
    expr=indices(),
    extents=EXTENTS,
    parts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    factor=st.integers(-2, 3),
)
def test_an_index_that_was_cut_is_put_together(
    expr: Expr, extents: dict[Var, int], parts: list[int], factor: int
) -> None:
    """Digit by digit, of the quotients and remainders that an address is computed of."""
    whole: Form = Form({})
    rest, stride = expr, factor
    for part in parts:
        whole = whole.plus(form_of(Binary("%", rest, Const(part, "int64")), {}, extents), stride)
        rest, stride = Binary("//", rest, Const(part, "int64")), stride * part
    whole = whole.plus(form_of(rest, {}, extents), stride)
    made = rejoined(whole, extents)
    for at in itertools.product(*(range(extent) for extent in extents.values())):
        point = {var: np.asarray(n) for var, n in zip(extents, at, strict=True)}
        assert values(made, point) == factor * value(expr, dict(zip(extents, at, strict=True)))


def test_what_is_put_together_moves_by_steps() -> None:
    """The address of a window's pixel in a loop that runs through channels, rows and columns of windows."""
    i, j = VARS[:2]
    k, extents = i * 8 + j, {i: 9, j: 8}
    address = form_of(k // 9 * 9 + k // 3 % 3 * 3 + k % 3, {}, extents)
    assert address.step(j) is None
    assert (rejoined(address, extents).step(i), rejoined(address, extents).step(j)) == (8, 1)
    apart = form_of(k // 3 % 3 * 4 + k % 3, {}, extents)
    assert rejoined(apart, extents) is apart
    assert str(form_of(k % 16, {}, extents).step(j)) == "1"  # of 16 in steps of 8, what is below a step stays


@given(expr=indices(), extents=EXTENTS)
def test_one_step_is_what_one_turn_moves(expr: Expr, extents: dict[Var, int]) -> None:
    form = form_of(expr, {}, extents)
    for var in VARS:
        step = form.step(var)
        if step is not None and extents[var] > 1:
            zero = dict.fromkeys(VARS, 0)
            assert value(expr, {**zero, var: 1}) - value(expr, zero) == step


@given(expr=indices(), extents=EXTENTS, limit=st.integers(-10, 40), op=st.sampled_from(("<", "<=", ">", ">=")))
def test_a_share_is_exact_where_all_can_be_tried(expr: Expr, extents: dict[Var, int], limit: int, op: str) -> None:
    loops, part = share(compare(op, expr, Const(limit, "int64")), {}, extents)
    holds = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}[op]
    points = list(itertools.product(*(range(extents[var]) for var in VARS)))
    truth = [holds(value(expr, dict(zip(VARS, point, strict=True))), limit) for point in points]
    assert part == pytest.approx(sum(truth) / len(points))
    assert loops <= set(VARS)


def test_the_share_of_a_split_is_exact_however_large() -> None:
    outer, middle, inner = VARS
    extents = {outer: 1000, middle: 128, inner: 64}
    _, part = share(compare("<", (outer * 128 + middle) * 64 + inner, Const(8_000_001, "int64")), {}, extents)
    assert part == pytest.approx(8_000_001 / (1000 * 128 * 64), rel=1e-12)


def test_a_share_that_is_estimated_does_not_depend_on_where_variables_lie() -> None:
    made = [[Var("i"), Var("j"), Var("k")] for _ in range(40)]
    parts = set()
    for i, j, k in made:
        tested = compare("<", i % 7 * 9 + j // 3 + k % 11 * 4, Const(50, "int64"))
        parts.add(share(tested, {}, {i: 100, j: 100, k: 100})[1])
    assert len(parts) == 1


def test_what_nothing_is_known_of_reaches_everywhere() -> None:
    i, j, _ = VARS
    form = form_of(Binary("*", i, j), {}, {i: 4, j: 4})
    assert form.vars == {i, j}
    assert interval(form, {i: 4}) == (-np.inf, np.inf)
    assert interval(form, {}) == (0, 0)
