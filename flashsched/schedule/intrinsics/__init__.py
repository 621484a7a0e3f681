"""The intrinsics that come with flashsched, one instruction a file; importing this declares them.

They are data, what an instruction computes and its LLVM text, so they live with the schedules that name them and need
no LLVM; a kernel that uses one is checked against the CPU when it is built.

| Name | Computes | CPU feature |
| --- | --- | --- |
| ``x86.fma.f32x16``, ``x86.fma.f64x8`` | ``C[j] += A * B[j]`` | ``avx512f`` |
| ``x86.fma.f32x8``, ``x86.fma.f64x4`` | the same on AVX2 vectors | ``fma`` |
| ``x86.vnni.u8s8x16`` | ``C[j] += sum(A[k] * B[j, k])``, 16 times 4, uint8 by int8 into int32 | ``avx512vnni`` |
| ``x86.vnni.s8s8x16`` | the same, int8 by int8 | ``avx512vnni`` |
| ``x86.bf16.dot16`` | ``C[j] += sum(A[k] * B[j, k])``, 16 times 2, bfloat16 into float32 | ``avx512bf16`` |
| ``nvidia.mma.m16n8k16.f16``, ``.bf16`` | ``C[i, j] += sum(A[i, k] * B[k, j])``, 16 x 8 x 16 | ``sm_80`` |
"""

from __future__ import annotations

from flashsched.schedule.intrinsics.bf16 import BF16_DOT
from flashsched.schedule.intrinsics.fma import FMA
from flashsched.schedule.intrinsics.mma import MMA
from flashsched.schedule.intrinsics.vnni import VNNI_DOT, VNNI_SIGNED_DOT

__all__ = ["BF16_DOT", "FMA", "MMA", "VNNI_DOT", "VNNI_SIGNED_DOT"]
