"""What TVM took in any order, or twice: its programs did so, and they compute the same here."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, topi
from flashsched.errors import DependenceError, KernelError, MatchError, StructureError

RNG = np.random.default_rng(0)


def run(s: Any, args: list[Any], *inputs: Any) -> Any:
    """What the schedule's function leaves in the last of *args*."""
    out = tvm.nd.empty(tuple(map(int, args[-1].shape)), args[-1].dtype)
    tvm.build(s, args, "llvm")(*map(tvm.nd.array, inputs), out)
    return out.numpy()


def chain() -> tuple[Any, ...]:
    A = te.placeholder((19,), name="A")
    P = te.compute(A.shape, lambda i: A[i] + 1, name="P")
    Q = te.compute(A.shape, lambda i: P[i] + 2, name="Q")
    C = te.compute(A.shape, lambda i: Q[i] + P[i], name="C")
    return A, P, Q, C, te.create_schedule(C.op)


def test_a_loop_may_be_marked_twice() -> None:
    A = te.placeholder((8, 16, 4), name="A")
    B = te.compute(A.shape, lambda *i: A(*i) * 2, name="B")
    s = te.create_schedule(B.op)
    for _ in range(2):  # the tutorial on matrix products marks packedB in two of its steps
        x, y, z = s[B].op.axis
        s[B].parallel(x)
        s[B].unroll(y)
        s[B].vectorize(z)
    a = RNG.random((8, 16, 4), "float32")
    np.testing.assert_array_equal(run(s, [A, B], a), a * 2)
    with pytest.raises(StructureError, match="is parallel"):
        s[B].unroll(s[B].op.axis[0])


@pytest.mark.parametrize("inlined", [True, False])
def test_compute_at_before_the_readers_are_there(inlined: bool) -> None:
    A, P, Q, C, s = chain()
    outer, _ = s[C].split(C.op.axis[0], factor=8)
    s[P].compute_at(s[C], outer)
    if inlined:
        s[Q].compute_inline()
    else:
        s[Q].compute_at(s[C], outer)
    assert not s._attempts  # taken at once when Q stood inside
    a = RNG.random(19, "float32")
    np.testing.assert_allclose(run(s, [A, C], a), 2 * a + 4, rtol=1e-6)


def test_compute_at_that_never_fits_tells_its_line() -> None:
    A, P, _, C, s = chain()
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    s[P].compute_at(s[C], C.op.axis[0])
    with pytest.raises(DependenceError, match="'Q' reads 'P' outside loop 'i' of 'C'") as caught:
        tvm.lower(s, [A, C])
    assert f"test_order.py:{line}" in str(caught.value)


def test_a_chain_of_copies_as_gpu_templates_write_it() -> None:
    k = te.reduce_axis((0, 16), "k")
    A, B = te.placeholder((8, 16), name="A"), te.placeholder((16, 8), name="B")
    C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    s = te.create_schedule(C.op)
    CL = s.cache_write(C, "local")
    AA = s.cache_read(A, "shared", [CL])
    AL = s.cache_read(AA, "local", [CL])
    by, ty = s[C].split(C.op.axis[0], factor=4)
    vx, tx = s[C].split(C.op.axis[1], factor=4)
    s[C].bind(ty, te.thread_axis("threadIdx.y"))  # blocks stand outside of threads only after the next lines
    s[C].bind(by, te.thread_axis("blockIdx.x"))
    s[C].bind(vx, te.thread_axis("vthread"))
    s[C].bind(tx, te.thread_axis("threadIdx.x"))
    s[C].reorder(by, vx, ty, tx)
    s[CL].compute_at(s[C], tx)
    ko, _ = s[CL].split(s[CL].op.reduce_axis[0], factor=4)
    s[CL].reorder(ko, *s[CL].op.axis)
    s[AA].compute_at(s[CL], ko)
    s[AL].compute_at(s[CL], ko)
    a, b = RNG.random((8, 16), "float32"), RNG.random((16, 8), "float32")
    np.testing.assert_allclose(run(s, [A, B, C], a, b), a @ b, rtol=1e-5)


def test_a_loop_that_can_not_be_bound_stays_a_loop_and_says_so() -> None:
    A = te.placeholder((8, 8), name="A")
    B = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="B")
    s = te.create_schedule(B.op)
    s[B].bind(B.op.axis[0], te.thread_axis("threadIdx.x"))
    s[B].bind(B.op.axis[1], te.thread_axis("blockIdx.x"))
    a = RNG.random((8, 8), "float32")
    with pytest.warns(UserWarning, match="a loop is not bound and stays a plain one"):
        np.testing.assert_array_equal(run(s, [A, B], a), a + 1)


def test_what_was_inlined_may_be_copied() -> None:
    A = te.placeholder((1, 2, 6, 6), name="A")
    W = te.placeholder((3, 2, 3, 3), name="W")
    conv = topi.nn.conv2d_nchw(A, W, 1, 1, 1)
    s = te.create_schedule([conv.op])
    padded = s[conv].op.input_tensors[0]
    s[padded].compute_inline()
    CL = s.cache_write(conv, "local")
    PP = s.cache_read(padded, "shared", [CL])
    PL = s.cache_read(PP, "local", [CL])
    s[CL].compute_at(s[conv], s[conv].op.axis[1])
    s[PP].compute_at(s[CL], s[CL].op.axis[2])
    s[PL].compute_at(s[CL], s[CL].op.axis[2])
    a, w = RNG.random((1, 2, 6, 6), "float32"), RNG.random((3, 2, 3, 3), "float32")
    want = topi.testing.conv2d_nchw_python(a, w, 1, 1)
    np.testing.assert_allclose(run(s, [A, W, conv], a, w), want, rtol=1e-4)
    assert "pad_temp[" not in str(s)  # the copy computes it


def gemv(m: int, n: int) -> Any:
    a, b = te.placeholder((n,), name="a"), te.placeholder((m, n), name="b")
    k = te.reduce_axis((0, n), name="k")
    c = te.compute((m,), lambda i: te.sum(a[k] * b[i, k], axis=k), name="c")

    def statements(ins: Any, outs: Any) -> Any:
        def update() -> Any:
            ib = tvm.tir.ir_builder.create()
            x, y, z = ib.buffer_ptr(ins[0]), ib.buffer_ptr(ins[1]), ib.buffer_ptr(outs[0])
            with ib.for_range(0, m) as i, ib.for_range(0, n) as j:
                z[i] = z[i] + x[j] * y[i, j]
            return ib.get()

        def reset() -> Any:
            ib = tvm.tir.ir_builder.create()
            z = ib.buffer_ptr(outs[0])
            with ib.for_range(0, m) as i:
                z[i] = 0.0
            return ib.get()

        def whole() -> Any:
            ib = tvm.tir.ir_builder.create()
            ib.emit(reset())
            ib.emit(update())
            return ib.get()

        return whole(), reset(), update()

    rows = tvm.tir.decl_buffer(b.shape, b.dtype, name="B", offset_factor=1, strides=[te.var("s1"), 1])
    return te.decl_tensor_intrin(c.op, statements, binds={b: rows})


def product() -> tuple[Any, ...]:
    k = te.reduce_axis((0, 16), "k")
    A, B = te.placeholder((6, 16), name="A"), te.placeholder((8, 16), name="B")
    C = te.compute((6, 8), lambda i, j: te.sum(A[i, k] * B[j, k], axis=k), name="C")
    s = te.create_schedule(C.op)
    yo, yi = s[C].split(C.op.axis[1], factor=4)
    s[C].reorder(C.op.axis[0], yo, yi, C.op.reduce_axis[0])
    s[C].tensorize(yi, gemv(4, 16))
    return A, B, C, s, yo, yi


def test_a_stage_may_be_tensorized_anew() -> None:
    A, B, C, s, yo, yi = product()
    a, b = RNG.random((6, 16), "float32"), RNG.random((8, 16), "float32")
    np.testing.assert_allclose(run(s, [A, B, C], a, b), a @ b.T, rtol=1e-5)
    zo, zi = s[C].split(C.op.reduce_axis[0], factor=8)  # the tutorial goes on with the same schedule
    s[C].reorder(C.op.axis[0], yo, zo, yi, zi)
    s[C].tensorize(yi, gemv(4, 8))
    np.testing.assert_allclose(run(s, [A, B, C], a, b), a @ b.T, rtol=1e-5)
    s[C].tensorize(yi, gemv(4, 8))  # and twice is as once
    np.testing.assert_allclose(run(s, [A, B, C], a, b), a @ b.T, rtol=1e-5)


def test_what_an_intrinsic_no_longer_matches_is_refused_when_it_is_lowered() -> None:
    A, B, C, s, *_ = product()
    s[C].split(C.op.reduce_axis[0], factor=8)
    with pytest.raises(MatchError, match="is not what"):
        tvm.lower(s, [A, B, C])


def test_lower_shows_outputs_that_are_not_named() -> None:
    A = te.placeholder((4, 8), name="A")
    B = topi.sum(A, axis=1)
    s = te.create_schedule(B.op)
    assert "A_red" in str(tvm.lower(s, [A], simple_mode=True))
    with pytest.raises(KernelError, match="A_red is not among the arguments"):
        tvm.build(s, [A])


def test_pragmas_about_threads_change_nothing() -> None:
    A = te.placeholder((128,), name="A")
    B = te.compute(A.shape, lambda i: A[i] + 1, name="B")
    C = te.compute(A.shape, lambda i: te.sqrt(B[i]) * 2, name="C")
    s = te.create_schedule(C.op)
    xo, xi = s[C].split(C.op.axis[0], factor=8)
    xo1, _ = s[C].split(xo, nparts=1)
    s[B].compute_at(s[C], xo1)
    s[B].parallel(s[B].op.axis[0])
    s[B].pragma(s[B].op.axis[0], "parallel_barrier_when_finish")
    s[C].parallel(xi)
    s[C].pragma(xo1, "parallel_launch_point")
    s[C].pragma(xi, "parallel_stride_pattern")
    a = RNG.random(128, "float32")
    np.testing.assert_allclose(run(s, [A, C], a), np.sqrt(a + 1) * 2, rtol=1e-5)


def test_rfactor_over_threads_as_the_tutorial_has_it() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="A")
    k = te.reduce_axis((0, m), "k")
    B = te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B.op)
    _, ki = s[B].split(B.op.reduce_axis[0], factor=16)
    BF = s.rfactor(B, ki)
    xo, xi = s[B].split(s[B].op.axis[0], factor=32)
    s[B].bind(xo, te.thread_axis("blockIdx.x"))
    s[B].bind(xi, te.thread_axis("threadIdx.y"))
    tx = te.thread_axis("threadIdx.x")
    s[B].set_store_predicate(tx.var.equal(0))  # before a loop is bound to it, as TVM had it
    with pytest.raises(StructureError, match=r"no loop around 'B' is bound to threadIdx.x"):
        tvm.lower(s, [A, B])
    s[B].bind(s[B].op.reduce_axis[0], tx)
    s[BF].compute_at(s[B], s[B].op.reduce_axis[0])
    s[B].set_store_predicate(tvm.tir.all(tx.var.equal(0)))
    a = RNG.random((37, 53), "float32")
    b = tvm.nd.empty((37,))
    tvm.build(s, [A, B], "llvm")(tvm.nd.array(a), b)
    np.testing.assert_allclose(b.numpy(), a.sum(1), rtol=1e-4)


def test_one_thread_stores_what_the_others_need() -> None:
    A = te.placeholder((8, 16), name="A")
    k = te.reduce_axis((0, 16), "k")
    B = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="B")
    C = te.compute((8, 16), lambda i, j: A[i, j] - B[i], name="C")
    s = te.create_schedule(C.op)
    tx, ty = te.thread_axis("threadIdx.x"), te.thread_axis("threadIdx.y")
    s[B].set_store_predicate(tvm.tir.all(tx.var.equal(0), ty.var.equal(0)))
    s[B].set_scope("shared")
    s[C].bind(C.op.axis[0], te.thread_axis("blockIdx.x"))
    jo, ji = s[C].split(C.op.axis[1], 4)
    s[C].bind(jo, ty)
    s[C].bind(ji, tx)
    s[B].compute_at(s[C], ji)
    assert str(s).count("store_predicate=") == 2
    a = RNG.random((8, 16), "float32")
    np.testing.assert_allclose(run(s, [A, C], a), a - a.sum(1, keepdims=True), rtol=1e-4)


@pytest.mark.parametrize("early", [True, False])
def test_the_threads_of_a_recurrence_are_launched_once(early: bool) -> None:
    m, n = 6, 32
    X = te.placeholder((m, n), name="X")
    s_state = te.placeholder((m, n))
    s_init = te.compute((1, n), lambda _, i: X[0, i])
    s_update = te.compute((m, n), lambda t, i: s_state[t - 1, i] + X[t, i])
    s_scan = te.scan(s_init, s_update, s_state, inputs=[X])
    s = te.create_schedule(s_scan.op)
    thread_x = te.thread_axis((0, 8), "threadIdx.x")
    if early:
        s[s_scan].env_threads([thread_x])
        with pytest.warns(UserWarning, match="threads are not launched around the nest as a whole: env_threads"):
            tvm.lower(s, [X, s_scan])
    _, xi = s[s_scan].split(s[s_scan].op.axis[1], factor=8)
    s[s_scan].bind(xi, thread_x)
    if not early:
        s[s_scan].env_threads(thread_x)
    assert "for threadIdx.x in range(8):" in str(s)
    x = RNG.random((m, n), "float32")
    np.testing.assert_allclose(run(s, [X, s_scan], x), x.cumsum(0), rtol=1e-5)
