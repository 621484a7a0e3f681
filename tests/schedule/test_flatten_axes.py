"""flatten_axes: a stage is computed over axes that run through several of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, DependenceError, LimitError, StructureError
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, matmul, running_sum


def windows(n: int, c: int, w: int, taps: int, stride: int = 1, padding: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Signals of *c* channels, their taps for three outputs, and the convolution of both, *w* long."""
    A, W = (
        te.placeholder((n, c, (w - 1) * stride + taps - 2 * padding), name="A"),
        te.placeholder((3, c, taps), name="W"),
    )
    k, r = te.reduce_axis((0, c), name="c"), te.reduce_axis((0, taps), name="r")
    size = A.known_shape[2]
    P = te.compute(
        (n, c, size + 2 * padding),
        lambda n, c, x: te.select(te.all(x >= padding, x < size + padding), A[n, c, x - padding], 0.0), name="P",
    )  # fmt: skip
    C = te.compute((n, 3, w), lambda n, o, x: te.sum(P[n, k, x * stride + r] * W[o, k, r], axis=[k, r]), name="C")
    return A, W, C


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 3), c=st.integers(1, 3), w=st.integers(3, 6), taps=st.integers(1, 3), stride=st.integers(1, 2),
    padding=st.integers(0, 1), window_first=st.booleans(), channels_first=st.booleans(), tile=st.integers(1, 5),
    whole=st.booleans(),
)  # fmt: skip
def test_a_convolution_becomes_a_product_of_two_matrices(
    n: int, c: int, w: int, taps: int, stride: int, padding: int, window_first: bool, channels_first: bool, tile: int,
    whole: bool,
) -> None:  # fmt: skip
    """In whole tiles, which go on from signal to signal, of gathered windows."""
    _, _, C = windows(n, c, w, taps, stride, padding)
    s = te.create_schedule(C)
    sides = [["o"], ["n", "x"]] if channels_first else [["n", "x"], ["o"]]
    flat = s.flatten_axes(C, [*sides, ["r", "c"] if window_first else ["c", "r"]])
    assert flat.shape == ((3, n * w) if channels_first else (n * w, 3))
    copies = [s.reindex(flat, "P"), s.reindex(flat, "W")]
    if c * taps > 1:  # else nothing moves along the sum
        assert [copy.shape for copy in copies] == [(n * w, c * taps), (3, c * taps)]
    s["P"].compute_inline()
    if whole and c * taps > 1:
        product = s.pad_einsum(flat, [tile, tile, tile])
        product = product[0] if isinstance(product, tuple) else product
        s[product].tile(*s[product].op.axis, tile, tile)
        assert "where" not in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_tiles_of_what_reads_it_are_tiles_of_it() -> None:
    """Loops fused over the axes again: a tile of 8 pixels of rows of 6 is 8 sums, not two rows."""
    _, _, C = windows(4, 2, 6, 3)
    s = te.create_schedule(C)
    flat = s.flatten_axes(C, [["o"], ["n", "x"], ["c", "r"]])
    s[C].reorder("n", "x", "o")
    block, inner = s[C].split(s[C].fuse("n", "x"), factor=8)
    one, _ = s[C].split(inner, factor=2)
    s[flat].compute_at(s[C], block)
    assert "n.x=n.x.o * 8 + n.x" in str(s)
    s[flat].compute_at(s[C], one)
    assert "n.x=n.x.o * 8 + n.x.i.o * 2 + n.x" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_order_begins_and_no_points() -> None:
    A = te.placeholder((3, 5, 4), "int32", name="A")
    j, k = te.reduce_axis((1, 5), name="j"), te.reduce_axis((2, 4), name="k")
    C = te.compute((3,), lambda i: te.max(A[i, j, k], axis=[j, k]), name="C")
    s = te.create_schedule(C)
    flat = s.flatten_axes(C, [["k", "j"], ["i"]])  # those of the output come first all the same
    assert [axis.name for axis in (*flat.op.axis, *flat.op.reduce_axis)] == ["i", "k.j"]
    assert "A[i, k.j % 4 + 1, k.j // 4 + 2]" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    E = te.compute((2, 0, 3), lambda a, b, c: te.sum(A[a, b, c + k - 2], axis=k), name="E")
    s = te.create_schedule(E)
    assert s.flatten_axes(E, [["a", "b", "c"], ["k"]]).shape == (0,)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_stages_that_reduce_nothing_and_several_outputs() -> None:
    A = te.placeholder((3, 4, 5), name="A")
    C = te.compute((3, 4, 5), lambda i, j, k: te.select(j > 1, A[i, j, k], 1.0) + i * 10 + k, name="C")
    s = te.create_schedule(C)
    s[s.flatten_axes(C, [["j"], ["k", "i"]])].vectorize("k.i")
    check_meaning(s, compiled=True)
    check_round_trip(s)
    M, at, value = argmax(3, 4)
    s = te.create_schedule([at, value])
    places, _ = s.flatten_axes(at, [["i"], ["k"]])
    assert places.shape == at.shape
    check_meaning(s, compiled=True)
    check_round_trip(s)
    assert M.shape == (3, 4)


def test_flatten_axes_refuses() -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    for groups in ([["i", "j"]], [["i", "j"], ["k"], ["k"]], [["i"], ["j"], ["k"], []], [["i", "z"], ["j"], ["k"]]):
        with pytest.raises(ArgumentError, match=r"(?s)are not the axes of 'C'.*put each of i, j, k into one group"):
            s.flatten_axes(C, groups)
    with pytest.raises(
        DependenceError, match="the group of j, k has axes of the output of 'C' beside axes that it reduces"
    ):
        s.flatten_axes(C, [["i"], ["j", "k"]])
    s[C].split("k", 2)
    with pytest.raises(StructureError, match=r"(?s)'C' was scheduled already.*call flatten_axes first"):
        s.flatten_axes(C, [["i", "j"], ["k"]])
    *_, D = running_sum(4, 3)
    with pytest.raises(DependenceError, match="'S' writes a state of a scan"):
        te.create_schedule(D).flatten_axes("S", [["t"], ["i"]])
    with pytest.raises(
        DependenceError, match=r"(?s)'update' is computed anew in each turn of a recurrence.*other axes"
    ):
        te.create_schedule(D).flatten_axes("update", [["i", "t"]])


def test_sizes_known_at_run_time() -> None:
    n = te.var("n")
    A = te.placeholder((n, 4, 6), name="A")
    k = te.reduce_axis((0, 6), name="k")
    C = te.compute((n, 4), lambda i, j: te.sum(A[i, j, k], axis=k), name="C")
    s = te.create_schedule(C)
    with pytest.raises(LimitError, match="i, j have sizes that are known at run time only"):
        s.flatten_axes(C, [["i", "j"], ["k"]])
    s.flatten_axes(C, [["k"], ["i"], ["j"]])
    kernel = fs.build(s)
    for rows in (0, 1, 5):
        a = np.random.default_rng(rows).standard_normal((rows, 4, 6)).astype("float32")
        np.testing.assert_allclose(kernel(a), a.sum(2), rtol=1e-5, atol=1e-6)
    check_round_trip(s)
