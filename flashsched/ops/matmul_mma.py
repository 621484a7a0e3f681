"""The template of matrix products on tensor cores: each warp multiplies tiles, its lanes hold the sums in registers."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import copy_together, gpu_unit, require_block, widest
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer
from flashsched.te import dtypes
from flashsched.te.expr import Call
from flashsched.te.tensor import Tensor
from flashsched.te.visit import walk

__all__ = ["matmul_mma", "multiplied", "tensor_cores_for"]

_INTRINSICS = {
    "float16": ("nvidia.mma.m16n8k16.f16", 16),
    "bfloat16": ("nvidia.mma.m16n8k16.bf16", 16),
    "tf32": ("nvidia.mma.m16n8k8.tf32", 8),
}
"""By what is multiplied, the instruction and its depth."""

_SHAPE = 16, 8  # rows and columns of each
_SINCE = 80
_BLOCKS, _WARPS, _STEPS = (32, 64, 128, 256), (16, 32, 64, 128), (16, 32, 64)


def multiplied(s: Schedule, sums: StageView, dtype: str) -> str:
    """What *sums* multiplies: *dtype*, or ``"tf32"`` where the program rounds both factors to that."""
    values = [node for store in s.state.stage(sums.name).block.stores for node in walk(store.value)]
    rounded = sum(isinstance(node, Call) and node.func == "tf32" for node in values)
    return "tf32" if rounded == 2 else dtype


def tensor_cores_for(spec: DeviceSpec, dtype: str, rows: int, columns: int, depth: int) -> bool:
    """Whether *spec* multiplies such matrices on tensor cores: in whole tiles, since none has a guard."""
    try:
        capability = arch_of(spec).capability
    except DeviceError:
        return False
    whole = rows % _BLOCKS[0] == 0 and columns % _BLOCKS[0] == 0 and depth % _STEPS[0] == 0
    return capability >= _SINCE and dtype in _INTRINSICS and whole


def matmul_mma(
    s: Schedule,
    out: Tensor,
    sums: StageView,
    sides: Sequence[tuple[Buffer, int]],
    kind: str,
    knobs: KnobsLike,
    spec: DeviceSpec,
) -> None:
    """A block computes ``block_m x block_n`` of the output, a warp ``warp_m x warp_n`` of that, by tiles of 16 x 8.

    Both operands come through shared memory in steps of ``step_k``, as they lie, in rows that ``ldmatrix`` fetches from
    all banks at once; ``stages`` steps are there at a time, all but one of them on their way. What follows the product
    is done by each lane on the sums that it holds.

    *sums* reduces over one axis; *sides* are the operands with the output's rows and with its columns, each with the
    dimension that it reduces; *kind* is what is `multiplied`.
    """
    rows, columns = out.known_shape
    depth = sums.op.reduce_axis[0].count
    dtype = sides[0][0].dtype
    busy = [n for n in (128, 64, 32) if (rows // n) * (columns // n) >= spec.units] or [32]
    block_m, block_n = (_side(knobs, name, size, busy[0]) for name, size in (("m", rows), ("n", columns)))
    warp_m = knobs.choice("warp_m", [n for n in _WARPS if n <= block_m], default=min(64, block_m // 2))
    warp_n = knobs.choice("warp_n", [n for n in _WARPS if n <= block_n], default=min(64, block_n // 2))
    width = dtypes.bits(dtype) // 8
    steps = [n for n in _STEPS if depth % n == 0]
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

    copies = [s[s.cache_read(side.name, "shared", [sums.name])] for side, _ in sides]
    stage = s[out]
    i, j = stage.op.axis
    block_i, part_i = stage.split(i, factor=block_m)
    block_j, part_j = stage.split(j, factor=block_n)
    warp_i, part_i = stage.split(part_i, factor=warp_m)
    warp_j, part_j = stage.split(part_j, factor=warp_n)
    tile_i, part_i = stage.split(part_i, factor=_SHAPE[0])
    tile_j, part_j = stage.split(part_j, factor=_SHAPE[1])
    half, lane_i = stage.split(part_i, factor=8)
    lane_j, pair = stage.split(part_j, factor=2)
    stage.reorder(block_i, block_j, warp_i, warp_j, tile_i, tile_j, half, lane_i, lane_j, pair)
    warp, lane = stage.fuse(warp_i, warp_j), stage.fuse(lane_i, lane_j)
    for loop, axis in ((block_i, "blockIdx.y"), (block_j, "blockIdx.x"), (warp, "threadIdx.y"), (lane, "threadIdx.x")):
        stage.bind(loop, axis)
    for loop in (tile_i, tile_j, half):
        stage.unroll(loop)
    stage.vectorize(pair)

    sums.compute_at(stage, warp)
    (i, j), (k,) = sums.op.axis, sums.op.reduce_axis
    tile_i, inner_i = sums.split(i, factor=_SHAPE[0])
    tile_j, inner_j = sums.split(j, factor=_SHAPE[1])
    round_k, part_k = sums.split(k, factor=step)
    intrinsic, inner = _INTRINSICS[kind]
    turn_k, inner_k = sums.split(part_k, factor=inner)
    sums.reorder(round_k, turn_k, tile_i, tile_j, inner_i, inner_j, inner_k)
    for loop in (turn_k, tile_i, tile_j):
        sums.unroll(loop)
    sums.tensorize(inner_i, intrinsic)
    for block, copy, (_, along) in zip((block_m, block_n), copies, sides, strict=True):
        copy.compute_at(sums, round_k)
        if width == 2 or along == 1:  # rows that ldmatrix fetches, eight at a time
            copy.storage_align(0, factor=2 * gap, offset=gap)
        else:  # words that lanes load, of four rows at a time
            copy.storage_align(0, factor=32, offset=8)
        copy_together(copy, (warps, lanes), widest(dtype, block * step // (warps * lanes)))
    if stages > 1:
        sums.software_pipeline(round_k, stages=[0, 0, stages - 1])


def _side(knobs: KnobsLike, name: str, size: int, first: int) -> int:
    """The side of a block's tile over a dimension of *size*."""
    fitting = [n for n in _BLOCKS if size % n == 0]
    return knobs.choice(f"block_{name}", fitting, default=max(n for n in fitting if n <= max(first, fitting[0])))
