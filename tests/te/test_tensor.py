"""placeholder and compute: what they make, and what they refuse with the user's own line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.errors import ExpressionError, ShapeError
from flashsched.te.expr import Var, const
from flashsched.te.tensor import AxisKind, graph

A = te.placeholder((4, 5), name="A")
V = te.placeholder((4,), "int32", name="V")
K = te.reduce_axis((0, 5), "k")


def test_placeholder() -> None:
    assert (A.shape, A.dtype, A.name, A.ndim) == ((4, 5), "float32", "A", 2)
    assert repr(A) == "Tensor(A, shape=[4, 5], float32)"
    assert A.op.output(0) is A
    assert A.op.inputs == ()
    assert te.placeholder(3).shape == (3,)
    assert te.placeholder(()).shape == ()
    assert te.placeholder([2, const(3)], "bool").shape == (2, 3)
    assert "test_tensor.py:" in A.op.where


def test_compute_of_any_rank() -> None:
    B = te.compute((4, 5), lambda i, j: A[i, j] * 2, name="B")
    assert [axis.name for axis in B.op.axis] == ["i", "j"]
    assert (B.shape, B.dtype) == ((4, 5), "float32")
    assert B.op.inputs == (A,)
    assert B.op.reduce_axis == ()
    m = te.reduce_axis((0, 4), "m")
    total = te.compute((), lambda: te.sum(V[m], axis=m), name="total")
    assert (total.shape, total.dtype) == ((), "int32")
    assert [axis.kind for axis in total.op.reduce_axis] == [AxisKind.REDUCE]
    D = te.compute((4,), lambda i: A[i, 0] / total, name="D")  # a rank-0 tensor stands for its element
    assert D.op.inputs == (A, total)
    assert [op.name for op in graph([D])] == ["A", "V", "total", "D"]
    E = te.compute((2, 3, 4), lambda *i: A[i[2], i[1]] + 1)
    assert [axis.name for axis in E.op.axis] == ["i0", "i1", "i2"]
    F = te.compute((2, 3), lambda x, *rest: A[x, rest[0]])
    assert [axis.name for axis in F.op.axis] == ["x", "i1"]
    assert A(0, 1).dtype == "float32"
    assert te.compute(3, lambda i: 1).dtype == "int32"


def test_several_outputs() -> None:
    P, Q = te.compute((4,), lambda i: (V[i] + 1, V[i] * 0.5), name="PQ")
    assert (P.name, Q.name, P.dtype, Q.dtype) == ("PQ.v0", "PQ.v1", "int32", "float32")
    assert P.op is Q.op
    only = te.compute((4,), lambda i: [V[i]])
    assert isinstance(only, tuple)
    assert len(only) == 1


def test_reduce_axis_begins_anywhere() -> None:
    k = te.reduce_axis((2, 5), "k")
    assert (k.begin, k.extent, k.kind) == (2, 3, AxisKind.REDUCE)
    assert repr(k) == "k in 2..5"
    assert te.reduce_axis((3, 3)).extent == 0


def test_graph_lists_each_operation_once_after_what_it_reads() -> None:
    B = te.compute((4,), lambda i: A[i, 0] + V[i], name="B")
    left = te.compute((4,), lambda i: B[i] + 1, name="left")
    right = te.compute((4,), lambda i: B[i] * 2, name="right")
    out = te.compute((4,), lambda i: left[i] + right[i], name="out")
    assert [op.name for op in graph([out, left])] == ["A", "V", "B", "left", "right", "out"]


def both() -> Any:
    pair = te.comm_reducer(lambda a, b: (a[0] + b[0], a[1] * b[1]), lambda s, t: (0, 1), "pair")
    return pair((A[0, K], A[1, K]), axis=K)


M = te.reduce_axis((0, 5), "m")
OTHER = te.compute((4,), lambda i: A[i, 0])
STRAY = te.compute((4,), lambda stray: V[stray]).op.axis[0]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: A[0], r"A\[0\] has 1 index, and A has 2 dimensions \[4, 5\]"),
        (lambda: A[0, 1, 2], r"A\[0, 1, 2\] has 3 indices, and A has 2 dimensions"),
        (lambda: A[0, 5], r"A\[0, 5\]: index 1 is 5, and the dimension has 5 elements"),
        (lambda: A[-1, 0], r"A\[-1, 0\]: index 0 is -1, and the dimension has 4 elements"),
        (lambda: A[0, 1.5], r"1.5 is not an integer|index 1 is float32, not an integer"),
        (lambda: A[0, A[0, 0]], r"A\[0, A\[0, 0\]\]: index 1 is float32, not an integer\n.*\n  hint: cast it"),
        (lambda: A[0, K > 1], r"index 1 is bool, not an integer"),
        (lambda: A[0, :], r"an index is one position, not a slice\n.*\n  hint: write a te.compute"),
        (lambda: A[...], r"an index is one position, not a slice"),
        (lambda: [x for x in A], r"tensor A can't be looped over\n.*\n  hint: index it: A\[i, j\]"),  # noqa: C416
        (lambda: A[0, "j"], r"str 'j' is not a scalar expression"),
        (lambda: te.placeholder((4, -1)), r"a shape is made of integers from 0 up, and -1 in \(4, -1\) is none"),
        (lambda: te.placeholder((4, 1.5)), r"and 1.5 in"),
        (lambda: te.placeholder((True,)), r"and True in"),
        (lambda: te.placeholder("ab"), r"and 'a' in"),
        (lambda: te.placeholder((4,), "float31"), r"no dtype 'float31'"),
        (lambda: te.reduce_axis((5, 2)), r"reduce_axis\(\(5, 2\)\): the end comes before the begin"),
        (lambda: te.reduce_axis(5), r"reduce_axis\(5\): the range is a pair \(begin, end\) of integers"),
        (lambda: te.reduce_axis((0, 1, 2)), r"the range is a pair"),
        (lambda: te.reduce_axis((0, 1.5)), r"is not an integer|the range is a pair"),
        (lambda: te.reduce_axis((0, K)), r"the range is a pair"),
        (
            lambda: te.compute((4, 5), lambda i: A[i, 0]),
            r"the shape has 2 dimensions, and the function takes 1 \(i\)\n.*\n  hint: give the function one parameter",
        ),
        (lambda: te.compute((), lambda i: A[i, 0]), r"the shape has 0 dimensions, and the function takes 1 \(i\)"),
        (lambda: te.compute((4,), lambda: 1), r"the shape has 1 dimension, and the function takes 0 \(none\)"),
        (lambda: te.compute((4,), "A"), r"'A' is no function, and it takes one[^$]*hint: te.compute\(shape, lambda"),
        (lambda: te.compute((4,), lambda i: ()), r"compute: the function returned no expression"),
        (lambda: te.compute((4,), lambda i: None), r"NoneType None is not a scalar expression"),
        (lambda: te.compute((4,), lambda i: A), r"tensor A of shape \[4, 5\] is not a scalar expression"),
        (
            lambda: te.compute((4,), lambda i: te.sum(A[i, K], axis=K) + 1, name="C"),
            r"(?s)C: a reduction must be the whole expression, and here it is a part.*C = sum.*<-- sum\(A\[i, k\]"
            r".*hint: compute the reduction in a te.compute of its own",
        ),
        (
            lambda: te.compute((4,), lambda i: A[i, K], name="C"),
            r"C: axis 'k' is used outside te.sum or another reducer",
        ),
        (
            lambda: te.compute((4,), lambda i: te.sum(A[i, M] * K, axis=M), name="C"),
            r"axis 'k' is used outside te.sum",
        ),
        (
            lambda: te.compute((4,), lambda i: V[STRAY], name="C"),
            r"C: axis 'stray' is used outside the compute it belongs to\n  \| C = V\[stray\]",
        ),
        (lambda: te.compute((4,), lambda i: V[i] * Var("n"), name="C"), r"C: variable 'n' has no value; only axes may"),
        (
            lambda: te.compute((4,), lambda i: (te.sum(A[i, K], axis=K), V[i]), name="C"),
            r"C: some outputs are reductions and some are not",
        ),
        (
            lambda: te.compute((4,), lambda i: (te.sum(A[i, K], axis=K), te.max(A[i, K], axis=K)), name="C"),
            r"C: several outputs of a reduction must come from one reducer over the same axes",
        ),
        (
            lambda: te.compute((4,), lambda i: (te.sum(A[i, K], axis=K), te.sum(A[i, M], axis=M)), name="C"),
            r"must come from one reducer over the same axes\n.*\n  hint: declare a tuple reducer",
        ),
        (lambda: te.compute((4,), lambda i: both()[0], name="C"), r"C: the reducer gives 2 values, and all are kept"),
        (lambda: te.compute((4,), lambda i: both()[::-1], name="C"), r"in their order; here are numbers 1, 0"),
        (lambda: te.compute((4,), lambda i: (both()[0], both()[1])), r"must come from one reducer"),
        (lambda: te.compute((4,), lambda i: 1 if i < 2 else 0), r"the truth of i < 2 is not known"),
        (
            lambda: te.compute((4,), lambda i: A[i, 0] + OTHER),
            r"tensor compute of shape \[4\] is not a scalar expression",
        ),
    ],
)
def test_refusals(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as caught:
        build()
    assert "test_tensor.py:" in str(caught.value)


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda: A + 1, lambda: 2 * A, lambda: A - A, lambda: -A, lambda: +A, lambda: A < 1.0, lambda: ~A,
        lambda: np.float32(2) * A, lambda: A / A[0, 0], lambda: A[0, 0] + A,
    ],
)  # fmt: skip
def test_a_tensor_is_no_number(arithmetic: Callable[[], Any]) -> None:
    with pytest.raises(ShapeError, match=r"(?s)tensor A of shape \[4, 5\] is not a scalar.*index it: A\[i, j\]"):
        arithmetic()


def test_a_tensor_without_dimensions_stands_for_its_element() -> None:
    S, N = te.placeholder((), name="S"), te.placeholder((), "int32", name="N")
    for value, text in (
        (S + 1, "S[] + 1.0"), (2 * S, "2.0 * S[]"), (-S, "S[] * -1.0"), (~N, "N[] ^ -1"), (S < 1.0, "S[] < 1.0"),
        (+S, "S[]"), (np.float32(2) - S, "2.0 - S[]"),
    ):  # fmt: skip
        assert str(value) == text
    assert (S == N, S != N, S == S) == (False, True, True), "whether two names mean one tensor, and no expression"
