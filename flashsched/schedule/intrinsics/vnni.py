"""AVX-512 VNNI: sums of four products of 8-bit integers, in sixteen lanes of int32 at once (``vpdpbusd``).

The four products are summed exactly and added to the lane, which wraps around as int32 does: the same bits as plain
loops give. Weights lie packed: 4 values of the reduction for each of 16 columns side by side, 64 bytes.

The instruction multiplies uint8 by int8. For int8 by int8, 128 is added to each A, which flips its sign bit, and 128
times the sum of the Bs is taken off again; that sum serves all rows of a tile.
"""

from __future__ import annotations

from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.te.declare import compute, placeholder, reduce_axis
from flashsched.te.functions import sum as te_sum

__all__ = ["VNNI_DOT", "VNNI_SIGNED_DOT"]

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

_SIGNED_UPDATE = """
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <16 x i32>, <16 x i32>)
define void @update(ptr %a, i64 %a0, ptr %b, i64 %b0, i64 %b1, ptr %c, i64 %c0) {
  %four = load i32, ptr %a, align 1
  %flipped = xor i32 %four, -2139062144
  %first = insertelement <16 x i32> poison, i32 %flipped, i64 0
  %x = shufflevector <16 x i32> %first, <16 x i32> poison, <16 x i32> zeroinitializer
  %y = load <16 x i32>, ptr %b, align 1
  %old = load <16 x i32>, ptr %c, align 4
  %more = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> %old, <16 x i32> %x, <16 x i32> %y)
  %over = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> zeroinitializer,
    <16 x i32> splat (i32 -2139062144), <16 x i32> %y)
  %new = sub <16 x i32> %more, %over
  store <16 x i32> %new, ptr %c, align 4
  ret void
}"""

_RESET = """
define void @reset(ptr %c, i64 %c0) {
  store <16 x i32> zeroinitializer, ptr %c, align 4
  ret void
}"""


def _declare(name: str, left: str, update: str) -> Intrinsic:
    a, b = placeholder((4,), left, "A"), placeholder((16, 4), "int8", "B")
    k = reduce_axis((0, 4), "k")
    c = compute((16,), lambda j: te_sum(a[k].astype("int32") * b[j, k].astype("int32"), axis=k), "C")
    return intrinsic(
        name,
        c,
        update=update,
        reset=_RESET,
        strides={"A": (1,), "B": (4, 1), "C": (1,)},
        features=("avx512vnni",),
    )


VNNI_DOT = _declare("x86.vnni.u8s8x16", "uint8", _UPDATE)
"""``C[j] += sum(int32(A[k]) * int32(B[j, k]))`` for 16 ``j`` and 4 ``k``."""

VNNI_SIGNED_DOT = _declare("x86.vnni.s8s8x16", "int8", _SIGNED_UPDATE)
"""The same of int8 and int8."""
