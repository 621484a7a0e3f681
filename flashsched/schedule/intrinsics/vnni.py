"""AVX-512 VNNI: sums of four products of uint8 and int8, in sixteen lanes of int32 at once (``vpdpbusd``).

The four products are summed exactly and added to the lane, which wraps around as int32 does: the same bits as plain
loops give. Weights lie packed: 4 values of the reduction for each of 16 columns side by side, 64 bytes.
"""

from __future__ import annotations

from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.functions import sum as te_sum

__all__ = ["VNNI_DOT"]

_UPDATE = """
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <16 x i32>, <16 x i32>)
define void @update(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {
  %four = load i32, ptr %a, align 1
  %first = insertelement <16 x i32> poison, i32 %four, i64 0
  %x = shufflevector <16 x i32> %first, <16 x i32> poison, <16 x i32> zeroinitializer
  %y = load <16 x i32>, ptr %b, align 1
  %old = load <16 x i32>, ptr %c, align 4
  %new = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> %old, <16 x i32> %x, <16 x i32> %y)
  store <16 x i32> %new, ptr %c, align 4
  ret void
}"""

_RESET = """
define void @reset(ptr %c, i64 %c0) {
  store <16 x i32> zeroinitializer, ptr %c, align 4
  ret void
}"""


def _declare() -> Intrinsic:
    a, b = placeholder((4,), "uint8", "A"), placeholder((16, 4), "int8", "B")
    k = reduce_axis((0, 4), "k")
    c = compute((16,), lambda j: te_sum(a[k].astype("int32") * b[j, k].astype("int32"), axis=k), "C")
    return intrinsic(
        "x86.vnni.u8s8x16",
        c,
        update=_UPDATE,
        reset=_RESET,
        strides={"A": (1,), "B": (4, 1), "C": (1,)},
        features=("avx512vnni",),
    )


VNNI_DOT = _declare()
"""``C[j] += sum(int32(A[k]) * int32(B[j, k]))`` for 16 ``j`` and 4 ``k``."""
