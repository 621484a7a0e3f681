"""Expressions are built by Python's operators, promote as stated, and refuse what means nothing."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ExpressionError
from flashsched.te.expr import (
    Binary,
    Cast,
    Compare,
    Const,
    Expr,
    Not,
    Var,
    as_expr,
    binary,
    cast,
    compare,
    const,
    is_const,
    logical_and,
    logical_or,
    same,
)
from flashsched.te.visit import free_vars, rewrite, substitute, uses, walk


def var(dtype: str, name: str = "x") -> Var:
    return Var(name, dtype)


I, X, H, U, B = var("int64", "i"), var("float32"), var("float16", "h"), var("uint8", "u"), var("bool", "b")  # noqa: E741


@pytest.mark.parametrize(
    ("expr", "text", "dtype"),
    [
        (X + 1, "x + 1.0", "float32"),
        (1 - X, "1.0 - x", "float32"),
        (2 * X / 3, "2.0 * x / 3.0", "float32"),
        (2 / X, "2.0 / x", "float32"),
        (I // 2, "i // 2", "int64"),
        (7 // I, "7 // i", "int64"),
        (7 % I + I % 7, "7 % i + i % 7", "int64"),
        (X // 2.5 % X, "x // 2.5 % x", "float32"),
        (-X, "x * -1.0", "float32"),
        (-I, "0 - i", "int64"),
        (+X, "x", "float32"),
        (~U, "u ^ uint8(255)", "uint8"),
        (~I, "i ^ -1", "int64"),
        (~B, "not b", "bool"),
        (B & (X > 1), "b and x > 1.0", "bool"),
        (B | True, "b or True", "bool"),
        (B ^ B, "b != b", "bool"),
        (1 & I | I ^ 3, "1 & i | i ^ 3", "int64"),
        (1 ^ I, "1 ^ i", "int64"),
        (1 << I >> 2, "1 << i >> 2", "int64"),
        (8 >> I, "8 >> i", "int64"),
        (I < 2, "i < 2", "bool"),
        (I > 2, "i > 2", "bool"),
        (I <= X, "float32(i) <= x", "bool"),
        (I >= 1, "i >= 1", "bool"),
        (B + 1, "int32(b) + 1", "int32"),
        (B * 1.5, "float32(b) * 1.5", "float32"),
        (I * 1.5, "float32(i) * 1.5", "float32"),
        (H * X, "float32(h) * x", "float32"),
        (H + 1, "h + float16(1.0)", "float16"),
        (U + I, "int64(u) + i", "int64"),
        (X.astype("float64") + H, "float64(x) + float64(h)", "float64"),
        (X.astype("float32"), "x", "float32"),
    ],
)
def test_operators(expr: Expr, text: str, dtype: str) -> None:
    assert (str(expr), expr.dtype) == (text, dtype)


@pytest.mark.parametrize(
    "scalar", [np.float64(0.1), np.float32(0.5), np.int64(3), np.int8(2), np.uint8(7), np.float16(2)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_a_numpy_scalar_counts_as_a_number_on_either_side(scalar: np.generic, dtype: str) -> None:
    x = var(dtype)
    for expr in (x * scalar, scalar * x, x + scalar, scalar + x, scalar - x, scalar / x):
        assert expr.dtype == dtype
        literal = next(node for node in walk(expr) if isinstance(node, Const))
        assert literal.value == scalar.item()  # not one digit is lost on the way
    assert (scalar < x).dtype == "bool"
    assert str(np.int32(3) + I) == "3 + i"


def test_index_constants_fold() -> None:
    two, three = const(2, "int64"), const(3, "int64")
    assert is_const(two * three, 6)
    assert is_const(two // three, 0)
    assert is_const(binary("min", two, three), 2)
    assert not is_const(I)
    assert not is_const(two, 3)


def test_equality_builds_a_comparison_and_same_compares() -> None:
    assert isinstance(I == X, Compare)
    assert isinstance(I != 3, Compare)
    assert same(I + 1, I + 1)
    assert not same(I + 1, I + 2)
    assert not same(I + 1, 1 + I)
    assert not same(Var("a"), Var("a"))  # a variable is known by identity
    assert not same(const(0.0), const(-0.0))
    assert same(const(math.nan), const(math.nan))
    assert not same(const(1), const(1, "int64"))
    expressions: list[Expr] = [I, X, I + 1]
    assert I in expressions
    assert (I + 1) in expressions
    assert (I + 2) not in expressions
    assert len({I, X, I}) == 2


def test_a_pickled_error_still_shows_the_user_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        I / 2
    assert "test_expr.py:" in caught.value.where
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: bool(I < 2), r"the truth of i < 2 is not known while the expression is being built"),
        (lambda: 0 if X else 1, r"the truth of x is not known"),
        (lambda: I > 1 and I < 3, r"use te.select\(condition, a, b\), te.all\(...\)"),
        (lambda: list(X + 1), r"x \+ 1.0 is a single value and can't be looped over"),
        (lambda: math.exp(X), r"the value of x is not known.*\n.*\n  hint: use te's functions, such as te.exp"),
        (lambda: float(X + 1), r"the value of x \+ 1.0 is not known"),
        (lambda: I / 2, r"'/' on integers is ambiguous: i / 2\n.*\n  hint: use // \(rounds down\)"),
        (lambda: const(4, "int64") / const(2, "int64"), r"'/' on integers is ambiguous: 4 / 2"),
        (lambda: B + B, r"'\+' on two bools: b \+ b"),
        (lambda: B << B, r"'<<' on two bools"),
        (lambda: -B, r"'-' on two bools"),
        (lambda: X & 1, r"'&' works on integers and bools, not on float32"),
        (lambda: X << X, r"'<<' works on integers and bools, not on float32"),
        (lambda: ~X, r"'\^' works on integers and bools, not on float32"),
        (lambda: I // 0, r"division by zero: i // 0"),
        (lambda: I % 0, r"division by zero: i % 0"),
        (lambda: const(1, "int64") // const(0, "int64"), r"division by zero: 1 // 0"),
        (lambda: const(2**62, "int64") * const(4, "int64"), r"4611686018427387904 \* 4 does not fit int64"),
        (lambda: U + 256, r"256 does not fit uint8\n.*\n  hint: give it a wider type: te.const\(256, 'int64'\)"),
        (lambda: U - -1, r"-1 does not fit uint8"),
        (lambda: const(1.5, "int32"), r"1.5 is not an integer, and int32 holds nothing else"),
        (lambda: const(math.inf, "int32"), r"inf is not an integer"),
        (lambda: const(math.nan, "int64"), r"nan is not an integer"),
        (lambda: const(2**63, "int64"), r"does not fit int64"),
        (lambda: const("1"), r"a constant is a bool, an int or a float, not str"),  # type: ignore[arg-type]
        (lambda: const(1, "float31"), r"no dtype 'float31'\n.*\n  hint: did you mean float32"),
        (lambda: X.astype("complex64"), r"no dtype 'complex64'"),
        (lambda: X + "1", r"str '1' is not a scalar expression"),
        (lambda: X + None, r"NoneType None is not a scalar expression"),
        (lambda: X + np.ones(3), r"a tensor of shape \(3,\) is not a scalar expression\n.*\n  hint: index it"),
        (
            lambda: X + te.placeholder((3, 4), name="A"),
            r"tensor A of shape \[3, 4\] is not .*\n.*\n.*index it: A\[i, j\]",
        ),
        (lambda: logical_and(), r"te.all needs at least one condition"),
        (lambda: logical_or(), r"te.any needs at least one condition"),
        (lambda: logical_and(B, I), r"i is int64, not a condition\n.*\n  hint: compare it: i != 0"),
        (lambda: logical_or(X), r"x is float32, not a condition"),
    ],
)
def test_refusals(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as caught:
        build()
    assert "test_expr.py:" in str(caught.value)  # the user's own line


def test_numpy_functions_on_expressions_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        np.exp(X)  # type: ignore[call-overload]


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]),
)
def test_a_constant_is_converted_only_where_it_fits(value: int, dtype: str) -> None:
    literal = const(value, "int64")
    converted = cast(literal, dtype)
    info = np.iinfo(dtype)
    assert converted.dtype == dtype
    assert isinstance(converted, Const if info.min <= value <= info.max else Cast)


def test_constants_take_the_narrowest_usual_type() -> None:
    found = [const(v).dtype for v in (True, 1, 2**31, -(2**31), 1.5, np.float64(2), np.int8(3), np.bool_(1))]
    assert found == ["bool", "int32", "int64", "int32", "float32", "float32", "int32", "bool"]
    assert const(3, "float16").value == 3.0
    assert const(True, "int32").value == 1
    assert isinstance(const(1.0, "int32").value, int)


def test_te_all_and_any_take_one_or_more() -> None:
    assert str(te.all(I > 0, I < 3, B)) == "i > 0 and i < 3 and b"
    assert str(te.any(te.all(B, B), B)) == "b and b or b"
    assert te.all(B) is B
    assert isinstance(as_expr(True), Const)


def test_traversals() -> None:
    expr = te.select(I < 3, (I + 1) * 2, Binary("-", I, I))
    assert [str(node) for node in walk(expr)][:4] == [str(expr), "i < 3", "i", "3"]
    assert free_vars(expr + X) == {I, X}
    assert uses(expr, I)
    assert not uses(expr, X)
    j = Var("j")
    assert str(substitute(expr, {I: j + 1})) == "select(j + 1 < 3, (j + 1 + 1) * 2, j + 1 - (j + 1))"
    swapped = substitute(I - j, {I: j, j: I})  # all at once
    assert str(swapped) == "j - i"
    assert substitute(expr, {}) is expr
    assert rewrite(expr, lambda node: None) is expr
    negated = rewrite(Not(B), lambda node: const(True) if node is B else None)
    assert str(negated) == "not True"
    for node in walk(te.exp(X) + cast(I, "float32") + te.placeholder((3,))[I]):
        assert same(node.rebuild(node.children), node)


def test_compare_promotes_both_sides() -> None:
    expr = compare("==", H, X)
    assert {child.dtype for child in expr.children} == {"float32"}
