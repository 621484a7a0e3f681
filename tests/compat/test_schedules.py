"""TVM's tutorials on schedules, written out: matrix products, reductions, tuples, mathematics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te
from flashsched.errors import ExpressionError, LoweringError, ScheduleError

RNG = np.random.default_rng(0)


def call(s: Any, args: list[Any], *inputs: Any, target: str = "llvm") -> list[Any]:
    """What the schedule's function leaves in those of *args* that come after *inputs*."""
    module = tvm.build(s, args, target, name="main")
    outputs = [tvm.nd.empty(tuple(map(int, t.shape)), t.dtype) for t in args[len(inputs) :]]
    module(*map(tvm.nd.array, inputs), *outputs)
    return [out.numpy() for out in outputs]


# -- opt_gemm: How to optimize GEMM on CPU

M, K, N = 64, 96, 80
A_NP, B_NP = RNG.random((M, K), "float32"), RNG.random((K, N), "float32")
BN, KFACTOR = 16, 4


def gemm() -> tuple[Any, Any, Any, Any]:
    k = te.reduce_axis((0, K), "k")
    A = te.placeholder((M, K), name="A")
    B = te.placeholder((K, N), name="B")
    C = te.compute((M, N), lambda m, n: te.sum(A[m, k] * B[k, n], axis=k), name="C")
    return A, B, C, te.create_schedule(C.op)


def check_gemm(s: Any, args: list[Any]) -> None:
    assert "C" in str(tvm.lower(s, args, simple_mode=True))
    (c,) = call(s, args, A_NP, B_NP)
    tvm.testing.assert_allclose(c, A_NP @ B_NP, rtol=1e-5)


def test_gemm_baseline() -> None:
    A, B, C, s = gemm()
    check_gemm(s, [A, B, C])


@pytest.mark.parametrize("step", ["blocking", "vectorization", "permutation"])
def test_gemm_loops(step: str) -> None:
    A, B, C, s = gemm()
    mo, no, mi, ni = s[C].tile(C.op.axis[0], C.op.axis[1], BN, BN)
    (kaxis,) = s[C].op.reduce_axis
    ko, ki = s[C].split(kaxis, factor=KFACTOR)
    s[C].reorder(mo, no, ko, *((mi, ki) if step == "permutation" else (ki, mi)), ni)
    if step != "blocking":
        s[C].vectorize(ni)
    check_gemm(s, [A, B, C])


def packed_gemm() -> tuple[Any, Any, Any, Any]:
    k = te.reduce_axis((0, K), "k")
    A = te.placeholder((M, K), name="A")
    B = te.placeholder((K, N), name="B")
    packedB = te.compute((N // BN, K, BN), lambda bigN, k, littleN: B[k, bigN * BN + littleN], name="packedB")
    C = te.compute(
        (M, N),
        lambda m, n: te.sum(A[m, k] * packedB[n // BN, k, tvm.tir.indexmod(n, BN)], axis=k),
        name="C",
    )
    return A, B, packedB, C


def test_gemm_array_packing() -> None:
    A, B, packedB, C = packed_gemm()
    s = te.create_schedule(C.op)
    mo, no, mi, ni = s[C].tile(C.op.axis[0], C.op.axis[1], BN, BN)
    (kaxis,) = s[C].op.reduce_axis
    ko, ki = s[C].split(kaxis, factor=KFACTOR)
    s[C].reorder(mo, no, ko, mi, ki, ni)
    s[C].vectorize(ni)
    bigN, _, littleN = s[packedB].op.axis
    s[packedB].vectorize(littleN)
    s[packedB].parallel(bigN)
    check_gemm(s, [A, B, C])


@pytest.mark.parametrize("parallel", [False, True])
def test_gemm_write_cache(parallel: bool) -> None:
    A, B, packedB, C = packed_gemm()
    s = te.create_schedule(C.op)
    CC = s.cache_write(C, "global")
    mo, no, _mi, _ni = s[C].tile(C.op.axis[0], C.op.axis[1], BN, BN)
    s[CC].compute_at(s[C], no)
    mc, nc = s[CC].op.axis
    (kaxis,) = s[CC].op.reduce_axis
    ko, ki = s[CC].split(kaxis, factor=KFACTOR)
    s[CC].reorder(ko, mc, ki, nc)
    s[CC].vectorize(nc)
    s[CC].unroll(ki)
    if parallel:
        s[C].parallel(mo)
    bigN, _, littleN = s[packedB].op.axis
    s[packedB].vectorize(littleN)
    s[packedB].parallel(bigN)
    check_gemm(s, [A, B, C])


def test_the_old_reduce_axis_is_the_cache_stages() -> None:
    k = te.reduce_axis((0, K), "k")
    A, B = te.placeholder((M, K), name="A"), te.placeholder((K, N), name="B")
    C = te.compute((M, N), lambda m, n: te.sum(A[m, k] * B[k, n], axis=k), name="C")
    s = te.create_schedule(C.op)
    CC = s.cache_write(C, "local")
    ko, _ = s[CC].split(k, factor=8)
    _, no = s[C].split(s[C].op.axis[1], nparts=4)
    s[CC].compute_at(s[C], no)
    assert ko.dom.extent.value == 12
    check_gemm(s, [A, B, C])


def test_a_loop_may_be_vectorized_before_it_is_innermost() -> None:
    A, B, C, s = gemm()
    m, n = s[C].op.axis
    s[C].vectorize(n)
    s[C].reorder(m, s[C].op.reduce_axis[0], n)
    assert "# vectorize" in str(s)
    check_gemm(s, [A, B, C])


def test_a_vector_with_loops_in_it() -> None:
    A, B, C, s = gemm()
    _, _, _, yi = s[C].tile(*s[C].op.axis, 8, 16)
    s[C].vectorize(yi)
    assert "# vectorize" not in str(s)  # the reduction is inside
    assert "# vectorize" in str(tvm.lower(s, [A, B, C]))
    check_gemm(s, [A, B, C])
    s[C].reorder(s[C].op.reduce_axis[0], yi)
    assert "# vectorize" in str(s)
    check_gemm(s, [A, B, C])


def test_a_long_vector() -> None:
    A = te.placeholder((4096,), name="A")
    B = te.compute((4096,), lambda i: A[i] * 2, name="B")
    s = te.create_schedule(B.op)
    s[B].vectorize(B.op.axis[0])
    a = RNG.random(4096, "float32")
    np.testing.assert_array_equal(call(s, [A, B], a)[0], a * 2)


def test_two_kinds_for_one_loop_are_refused() -> None:
    _, _, C, s = gemm()
    s[C].parallel(C.op.axis[0])
    with pytest.raises(ScheduleError, match="parallel"):
        s[C].vectorize(C.op.axis[0])


def test_any_order_of_the_arguments() -> None:
    A, B, C, s = gemm()
    module = tvm.build(s, [C, B, A])
    c = tvm.nd.empty((M, N))
    module(c, tvm.nd.array(B_NP), tvm.nd.array(A_NP))
    tvm.testing.assert_allclose(c.numpy(), A_NP @ B_NP, rtol=1e-5)


# -- reduction


def test_sum_over_rows_rfactor() -> None:
    n, m = 37, 64
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), "k")
    B = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    _ko, ki = s[B].split(B.op.reduce_axis[0], factor=16)
    BF = s.rfactor(B, ki)
    assert "B.rf" in str(tvm.lower(s, [A, B], simple_mode=True))
    assert s[B].op.reduce_axis[0].dom.extent.value == 16
    xo, _xi = s[B].split(s[B].op.axis[0], factor=32)
    s[BF].compute_at(s[B], xo)
    s[B].parallel(xo)
    a = RNG.random((n, m), "float32")
    tvm.testing.assert_allclose(call(s, [A, B], a)[0], a.sum(axis=1), rtol=1e-4)


def test_the_reduction_tutorials_gpu_schedule_runs_on_the_cpu() -> None:
    n, m = 37, 64
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), "k")
    B = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    _ko, _ki = s[B].split(B.op.reduce_axis[0], factor=16)
    xo, xi = s[B].split(B.op.axis[0], factor=32)
    s[B].bind(xo, te.thread_axis("blockIdx.x"))
    s[B].bind(xi, te.thread_axis((0, 32), "threadIdx.x"))
    assert "# threadIdx.x" in str(tvm.lower(s, [A, B], simple_mode=True))
    a = RNG.random((n, m), "float32")
    tvm.testing.assert_allclose(call(s, [A, B], a)[0], a.sum(axis=1), rtol=1e-4)


def test_convolution_of_two_axes() -> None:
    n = 17
    Input = te.placeholder((n, n), name="Input")
    Filter = te.placeholder((3, 3), name="Filter")
    di, dj = te.reduce_axis((0, 3), name="di"), te.reduce_axis((0, 3), name="dj")
    Output = te.compute(
        (n - 2, n - 2),
        lambda i, j: te.sum(Input[i + di, j + dj] * Filter[di, dj], axis=[di, dj]),
        name="Output",
    )
    s = te.create_schedule(Output.op)
    x, f = RNG.random((n, n), "float32"), RNG.random((3, 3), "float32")
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3))
    (found,) = call(s, [Input, Filter, Output], x, f)
    tvm.testing.assert_allclose(found, np.einsum("ijkl,kl->ij", windows, f), rtol=1e-5)


def test_a_product_of_ones_own() -> None:
    n, m = 6, 10
    product = te.comm_reducer(lambda x, y: x * y, lambda t: tvm.tir.const(1, dtype=t), name="product")
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), name="k")
    B = te.compute((n,), lambda i: product(A[i, k], axis=k), name="B")
    a = RNG.random((n, m), "float32") + 0.5
    tvm.testing.assert_allclose(call(te.create_schedule(B.op), [A, B], a)[0], a.prod(axis=1), rtol=1e-4)


def test_reductions_with_conditions() -> None:
    n, m = 5, 12
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), name="k")
    B = te.compute((n,), lambda i: te.max(A[i, k], axis=k, where=k < i + 1), name="B")
    a = RNG.random((n, m), "float32")
    wanted = [a[i, : i + 1].max() for i in range(n)]
    tvm.testing.assert_allclose(call(te.create_schedule(B.op), [A, B], a)[0], wanted)


# -- tuple_inputs


def test_outputs_that_are_computed_together() -> None:
    m, n = 7, 9
    A0, A1 = te.placeholder((m, n), name="A0"), te.placeholder((m, n), name="A1")
    B0, B1 = te.compute((m, n), lambda i, j: (A0[i, j] + 2, A1[i, j] * 3), name="B")
    s = te.create_schedule(B0.op)
    a, b = RNG.random((m, n), "float32"), RNG.random((m, n), "float32")
    found = call(s, [A0, A1, B0, B1], a, b)
    tvm.testing.assert_allclose(found[0], a + 2)
    tvm.testing.assert_allclose(found[1], b * 3)


def argmax() -> Any:
    def fcombine(x: Any, y: Any) -> Any:
        lhs = tvm.tir.Select((x[1] >= y[1]), x[0], y[0])
        rhs = tvm.tir.Select((x[1] >= y[1]), x[1], y[1])
        return lhs, rhs

    def fidentity(t0: str, t1: str) -> Any:
        return tvm.tir.const(-1, t0), te.min_value(t1)

    return te.comm_reducer(fcombine, fidentity, name="argmax")


@pytest.mark.parametrize("index", ["tensor", "axis"])
def test_argmax(index: str) -> None:
    m, n = 6, 11
    idx = te.placeholder((m, n), name="idx", dtype="int32")
    val = te.placeholder((m, n), name="val", dtype="float32")
    k = te.reduce_axis((0, n), "k")
    T0, T1 = te.compute((m,), lambda i: argmax()((idx[i, k] if index == "tensor" else k, val[i, k]), axis=k), name="T")
    assert (T0.dtype, T1.dtype) == ("int32", "float32")
    s = te.create_schedule(T0.op)
    s[T0].split(s[T0].op.reduce_axis[0], 4)
    v = RNG.random((m, n), "float32")
    inputs = [np.tile(np.arange(n, dtype="int32"), (m, 1)), v]
    given = [idx, val] if index == "tensor" else [val]
    found = call(s, [*given, T0, T1], *inputs[-len(given) :])
    np.testing.assert_array_equal(found[0], v.argmax(1))
    np.testing.assert_array_equal(found[1], v.max(1))


def test_tuples_between_stages() -> None:
    m, n = 6, 10
    A0, A1 = te.placeholder((m, n), name="A0"), te.placeholder((m, n), name="A1")
    B0, B1 = te.compute((m, n), lambda i, j: (A0[i, j] + 2, A0[i, j] * 3), name="B")
    C = te.compute((m, n), lambda i, j: A1[i, j] + B0[i, j] + B1[i, j] * 0, name="C")
    s = te.create_schedule(C.op)
    s[B0].compute_at(s[C], C.op.axis[0])
    a, b = RNG.random((m, n), "float32"), RNG.random((m, n), "float32")
    tvm.testing.assert_allclose(call(s, [A0, A1, C], a, b)[0], a + 2 + b, rtol=1e-6)


# -- intrin_math


@pytest.mark.parametrize(
    "exp",
    [
        te.exp,
        tvm.tir.exp,
        lambda x: tvm.tir.call_pure_extern("float32", "expf", x),
        lambda x: tvm.tir.call_intrin("float32", "tir.exp", x),
        lambda x: tvm.tir.call_llvm_pure_intrin("float32", "llvm.exp.f32", tvm.tir.const(1, "uint32"), x),
    ],
)
def test_exp_by_any_name(exp: Any) -> None:
    A = te.placeholder((20,), name="A")
    B = te.compute(A.shape, lambda i: exp(A[i]), name="B")
    a = RNG.random(20, "float32")
    tvm.testing.assert_allclose(call(te.create_schedule(B.op), [A, B], a)[0], np.exp(a), rtol=1e-5)


def test_an_operator_of_ones_own() -> None:
    def mylog(x: Any) -> Any:
        return tvm.tir.call_intrin(x.dtype, "tir.tests_log", x)

    with pytest.raises(ExpressionError, match=r"no operator 'tir\.tests_log'"):
        mylog(te.const(1.0))
    tvm.ir.register_op_attr("tir.tests_log", "TCallEffectKind", tvm.tir.CallEffectKind.Pure)
    A = te.placeholder((20,), name="A")
    B = te.compute(A.shape, lambda i: mylog(A[i]) + 1, name="B")
    a = RNG.random(20, "float32") + 0.5
    with pytest.raises(LoweringError, match="no rule lowers"):
        tvm.build(te.create_schedule(B.op), [A, B])

    def rule(op: Any) -> Any:
        if op.dtype == "float32":
            return tvm.tir.call_pure_extern("float32", "logf", op.args[0])
        return op

    tvm.ir.register_intrin_lowering("tir.tests_log", target="llvm", f=rule, level=99)
    s = te.create_schedule(B.op)
    s[B].vectorize(s[B].split(B.op.axis[0], 8)[1])
    tvm.testing.assert_allclose(call(s, [A, B], a)[0], np.log(a) + 1, rtol=1e-5)


def test_other_functions_of_c_and_llvm() -> None:
    A = te.placeholder((20,), name="A")
    B = te.compute(A.shape, lambda i: tvm.tir.call_pure_extern("float32", "cbrtf", A[i]), name="B")
    C = te.compute(
        A.shape,
        lambda i: tvm.tir.call_llvm_pure_intrin(
            "float32", "llvm.fma.f32", tvm.tir.const(3, "uint32"), A[i], A[i], A[i]
        ),
        name="C",
    )
    D = te.compute(A.shape, lambda i: tvm.tir.call_extern("float32", "expf", A[i]), name="D")
    a = RNG.random(20, "float32")
    b, c, d = call(te.create_schedule([B.op, C.op, D.op]), [A, B, C, D], a)
    tvm.testing.assert_allclose(b, np.cbrt(a), rtol=1e-6)
    tvm.testing.assert_allclose(c, a * a + a, rtol=1e-6)
    tvm.testing.assert_allclose(d, np.exp(a), rtol=1e-5)


# -- the sizes of integers


def test_indices_are_int32() -> None:
    n = 12
    A = te.placeholder((n,), "int32", name="A")
    B = te.compute((n,), lambda i: A[i] + i * 2, name="B")
    C = te.compute((n,), lambda i: tvm.tir.truncdiv(i - 6, 4) + tvm.tir.truncmod(i - 6, 4) * 100, name="C")
    D = te.compute((n,), lambda i: i.astype("float32") / 2.0, name="D")
    E = te.compute((n,), lambda i: i.astype("int64") * 2, name="E")
    assert [t.dtype for t in (B, C, D, E)] == ["int32", "int32", "float32", "int64"]
    a = RNG.integers(-9, 9, n).astype("int32")
    b, c, d, e = call(te.create_schedule([B.op, C.op, D.op, E.op]), [A, B, C, D, E], a)
    i = np.arange(n)
    np.testing.assert_array_equal(b, a + 2 * i)
    np.testing.assert_array_equal(c, np.trunc((i - 6) / 4) + np.fmod(i - 6, 4) * 100)
    np.testing.assert_array_equal(d, i / 2)
    np.testing.assert_array_equal(e, i * 2)


def test_parts_of_an_index() -> None:
    A = te.placeholder((4, 5), name="A")
    B = te.compute((5, 4), lambda i, j: A[j][i] + A(j, i), name="B", tag="twice", attrs={"why": "both forms"})
    assert B.op.tag == "twice"
    assert B.op.attrs == {"why": "both forms"}
    assert B.shape[0].value == 5
    a = RNG.random((4, 5), "float32")
    tvm.testing.assert_allclose(call(te.create_schedule(B.op), [A, B], a)[0], 2 * a.T)
