"""The template of matrix products on tensor cores."""

from __future__ import annotations

from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import bind_batches, product_sides, sums_of_whole_tiles, the_reduction
from flashsched.ops.gpu_warps import Lying, multiply_by_warps, plan_warps
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.sizes import numbers
from flashsched.te.tensor import Tensor

__all__ = ["matmul_mma"]


def matmul_mma(s: Schedule, out: Tensor, kind: str, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A block computes ``block_m x block_n`` of the output, a warp ``warp_m x warp_n`` of that, by tiles of 16 x 8.

    Both operands come through shared memory in steps of ``step_k``; ``stages`` steps are there at a time. What follows
    the product is done by each lane on the sums that it holds.

    Tiles are whole: what they have beyond the ends of the matrices is 0 in shared memory, and not written in the end.

    *out* is a product as `matmul_gpu` takes it, or is computed from one; *kind* is its `tensor_core_dtype`.
    """
    sums = the_reduction(s, out)
    plan = plan_warps(s, sums, kind, knobs, spec)
    left, right = (Lying(1, *numbers(buffer.shape[-1:], buffer.name)) for buffer, _ in product_sides(s, sums))
    sums = sums_of_whole_tiles(s, out, plan.tile)
    stage = s[out]
    *_, i, j = stage.op.axis
    bind_batches(stage)
    multiply_by_warps(s, stage, (i, j), sums, (left, right), plan)
