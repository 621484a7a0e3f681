"""Names before 0.8, and what else programs of that time write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, tir, topi
from flashsched.compat.tvm.contrib import cc, util
from flashsched.errors import DtypeError

RNG = np.random.default_rng(0)


def run(s: Any, args: list[Any], *inputs: Any) -> Any:
    """What the schedule's function leaves in the last of *args*."""
    out = tvm.nd.empty(tuple(map(int, args[-1].shape)), args[-1].dtype)
    tvm.build(s, args, "llvm")(*map(tvm.nd.array, inputs), out)
    return out.numpy()


def test_tvm_holds_all_names_as_in_0_6() -> None:
    n = tvm.var("n")
    A, B = tvm.placeholder((n,), name="A"), tvm.placeholder((n,), name="B")
    C = tvm.compute(A.shape, lambda i: tvm.select(A[i] > tvm.const(0.5, "float32"), tvm.exp(B[i]), tvm.max(A[i], B[i])))
    s = tvm.create_schedule(C.op)
    _, inner = s[C].split(C.op.axis[0], factor=64)
    s[C].vectorize(inner)
    ctx = tvm.context("llvm", 0)
    assert (ctx, tvm.gpu(0)) == (tvm.cpu(0), tvm.cuda(0))
    a, b = RNG.random(100, "float32"), RNG.random(100, "float32")
    c = tvm.ndarray.array(np.zeros(100, "float32"), ctx)
    module = tvm.build(s, [A, B, C], "llvm", target_host="llvm", name="myadd")
    temp = util.tempdir()
    module.save(temp.relpath("myadd.o"))
    cc.create_shared(temp.relpath("myadd.so"), [temp.relpath("myadd.o")])
    for function in (module, tvm.module.load(temp.relpath("myadd.so"))):
        function(tvm.nd.array(a, ctx), tvm.nd.array(b, ctx), c)
        np.testing.assert_allclose(c.asnumpy(), np.where(a > 0.5, np.exp(b), np.maximum(a, b)), rtol=1e-5)
    assert Path(temp.relpath("myadd.so")).exists()
    assert tvm.schedule.create_schedule(C.op) is not None
    with pytest.raises(AttributeError, match="ir_builder"):
        tvm.hybrid  # noqa: B018


def test_a_rule_for_an_intrinsic_gets_a_call() -> None:
    seen = []

    def rule(op: Any) -> Any:
        assert isinstance(op, tvm.tir.Call)
        seen.append((op.name, op.op.name, op.dtype))
        return tvm.tir.call_pure_extern("float32", f"{op.name}f", op.args[0])

    tvm.target.register_intrin_rule("llvm", "asinh", rule, override=True)
    tvm.ir.register_op_attr("tir.asinh", "TCallEffectKind", tvm.tir.CallEffectKind.Pure)
    A = te.placeholder((9,), name="A")
    B = te.compute(A.shape, lambda i: tvm.tir.call_intrin("float32", "tir.asinh", A[i]), name="B")
    a = RNG.random(9, "float32")
    np.testing.assert_allclose(run(te.create_schedule(B.op), [A, B], a), np.arcsinh(a), rtol=1e-5)
    assert seen[0] == ("asinh", "tir.asinh", "float32")


def test_equal_is_a_comparison() -> None:
    A = te.placeholder((8,), name="A", dtype="int32")
    k = te.reduce_axis((0, 8), "k")
    B = te.compute((8,), lambda i: A[i].equal(1).astype("float"), name="B")
    C = te.compute((1,), lambda _: te.sum(te.if_then_else(k.equal(3), B[k], 0.0), axis=k), name="C")
    a = np.array([0, 1, 2, 1, 1, 0, 3, 1], "int32")
    assert run(te.create_schedule(C.op), [A, C], a).tolist() == [1.0]


def test_tir_has_the_reducers_of_two_values() -> None:
    A = te.placeholder((8,), name="A")
    B = te.compute((8,), lambda i: tir.min(tir.max(A[i], 0.25), 0.75), name="B")
    a = RNG.random(8, "float32")
    np.testing.assert_array_equal(run(te.create_schedule(B.op), [A, B], a), a.clip(0.25, 0.75))


def test_what_has_no_axis_fuses_to_a_loop_of_one_turn() -> None:
    A = te.placeholder((), name="A")
    B = te.compute((), lambda: A() + 1, name="B")
    s = te.create_schedule(B.op)
    fused = s[B].fuse(*s[B].op.axis)
    s[B].parallel(fused)
    assert fused in s[B].leaf_iter_vars
    assert run(s, [A, B], np.float32(2)) == 3


def test_an_axis_is_among_the_leaves_until_it_is_split() -> None:
    A = te.placeholder((8, 8), name="A")
    B = te.compute((8, 8), lambda i, j: A[i, j], name="B")
    s = te.create_schedule(B.op)
    i, j = B.op.axis
    assert i in s[B].leaf_iter_vars
    s[B].split(i, 2)
    assert j in s[B].leaf_iter_vars
    assert i not in s[B].leaf_iter_vars


def test_automatic_inlining() -> None:
    A, B = te.placeholder((4, 6), name="A"), te.placeholder((4, 6), name="B")
    P = te.compute((4, 6), lambda i, j: A(i, j) * B(i, j), name="P")
    T = te.compute((6, 4), lambda i, j: P(j, i), name="T")
    C = te.compute((6, 4), lambda i, j: T(i, j) + 1, name="C")
    a, b = RNG.random((4, 6), "float32"), RNG.random((4, 6), "float32")
    for inline, left in ((te.schedule.AutoInlineElemWise, {"T", "C"}), (te.schedule.AutoInlineInjective, {"C"})):
        s = te.create_schedule(C.op)
        inline(s)
        assert {view.name for view in s.ours.stages} == left
        np.testing.assert_allclose(run(s, [A, B, C], a, b), (a * b).T + 1, rtol=1e-6)


def test_a_group_moves_together() -> None:
    A = te.placeholder((8,), name="A")
    P = te.compute((8,), lambda i: A[i] + 1, name="P")
    Q = te.compute((8,), lambda i: P[i] * 2, name="Q")
    C = te.compute((8,), lambda i: Q[i] - 3, name="C")
    s = te.create_schedule(C.op)
    outer, _ = s[C].split(C.op.axis[0], factor=4)
    s.create_group(outputs=Q, inputs=[A], include_inputs=False).compute_at(s[C], outer)
    a = RNG.random(8, "float32")
    np.testing.assert_allclose(run(s, [A, C], a), (a + 1) * 2 - 3, rtol=1e-5)
    assert [step.primitive for step in s.ours.trace] == ["split", "compute_at", "compute_at"]


def test_a_misspelt_name_is_answered_with_one_that_is_near() -> None:
    A = te.placeholder((8,), name="A")
    B = te.compute((8,), lambda i: A[i], name="B")
    with pytest.raises(AttributeError, match=r"a stage has no 'vectorise' here .*did you mean vectorize"):
        te.create_schedule(B.op)[B].vectorise(B.op.axis[0])
    with pytest.raises(AttributeError, match="did you mean create_schedule"):
        te.create_shedule(B.op)


def test_convolutions_by_older_arguments_and_their_references() -> None:
    A, W = te.placeholder((1, 3, 6, 6), name="A"), te.placeholder((4, 3, 3, 3), name="W")
    a, w = RNG.random((1, 3, 6, 6), "float32"), RNG.random((4, 3, 3, 3), "float32")
    C = topi.nn.conv2d(A, W, 1, 1, 1, layout="NCHW", out_dtype="float32")
    want = topi.testing.conv2d_nchw_python(a, w, 1, 1)
    np.testing.assert_allclose(run(te.create_schedule(C.op), [A, W, C], a, w), want, rtol=1e-4)
    moved = topi.testing.conv2d_nhwc_python(a.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), 1, 1)
    np.testing.assert_allclose(moved, want.transpose(0, 2, 3, 1), rtol=1e-5)
    D = te.placeholder((3, 2, 3, 3), name="D")
    d = RNG.random((3, 2, 3, 3), "float32")
    E = topi.nn.depthwise_conv2d_nchw(A, D, 1, 1, 1)
    want = topi.testing.depthwise_conv2d_python_nchw(a, d, 1, 1)
    np.testing.assert_allclose(run(te.create_schedule(E.op), [A, D, E], a, d), want, rtol=1e-4)


def test_for_range_takes_its_kind_as_for_type() -> None:
    def doubled(ins: Any, outs: Any) -> Any:
        ib = tir.ir_builder.create()
        x, y = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, 16, name="i", for_type="parallel") as i:
            y[i] = x[i] * 2.0
        return ib.get()

    A = te.placeholder((16,), name="A")
    B = te.extern((16,), [A], doubled, dtype="float32", name="B")
    s = te.create_schedule(B.op)
    assert "# parallel" in str(tvm.lower(s, [A, B]))
    a = RNG.random(16, "float32")
    np.testing.assert_array_equal(run(s, [A, B], a), a * 2)


def test_a_load_of_a_vector_of_another_type_says_in_one_sentence_what_takes_its_place() -> None:
    x = tir.decl_buffer((8,), "float32", name="x")
    with pytest.raises(
        DtypeError, match=r"^a load of int32x8 from x, which holds float32\n.*(\n.*)*load float32, and cas"
    ):
        x.vload(0, "int32x8")
