"""AVX512-BF16: sums of two products of bfloat16, in sixteen lanes of float32 at once (``vdpbf16ps``).

What the instruction does that plain loops do not, whatever the rounding mode says (Intel SDM, ``VDPBF16PS``):
subnormal inputs and results count as zero of their sign, and no exception is raised. Products of two bfloat16 are exact
in float32; each of the two sums is rounded to the nearest, halves to even, the odd element added first. NaN and
infinity come out as plain loops give them, a NaN with other bits perhaps. So a result differs from plain loops by the
rounding of another order, and where values are smaller than 2**-126.
"""

from __future__ import annotations

from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.functions import sum as te_sum

__all__ = ["BF16_DOT"]

_UPDATE = """
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
define void @update(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {
  %two = load i32, ptr %a, align 2
  %first = insertelement <16 x i32> poison, i32 %two, i64 0
  %all = shufflevector <16 x i32> %first, <16 x i32> poison, <16 x i32> zeroinitializer
  %x = bitcast <16 x i32> %all to <32 x bfloat>
  %y = load <32 x bfloat>, ptr %b, align 2
  %old = load <16 x float>, ptr %c, align 4
  %new = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %old, <32 x bfloat> %x, <32 x bfloat> %y)
  store <16 x float> %new, ptr %c, align 4
  ret void
}"""

_RESET = """
define void @reset(ptr %c, i64 %c0) {
  store <16 x float> zeroinitializer, ptr %c, align 4
  ret void
}"""


def _declare() -> Intrinsic:
    a, b = placeholder((2,), "bfloat16", "A"), placeholder((16, 2), "bfloat16", "B")
    k = reduce_axis((0, 2), "k")
    c = compute((16,), lambda j: te_sum(a[k].astype("float32") * b[j, k].astype("float32"), axis=k), "C")
    return intrinsic(
        "x86.bf16.dot16",
        c,
        update=_UPDATE,
        reset=_RESET,
        strides={"A": (1,), "B": (2, 1), "C": (1,)},
        features=("avx512bf16",),
    )


BF16_DOT = _declare()
"""``C[j] += sum(float32(A[k]) * float32(B[j, k]))`` for 16 ``j`` and 2 ``k``."""
