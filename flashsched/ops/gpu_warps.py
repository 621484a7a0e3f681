"""What the templates on tensor cores share: each warp multiplies tiles, its lanes hold the sums in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import (
    MOST_BATCHES,
    copy_together,
    gpu_unit,
    in_shared,
    product_sides,
    require_block,
    widest,
)
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule, StageView
from flashsched.schedule.ir import Load
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Expr
from flashsched.te.tensor import Axis

__all__ = ["Lying", "Warps", "multiply_by_warps", "plan_warps", "tensor_core_dtype"]

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


@dataclass(frozen=True)
class Warps:
    """How the warps of a block share out a product of two matrices, or of as many pairs as there are batches.

    Attributes:
        kind: the product's `tensor_core_dtype`.
        dtype: of the elements in memory.
        batches: axes of the product before rows and columns.
        block: rows and columns of a block.
        warp: rows and columns of a warp.
        step: of the reduction, between two barriers.
        stages: steps in shared memory at a time.
        lanes: threads of a warp.
    """

    kind: str
    dtype: str
    batches: int
    block: tuple[int, int]
    warp: tuple[int, int]
    step: int
    stages: int
    lanes: int

    @property
    def threads(self) -> tuple[int, int]:
        """Warps of a block, and lanes of each."""
        return (self.block[0] // self.warp[0]) * (self.block[1] // self.warp[1]), self.lanes

    @property
    def tile(self) -> list[int]:
        """A block's part of each axis of the product, those of its batches first, and a step's of its reduction."""
        return [*(1 for _ in range(self.batches)), *self.block, self.step]


@dataclass(frozen=True)
class Lying:
    """How the elements of an operand lie in memory before they are copied.

    Attributes:
        along: which of its last two dimensions has neighbours, 0 or 1.
        row: how many of them lie side by side, from each multiple of that number on.
    """

    along: int
    row: int


def plan_warps(s: Schedule, sums: StageView, kind: str, knobs: KnobsLike, spec: DeviceSpec) -> Warps:
    """The choices for *sums*, whose `tensor_core_dtype` is *kind*.

    Raises:
        Infeasible: it is no product of matrices, or the knobs ask for a block that *spec* cannot hold.
    """
    dtype = product_sides(s, sums)[0][0].dtype
    *batches, rows, columns = (axis.count for axis in sums.op.axis)
    depth = sums.op.reduce_axis[0].count
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
    plan = Warps(kind, dtype, len(batches), (block_m, block_n), (warp_m, warp_n), step, stages, lanes)
    down = -(-rows // block_m)
    knobs.require(down <= MOST_BATCHES, f"{down} blocks of {block_m} rows, and a grid has {MOST_BATCHES}")
    knobs.require(warp_m * warp_n <= 64 * 64, f"{warp_m} x {warp_n} sums need more registers than a warp has")
    gap = widest(dtype)
    held = sum(max(side, step) * (min(side, step) + gap) for side in plan.block)
    threads = math.prod(plan.threads)
    require_block(knobs, spec, threads, held * width * stages, rows * columns)
    for side in plan.block:
        knobs.require(side * step % threads == 0, f"{threads} threads cannot share {side} x {step} elements evenly")
    return plan


def multiply_by_warps(
    s: Schedule,
    stage: StageView,
    sides: tuple[Axis | Loop, Axis | Loop],
    sums: StageView,
    operands: tuple[Lying, Lying],
    plan: Warps,
) -> None:
    """Multiply as *plan* says, to write *stage*, whose innermost loops over rows and columns are *sides*.

    Both operands of *sums* come through shared memory, as they lie, in rows that ``ldmatrix`` fetches from all banks at
    once, all but one of the steps that are there on their way. What *stage* does with a sum is done by the lane that
    holds it.
    """
    reduced = [along for _, along in product_sides(s, sums)]
    copies = [in_shared(s, buffer, sums) for buffer, _ in product_sides(s, sums)]
    i, j = sides
    block_i, part_i = stage.split(i, factor=plan.block[0])
    block_j, part_j = stage.split(j, factor=plan.block[1])
    warp_i, part_i = stage.split(part_i, factor=plan.warp[0])
    warp_j, part_j = stage.split(part_j, factor=plan.warp[1])
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
    (*batch, i, j), (k,) = sums.op.axis, sums.op.reduce_axis
    tile_i, inner_i = sums.split(i, factor=_SHAPE[0])
    tile_j, inner_j = sums.split(j, factor=_SHAPE[1])
    round_k, part_k = sums.split(k, factor=plan.step)
    intrinsic, inner = _INTRINSICS[plan.kind]
    turn_k, inner_k = sums.split(part_k, factor=inner)
    sums.reorder(*batch, round_k, turn_k, tile_i, tile_j, inner_i, inner_j, inner_k)
    for loop in (turn_k, tile_i, tile_j):
        sums.unroll(loop)
    sums.tensorize(inner_i, intrinsic)
    gap = widest(plan.dtype)
    for side, copy, along, lying in zip(plan.block, copies, reduced, operands, strict=True):
        copy.compute_at(sums, round_k)
        *batch, row, column = copy.op.axis
        if lying.along == 0:
            row, column = column, row
            names = [f"b{number}" for number in range(plan.batches)]
            copy.transform_layout(f"{', '.join([*names, 'x', 'y'])} -> {', '.join([*names, 'y', 'x'])}")
        if dtypes.bits(plan.dtype) == 16 or along == lying.along:  # rows that ldmatrix fetches, eight at a time
            copy.storage_align(plan.batches, factor=2 * gap, offset=gap)
        else:  # words that lanes load, of four rows at a time
            copy.storage_align(plan.batches, factor=32, offset=8)
        vector = widest(plan.dtype, side * plan.step // math.prod(plan.threads), lying.row)
        copy_together(copy, plan.threads, vector, (*batch, row, column))
    if plan.stages > 1:
        sums.software_pipeline(round_k, stages=[0, 0, plan.stages - 1])


def _side(knobs: KnobsLike, name: str, size: int, first: int) -> int:
    """The side of a block's tile over a dimension of *size*."""
    fitting = [n for n in _BLOCKS if n < 2 * size] or [_BLOCKS[0]]
    return knobs.choice(f"block_{name}", fitting, default=max(n for n in fitting if n <= max(first, fitting[0])))
