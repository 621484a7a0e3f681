"""Intrinsics of a few lanes, and products that are tensorized with them."""

from __future__ import annotations

from typing import Any

import flashsched as fs
from flashsched import te

AXPY_UPDATE = """
define void @axpy(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {
  %one = load float, ptr %a, align 4
  %first = insertelement <4 x float> poison, float %one, i64 0
  %x = shufflevector <4 x float> %first, <4 x float> poison, <4 x i32> zeroinitializer
  %y = load <4 x float>, ptr %b, align 4
  %old = load <4 x float>, ptr %c, align 4
  %product = fmul <4 x float> %x, %y
  %new = fadd <4 x float> %old, %product
  store <4 x float> %new, ptr %c, align 4
  ret void
}"""
AXPY_RESET = """
define void @zero(ptr %c, i64 %c0) {
  store <4 x float> zeroinitializer, ptr %c, align 4
  ret void
}"""
DOT_HEAD = """
define void @dot(ptr %a, i64 %a0, ptr %b, i64 %b0, ptr %c) {
  %b1 = getelementptr float, ptr %b, i64 %b0
  %a1 = getelementptr float, ptr %a, i64 %a0
  %p = load float, ptr %a, align 4
  %q = load float, ptr %b, align 4
  %r = load float, ptr %a1, align 4
  %s = load float, ptr %b1, align 4
  %t = fmul float %p, %q
  %u = fmul float %r, %s
  %v = fadd float %t, %u
"""
DOT_BODY = DOT_HEAD + "  store float %v, ptr %c, align 4\n  ret void\n}"
DOT_UPDATE = (
    DOT_HEAD + "  %old = load float, ptr %c, align 4\n  %new = fadd float %old, %v\n"
    "  store float %new, ptr %c, align 4\n  ret void\n}"
)


def axpy_tensor() -> Any:
    a, b = te.placeholder((1,), name="A"), te.placeholder((1, 4), name="B")
    k = te.reduce_axis((0, 1), name="k")
    return te.compute((4,), lambda j: te.sum(a[k] * b[k, j], axis=k), name="C")


def dot_tensor() -> Any:
    a, b = te.placeholder((2,), name="A"), te.placeholder((2,), name="B")
    k = te.reduce_axis((0, 2), name="k")
    return te.compute((), lambda: te.sum(a[k] * b[k], axis=k), name="C")


UNIT = {"B": [None, 1], "C": [1]}
AXPY = fs.intrinsic("test.axpy4", axpy_tensor(), update=AXPY_UPDATE, reset=AXPY_RESET, strides=UNIT, replace=True)
DOT_ONLY_BODY = fs.intrinsic("test.dot2.body", dot_tensor(), body=DOT_BODY, replace=True)
DOT = fs.intrinsic("test.dot2", dot_tensor(), body=DOT_BODY, update=DOT_UPDATE, replace=True)


def matmul(m: int = 3, n: int = 8, depth: int = 5) -> tuple[Any, Any]:
    a, b = te.placeholder((m, depth), name="A"), te.placeholder((depth, n), name="B")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return te.create_schedule(c), c


def tensorized(m: int = 3, n: int = 8, depth: int = 5, tail: str | None = None, name: str = "test.axpy4") -> Any:
    s, c = matmul(m, n, depth)
    jo, ji = s[c].split("j", factor=4, tail=tail)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, name)
    return s
