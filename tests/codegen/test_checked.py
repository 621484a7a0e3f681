"""Checked kernels: an index read from memory that lies outside is told, whatever the schedule; one inside is used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import KernelError, ShapeError
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip


def gather(n: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and ``C[i, j] = A[B[i], j]``."""
    A, B = te.placeholder((rows, columns), name="A"), te.placeholder((n,), "int32", name="B")
    return A, B, te.compute((n, columns), lambda i, j: A[B[i], j] * 2, name="C")


@settings(max_examples=40, deadline=None)
@given(
    at=st.lists(st.integers(-3, 9), min_size=1, max_size=9),
    rows=st.integers(1, 7),
    factor=st.integers(1, 4),
    data=st.data(),
)
def test_an_index_outside_is_told(at: list[int], rows: int, factor: int, data: st.DataObject) -> None:
    A, B, C = gather(len(at), rows, 5)
    s = te.create_schedule(C)
    table = s.cache_read(A, "global") if data.draw(st.booleans()) else None
    outer, inner = s[C].split("i", factor=factor, tail=data.draw(st.sampled_from(["guard", "cut"])))
    s[C].parallel(outer)
    if data.draw(st.booleans()):
        s[C].reorder("j", inner)
        s[C].vectorize(inner)
    if table is not None:
        s[table].compute_at(s[C], "j")
    a, b = np.arange(rows * 5, dtype="float32").reshape(rows, 5), np.asarray(at, "int32")
    kernel = fs.build(s, [A, B, C], check_bounds=True)
    if all(0 <= i < rows for i in at):
        np.testing.assert_array_equal(kernel(a, b), a[b] * 2)
        np.testing.assert_array_equal(fs.build(s, [A, B, C])(a, b), a[b] * 2)
        return
    with pytest.raises(
        KernelError, match=rf"an index read from memory is (-\d|\d), and dimension 0 of .* has {rows} ele"
    ):
        kernel(a, b)
    with pytest.raises(ShapeError, match="reads outside A"):
        run_graph([C], {A: a, B: b})


@pytest.mark.parametrize("vectorized", [False, True])
def test_a_gather_is_scheduled_as_any(vectorized: bool) -> None:
    A, B = te.placeholder((7, 6), name="A"), te.placeholder((9,), "int32", name="B")
    T = te.compute((7, 6), lambda i, j: A[i, j] + 1, name="T")
    C = te.compute((9, 6), lambda i, j: T[te.clip(B[i], 0, 6), j], name="C")
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor=4)
    s[C].reorder(outer, "j", inner)
    s[T].compute_at(s[C], "j")
    if vectorized:
        s[C].vectorize(inner)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    assert not hasattr(fs.build(s, check_bounds=True), "sites"), "a clipped index needs no check"


def test_what_is_not_read_is_not_checked() -> None:
    A, B = te.placeholder((4,), name="A"), te.placeholder((6,), "int64", name="B")
    C = te.compute((6,), lambda i: te.select(te.all(B[i] >= 0, B[i] < 4), A[B[i]], -1.0), name="C")
    kernel = fs.build(te.create_schedule(C), [A, B, C], check_bounds=True)
    a, b = np.arange(4, dtype="float32"), np.array([0, 9, 3, -5, 2**40, 1])
    np.testing.assert_array_equal(kernel(a, b), [0, -1, 3, -1, -1, 1])
    out = np.zeros(6, "float32")
    assert kernel(a, b, out) is out


def test_an_index_of_an_index() -> None:
    A, B = te.placeholder((4,), name="A"), te.placeholder((6,), "int32", name="B")
    C = te.compute((6,), lambda i: A[B[B[i]]], name="C")
    kernel = fs.build(te.create_schedule(C), [A, B, C], check_bounds=True)
    a = np.arange(4, dtype="float32")
    np.testing.assert_array_equal(
        kernel(a, np.array([5, 4, 3, 2, 1, 0], "int32")[[5, 4, 3, 2, 3, 2]] % 4), [0, 1, 2, 3, 2, 3]
    )
    with pytest.raises(KernelError, match=r"is 7, and dimension 0 of B has 6 elements"):
        kernel(a, np.array([7, 0, 0, 0, 0, 0], "int32"))
    with pytest.raises(KernelError, match=r"is 5, and dimension 0 of A has 4 elements"):
        kernel(a, np.array([1, 5, 0, 0, 0, 0], "int32"))


@pytest.mark.parametrize("vectorized", [False, True])
def test_of_any_size(vectorized: bool) -> None:
    n, m = te.var("n"), te.var("m")
    A, B, shift = te.placeholder((n, m), name="A"), te.placeholder((m,), "int32", name="B"), te.scalar("shift", "int32")
    C = te.compute((m, m), lambda i, j: A[B[i] + shift, j], name="C")
    s = te.create_schedule(C)
    if vectorized:
        s[C].vectorize(s[C].split("j", factor=4)[1])
        s[C].parallel("i")
    f = fs.build(s, [A, B, shift, C], check_bounds=True)
    for rows, columns in [(1, 1), (3, 7), (5, 13), (4, 0), (0, 0)]:
        a = np.arange(rows * columns, dtype="float32").reshape(rows, columns)
        b = np.arange(columns, dtype="int32") % max(rows, 1) - 2
        np.testing.assert_array_equal(f(a, b, 2), a[b + 2])
        out = np.empty((columns, columns), "float32")
        assert f(a, b, 2, out) is out
    with pytest.raises(KernelError, match=r"is 3, and dimension 0 of A has 3 elements") as raised:
        f(np.ones((3, 7), "float32"), np.arange(7, dtype="int32") // 2, 0)
    assert "A[int64(B[i] + shift), j" in str(raised.value)
    with pytest.raises(KernelError, match="dimension 0 of A has 0 elements"):
        f(np.ones((0, 3), "float32"), np.zeros(3, "int32"), 0)
    with pytest.raises(KernelError, match="takes 3 inputs"):
        f(np.ones((3, 3), "float32"))


def test_a_size_that_is_passed() -> None:
    n, m = te.var("n"), te.var("m")
    A, B = te.placeholder((n,), "bool", name="A"), te.placeholder((4,), "int64", name="B")
    C = te.compute((4,), lambda i: A[te.minimum(B[i], m)], name="C")
    f = fs.build(te.create_schedule(C), [A, m, B, C], check_bounds=True)
    a, b = np.array([True, False]), np.array([0, 1, 2, 3])
    np.testing.assert_array_equal(f(a, 1, b), [True, False, False, False])
    with pytest.raises(KernelError, match="is 2, and dimension 0 of A has 2 elements"):
        f(a, 2, b)
    with pytest.raises(KernelError, match="dimension 0 of A has 0 elements"):
        f(a[:0], 2, b)


def test_what_it_reports_is_no_argument() -> None:
    A, B, C = gather(4, 3, 5)
    f = fs.build(te.create_schedule(C), [A, B, C], name="gather", check_bounds=True)
    a, b, c = np.ones((3, 5), "float32"), np.asarray([0, 2, 1, 0], "int32"), np.empty((4, 5), "float32")
    assert repr(f) == "<Kernel gather(A: float32[3, 5], B: int32[4]) -> C: float32[4, 5]>"
    for wrong in ((a,), (a, b, c, np.zeros(1, "int64"))):
        with pytest.raises(KernelError, match=rf"its 1 output \(C: float32\[4, 5\]\); got {len(wrong)} arg") as told:
            f(*wrong)
        assert "out_of_range" not in str(told.value)
    with pytest.raises(KernelError, match=r"gather\(A, B, C\): 'B' has dtype"):
        f(a, b.astype("int64"))
    assert f(a, b, c) is c
    assert f.time(a, b, c, repeat=1).median_s > 0


def test_a_bound_call_looks_too() -> None:
    A, B, C = gather(4, 3, 5)
    f = fs.build(te.create_schedule(C), [A, B, C], name="gather", check_bounds=True)
    a, b, c = np.ones((3, 5), "float32"), np.asarray([0, 2, 1, 0], "int32"), np.empty((4, 5), "float32")
    g = f.bind(a, b, c)
    assert g() is c
    b[2] = 3
    with pytest.raises(KernelError, match="is 3, and dimension 0 of A has 3 elements"):
        g()
