"""Programs as people write them: none of them may be refused, and each computes what NumPy computes."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import matmul


@pytest.mark.parametrize("tail", ["guard", "cut"])
@pytest.mark.parametrize(("m", "n", "k"), [(16, 16, 8), (13, 19, 7), (1, 1, 1), (5, 40, 0)])
def test_the_matmul_of_the_tutorials(m: int, n: int, k: int, tail: str) -> None:
    _A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    CC = s.cache_write(C, "global")
    xo, yo, xi, yi = s[C].tile(C.op.axis[0], C.op.axis[1], 8, 8, tail=tail)
    s[CC].compute_at(s[C], yo)
    xc, yc = s[CC].op.axis
    (kaxis,) = s[CC].op.reduce_axis
    ko, ki = s[CC].split(kaxis, factor=4, tail=tail)
    s[CC].reorder(ko, xc, ki, yc)
    s[CC].unroll(ki)
    s[CC].vectorize(yc)
    s[C].unroll(xi)
    s[C].vectorize(yi)
    s[C].parallel(xo)
    packed = s.cache_read(B, "global", [CC])
    s[packed].transform_layout(lambda p, q: (q // 8, p, q % 8))
    bo, bi = s[packed].split(s[packed].op.axis[1], 8)
    s[packed].reorder(bo, s[packed].op.axis[0], bi)
    s[packed].vectorize(bi)
    s[packed].parallel(bo)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("columns", [1, 8, 13])
def test_a_normalisation_in_one_pass_over_the_rows(rows: int, columns: int) -> None:
    A = te.placeholder((rows, columns), name="A")
    k, m = te.reduce_axis((0, columns), name="k"), te.reduce_axis((0, columns), name="m")
    top = te.compute((rows,), lambda i: te.max(A[i, k], axis=k), name="top")
    less = te.compute((rows, columns), lambda i, j: A[i, j] - top[i], name="less")
    total = te.compute((rows,), lambda i: te.sum(less[i, m], axis=m), name="total")
    out = te.compute((rows, columns), lambda i, j: less[i, j] * total[i], name="out")
    s = te.create_schedule(out)
    io, ii = s[out].split(out.op.axis[0], 4)
    _, ji = s[out].split(out.op.axis[1], 4)
    s[out].vectorize(ji)
    s[out].parallel(io)
    s[total].compute_at(s[out], ii)
    s[less].compute_at(s[out], ii)
    s[top].compute_at(s[out], ii)
    s[less].vectorize(s[less].split(s[less].op.axis[1], 4, tail="cut")[1])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("inlined", [True, False])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [(8, 3, 1, 1), (7, 3, 2, 1), (5, 1, 1, 0), (6, 5, 3, 2)]
)
def test_a_padded_convolution_with_an_epilogue(
    size: int, window: int, stride: int, padding: int, inlined: bool
) -> None:
    ci, co, out_size = 2, 5, (size + 2 * padding - window) // stride + 1
    X, W = te.placeholder((ci, size, size), name="X"), te.placeholder((co, ci, window, window), name="W")
    bias = te.placeholder((co,), name="bias")
    wide = size + 2 * padding

    def padded(c: te.Var, y: te.Var, x: te.Var) -> te.Expr:
        inside = te.all(y >= padding, y < size + padding, x >= padding, x < size + padding)
        return te.select(inside, X[c, y - padding, x - padding], te.const(0.0))

    pad = te.compute((ci, wide, wide), padded, name="pad")
    c, r, q = te.reduce_axis((0, ci), name="c"), te.reduce_axis((0, window), "r"), te.reduce_axis((0, window), "q")
    conv = te.compute(
        (co, out_size, out_size),
        lambda o, y, x: te.sum(pad[c, y * stride + r, x * stride + q] * W[o, c, r, q], axis=[c, r, q]),
        name="conv",
    )
    biased = te.compute(conv.shape, lambda o, y, x: conv[o, y, x] + bias[o], name="biased")
    out = te.compute(conv.shape, lambda o, y, x: te.relu(biased[o, y, x]), name="out")
    s = te.create_schedule(out)
    s[biased].compute_inline()
    oo, oi = s[out].split(out.op.axis[0], 4, tail="cut")
    xo, xi = s[out].split(out.op.axis[2], 3, tail="cut")
    s[out].reorder(oo, out.op.axis[1], xo, xi, oi)
    s[out].vectorize(oi)
    s[conv].compute_at(s[out], xo)
    o, y, x = s[conv].op.axis
    s[conv].reorder(*s[conv].op.reduce_axis, y, x, o)
    s[conv].unroll(x)
    s[conv].vectorize(o)
    if inlined:
        near = s.cache_read(pad, "local", [conv])
        s[pad].compute_inline()
        s[near].compute_at(s[conv], s[conv].op.reduce_axis[0])
    else:
        s[pad].compute_at(s[out], out.op.axis[1])
    s[out].parallel(oo)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("n", [1, 17, 64])
def test_an_elementwise_chain_fused_parallel_and_vectorized(n: int) -> None:
    A, B = te.placeholder((3, n), name="A"), te.placeholder((n,), name="B")
    scaled = te.compute((3, n), lambda i, j: A[i, j] * 3, name="scaled")
    moved = te.compute((3, n), lambda i, j: scaled[i, j] + B[j], name="moved")
    out = te.compute((3, n), lambda i, j: te.select(moved[i, j] > 0, moved[i, j], 0 - moved[i, j]), name="out")
    s = te.create_schedule(out)
    s[scaled].compute_inline()
    s[moved].compute_inline()
    outer, inner = s[out].split(s[out].fuse(*out.op.axis), 16)
    s[out].vectorize(inner)
    s[out].parallel(outer)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("n", [5, 12])
def test_a_two_level_pyramid_of_stencils_with_line_buffers(n: int) -> None:
    A = te.placeholder((n + 4, n), name="A")
    across = te.compute((n + 4, n), lambda y, x: A[y, x] + te.select(x > 0, A[y, x - 1], 0.0), name="across")
    down = te.compute((n + 2, n), lambda y, x: across[y, x] + across[y + 1, x] + across[y + 2, x], name="down")
    out = te.compute((n, n), lambda y, x: down[y + 2, x] - down[y, x], name="out")
    s = te.create_schedule(out)
    yo, yi = s[out].split("y", 4, tail="cut")
    xo, xi = s[out].split("x", 3)
    s[out].reorder(yo, xo, yi, xi)
    s[down].compute_at(s[out], xo)
    s[across].compute_at(s[down], "y")
    s[out].parallel(yo)
    s[out].vectorize(xi)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[across].compute_at(s[out], yo)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("n", [1, 64, 200, 1024])
def test_the_vector_addition_of_the_tutorials(n: int) -> None:
    A, B = te.placeholder((n,), name="A"), te.placeholder((n,), name="B")
    C = te.compute(A.shape, lambda i: A[i] + B[i], name="C")
    s = te.create_schedule(C.op)
    outer, inner = s[C].split(C.op.axis[0], factor=64)
    s[C].parallel(outer)
    s[C].vectorize(inner)
    check_meaning(s, compiled=True)
    check_round_trip(s)


PACKED = 4


def gemm(n: int, packed: bool) -> tuple[te.Tensor, te.Tensor | None]:
    """C = A @ B of n by n, B packed by a stage of its own or not."""
    A, B, k = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B"), te.reduce_axis((0, n), name="k")
    if not packed:
        return te.compute((n, n), lambda x, y: te.sum(A[x, k] * B[k, y], axis=k), name="C"), None
    P = te.compute((n // PACKED, n, PACKED), lambda big, x, little: B[x, big * PACKED + little], name="packedB")
    C = te.compute((n, n), lambda x, y: te.sum(A[x, k] * P[y // PACKED, k, y % PACKED], axis=k), name="C")
    return C, P


@pytest.mark.parametrize("step", ["blocking", "vectorize", "permute", "packing", "write cache", "parallel"])
@pytest.mark.parametrize("n", [8, 16, 24])
def test_how_to_optimize_gemm_step_by_step(step: str, n: int) -> None:
    """The six steps of "How to optimize GEMM on CPU", each a program of its own."""
    steps = ["blocking", "vectorize", "permute", "packing", "write cache", "parallel"]
    number, bn, kfactor = steps.index(step), 8, 4
    C, P = gemm(n, number >= 3)
    s = te.create_schedule(C)
    if number >= 4:
        CC = s.cache_write(C, "global")
        xo, yo, xi, yi = s[C].tile(C.op.axis[0], C.op.axis[1], bn, bn)
        s[CC].compute_at(s[C], yo)
        xc, yc = s[CC].op.axis
        (k,) = s[CC].op.reduce_axis
        ko, ki = s[CC].split(k, factor=kfactor)
        s[CC].reorder(ko, xc, ki, yc)
        s[CC].unroll(ki)
        s[CC].vectorize(yc)
    else:
        xo, yo, xi, yi = s[C].tile(C.op.axis[0], C.op.axis[1], bn, bn)
        (k,) = s[C].op.reduce_axis
        ko, ki = s[C].split(k, factor=kfactor)
        s[C].reorder(xo, yo, ko, *((xi, ki) if number >= 2 else (ki, xi)), yi)
        if number >= 1:
            s[C].vectorize(yi)
    if number == 5:
        s[C].parallel(xo)
    if P is not None:
        bigN, _, littleN = s[P].op.axis
        s[P].vectorize(littleN)
        s[P].parallel(bigN)
    assert xi.name == "x.i"
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize(("m", "n"), [(32, 48), (10, 21), (1, 1)])
def test_the_schedule_primitives_of_the_tutorials(m: int, n: int) -> None:
    A = te.placeholder((m, n), name="A")
    B = te.compute((m, n), lambda i, j: A[i, j] * 2, name="B")
    C = te.compute((m, n), lambda i, j: B[i, j] + 1, name="C")

    def tiled_and_fused(s: te.Schedule) -> None:
        xo, yo, xi, yi = s[C].tile(C.op.axis[0], C.op.axis[1], x_factor=10, y_factor=5)
        s[C].fuse(xi, yi)
        s[C].parallel(s[C].fuse(xo, yo))

    def reordered(s: te.Schedule) -> None:
        xo, yo, xi, yi = s[C].tile(C.op.axis[0], C.op.axis[1], x_factor=10, y_factor=5)
        s[C].reorder(xi, yo, xo, yi)

    def by_parts(s: te.Schedule) -> None:
        outer, inner = s[C].split(C.op.axis[0], nparts=32)
        s[C].split(inner, factor=2)
        s[C].parallel(outer)

    def on_a_gpu(s: te.Schedule) -> None:
        bx, tx = s[C].split(s[C].fuse(*C.op.axis), factor=64)
        s[C].bind(bx, "blockIdx.x")
        s[C].bind(tx, "threadIdx.x")
        s[B].compute_inline()

    def moved(s: te.Schedule) -> None:
        s[B].compute_at(s[C], C.op.axis[0])

    def moved_back(s: te.Schedule) -> None:
        s[B].compute_at(s[C], C.op.axis[0])
        s[B].compute_root()

    def inlined(s: te.Schedule) -> None:
        s[B].compute_inline()
        s[C].vectorize(s[C].split(C.op.axis[1], factor=16)[1])

    for write in (tiled_and_fused, reordered, by_parts, on_a_gpu, moved, moved_back, inlined):
        s = te.create_schedule(C)
        write(s)
        check_meaning(s, compiled=True)
        check_round_trip(s)


@pytest.mark.parametrize(("n", "m"), [(16, 64), (5, 37), (1, 16)])
def test_the_reduction_of_the_tutorials(n: int, m: int) -> None:
    A, k = te.placeholder((n, m), name="A"), te.reduce_axis((0, m), name="k")
    B = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B)
    ko, ki = s[B].split(B.op.reduce_axis[0], factor=16)
    xo, xi = s[B].split(B.op.axis[0], factor=32)
    s[B].reorder(xo, ko, xi, ki)
    s[B].parallel(xo)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    t = te.create_schedule(B)
    ko, ki = t[B].split(B.op.reduce_axis[0], factor=16)
    BF = t.rfactor(B, ki)
    xo, xi = t[B].split(t[B].op.axis[0], factor=32)
    t[B].parallel(xo)
    t[BF].compute_at(t[B], xi)
    check_meaning(t, compiled=True)
    check_round_trip(t)


def test_loops_of_one_turn_and_kinds_on_what_was_fused_and_split() -> None:
    A = te.placeholder((1, 6, 1, 16), name="A")
    C = te.compute(A.shape, lambda a, b, c, d: A[a, b, c, d] + 1, name="C")
    s = te.create_schedule(C)
    a, b, c, d = C.op.axis
    s[C].vectorize(s[C].split(d, factor=1)[1])
    s[C].unroll(c)
    s[C].parallel(s[C].fuse(a, b))
    check_meaning(s, compiled=True)
    t = te.create_schedule(C)
    whole = t[C].fuse(a, b, c, d)
    outer, rest = t[C].split(whole, nparts=3)
    middle, lanes = t[C].split(rest, factor=8)
    t[C].parallel(outer)
    t[C].unroll(middle)
    t[C].vectorize(lanes)
    check_meaning(t, compiled=True)
    check_round_trip(t)
