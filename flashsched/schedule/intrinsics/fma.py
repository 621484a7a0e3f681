"""Fused multiply-add of a scalar by a vector, into a vector: the step of every outer product.

The product is not rounded before it is added, so a result may differ in the last place from plain loops on a CPU
without fused multiply-add; on one that has it, plain loops are compiled to the same instruction.
"""

from __future__ import annotations

from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.functions import sum as te_sum
from flashsched.te.tensor import Tensor

__all__ = ["FMA"]


def _what(dtype: str, lanes: int) -> Tensor:
    a, b = placeholder((1,), dtype, "A"), placeholder((1, lanes), dtype, "B")
    k = reduce_axis((0, 1), "k")
    made: Tensor = compute((lanes,), lambda j: te_sum(a[k] * b[k, j], axis=k), "C")
    return made


def _how(kind: str, lanes: int, align: int) -> tuple[str, str]:
    of, suffix = f"<{lanes} x {kind}>", f"v{lanes}{'f32' if kind == 'float' else 'f64'}"
    update = f"""
declare {of} @llvm.fma.{suffix}({of}, {of}, {of})
define void @update(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {{
  %one = load {kind}, ptr %a, align {align}
  %first = insertelement {of} poison, {kind} %one, i64 0
  %x = shufflevector {of} %first, {of} poison, <{lanes} x i32> zeroinitializer
  %y = load {of}, ptr %b, align {align}
  %old = load {of}, ptr %c, align {align}
  %new = call {of} @llvm.fma.{suffix}({of} %x, {of} %y, {of} %old)
  store {of} %new, ptr %c, align {align}
  ret void
}}"""
    reset = f"""
define void @reset(ptr %c, i64 %c0) {{
  store {of} zeroinitializer, ptr %c, align {align}
  ret void
}}"""
    return update, reset


def _declare(dtype: str, kind: str, lanes: int, feature: str) -> Intrinsic:
    name = f"x86.fma.f{32 if dtype == 'float32' else 64}x{lanes}"
    update, reset = _how(kind, lanes, 4 if dtype == "float32" else 8)
    return intrinsic(
        name, _what(dtype, lanes), update=update, reset=reset, strides={"B": (None, 1), "C": (1,)}, features=(feature,)
    )


FMA = (
    _declare("float32", "float", 16, "avx512f"),
    _declare("float64", "double", 8, "avx512f"),
    _declare("float32", "float", 8, "fma"),
    _declare("float64", "double", 4, "fma"),
)
"""One a width of vectors and dtype."""
