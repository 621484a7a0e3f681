"""Names that programs ask about: nodes, operations, stages, and what is not there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, tir, topi
from flashsched.errors import ArgumentError, DeviceError, ExpressionError, ScheduleError, UnknownNameError


def program() -> tuple[Any, Any, Any]:
    A = te.placeholder((8, 4), name="A")
    k = te.reduce_axis((0, 4), name="k")
    B = te.compute((8,), lambda i: te.sum(A[i, k] * 2.0, axis=k), name="B", tag="mine")
    return A, B, te.create_schedule(B.op)


@pytest.mark.parametrize(
    ("kind", "node"),
    [
        (tir.IntImm, te.const(1)), (tir.FloatImm, te.const(1.0)), (tir.Add, te.const(1) + te.const(2)),
        (tir.Mul, tir.Var("x", "float32") * 2.0), (tir.FloorDiv, tir.floordiv(tir.Var("x"), 2)),
        (tir.FloorMod, tir.floormod(tir.Var("x"), 2)), (tir.LT, tir.Var("x") < 1), (tir.EQ, tir.Var("x") == 1),
        (tir.Cast, tir.Var("x").astype("float32")), (tir.Call, te.exp(tir.Var("x", "float32"))),
        (tir.Var, tir.Var("x")), (tir.And, tir.all(tir.Var("x") < 1, tir.Var("x") > 0)),
        (tir.Sub, tir.Sub(tir.Var("x"), tir.Var("y"))), (tir.GE, tir.GE(tir.Var("x"), tir.Var("y"))),
        (tir.IntImm, tir.IntImm("int64", 3)), (tir.Not, tir.logical_not(tir.Var("x") < 1)),
    ],
)  # fmt: skip
def test_nodes(kind: Any, node: Any) -> None:
    assert isinstance(node, kind)
    assert isinstance(node, tir.PrimExpr)
    assert not isinstance(node, tir.Max)


def test_operations_and_stages() -> None:
    A, B, s = program()
    assert isinstance(A.op, te.PlaceholderOp)
    assert isinstance(B.op, te.ComputeOp)
    assert isinstance(B, te.Tensor)
    assert (A.op.tag, B.op.tag, B.op.attrs) == ("", "mine", {})
    assert [t.name for t in B.op.input_tensors] == ["A"]
    assert B.op.num_outputs == 1
    assert B.op.output(0).same_as(B)
    assert isinstance(B.op.axis[0], tir.IterVar)
    assert B.op.axis[0].dom.extent.value == 8
    assert B.op.reduce_axis[0].var.name == "k"
    assert [stage.op.name for stage in s.stages] == ["A", "B"]
    assert s.outputs == [B.op]
    xo, xi = s[B].split(B.op.axis[0], factor=2)
    assert [v.name for v in s[B].leaf_iter_vars] == ["i.o", "i.i", "k"]
    assert s[B].leaf_iter_vars[0] == xo
    assert isinstance(xi, tir.IterVar)
    assert xi.dom.extent == 2
    fused = s[B].fuse(xo, xi)
    assert xo.dom is None
    assert fused.dom.extent == 8
    assert s.stage_map[B.op] == s[B]
    assert s.normalize() is s
    assert s[B].is_output
    assert not s[A].is_output
    with pytest.raises(UnknownNameError, match=r"A is an input.*"):
        s[A].split("i", 2)


def test_the_graph_of_a_reduction_over_nothing_that_exists() -> None:
    A, B, s = program()
    with pytest.raises(ScheduleError, match="rfactor"):
        s[B].parallel(B.op.reduce_axis[0])  # TVM gave wrong sums here
    with pytest.raises(ExpressionError, match="needs an axis"):
        te.sum(A[0, 0])
    with pytest.raises(DeviceError, match="not for 'opencl'"):
        tvm.build(s, [A, B], target="opencl")


def test_numbers() -> None:
    assert te.min_value("float32").value == np.finfo("float32").min
    assert te.max_value("int8").value == 127
    assert te.min_value("bfloat16").value < -3e38
    assert tir.const(2.5, "int32").value == 2
    assert [c.dtype for c in tvm.convert([1, 2.0, True])] == ["int32", "float32", "bool"]
    assert te.max(te.const(1.0), te.const(2.0)).dtype == "float32"
    assert str(tvm.arith.Analyzer().simplify(tir.Var("x", "int64") * 4 // 4)) == "x"


def test_integers_round_to_zero_where_c_does() -> None:
    n = 11
    A = te.placeholder((n,), "int32", name="A")
    outs = te.compute(
        (n,),
        lambda i: (
            tir.truncdiv(A[i], 3), tir.truncmod(A[i], 3), tir.floordiv(A[i], 3), tir.ceildiv(A[i], 3),
            tir.power(A[i], 3), tir.shift_right(A[i], 1),
        ),
        name="B",
    )  # fmt: skip
    a = np.arange(-5, 6, dtype="int32")
    arrays = [tvm.nd.empty((n,), "int32") for _ in outs]
    tvm.build(te.create_schedule(outs[0].op), [A, *outs])(tvm.nd.array(a), *arrays)
    wanted = [np.trunc(a / 3), np.fmod(a, 3), a // 3, -(-a // 3), a**3, a >> 1]
    for found, right in zip(arrays, wanted, strict=True):
        np.testing.assert_array_equal(found.numpy(), right)


def test_floats_by_their_c_names() -> None:
    n = 7
    A = te.placeholder((n,), name="A")
    outs = te.compute(
        (n,),
        lambda i: (
            tir.fmod(A[i], 1.5), tir.copysign(2.0, A[i]), tir.hypot(A[i], 3.0), tir.nearbyint(A[i]), tir.trunc(A[i]),
        ),
        name="B",
    )  # fmt: skip
    a = np.linspace(-4.4, 4.5, n).astype("float32")
    arrays = [tvm.nd.empty((n,)) for _ in outs]
    tvm.build(te.create_schedule(outs[0].op), [A, *outs])(tvm.nd.array(a), *arrays)
    wanted = [np.fmod(a, np.float32(1.5)), np.copysign(2, a), np.hypot(a, 3), np.rint(a), np.trunc(a)]
    for found, right in zip(arrays, wanted, strict=True):
        tvm.testing.assert_allclose(found.numpy(), right, rtol=1e-6)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="ir_builder"):
        te.hybrid  # noqa: B018
    with pytest.raises(AttributeError, match=r"te\.extern"):
        tir.PrimFunc  # noqa: B018
    with pytest.raises(AttributeError, match=r"topi\.generic"):
        topi.cuda  # noqa: B018
    _, B, s = program()
    with pytest.raises(AttributeError, match="a stage has no 'rolling_buffer' here"):
        s[B].rolling_buffer()
    with pytest.raises(ArgumentError, match="axes must be named once"):
        s[B].env_threads([])
    with pytest.raises(ArgumentError, match="'True' is no condition on a thread"):
        s[B].set_store_predicate(True)


def test_inlining_what_is_element_by_element() -> None:
    A = te.placeholder((4, 6), name="A")
    C = topi.nn.relu(topi.exp(A) + 1.0)
    s = te.create_schedule(C.op)
    seen: list[str] = []
    topi.utils.traverse_inline(s, C.op, lambda op: seen.append(op.name))
    assert seen == ["T_exp", "T_add", "T_relu"]
    assert str(tvm.lower(s, [A, C])).count("for ") == 2


def test_an_axis_of_an_operation_is_int32_as_a_value() -> None:
    A, B, _ = program()
    (k,) = B.op.reduce_axis
    largest = te.comm_reducer(
        lambda x, y: tuple(tir.Select(x[1] >= y[1], p, q) for p, q in zip(x, y, strict=True)),
        lambda t0, t1: (tir.const(-1, t0), te.min_value(t1)),
    )
    at, _ = te.compute((8,), lambda i: largest((k, A[i, k]), axis=k), name="largest")
    assert at.dtype == "int32"


def test_flashsched_does_not_import_this() -> None:
    code = "import sys, flashsched as fs; fs.te, fs.build; print([m for m in sys.modules if 'compat' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "flashsched" not in done.stdout


def test_sizes_may_be_whole_floats() -> None:
    B = te.placeholder((6, 8), name="B")
    packed = te.compute((8 / 4, 6, 4), lambda x, y, z: B[y, x * 4 + z], name="packedB")
    assert packed.shape == (2, 6, 4)


def test_unsigned_integers_of_each_width() -> None:
    A = te.placeholder((8, 4), "uint16", name="A")
    k = te.reduce_axis((0, 4), "k")
    B = te.compute((8,), lambda i: te.sum(A[i, k].astype("uint64") << 40, axis=k), name="B")
    H = te.compute((8,), lambda i: (B[i] >> 32).astype("uint32") * tir.const(2654435761, "uint32"), name="H")
    s = te.create_schedule([B.op, H.op])
    a = np.arange(32, dtype="uint16").reshape(8, 4) * 2003
    b, h = tvm.nd.empty((8,), "uint64"), tvm.nd.empty((8,), "uint32")
    tvm.build(s, [A, B, H], "llvm")(tvm.nd.array(a), b, h)
    wanted = (a.astype("uint64") << np.uint64(40)).sum(1, dtype="uint64")
    np.testing.assert_array_equal(b.numpy(), wanted)
    np.testing.assert_array_equal(h.numpy(), (wanted >> np.uint64(32)).astype("uint32") * np.uint32(2654435761))
    assert te.max_value("uint64").value == 2**64 - 1


@pytest.mark.parametrize("masked", [False, True])
def test_a_reduction_begins_with_what_is_given(masked: bool) -> None:
    A, D = te.placeholder((5, 6), name="A"), te.placeholder((5,), name="D")
    k = te.reduce_axis((0, 6), "k")
    where = k.var > 2 if masked else None
    more = te.compute((5,), lambda i: te.sum(A[i, k], axis=k, where=where, init=D[i]), name="more")
    ten = te.compute((5,), lambda i: te.max(A[i, k], axis=k, where=where, init=0.5), name="ten")
    a, d = np.random.default_rng(0).normal(size=(5, 6)).astype("float32"), np.arange(5, dtype="float32")
    kept = a[:, 3:] if masked else a
    s = te.create_schedule([more.op, ten.op])
    ko, _ = s[more].split(s[more].op.reduce_axis[0], 4)
    s[more].reorder(ko, more.op.axis[0])
    outs = [tvm.nd.empty((5,)) for _ in range(2)]
    tvm.build(s, [A, D, more, ten], "llvm")(tvm.nd.array(a), tvm.nd.array(d), *outs)
    np.testing.assert_allclose(outs[0].numpy(), kept.sum(1) + d, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outs[1].numpy(), np.maximum(kept.max(1), np.float32(0.5)))


def test_several_values_begin_with_what_is_given() -> None:
    A = te.placeholder((4, 6), "int32", name="A")
    k = te.reduce_axis((0, 6), "k")
    both = te.comm_reducer(
        lambda x, y: (x[0] + y[0], x[1] * y[1]), lambda s, t: (te.const(0, s), te.const(1, t)), "both"
    )
    total, product = te.compute((4,), lambda i: both((A[i, k], A[i, k]), axis=k, init=(7, 2)), name="T")
    a = np.random.default_rng(0).integers(1, 4, (4, 6)).astype("int32")
    outs = [tvm.nd.empty((4,), "int32") for _ in range(2)]
    tvm.build(te.create_schedule(total.op), [A, total, product])(tvm.nd.array(a), *outs)
    np.testing.assert_array_equal(outs[0].numpy(), a.sum(1) + 7)
    np.testing.assert_array_equal(outs[1].numpy(), a.prod(1) * 2)
    for size in (0, te.var("n")):
        with pytest.raises(ExpressionError, match="there may be no first one"):
            te.sum(A[0, 0], axis=te.reduce_axis((0, size), "r"), init=1)
