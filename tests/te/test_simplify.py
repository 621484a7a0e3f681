"""Legality rests on this: the simplifier never changes a value, bounds always hold, and a proof is never a lie."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flashsched.errors import ExpressionError
from flashsched.te.expr import Binary, Cast, Compare, Expr, Not, Select, Var, const
from flashsched.te.simplify import Ranges, bounds, fold, linear, prove, simplify

from .index_exprs import OPERATORS, I, J, K, N, index, sizes, value_of, variables


def raw(op: str, a: Expr, b: Expr) -> Expr:
    """A node as it stands, with nothing folded, so that the simplifier meets every form."""
    return Compare(op, a, b) if op in ("<", "<=", ">", ">=", "==", "!=") else Binary(op, a, b)


small = st.integers(-12, 12)


def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    conditions = st.builds(raw, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner, inner)
    both = st.builds(raw, st.sampled_from(["and", "or"]), conditions, conditions)
    narrow = inner.map(lambda e: Cast(e, "int8"))
    return st.one_of(
        st.builds(raw, st.sampled_from("+-"), inner, inner),
        st.builds(raw, st.sampled_from("+-"), inner, inner),
        st.builds(lambda e, c: raw("*", e, index(c)), inner, st.one_of(small, sizes)),
        st.builds(lambda e, op, c: raw(op, e, index(c)), inner, st.sampled_from(["//", "%"]), sizes),
        st.builds(lambda e, op, c: raw(op, e, index(c)), inner, st.sampled_from(["//", "%"]), sizes),
        st.builds(raw, st.sampled_from(["min", "max", "*", "//", "%"]), inner, inner),
        st.builds(raw, st.sampled_from("&|^"), inner, inner),
        st.builds(lambda e, op, c: raw(op, e, index(c)), inner, st.sampled_from(["<<", ">>"]), st.integers(0, 4)),
        st.builds(Select, st.one_of(conditions, both, conditions.map(Not)), inner, inner),
        narrow.map(lambda e: Cast(e, "int64")),
        st.builds(lambda a, op, b: Cast(Binary(op, a, b), "int64"), narrow, st.sampled_from("+-*"), narrow),
        conditions.map(lambda c: Cast(c, "int64")),
    )


leaves = st.one_of(variables, variables, small.map(index))
expressions = st.recursive(leaves, grow, max_leaves=10)
conditions = st.builds(raw, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), expressions, expressions)


def split_like(draw: st.DrawFn) -> Expr:
    """Chains of what split and fuse leave behind: ``(i * f + j) // f``, ``(x // f) * f + x % f``, …"""
    form: Expr = draw(variables)
    for _ in range(draw(st.integers(1, 5))):
        f, other = draw(sizes), draw(variables)
        match draw(st.integers(0, 6)):
            case 0:
                form = form * f + other
            case 1:
                form = form // f
            case 2:
                form = form % f
            case 3:
                form = (form * f + other) // draw(sizes)
            case 4:
                form = (form * f + other) % draw(sizes)
            case 5:
                form = (form // f) * f + form % f
            case _:
                form = form + draw(small)
    return form


splits = st.composite(split_like)()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Ranges, list[dict[Var, int]]]:
    """Ranges for some of the variables, and points that lie in them."""
    ranges: dict[Var, tuple[int, int]] = {}
    choices = []
    for var in (I, J, K, N):
        low = draw(st.integers(-20, 20)) if draw(st.booleans()) else 0
        high = low + draw(st.integers(0, 25))
        if draw(st.integers(0, 5)):
            ranges[var] = (low, high)
        else:
            low, high = -1000, 1000
        choices.append(st.integers(low, high))
    points = draw(st.lists(st.tuples(*choices), min_size=1, max_size=25))
    return ranges, [dict(zip((I, J, K, N), point, strict=True)) for point in points]


def values(expr: Expr, points: list[dict[Var, int]]) -> list[int]:
    found = []
    for point in points:
        try:
            found.append(value_of(expr, point))
        except (ZeroDivisionError, ValueError):  # a division by zero, a negative shift: without meaning
            assume(False)
        assume(abs(found[-1]) < 2**63)
    return found


@settings(max_examples=250)
@given(st.one_of(expressions, splits), cases())
@example(Binary("%", Binary("//", I, index(-3)), index(2)), ({}, [{I: 7}, {I: -7}]))
@example(Binary("//", Binary("//", I, index(-3)), index(2)), ({}, [{I: 7}, {I: -7}, {I: 8}]))
@example(Binary("+", Binary("*", Binary("//", J, index(-3)), index(-3)), Binary("%", Binary("+", I * 3, J), index(-3))),
         ({}, [{I: 1, J: 4}, {I: -2, J: -5}]))  # fmt: skip
@example(Cast(Binary("*", Binary("%", Cast(I, "int8"), const(3, "int8")), const(100, "int8")), "int64"), ({}, [{I: 2}]))
def test_simplify_keeps_the_value_and_bounds_hold(expr: Expr, case: tuple[Ranges, list[dict[Var, int]]]) -> None:
    ranges, points = case
    wanted = values(expr, points)
    for simple in (simplify(expr, ranges), linear(expr, ranges).expr(), simplify(simplify(expr, ranges), ranges)):
        assert [value_of(simple, point) for point in points] == wanted
        assert simple.dtype == "int64"
    low, high = bounds(expr, ranges)
    assert all(low <= value <= high for value in wanted)


@settings(max_examples=250)
@given(st.one_of(conditions, st.builds(raw, st.sampled_from(["<", ">=", "=="]), splits, splits)), cases())
def test_a_proof_is_never_a_lie(condition: Expr, case: tuple[Ranges, list[dict[Var, int]]]) -> None:
    ranges, points = case
    wanted = [bool(v) for v in values(condition, points)]
    for asked, truth in ((condition, wanted), (Not(condition), [not w for w in wanted])):
        verdict = prove(asked, ranges)
        assert verdict is None or all(w is verdict for w in truth)
        simple = simplify(asked, ranges)
        assert [bool(value_of(simple, point)) for point in points] == truth


@settings(max_examples=250)
@given(conditions, st.lists(conditions, min_size=1, max_size=3), cases(), st.sampled_from(["and", "or"]))
def test_a_proof_from_facts_is_never_a_lie(
    condition: Expr, facts: list[Expr], case: tuple[Ranges, list[dict[Var, int]]], op: str
) -> None:
    ranges, points = case
    where = [all(v) for v in zip(*(values(fact, points) for fact in facts), strict=True)]
    points = [point for point, holds in zip(points, where, strict=True) if holds]
    for asked in (condition, Binary(op, condition, facts[0]), Binary(op, Not(facts[0]), condition)):
        wanted = [bool(v) for v in values(asked, points)]
        verdict = prove(asked, ranges, iter(facts))
        assert verdict is None or all(w is verdict for w in wanted)
        simple = simplify(asked, ranges, iter(facts))
        assert [bool(value_of(simple, point)) for point in points] == wanted


@settings(max_examples=200)
@given(
    a=st.integers(-(2**62), 2**62), b=small, op=st.sampled_from(["+", "-", "*", "//", "%", "min", "max", "&", "|", "^"])
)
def test_constants_fold_as_python_computes(a: int, b: int, op: str) -> None:
    assume(b or op not in ("//", "%"))
    wanted = OPERATORS[op](a, b)
    if -(2**63) <= wanted < 2**63:
        assert fold(op, index(a), index(b)).value == wanted
    else:
        with pytest.raises(ExpressionError, match="does not fit int64"):
            fold(op, index(a), index(b))


@pytest.mark.parametrize(
    ("op", "a", "b", "says"),
    [
        ("//", 1, 0, r"division by zero: 1 // 0"),
        ("%", 1, 0, r"division by zero: 1 % 0"),
        ("<<", 1, -1, r"a shift is by 0 to 63 bits: 1 << -1"),
        ("<<", 1, 63, r"1 << 63 does not fit int64"),
        (">>", 1, 64, r"a shift is by 0 to 63 bits"),
    ],
)
def test_fold_refuses(op: str, a: int, b: int, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        fold(op, index(a), index(b))
