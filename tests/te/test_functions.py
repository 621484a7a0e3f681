"""Selection, mathematics and reducers; a reducer that lies about its laws is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.errors import ExpressionError
from flashsched.te import functions
from flashsched.te.evaluate import run_graph
from flashsched.te.expr import Expr, const
from flashsched.te.tensor import Reduce

A = te.placeholder((4, 5), name="A")
V = te.placeholder((5,), "int32", name="V")
K, M = te.reduce_axis((0, 5), "k"), te.reduce_axis((0, 4), "m")
I = te.compute((5,), lambda i: V[i]).op.axis[0]  # noqa: E741
X = A[0, 0]


@pytest.mark.parametrize(
    ("expr", "text", "dtype"),
    [
        (te.select(X > 0, X, 0), "select(A[0, 0] > 0.0, A[0, 0], 0.0)", "float32"),
        (te.if_then_else(I < 2, V[I], 1.5), "select(i < 2, float32(V[i]), 1.5)", "float32"),
        (te.select(I < 2, const(1, "int64"), const(2, "int64")), "select(i < 2, 1, 2)", "int64"),
        (te.select(True, 1, 2), "select(True, 1, 2)", "int32"),
        (te.select(I < 2, I < 1, True), "select(i < 2, i < 1, True)", "bool"),
        (te.relu(X), "max(A[0, 0], 0.0)", "float32"),
        (te.clip(X, -1, 1), "min(max(A[0, 0], -1.0), 1.0)", "float32"),
        (te.minimum(I, 3), "min(i, 3)", "int64"),
        (te.abs(I), "abs(i)", "int64"),
        (te.abs(X > 0), "A[0, 0] > 0.0", "bool"),
        (te.pow(X, 2), "pow(A[0, 0], 2.0)", "float32"),
        (te.power(2.0, X), "pow(2.0, A[0, 0])", "float32"),
        (te.atan2(X, 1), "atan2(A[0, 0], 1.0)", "float32"),
        (te.rsqrt(X), "1.0 / sqrt(A[0, 0])", "float32"),
        (te.sigmoid(X), "1.0 / (1.0 + exp(A[0, 0] * -1.0))", "float32"),
        (te.isnan(X), "A[0, 0] != A[0, 0]", "bool"),
        (te.isinf(X), "abs(A[0, 0]) == inf", "bool"),
        (te.isfinite(X), "abs(A[0, 0]) < inf", "bool"),
        (te.exp(1), "exp(1.0)", "float32"),
        (te.max(X, 0), "max(A[0, 0], 0.0)", "float32"),  # a reducer of two values
        (te.sum(I, const(2, "int64")), "i + 2", "int64"),
        (te.max_value("int8"), "int8(127)", "int8"),
        (te.min_value("float64"), "float64(-inf)", "float64"),
    ],
)
def test_functions(expr: Expr, text: str, dtype: str) -> None:
    assert (str(expr), expr.dtype) == (text, dtype)


@pytest.mark.parametrize("name", functions.MATH)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_each_function_of_one_float(name: str, dtype: str) -> None:
    value = te.placeholder((), dtype, "x")[()]
    assert (str(getattr(te, name)(value)), getattr(te, name)(value).dtype) == (f"{name}(x[])", dtype)
    with pytest.raises(
        ExpressionError,
        match=rf"{name}\(i\) is asked of int64, and is defined for floats\n.*\n  hint: cast it: te.{name}",
    ):
        getattr(te, name)(I)
    assert name in te.__all__


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: te.select(X, 1, 2),
            r"select: A\[0, 0\] is float32, not a condition\n.*\n  hint: compare it: A\[0, 0\] != 0",
        ),
        (lambda: te.pow(I, 2), r"pow\(i\) is asked of int64"),
        (lambda: te.atan2(I, I), r"atan2\(i\) is asked of int64"),
        (lambda: te.exp("x"), r"str 'x' is not a scalar expression"),
        (lambda: te.exp(A), r"tensor A of shape \[4, 5\] is not a scalar expression"),
        (lambda: te.exp(True), r"exp\(True\) is asked of bool"),
        (lambda: te.sigmoid(I), r"sigmoid\(i\) is asked of int64"),
        (lambda: te.isnan(I), r"isnan\(i\) is asked of int64"),
        (lambda: te.max_value("nothing"), r"no dtype 'nothing'"),
        (
            lambda: te.sum(X, axis=I),
            r"sum: axis 'i' belongs to the output.*\n.*\n.*hint: declare i = te.reduce_axis\(\(0, 5\)\)",
        ),
        (lambda: te.sum(X, axis=[K, K]), r"sum: an axis is given twice: k, k"),
        (lambda: te.sum(X), r"sum: axis must be a te.reduce_axis or several, not None"),
        (lambda: te.sum(X, axis=[]), r"sum: axis must be a te.reduce_axis or several, not \[\]"),
        (lambda: te.sum(X, axis=(K, 1)), r"sum: axis must be"),
        (lambda: te.sum(X, axis=K, where=I), r"sum\(where=…\): i is int64, not a condition"),
        (
            lambda: te.sum(te.sum(X, axis=K), axis=M),
            r"sum: a reduction of a reduction: .*\n.*\n  hint: reduce over both axes",
        ),
        (lambda: te.sum(X > 0, axis=K), r"'\+' on two bools: x \+ y"),
    ],
)
def test_refusals(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as caught:
        build()
    assert "test_functions.py:" in str(caught.value)


@pytest.mark.parametrize(
    ("combine", "identity", "dtypes", "says"),
    [
        (lambda x, y: x - y, lambda t: 0, ("float32",), r"(?s)reducer 'mine' is not commutative.*mine\(x, y\) = x - y"),
        (lambda x, y: x - y, lambda t: 0, ("int8",), r"is not commutative"),
        (lambda x, y: (x + y) / 2, lambda t: 0, ("float32",), r"is not associative"),
        (lambda x, y: x * y + 1, lambda t: 0, ("int32",), r"is not associative"),
        (lambda x, y: x, lambda t: 0, ("float64",), r"is not commutative"),
        (lambda x, y: x + y, lambda t: 1, ("float32",), r"has 1.0 as identity, and combining with it changes values"),
        (te.maximum, lambda t: 0, ("float32",), r"has 0.0 as identity, and combining with it changes values"),
        (te.maximum, lambda t: 0, ("int32",), r"has 0 as identity, and combining with it changes values"),
        (lambda x, y: x * y, lambda t: 0, ("int64",), r"has 0 as identity, and combining with it changes values"),
        (
            lambda x, y: x & y,
            lambda t: False,
            ("bool",),
            r"has False as identity, and combining with it changes values",
        ),
        (lambda a, b: (a[0] + b[0], a[1] - b[1]), lambda s, t: (0, 0), ("int32", "int32"), r"is not commutative"),
        (
            lambda a, b: (a[0] + b[0],),
            lambda s, t: (0, 0),
            ("int32", "int32"),
            r"2 values are reduced, and combine gives",
        ),
        (lambda a, b: (a[0], b[0]), lambda s, t: 0, ("int32", "int32"), r"object is not iterable|must give as many"),
        (lambda x, y: x + y, lambda t: X, ("float32",), r"the identity must be a constant, not A\[0, 0\]"),
    ],
)
def test_a_reducer_that_lies_is_refused(combine: Any, identity: Any, dtypes: tuple[str, ...], says: str) -> None:
    reducer = te.comm_reducer(combine, identity, "mine")
    values = tuple(te.placeholder((5,), t, f"P{n}")[K] for n, t in enumerate(dtypes))
    with pytest.raises((ExpressionError, TypeError), match=says):
        reducer(values if len(values) > 1 else values[0], axis=K)


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
)
@pytest.mark.parametrize("name", ["sum", "prod", "min", "max"])
def test_the_usual_reducers_keep_their_laws_in_each_dtype(name: str, dtype: str) -> None:
    node = getattr(te, name)(te.placeholder((5,), dtype)[K], axis=K)
    assert isinstance(node, Reduce)
    assert node.dtype == dtype
    assert node.reducer is getattr(te, name)(te.placeholder((5,), dtype)[K], axis=[K]).reducer  # made once


def test_bools_are_reduced_by_min_and_max() -> None:
    flags = te.placeholder((5,), "bool", "flags")
    every, some = te.compute((), lambda: te.min(flags[K], axis=K)), te.compute((), lambda: te.max(flags[K], axis=K))
    data = np.array([1, 0, 1, 1, 1], bool)
    assert [bool(x) for x in run_graph([every, some], {flags: data})] == [False, True]


def test_argmax_of_a_tuple() -> None:
    def larger(a: Any, b: Any) -> tuple[Expr, Expr]:
        first = te.any(a[1] > b[1], te.all(a[1] == b[1], a[0] < b[0]))
        return te.select(first, a[0], b[0]), te.select(first, a[1], b[1])

    argmax = te.comm_reducer(larger, lambda s, t: (te.max_value(s), te.min_value(t)), "argmax")
    index, best = te.compute((4,), lambda i: argmax((K.astype("int32"), A[i, K]), axis=K), name="argmax")
    data = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    found = run_graph([index, best], {A: data})
    assert np.array_equal(found[0], data.argmax(1))
    assert np.array_equal(found[1], data.max(1))
    assert found[0].dtype == np.int32


def test_a_reduction_where_a_condition_holds() -> None:
    odd = te.compute((), lambda: te.prod(V[K], axis=K, where=V[K] % 2 == 1))
    assert run_graph([odd], {V: np.array([2, 3, 4, 5, 7], "int32")})[0] == 105
