"""The template of matrix products on tensor cores: each warp multiplies tiles, its lanes hold the sums in registers."""

from __future__ import annotations

import math

from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import (
    bind_batches,
    copy_together,
    gpu_unit,
    in_shared,
    product_sides,
    require_block,
    sums_of_whole_tiles,
    the_reduction,
    widest,
)
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Load
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Expr
from flashsched.te.sizes import numbers
from flashsched.te.tensor import Tensor

__all__ = ["matmul_mma", "tensor_core_dtype"]

_INTRINSICS = {
    "float16": ("nvidia.mma.m16n8k16.f16", 16),
    "bfloat16": ("nvidia.mma.m16n8k16.bf16", 16),
    "tf32": ("nvidia.mma.m16n8k8.tf32", 8),
}
"""By what is multiplied, the instruction and its depth."""

_SHAPE = 16, 8  # rows and columns of each
_SINCE = 80
_BLOCKS, _WARPS, _STEPS = (32, 64, 128, 256), (16, 32, 64, 128), (16, 32, 64)


def tensor_core_dtype(s: Schedule, sums: StageView, spec: DeviceSpec) -> str | None:
    """What the tensor cores of *spec* multiply to make *sums*: its factors' dtype, or ``"tf32"`` where the program
    rounds them to that. None where *sums* is nothing that they make."""
    try:
        capability = arch_of(spec).capability
    except DeviceError:
        return None
    (store,) = s.state.stage(sums.name).block.stores
    match store.value:
        case Binary(op="+", a=Load(), b=Binary(op="*", a=left, b=right)) if store.value.dtype == "float32":
            kind = _factor(left)
            return kind if kind in _INTRINSICS and kind == _factor(right) and capability >= _SINCE else None
        case _:
            return None


def _factor(value: Expr) -> str | None:
    """The dtype that *value* has on a tensor core, if it is an element that is widened or rounded there."""
    match value:
        case Cast(value=Load() as load):
            return load.dtype
        case Call(func="tf32", args=(Load(),)):
            return "tf32"
        case _:
            return None


def matmul_mma(
    s: Schedule,
    out: Tensor,
    kind: str,
    knobs: KnobsLike,
    spec: DeviceSpec,
) -> None:
    """A block computes ``block_m x block_n`` of the output, a warp ``warp_m x warp_n`` of that, by tiles of 16 x 8.

    Both operands come through shared memory in steps of ``step_k``, as they lie, in rows that ``ldmatrix`` fetches from
    all banks at once; ``stages`` steps are there at a time, all but one of them on their way. What follows the product
    is done by each lane on the sums that it holds.

    Tiles are whole: what they have beyond the ends of the matrices is 0 in shared memory, and not written in the end.

    *out* is a product as `matmul_gpu` takes it, or is computed from one; *kind* is its `tensor_core_dtype`.
    """
    *batches, rows, columns = out.known_shape
    sums = the_reduction(s, out)
    sides = product_sides(s, sums)
    depth = sums.op.reduce_axis[0].count
    dtype = sides[0][0].dtype
    whole = math.prod(batches)
    busy = [n for n in (128, 64, 32) if whole * -(-rows // n) * -(-columns // n) >= spec.units] or [32]
    block_m, block_n = (_side(knobs, name, size, busy[0]) for name, size in (("m", rows), ("n", columns)))
    warp_m = knobs.choice("warp_m", [n for n in _WARPS if n <= block_m], default=min(64, block_m // 2))
    warp_n = knobs.choice("warp_n", [n for n in _WARPS if n <= block_n], default=min(64, block_n // 2))
    width = dtypes.bits(dtype) // 8
    steps = [n for n in _STEPS if n < 2 * depth] or [_STEPS[0]]
    step = knobs.choice("step_k", steps, default=max(n for n in steps if n <= max(16, 64 // width)))
    stages = knobs.choice("stages", (1, 2, 3, 4, 5), default=4 if depth >= 8 * step else 1)
    lanes = gpu_unit(spec).warp_size
    knobs.require(warp_m * warp_n <= 64 * 64, f"{warp_m} x {warp_n} sums need more registers than a warp has")
    warps = (block_m // warp_m) * (block_n // warp_n)
    gap = widest(dtype)
    held = max(block_m, step) * (min(block_m, step) + gap) + max(block_n, step) * (min(block_n, step) + gap)
    require_block(knobs, spec, warps * lanes, held * width * stages, rows * columns)
    for block in (block_m, block_n):
        uneven = block * step % (warps * lanes) != 0
        knobs.require(not uneven, f"{warps * lanes} threads cannot share {block} x {step} elements evenly")

    sums = sums_of_whole_tiles(s, out, [*(1 for _ in batches), block_m, block_n, step])
    copies = [in_shared(s, buffer, sums) for buffer, _ in product_sides(s, sums)]
    stage = s[out]
    *batch, i, j = stage.op.axis
    block_i, part_i = stage.split(i, factor=block_m)
    block_j, part_j = stage.split(j, factor=block_n)
    warp_i, part_i = stage.split(part_i, factor=warp_m)
    warp_j, part_j = stage.split(part_j, factor=warp_n)
    tile_i, part_i = stage.split(part_i, factor=_SHAPE[0])
    tile_j, part_j = stage.split(part_j, factor=_SHAPE[1])
    half, lane_i = stage.split(part_i, factor=8)
    lane_j, pair = stage.split(part_j, factor=2)
    stage.reorder(*batch, block_i, block_j, warp_i, warp_j, tile_i, tile_j, half, lane_i, lane_j, pair)
    bind_batches(stage)
    warp, lane = stage.fuse(warp_i, warp_j), stage.fuse(lane_i, lane_j)
    for loop, axis in ((block_i, "blockIdx.y"), (block_j, "blockIdx.x"), (warp, "threadIdx.y"), (lane, "threadIdx.x")):
        stage.bind(loop, axis)
    for loop in (tile_i, tile_j, half):
        stage.unroll(loop)
    stage.vectorize(pair)

    sums.compute_at(stage, warp)
    (*batch, i, j), (k,) = sums.op.axis, sums.op.reduce_axis
    tile_i, inner_i = sums.split(i, factor=_SHAPE[0])
    tile_j, inner_j = sums.split(j, factor=_SHAPE[1])
    round_k, part_k = sums.split(k, factor=step)
    intrinsic, inner = _INTRINSICS[kind]
    turn_k, inner_k = sums.split(part_k, factor=inner)
    sums.reorder(*batch, round_k, turn_k, tile_i, tile_j, inner_i, inner_j, inner_k)
    for loop in (turn_k, tile_i, tile_j):
        sums.unroll(loop)
    sums.tensorize(inner_i, intrinsic)
    for block, copy, (buffer, along) in zip((block_m, block_n), copies, sides, strict=True):
        copy.compute_at(sums, round_k)
        if width == 2 or along == 1:  # rows that ldmatrix fetches, eight at a time
            copy.storage_align(len(batches), factor=2 * gap, offset=gap)
        else:  # words that lanes load, of four rows at a time
            copy.storage_align(len(batches), factor=32, offset=8)
        row = numbers(buffer.shape[-1:], buffer.name)
        copy_together(copy, (warps, lanes), widest(dtype, block * step // (warps * lanes), *row))
    if stages > 1:
        sums.software_pipeline(round_k, stages=[0, 0, stages - 1])


def _side(knobs: KnobsLike, name: str, size: int, first: int) -> int:
    """The side of a block's tile over a dimension of *size*."""
    fitting = [n for n in _BLOCKS if n < 2 * size] or [_BLOCKS[0]]
    return knobs.choice(f"block_{name}", fitting, default=max(n for n in fitting if n <= max(first, fitting[0])))
