"""tensor_expr_get_started and schedule_primitives: programs of any size, with ``te.var``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, topi
from flashsched.compat.tvm.contrib import cc, utils
from flashsched.errors import KernelError

RNG = np.random.default_rng(0)


def text(s: Any, args: list[Any]) -> str:
    return str(tvm.lower(s, args, simple_mode=True))


def vector_add() -> tuple[Any, Any, Any, Any]:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    B = te.placeholder((n,), name="B")
    return n, A, B, te.compute(A.shape, lambda i: A[i] + B[i], name="C")


def check_add(module: Any, size: int, *first: Any) -> None:
    a, b = (tvm.nd.array(RNG.random(size, "float32")) for _ in range(2))
    c = tvm.nd.empty((size,))
    module(*first, a, b, c)
    tvm.testing.assert_allclose(c.numpy(), a.numpy() + b.numpy())


@pytest.mark.parametrize("parallel", [False, True])
def test_get_started(parallel: bool) -> None:
    tgt = tvm.target.Target(target="llvm", host="llvm")
    n, A, B, C = vector_add()
    assert n.dtype == "int32"
    s = te.create_schedule(C.op)
    if parallel:
        outer, inner = s[C].split(C.op.axis[0], factor=64)
        s[C].parallel(outer)
        s[C].vectorize(inner)
    assert ("# vectorize" in text(s, [A, B, C])) == parallel
    fadd = tvm.build(s, [A, B, C], tgt, name="myadd")
    temp = utils.tempdir()
    fadd.save(temp.relpath("myadd.o"))
    cc.create_shared(temp.relpath("myadd.so"), [temp.relpath("myadd.o")])
    fadd.export_library(temp.relpath("myadd_pack.so"))
    for module in (fadd, *(tvm.runtime.load_module(temp.relpath(f)) for f in ("myadd.so", "myadd_pack.so"))):
        for size in (1024, 37, 1, 0):
            check_add(module, size)


def test_a_size_among_the_arguments_is_checked() -> None:
    n, A, B, C = vector_add()
    module = tvm.build(te.create_schedule(C.op), [n, A, B, C])
    check_add(module, 19, 19)
    with pytest.raises(KernelError, match="size n is 20 by what is passed for it, and 19 by dimension 0 of 'A'"):
        check_add(module, 19, 20)


def test_a_size_of_no_array_is_passed() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n,), "int32", name="A")
    k = te.reduce_axis((0, m), name="k")
    B = te.compute((n,), lambda i: te.sum(A[i] + k, axis=k), name="B")
    for args in ([m, A, B], [A, B, m], [n, A, m, B]):
        module = tvm.build(te.create_schedule(B.op), args)
        for count in (0, 1, 5):
            a, b = np.arange(7, dtype="int32"), tvm.nd.empty((7,), "int32")
            values = {id(n): 7, id(m): count, id(A): tvm.nd.array(a), id(B): b}
            module(*(values[id(arg)] for arg in args))
            np.testing.assert_array_equal(b.numpy(), a * count + sum(range(count)))


def test_a_float_that_is_passed() -> None:
    n, alpha = te.var("n"), te.var("alpha", dtype="float32")
    A = te.placeholder((n,), name="A")
    B = te.compute((n,), lambda i: alpha * A[i] + alpha, name="B")
    module = tvm.build(te.create_schedule(B.op), [A, alpha, B])
    b = tvm.nd.empty((5,))
    module(tvm.nd.array(np.arange(5, dtype="float32")), 2.5, b)
    np.testing.assert_array_equal(b.numpy(), 2.5 * np.arange(5) + 2.5)


def test_sizes_are_int32_in_expressions() -> None:
    n = te.var("n")
    A = te.placeholder((n,), "int32", name="A")
    B = te.compute((n,), lambda i: A[i] + n - i * 2, name="B")
    assert B.dtype == "int32"
    b = tvm.nd.empty((6,), "int32")
    tvm.build(te.create_schedule(B.op), [A, B])(tvm.nd.array(np.ones(6, "int32")), b)
    np.testing.assert_array_equal(b.numpy(), 7 - 2 * np.arange(6))


# -- schedule_primitives

M, N = te.var("m"), te.var("n")


def run(s: Any, args: list[Any], *inputs: Any) -> list[Any]:
    """The arrays of all *args*, after the schedule's function ran; those after *inputs* are as large as the first."""
    arrays = [tvm.nd.array(x) for x in inputs]
    arrays += [tvm.nd.empty(inputs[0].shape, t.dtype) for t in args[len(inputs) :]]
    tvm.build(s, args)(*arrays)
    return [x.numpy() for x in arrays]


def matrices() -> tuple[Any, Any, Any]:
    A = te.placeholder((M, N), name="A")
    B = te.compute((M, N), lambda i, j: A[i, j] * 2, name="B")
    return A, B, te.create_schedule(B.op)


@pytest.mark.parametrize("step", ["plain", "factor", "nparts", "tile", "fuse", "reorder"])
def test_loops(step: str) -> None:
    A, B, s = matrices()
    i, j = B.op.axis
    match step:
        case "factor":
            s[B].split(i, factor=32)
        case "nparts":
            s[B].split(i, nparts=32)
        case "tile" | "fuse" | "reorder":
            xo, yo, xi, yi = s[B].tile(i, j, x_factor=10, y_factor=5)
            if step == "fuse":
                s[B].fuse(xi, yi)
            if step == "reorder":
                s[B].reorder(xi, yo, xo, yi)
        case _:
            pass
    assert "B[" in text(s, [A, B])
    for shape in ((7, 13), (40, 5), (1, 1)):
        a = RNG.random(shape, "float32")
        np.testing.assert_array_equal(run(s, [A, B], a)[1], a * 2)


def test_bind() -> None:
    A = te.placeholder((N,), name="A")
    B = te.compute(A.shape, lambda i: A[i] * 2, name="B")
    s = te.create_schedule(B.op)
    bx, tx = s[B].split(B.op.axis[0], factor=64)
    s[B].bind(bx, te.thread_axis("blockIdx.x"))
    s[B].bind(tx, te.thread_axis("threadIdx.x"))
    assert "# blockIdx.x" in text(s, [A, B])
    a = RNG.random(100, "float32")
    np.testing.assert_array_equal(run(s, [A, B], a)[1], a * 2)


@pytest.mark.parametrize("step", ["plain", "compute_at", "compute_inline", "compute_root"])
def test_places(step: str) -> None:
    A = te.placeholder((M,), name="A")
    B = te.compute((M,), lambda i: A[i] + 1, name="B")
    C = te.compute((M,), lambda i: B[i] * 2, name="C")
    s = te.create_schedule(C.op)
    if step in ("compute_at", "compute_root"):
        s[B].compute_at(s[C], C.op.axis[0])
    if step == "compute_root":
        s[B].compute_root()
    if step == "compute_inline":
        s[B].compute_inline()
    assert text(s, [A, B, C]).count("for i") == (1 if step in ("compute_at", "compute_inline") else 2)
    a = RNG.random(9, "float32")
    found = run(s, [A, B, C], a)
    np.testing.assert_array_equal(found[2], (a + 1) * 2)
    if step != "compute_inline":
        np.testing.assert_array_equal(found[1], a + 1)  # an argument on the way is stored for the caller


# -- reduction


def test_sum_over_rows() -> None:
    A = te.placeholder((N, M), name="A")
    k = te.reduce_axis((0, M), "k")
    B = te.compute((N,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    s[B].split(B.op.reduce_axis[0], factor=16)
    s[B].split(B.op.axis[0], factor=32)
    a, b = RNG.random((21, 37), "float32"), tvm.nd.empty((21,))
    tvm.build(s, [A, B])(tvm.nd.array(a), b)
    tvm.testing.assert_allclose(b.numpy(), a.sum(1), rtol=1e-5)


def test_rfactor_of_any_size() -> None:
    A = te.placeholder((N, M), name="A")
    k = te.reduce_axis((0, M), "k")
    B = te.compute((N,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    _, ki = s[B].split(B.op.reduce_axis[0], factor=16)
    BF = s.rfactor(B, ki)
    assert s[B].op.reduce_axis[0].dom.extent.value == 16
    assert BF.shape[0].value == 16
    a, b = RNG.random((21, 37), "float32"), tvm.nd.empty((21,))
    tvm.build(s, [A, B])(tvm.nd.array(a), b)
    tvm.testing.assert_allclose(b.numpy(), a.sum(1), rtol=1e-5)


def test_convolution() -> None:
    Input = te.placeholder((N, N), name="Input")
    Filter = te.placeholder((3, 3), name="Filter")
    di, dj = te.reduce_axis((0, 3), name="di"), te.reduce_axis((0, 3), name="dj")
    Output = te.compute(
        (N - 2, N - 2), lambda i, j: te.sum(Input[i + di, j + dj] * Filter[di, dj], axis=[di, dj]), name="Output"
    )
    module = tvm.build(te.create_schedule(Output.op), [Input, Filter, Output])
    x, f, out = RNG.random((11, 11), "float32"), RNG.random((3, 3), "float32"), tvm.nd.empty((9, 9))
    module(tvm.nd.array(x), tvm.nd.array(f), out)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3))
    tvm.testing.assert_allclose(out.numpy(), np.einsum("ijkl,kl->ij", windows, f), rtol=1e-5)


# -- intro to topi


def test_topi_of_any_size() -> None:
    A = te.placeholder((N, M), name="A")
    a = RNG.random((6, 17), "float32")
    for define, wanted in (
        (lambda x: topi.sum(x, axis=1), a.sum(1)),
        (lambda x: topi.nn.relu(x - 0.5), np.maximum(a - 0.5, 0)),
        (lambda x: topi.transpose(x), a.T),
    ):
        B = define(A)
        s = topi.generic.schedule_injective([B])
        b = tvm.nd.empty(wanted.shape)
        tvm.build(s, [A, B])(tvm.nd.array(a), b)
        tvm.testing.assert_allclose(b.numpy(), wanted, rtol=1e-5)
