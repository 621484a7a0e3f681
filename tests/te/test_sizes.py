"""Sizes that are known only when arrays are at hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import AxisError, DtypeError, ShapeError
from flashsched.te.evaluate import run_graph
from flashsched.te.sizes import infer_sizes, numbers, size_value, sizes_in
from flashsched.te.tensor import graph

n, m = te.var("n"), te.size_var("m")


def test_a_size_is_an_int64_whatever_it_was_asked_to_be() -> None:
    assert te.var("n", dtype="int32").dtype == "int64"
    assert isinstance(te.var(), te.SizeVar)
    assert te.size_var is te.var


def test_shapes_hold_numbers_and_expressions() -> None:
    A = te.placeholder((n, 2 * n + 1, te.const(3), 0 * n + 4), name="A")
    assert A.shape[0] is n
    assert str(A.shape[1]) == "n * 2 + 1"
    assert A.shape[2:] == (3, 4)
    C = te.compute((n + 1, m), lambda i, j: i + j, name="C")
    assert repr(C) == "Tensor(C, shape=[n + 1, m], int64)"
    assert str(te.reduce_axis((1, n)).extent) == "n - 1"


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: te.var("n", "bool"), DtypeError, "a size is an integer"),
        (lambda: te.var("2n"), AxisError, "must be an identifier"),
        (lambda: te.placeholder((te.reduce_axis((0, 3)),)), ShapeError, "of sizes that te.var makes, and k is neither"),
        (lambda: te.placeholder((n.astype("int32"),)), ShapeError, "and int32\\(n\\) is neither"),
        (lambda: te.placeholder((n > 1,)), ShapeError, "and n > 1 is neither"),
        (lambda: te.reduce_axis((n, n + 4)), ShapeError, "begins at n, which is no number"),
        (lambda: numbers((n, 3, m), "a model"), ShapeError, "a model needs sizes that are numbers, and .* n, m"),
        (lambda: te.placeholder((n,), name="A").known_shape, ShapeError, "what is asked of A needs sizes"),
        (lambda: te.reduce_axis((0, n)).count, ShapeError, "axis k needs sizes that are numbers"),
        (lambda: size_value(n + m, {n: 1}), ShapeError, "size m is not known in n \\+ m"),
        (lambda: te.bind_sizes(te.placeholder((n,)), {3: 4}), ShapeError, "3 is no size"),
        (lambda: te.bind_sizes(te.placeholder((n,)), {n: -1}), ShapeError, "size n can't be -1"),
        (lambda: te.bind_sizes(te.placeholder((n - 2,), name="A"), {n: 1}), ShapeError, "of A would be n - 2 = -1"),
    ],
)
def test_refusals(make: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()  # type: ignore[operator]


def test_sizes_are_told_by_the_dimensions_that_are_nothing_else() -> None:
    assert infer_sizes([("A", (n, n + m), (2, 5)), ("B", (m,), (3,))]) == {n: 2, m: 3}
    assert sizes_in((3, m * n, n)) == (m, n)
    with pytest.raises(ShapeError, match="size n is 2 by dimension 0 of A, and 3 by dimension 1 of B"):
        infer_sizes([("A", (n,), (2,)), ("B", (4, n), (4, 3))])
    with pytest.raises(ShapeError, match="size m can't be told"):
        infer_sizes([("A", (n, 2 * m), (2, 4))])
    with pytest.raises(ShapeError, match="size m can't be told"):
        infer_sizes([("A", (n,), (2,))], [m])


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_graph_is_evaluated_for_the_sizes_of_its_arrays(rows: int, columns: int) -> None:
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), name="k")
    C = te.compute((n + 1,), lambda i: te.sum(te.select(i < n, A[te.minimum(i, n - 1), k], 1.0) * m, axis=k), name="C")
    a = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    (found,) = run_graph([C], {A: a})
    np.testing.assert_array_equal(found, np.append(a.sum(1), columns) * columns)


def test_arrays_that_do_not_fit_are_refused() -> None:
    A = te.placeholder((n, n + 1), name="A")
    C = te.compute((n - 2,), lambda i: A[i, i], name="C")
    with pytest.raises(ShapeError, match=r"placeholder A is float32\[3, 4\], and the array given is float32\[3, 5\]"):
        run_graph([C], {A: np.zeros((3, 5), np.float32)})
    with pytest.raises(ShapeError, match="a dimension of C would be n - 2 = -1"):
        run_graph([C], {A: np.zeros((1, 2), np.float32)})
    only = te.compute((n,), lambda i: i, name="only")
    with pytest.raises(ShapeError, match="size n can't be told"):
        run_graph([only], {})


def test_binding_makes_the_program_for_one_size() -> None:
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), name="k")
    C = te.compute((n,), lambda i: te.sum(A[i, k] * n, axis=k), name="C")
    bound = te.bind_sizes(C, {n: 3})
    assert (bound.shape, graph([bound])[0].output(0).shape) == ((3,), (3, m))
    assert str(bound.op.body[0]) == "sum(A[i, k] * float32(3), axis=k)"
    a = np.ones((3, 4), np.float32)
    (x,), (y,) = run_graph([C], {A: a}), run_graph([bound], {graph([bound])[0].output(0): a})
    np.testing.assert_array_equal(x, y)
