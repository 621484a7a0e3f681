"""tensorize: the tutorial's matrix-vector product, whose parts are functions in LLVM text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te
from flashsched.compat.tvm.contrib import cc, clang, utils
from flashsched.errors import ExpressionError, MatchError

N, M, L, FACTOR = 24, 32, 16, 16
RNG = np.random.default_rng(0)

GEMV = """
define i32 @gemv_update(ptr %cc, ptr %aa, ptr %bb, i32 %m, i32 %l, i32 %stride) {
entry:
  br label %row
row:
  %i = phi i32 [ 0, %entry ], [ %i.next, %row.end ]
  %out = getelementptr float, ptr %cc, i32 %i
  %base = mul i32 %i, %stride
  br label %col
col:
  %j = phi i32 [ 0, %row ], [ %j.next, %col ]
  %a.at = getelementptr float, ptr %aa, i32 %j
  %b.place = add i32 %base, %j
  %b.at = getelementptr float, ptr %bb, i32 %b.place
  %a = load float, ptr %a.at
  %b = load float, ptr %b.at
  %product = fmul float %a, %b
  %old = load float, ptr %out
  %new = fadd float %old, %product
  store float %new, ptr %out
  %j.next = add i32 %j, 1
  %j.more = icmp slt i32 %j.next, %l
  br i1 %j.more, label %col, label %row.end
row.end:
  %i.next = add i32 %i, 1
  %i.more = icmp slt i32 %i.next, %m
  br i1 %i.more, label %row, label %done
done:
  ret i32 0
}

define i32 @gemv_reset(ptr %cc, i32 %m) {
entry:
  br label %row
row:
  %i = phi i32 [ 0, %entry ], [ %i.next, %row ]
  %out = getelementptr float, ptr %cc, i32 %i
  store float 0.0, ptr %out
  %i.next = add i32 %i, 1
  %i.more = icmp slt i32 %i.next, %m
  br i1 %i.more, label %row, label %done
done:
  ret i32 0
}
"""

GEMV_IN_C = """
extern "C" int gemv_update(float *cc, float *aa, float *bb, int m, int l, int stride) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < l; ++j) {
      cc[i] += aa[j] * bb[i * stride + j];
    }
  }
  return 0;
}
extern "C" int gemv_reset(float *cc, int m) {
  for (int i = 0; i < m; ++i) {
    cc[i] = 0.0;
  }
  return 0;
}
"""


def intrin_gemv(m: int, l: int, parts: bool) -> Any:  # noqa: E741  (as in the tutorial)
    a = te.placeholder((l,), name="a")
    b = te.placeholder((m, l), name="b")
    k = te.reduce_axis((0, l), name="k")
    c = te.compute((m,), lambda i: te.sum(a[k] * b[i, k], axis=k), name="c")
    Ab = tvm.tir.decl_buffer(a.shape, a.dtype, name="A", offset_factor=1, strides=[1])
    Bb = tvm.tir.decl_buffer(b.shape, b.dtype, name="B", offset_factor=1, strides=[te.var("s1"), 1])
    Cb = tvm.tir.decl_buffer(c.shape, c.dtype, name="C", offset_factor=1, strides=[1])

    def intrin_func(ins: Any, outs: Any) -> Any:
        aa, bb = ins
        cc = outs[0]

        def _body() -> Any:
            ib = tvm.tir.ir_builder.create()
            ib.emit(
                tvm.tir.call_extern(
                    "int32",
                    "gemv_update",
                    cc.access_ptr("w"),
                    aa.access_ptr("r"),
                    bb.access_ptr("r"),
                    m,
                    l,
                    bb.strides[0],
                )
            )
            return ib.get()

        def _reduce_reset() -> Any:
            ib = tvm.tir.ir_builder.create()
            ib.emit(tvm.tir.call_extern("int32", "gemv_reset", cc.access_ptr("w"), m))
            return ib.get()

        return (_body(), _reduce_reset(), _body()) if parts else _body()

    return te.decl_tensor_intrin(c.op, intrin_func, binds={a: Ab, b: Bb, c: Cb})


def product(parts: bool) -> tuple[Any, list[Any]]:
    """The tutorial's schedule, before ``import_llvm``."""
    A = te.placeholder((N, L), name="A")
    B = te.placeholder((M, L), name="B")
    k = te.reduce_axis((0, L), name="k")
    C = te.compute((N, M), lambda i, j: te.sum(A[i, k] * B[j, k], axis=k), name="C")
    s = te.create_schedule(C.op)
    x, y = C.op.axis
    (z,) = C.op.reduce_axis
    yo, yi = s[C].split(y, factor=FACTOR)
    if parts:
        zo, zi = s[C].split(z, factor=4)
        s[C].reorder(x, yo, zo, yi, zi)
        s[C].tensorize(yi, intrin_gemv(FACTOR, 4, True))
    else:
        s[C].reorder(x, yo, yi, z)
        s[C].tensorize(yi, intrin_gemv(FACTOR, L, False))
    return s, [A, B, C]


def check(module: Any) -> None:
    a, b = RNG.random((N, L), "float32"), RNG.random((M, L), "float32")
    c = tvm.nd.array(np.zeros((N, M), "float32"))
    module(tvm.nd.array(a), tvm.nd.array(b), c)
    tvm.testing.assert_allclose(c.numpy(), a @ b.T, rtol=1e-3)


@pytest.mark.parametrize("parts", [False, True])
def test_the_tutorial(parts: bool) -> None:
    s, args = product(parts)
    C = args[-1]
    s[C].pragma(C.op.axis[0], "import_llvm", GEMV)
    assert "# tensorize" in str(tvm.lower(s, args, simple_mode=True))
    module = tvm.build(s, args, target="llvm", name="gemv")
    check(module)
    temp = utils.tempdir()
    module.export_library(temp.relpath("gemv.so"))
    check(tvm.runtime.load_module(temp.relpath("gemv.so")))


@pytest.mark.skipif(not clang.find_clang(required=False) and cc.get_cc() is None, reason="no compiler is installed")
@pytest.mark.filterwarnings("ignore:clang is not installed")
def test_the_functions_in_c() -> None:
    temp = utils.tempdir()
    code = clang.create_llvm(GEMV_IN_C, output=temp.relpath("temp.ll"))
    assert temp.listdir() == ["temp.ll"]
    s, args = product(True)
    C = args[-1]
    s[C].pragma(C.op.axis[0], "import_llvm", code)
    check(tvm.build(s, args, target="llvm", name="gemv"))


def test_loops_that_compute_something_else_are_refused() -> None:
    A = te.placeholder((N, M), name="A")
    B = te.compute((N, M), lambda i, j: A[i, j] + 1, name="B")
    s = te.create_schedule(B.op)
    _, yi = s[B].split(B.op.axis[1], factor=FACTOR)
    with pytest.raises(MatchError):
        s[B].tensorize(yi, intrin_gemv(FACTOR, L, False))


def test_loops_as_a_part() -> None:
    a = te.placeholder((4,), name="a")
    b = te.compute((4,), lambda i: a[i] + 1, name="b")

    def loops(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        with ib.for_range(0, 4) as i:
            ib.emit(outs[0].vstore(i, ins[0].vload(i) + 1.0))
        return ib.get()

    A = te.placeholder((12,), name="A")
    B = te.compute((12,), lambda i: A[i] + 1, name="B")
    s = te.create_schedule(B.op)
    _, inner = s[B].split(B.op.axis[0], factor=4)
    s[B].tensorize(inner, te.decl_tensor_intrin(b.op, loops, name="plus_one"))
    x, y = tvm.nd.array(RNG.random(12, "float32")), tvm.nd.empty((12,))
    tvm.build(s, [A, B])(x, y)
    np.testing.assert_array_equal(y.numpy(), x.numpy() + 1)


def test_a_part_is_a_statement() -> None:
    a = te.placeholder((4,), name="a")
    b = te.compute((4,), lambda i: a[i] + 1, name="b")
    with pytest.raises(ExpressionError, match="a part is int, and a statement is needed"):
        te.decl_tensor_intrin(b.op, lambda ins, outs: 3)
    with pytest.raises(NotImplementedError, match="scalar_params"):
        te.decl_tensor_intrin(b.op, lambda ins, outs: 3, scalar_params=[te.const(1)])


def test_auto_unroll() -> None:
    A = te.placeholder((8,), name="A")
    B = te.compute((8,), lambda i: A[i] + 1, name="B")
    s = te.create_schedule(B.op)
    outer, _ = s[B].split(B.op.axis[0], factor=2)
    s[B].pragma(outer, "auto_unroll_max_step", 4)
    s[B].pragma(outer, "unroll_explicit", True)
    assert str(tvm.lower(s, [A, B])).count("for ") == 1
