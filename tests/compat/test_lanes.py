"""Vectors in loops that are written out: ramps of indices, loads and stores of several elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, tir
from flashsched.errors import DtypeError, ExpressionError, ShapeError

RNG = np.random.default_rng(0)


def run(body: Callable[[Any, Any, Any], None], a: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """What *body*, given the builder, an input and the output, writes; the lowered text besides."""
    A = te.placeholder(a.shape, str(a.dtype), name="A")

    def loops(ins: Any, outs: Any) -> Any:
        ib = tir.ir_builder.create()
        body(ib, ins[0], outs[0])
        return ib.get()

    B = te.extern(shape, [A], loops, name="B", dtype=dtype)
    s = te.create_schedule(B.op)
    out = tvm.nd.empty(shape, dtype)
    tvm.build(s, [A, B], "llvm")(tvm.nd.array(a), out)
    return out.numpy(), str(tvm.lower(s, [A, B]))


def test_four_elements_at_once() -> None:
    def body(ib: Any, x: Any, y: Any) -> None:
        with ib.for_range(0, 4, name="i") as i:
            value = x.vload(i * 4, "float32x4") * 2.0 + tir.Broadcast(tir.const(1.0), 4)
            ib.emit(y.vstore([i * 4], value))

    a = RNG.random(16, "float32")
    found, text = run(body, a, (16,))
    np.testing.assert_array_equal(found, a * 2 + 1)
    assert "for lane in range(4):  # vectorize" in text


def test_ramps_of_indices() -> None:
    def body(ib: Any, x: Any, y: Any) -> None:
        source, target = ib.buffer_ptr(x), ib.buffer_ptr(y)
        with ib.for_range(0, 2, name="i") as i:
            target[i, tir.Ramp(0, 1, 8)] = source[tir.Ramp(i, 2, 8)]  # by one index, row by row
        target[tir.Ramp(15, -5, 2)] = te.exp(source[tir.Ramp(0, 3, 2)]).astype("float32")
        target[0, tir.Ramp(1, 1, 2)] = 7.0  # one value for all

    a = RNG.random((4, 4), "float32")
    wanted = a.reshape(8, 2).T.copy()
    wanted.reshape(-1)[[15, 10]] = np.exp(a.reshape(-1)[[0, 3]])
    wanted[0, 1:3] = 7
    np.testing.assert_allclose(run(body, a, (2, 8))[0], wanted, rtol=1e-6)


def test_indices_as_values_and_choices() -> None:
    def body(ib: Any, x: Any, y: Any) -> None:
        ramp = tir.Ramp(3, 2, 5)
        value = x.vload(0, "int16x5").astype("int32x5")
        ib.emit(y.vstore(0, tir.Select(value > 0, value, ramp)))

    a = np.array([4, -1, 0, 9, -7], "int16")
    np.testing.assert_array_equal(run(body, a, (5,), "int32")[0], [4, 5, 7, 9, 11])


@pytest.mark.parametrize("step", [1, -1])
def test_all_of_a_vector_is_read_before_any_is_stored(step: int) -> None:
    def body(ib: Any, x: Any, y: Any) -> None:
        held = ib.buffer_ptr(y)
        with ib.for_range(0, 6, name="i") as i:
            held[i] = ib.buffer_ptr(x)[i]
        held[tir.Ramp(1, 1, 4)] = held[tir.Ramp(1 + step, 1, 4)] + held[tir.Ramp(1, 1, 4)]

    a = RNG.random(6, "float32")
    wanted = a.copy()
    wanted[1:5] = a[1 + step : 5 + step] + a[1:5]
    np.testing.assert_array_equal(run(body, a, (6,))[0], wanted)


def test_the_body_of_an_intrinsic() -> None:
    """An instruction's meaning as TVM's tutorials write it: loads, a product, a store of a vector."""
    a, b = te.placeholder((8,), name="a"), te.placeholder((8,), name="b")
    c = te.compute((8,), lambda i: a[i] * b[i], name="c")
    flat = {t: tir.decl_buffer(t.shape, t.dtype, t.name, offset_factor=1, strides=[1]) for t in (a, b, c)}

    def product(ins: Any, outs: Any) -> Any:
        return outs[0].vstore(0, ins[0].vload(0, "float32x8") * ins[1].vload(0, "float32x8"))

    A, B = te.placeholder((3, 16), name="A"), te.placeholder((3, 16), name="B")
    C = te.compute((3, 16), lambda i, j: A[i, j] * B[i, j], name="C")
    s = te.create_schedule(C.op)
    _, inner = s[C].split(C.op.axis[1], 8)
    s[C].tensorize(inner, te.decl_tensor_intrin(c.op, product, binds=flat))
    x, y, out = RNG.random((3, 16), "float32"), RNG.random((3, 16), "float32"), tvm.nd.empty((3, 16))
    tvm.build(s, [A, B, C], "llvm")(tvm.nd.array(x), tvm.nd.array(y), out)
    np.testing.assert_array_equal(out.numpy(), x * y)


def test_refusals() -> None:
    ib = tir.ir_builder.create()
    x = tir.decl_buffer((4, 8), "float32", name="X")
    held = ib.buffer_ptr(x)
    with pytest.raises(DtypeError, match="a load of int32x4 from X, which holds float32"):
        x.vload((0, 0), "int32x4")
    with pytest.raises(ShapeError, match="vectors of 4 and 8 lanes in one expression"):
        held[0, tir.Ramp(0, 1, 4)] = held[0, tir.Ramp(0, 1, 8)]
    with pytest.raises(ShapeError, match="has 2 dimensions, and 3 indices"):
        x.vload((0, 0, 0), "float32x4")
    with pytest.raises(ShapeError, match="a vector of 4 lanes as float16x8"):
        x.vload((0, 0), "float32x4").astype("float16x8")
    with pytest.raises(ExpressionError, match=r"(?s)a vector of 4 lanes is used where one value is needed.*store it"):
        ib.let("v", x.vload((0, 0), "float32x4"))
    with pytest.raises(ExpressionError, match="a vector of 2 lanes"), ib.if_scope(tir.Ramp(0, 1, 2) < 1):
        pass
    with pytest.raises(ExpressionError, match=r"(?s)a vector of 4 lanes.*in te\.compute, vectorize a loop"):
        te.compute((4,), lambda i: tir.Ramp(i, 1, 4))
    with pytest.raises(DtypeError, match="holds float32, and the value stored is int32"):
        x.vstore((0, 0), tir.Ramp(0, 1, 4))
