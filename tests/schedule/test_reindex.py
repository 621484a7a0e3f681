"""reindex: a stage reads a copy that is indexed by its own axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, DependenceError, ScheduleError, StructureError
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, row_sum, running_sum


def convolution(n: int, taps: int, stride: int, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """A signal, its taps, and the convolution of both with zeros around the signal."""
    A, W = te.placeholder((n,), name="A"), te.placeholder((taps,), name="W")
    r = te.reduce_axis((0, taps), name="r")
    size = max(0, (n + 2 * padding - taps) // stride + 1)

    def element(x: Expr) -> Expr:
        at = x * stride + r - padding
        inside = te.select(te.all(at >= 0, at < n), A[at], 0.0) if padding else A[at]
        return te.sum(inside * W[r], axis=r)

    return A, W, te.compute((size,), element, name="C")


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 9), taps=st.integers(1, 4), stride=st.integers(1, 3), padding=st.integers(0, 2),
    at=st.integers(-1, 1),
)  # fmt: skip
def test_a_convolution_becomes_a_product(n: int, taps: int, stride: int, padding: int, at: int) -> None:
    A, _, C = convolution(n, taps, stride, padding)
    s = te.create_schedule(C)
    columns = s.reindex(C, A)
    assert columns.shape == (*C.shape, taps)
    if at >= 0:
        s[columns].compute_at(s[C], s[C].loops[at])
    s[columns].split("x", 2)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_what_is_left_can_be_padded_and_laid_out() -> None:
    A, _, C = convolution(13, 3, 2, 0)
    s = te.create_schedule(C)
    columns = s.reindex(C, A)
    s[columns].transform_layout(lambda x, r: (r, x))
    s.pad_einsum(C, [4, 4])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_reduce_axis_that_does_not_begin_at_zero() -> None:
    A, C = row_sum(3, 2, 7)
    s = te.create_schedule(C)
    assert s.reindex(C, A).shape == (3, 5)
    assert "A.reindex[i, k] = A[i, k + 2]" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_stage_and_an_element_that_all_points_read() -> None:
    _, P, _ = chain(4)
    C = te.compute((3,), lambda i: P[3] * P[3], name="C")
    s = te.create_schedule(C)
    assert s.reindex(C, P).shape == ()
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_reindex_refuses() -> None:
    _, P, C = blur(6)
    s = te.create_schedule(C)
    with pytest.raises(StructureError, match=r"(?s)'C' reads 'P' at P\[i\], .*cache_read"):
        s.reindex(C, P)
    with pytest.raises(ArgumentError, match="'P' does not read 'C'"):
        s.reindex(P, C)
    with pytest.raises(ScheduleError, match="no tensor named 'Q'"):
        s.reindex(C, "Q")
    *_, D = matmul(2, 3, 4)
    with pytest.raises(ArgumentError, match="'C' does not read 'C'"):
        te.create_schedule(D).reindex(D, D)
    _, Q, R = chain(6)
    t = te.create_schedule(R)
    t[Q].compute_at(t[R], "i")
    with pytest.raises(DependenceError, match=r"call reindex before P\.compute_at"):
        t.reindex(R, Q)
    table = te.placeholder((6,), "int64", name="table")
    G = te.compute((6,), lambda i: Q[te.clip(table[i], 0, 5)], name="G")
    with pytest.raises(StructureError, match="its axes alone tell"):
        te.create_schedule(G).reindex(G, Q)


def test_a_state_of_a_scan_is_copied_as_it_is() -> None:
    _, S, C = running_sum()
    with pytest.raises(DependenceError, match=r"'S' writes a state of a scan.*copied for a reader of its own"):
        te.create_schedule(C).reindex(C, S)


@pytest.mark.parametrize("edges", [False, True])
def test_sizes_known_at_run_time(edges: bool) -> None:
    n, r = te.var("n"), te.reduce_axis((0, 3), name="r")
    A = te.placeholder((n if edges else 2 * n + 1,), name="A")

    def element(x: Expr) -> Expr:
        if not edges:
            return te.sum(A[2 * x + r], axis=r)
        return te.sum(te.select(te.all(x + r >= 2, x + r < n), A[x + r - 2], 0.0), axis=r)

    C = te.compute((n,), element, name="C")
    s = te.create_schedule(C)
    columns = s.reindex(C, A)
    s[columns].compute_at(s[C], s[C].split("x", factor=4)[0])
    assert ("select" in str(s).split("C(")[0]) == edges
    kernel, plain = fs.build(s), fs.build(te.create_schedule(C))
    for size in (0, 1, 2, 5, 9):
        a = np.arange(size if edges else 2 * size + 1, dtype="float32")
        c, d = np.zeros((2, size), "float32")
        np.testing.assert_array_equal(kernel(a, c), plain(a, d))
    check_round_trip(s)


def test_a_place_that_is_found_by_dividing_is_copied_only_if_it_always_is_one() -> None:
    """The reader's condition keeps it from dividing by an n of 0, and a copy is made without asking the reader."""
    n, A = te.var("n"), te.placeholder((7,), name="A")
    guarded = te.compute((9,), lambda i: te.select(n > 0, A[i % n % 7], 1.0), name="C")
    with pytest.raises(StructureError, match=r"divides by n; the copy is made whatever that is, and it may be 0"):
        te.create_schedule(guarded).reindex(guarded, A)
    C = te.compute((9,), lambda i: A[i % 7] * 2, name="C")
    s = te.create_schedule(C)
    s.reindex(C, A)
    check_meaning(s, compiled=True)
