"""pad_einsum: a product of tensors over axes that are multiples of a tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, DependenceError, ScheduleError, StructureError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, blur, matmul, pointwise

PADDING = st.lists(st.integers(1, 5), min_size=3, max_size=3)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(0, 7), n=st.integers(0, 9), k=st.integers(0, 6), padding=PADDING, inline=st.booleans())
def test_full_tiles_of_a_product(m: int, n: int, k: int, padding: list[int], inline: bool) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    made = s.pad_einsum(C, padding)
    product, *copies = made if isinstance(made, tuple) else (made,)
    io, jo, ii, ji = s[product].tile(*s[product].op.axis, padding[0], padding[1])
    ko, ki = s[product].split(s[product].op.reduce_axis[0], padding[2])
    s[product].reorder(io, jo, ko, ii, ki, ji)
    s[product].vectorize(ji)
    assert "where" not in str(s)  # not one ragged tile
    for copy in copies:
        s[copy].compute_inline() if inline else s[copy].compute_at(s[product], jo)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_integers_of_several_dtypes_and_other_factors() -> None:
    A, B = te.placeholder((3, 5), "int8", name="A"), te.placeholder((5,), "int8", name="B")
    v = te.placeholder((3,), "int32", name="v")
    k = te.reduce_axis((0, 5), name="k")
    C = te.compute((3,), lambda i: te.sum(A[i, k].astype("int32") * B[k].astype("int32") * v[i], axis=k), name="C")
    s = te.create_schedule(C)
    assert [t.name for t in s.pad_einsum(C, [4, 4])] == ["C.pad", "A.pad", "B.pad", "v.pad"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(1, 7), window=st.integers(1, 3), stride=st.integers(1, 2), padding=PADDING, inline=st.booleans()
)
def test_windows_are_read_from_a_copy_that_reaches_far_enough(
    size: int, window: int, stride: int, padding: list[int], inline: bool
) -> None:
    X = te.placeholder((3, (size - 1) * stride + window), name="X")
    W = te.placeholder((4, 3, window), name="W")
    c, r = te.reduce_axis((0, 3), name="c"), te.reduce_axis((0, window), name="r")
    Y = te.compute((4, size), lambda o, x: te.sum(X[c, x * stride + r] * W[o, c, r], axis=[c, r]), name="Y")
    s = te.create_schedule(Y)
    made = s.pad_einsum(Y, [*padding, 1])
    product, *copies = made if isinstance(made, tuple) else (made,)
    oo, xo, oi, xi = s[product].tile(*s[product].op.axis, padding[0], padding[1])
    co, ci = s[product].split(s[product].op.reduce_axis[0], padding[2])
    s[product].reorder(oo, xo, co, oi, ci, xi)
    assert "where" not in str(s)
    for copy in copies:
        s[copy].compute_inline() if inline else s[copy].compute_at(s[product], co)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_factors_that_are_rounded() -> None:
    A, B = te.placeholder((3, 5), name="A"), te.placeholder((5, 6), name="B")
    k = te.reduce_axis((0, 5), name="k")
    C = te.compute((3, 6), lambda i, j: te.sum(te.tf32(A[i, k]) * te.tf32(B[k, j]), axis=k), name="C")
    s = te.create_schedule(C)
    s.pad_einsum(C, [4, 4, 4])
    assert "C.pad[i, j] + tf32(A.pad[i, k]) * tf32(B.pad[k, j])" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_nothing_to_pad() -> None:
    *_, C = matmul(4, 6, 8)
    s = te.create_schedule(C)
    assert s.pad_einsum(C, [2, 3, 4]).name == "C.pad"
    check_meaning(s)
    check_round_trip(s)


def test_pad_einsum_refuses() -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    for padding in ([2, 2], [2, 2, 0]):
        with pytest.raises(ArgumentError, match=r"does not fit the axes of 'C': i, j, k"):
            s.pad_einsum(C, padding)
    s[C].split("k", 2)
    with pytest.raises(StructureError, match=r"(?s)'C' was scheduled already.*call pad_einsum first"):
        s.pad_einsum(C, [2, 2, 2])
    _, P = pointwise(4)
    with pytest.raises(StructureError, match="'C' is no sum of products"):
        te.create_schedule(P).pad_einsum(P, [3])
    _, _, B = blur(5)
    with pytest.raises(ScheduleError, match="'C' is no sum of products"):
        te.create_schedule(B).pad_einsum(B, [2])
    _, at, value = argmax(3, 4)
    with pytest.raises(StructureError, match="'M' is no sum of products"):
        te.create_schedule([at, value]).pad_einsum(at, [2, 2])


def test_a_zero_must_not_meet_infinity_nor_be_missing() -> None:
    A, v = te.placeholder((3, 5), name="A"), te.placeholder((3,), name="v")
    S = te.placeholder((3, 3), name="S")
    k = te.reduce_axis((0, 5), name="k")
    C = te.compute((3,), lambda i: te.sum(A[i, k] * v[i], axis=k), name="C")
    s = te.create_schedule(C)
    with pytest.raises(DependenceError, match=r"(?s)v\[i\] does not depend on 'k'.*padding 1 for it"):
        s.pad_einsum(C, [2, 2])
    s.pad_einsum(C, [2, 1])
    check_meaning(s)
    n = te.placeholder((3,), "int32", name="n")
    D = te.compute((3,), lambda i: te.sum(n[i], axis=k), name="D")
    with pytest.raises(StructureError, match="'D' adds up the same for each 'k'"):
        te.create_schedule(D).pad_einsum(D, [2, 2])
    E = te.compute((3,), lambda i: te.sum(A[i, k] + 1, axis=k), name="E")
    with pytest.raises(StructureError, match="which is no product of elements"):
        te.create_schedule(E).pad_einsum(E, [2, 2])
    F = te.compute((3,), lambda i: te.sum(A[i, 4 - k] * A[i, 4 - k], axis=k), name="F")
    with pytest.raises(StructureError, match=r"(?s)where 'k' is longer that is another element, and not 0.*padding 1"):
        te.create_schedule(F).pad_einsum(F, [2, 2])
    back = te.compute((3,), lambda i: te.sum(A[2 - i, k], axis=k), name="back")
    with pytest.raises(StructureError, match=r"how far 2 - i goes where 'i' is longer is not known"):
        te.create_schedule(back).pad_einsum(back, [2, 2])
    twice = te.compute((3,), lambda i: te.sum(S[i, i], axis=k), name="twice")
    with pytest.raises(StructureError, match=r"reads S\[i, i\], at one axis twice"):
        te.create_schedule(twice).pad_einsum(twice, [2, 1])
    G = te.compute((2,), lambda i: te.sum(A[i, k], axis=k), name="G")
    with pytest.raises(StructureError, match="'G' reads just a part of 'A'"):
        te.create_schedule(G).pad_einsum(G, [2, 2])
    H = te.compute((3,), lambda i: te.max(A[i, k], axis=k), name="H")
    with pytest.raises(StructureError, match="'H' does not add up its points"):
        te.create_schedule(H).pad_einsum(H, [2, 2])


def test_sizes_known_at_run_time() -> None:
    n, k = te.var("n"), te.reduce_axis((0, 5), name="k")
    A = te.placeholder((n, 5), name="A")
    C = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="C")
    s = te.create_schedule(C)
    product, _ = s.pad_einsum(C, [4, 4])
    _, lane = s[product].split("i", factor=4)
    s[product].reorder("k", lane)
    s[product].vectorize(lane)
    assert "for i.o in range((n + 3) // 4)" in str(s)
    kernel = fs.build(s)
    for size in (0, 1, 4, 7):
        a = np.arange(5.0 * size, dtype="float32").reshape(size, 5)
        np.testing.assert_allclose(kernel(a), a.sum(1))
    with pytest.raises(StructureError, match="reads just a part of 'A'"):
        te.create_schedule(te.compute((n - 1,), lambda i: te.sum(A[i, k], axis=k), name="D")).pad_einsum("D", [4, 4])
