"""The GPU template of matrix products: block tiles staged in shared memory, thread tiles kept in registers.

The ladder that it climbs is told by S. Boehm, "How to Optimize a CUDA Matmul Kernel"; every rung is a knob.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flashsched.errors import Infeasible, counted
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import (
    MOST_BATCHES,
    VECTOR_BITS,
    bind_batches,
    copies_late,
    copy_together,
    gpu_unit,
    in_shared,
    inline_elementwise,
    product_sides,
    require_block,
    sums_of_whole_tiles,
    the_reduction,
    widest,
)
from flashsched.ops.gpu_warps import tensor_core_dtype
from flashsched.ops.matmul_mma import matmul_mma
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.te import dtypes
from flashsched.te.sizes import numbers
from flashsched.te.tensor import Tensor

__all__ = ["matmul_gpu"]

FIRST_TILES = ((128, 128, 8), (128, 64, 8), (64, 64, 8), (32, 32, 4))
"""Rows and columns of a block, sides of a thread's tile to begin with: the first with one and a half for each unit."""


def matmul_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A block computes ``block_m x block_n`` of the output, a thread ``thread_m x thread_n`` of that.

    Both operands come through shared memory in steps of ``step_k`` along the reduction, copied by all threads together,
    and from there into registers. ``stages`` steps are in shared memory at a time, all but one of them on their way; a
    copy that turns a tile goes element by element then, so that no thread waits for it. ``swizzle`` lays tiles out so
    that the threads of a warp read different banks. What follows the product (bias, activation) is done on the
    registers.

    Tiles are whole: what they have beyond the ends of the matrices is 0 in shared memory, and not written in the end.

    *args* are the inputs, then the output; the graph has one reduction, over one axis, of two matrices, or of as many
    pairs of matrices as there are batches.

    Raises:
        Infeasible: the graph has another form, or the knobs ask for a block that *spec* cannot hold.
    """
    gpu_unit(spec)
    out = args[-1]
    if len(out.shape) < 2:
        raise Infeasible(f"{out.name} has {counted(len(out.shape), 'dimension')}, and this template is for matrices")
    *batches, rows, columns = out.known_shape
    inline_elementwise(s)
    sums = the_reduction(s, out)
    depth = sums.op.reduce_axis[0].count
    if not math.prod(out.known_shape) * depth:
        return  # nothing to compute, or only zeros: the plain nest will do
    knobs.require(math.prod(batches) <= MOST_BATCHES, f"{math.prod(batches)} batches, and a grid has {MOST_BATCHES}")
    sides = product_sides(s, sums)
    kind = tensor_core_dtype(s, sums, spec)
    if kind is not None and knobs.choice("tensor_cores", (False, True), default=True):
        matmul_mma(s, out, kind, knobs, spec)
        return
    (left, along_left), (right, along_right) = sides

    busy = [tile for tile in FIRST_TILES if 2 * _blocks(out.known_shape, tile) >= 3 * spec.units]
    first = (busy or FIRST_TILES[-1:])[0]
    block_m, thread_m = _tile(knobs, "m", rows, first[0], first[2])
    block_n, thread_n = _tile(knobs, "n", columns, first[1], first[2])
    step = knobs.choice("step_k", [k for k in (4, 8, 16, 32, 64) if k < 2 * depth] or [4], default=16)
    late = copies_late(spec) and dtypes.bits(left.dtype) >= 32
    stages = knobs.choice("stages", (1, 2, 3, 4), default=3 if late and depth >= 4 * step else 1)
    swizzle = knobs.choice("swizzle", (False, True), default=True)
    unroll = knobs.choice("unroll_k", (1, 2, 4, 8), default=4)
    knobs.require(thread_m * thread_n <= 64, f"{thread_m} x {thread_n} sums need more registers than a thread has")
    threads = block_m // thread_m, block_n // thread_n
    width = dtypes.bits(left.dtype) // 8
    tile_bytes = (block_m + block_n + 2 * VECTOR_BITS // 8 // width) * step * width
    require_block(knobs, spec, threads[0] * threads[1], tile_bytes * stages, rows * columns)
    knobs.require(step % unroll == 0, f"step_k={step} is no multiple of unroll_k={unroll}")
    sharing = threads[0] * threads[1]
    for block in (block_m, block_n):
        uneven = block * step % sharing and sharing % (block * step)
        knobs.require(not uneven, f"{sharing} threads cannot share {block} x {step} elements evenly")

    sums = sums_of_whole_tiles(s, out, [*(1 for _ in batches), block_m, block_n, step])
    copies = [in_shared(s, buffer, sums) for buffer, _ in product_sides(s, sums)]
    fragments = [s[s.cache_read(copy.op.output(0), "local", [sums.name])] for copy in copies]

    stage = s[out]
    *batch, i, j = stage.op.axis
    block_i, part_i = stage.split(i, factor=block_m)
    block_j, part_j = stage.split(j, factor=block_n)
    thread_i, inner_i = stage.split(part_i, factor=thread_m)
    thread_j, inner_j = stage.split(part_j, factor=thread_n)
    stage.reorder(*batch, block_i, block_j, thread_i, thread_j, inner_i, inner_j)
    bind_batches(stage)
    stage.bind(block_i, "blockIdx.y")
    stage.bind(block_j, "blockIdx.x")
    stage.bind(thread_i, "threadIdx.y")
    stage.bind(thread_j, "threadIdx.x")
    stage.unroll(inner_i)
    stage.vectorize(inner_j)

    sums.compute_at(stage, thread_j)
    (k,) = sums.op.reduce_axis
    round_k, step_k = sums.split(k, factor=step)
    turn_k, inner_k = sums.split(step_k, factor=unroll)
    sums.reorder(round_k, turn_k, inner_k, *sums.op.axis)
    sums.unroll(inner_k)
    for axis in sums.op.axis:
        sums.unroll(axis)

    tiles = ((left.dtype, along_left, thread_m, block_m), (right.dtype, along_right, thread_n, block_n))
    for (dtype, along, thread, _), fragment in zip(tiles, fragments, strict=True):
        fragment.compute_at(sums, inner_k)
        axes = fragment.op.axis[-2:]
        vectors, lanes = fragment.split(axes[1 - along], factor=widest(dtype, thread))
        fragment.reorder(axes[along], vectors, lanes)
        fragment.unroll(axes[along])
        fragment.unroll(vectors)
        fragment.vectorize(lanes)
    for (dtype, along, thread, block), (buffer, _), copy in zip(tiles, sides, copies, strict=True):
        copy.compute_at(sums, round_k)
        turned = swizzle and along == 1
        if swizzle:
            _swizzle(copy, along, thread, widest(dtype, thread))
        if turned:  # neighbours along the reduction are written to different banks
            copy.storage_align(len(batches), factor=32 * 32 // dtypes.bits(dtype), offset=widest(dtype))
        share = max(1, block * step // sharing)
        vector = widest(dtype, step if along == 1 else block, share, *numbers(buffer.shape[-1:], buffer.name))
        copy_together(copy, threads, 1 if turned and late and stages > 1 else vector)
    if stages > 1:
        sums.software_pipeline(round_k, stages=[0, 0, stages - 1])


def _blocks(shape: Sequence[int], tile: tuple[int, int, int]) -> int:
    """Blocks that cover an output of *shape* with a tile of `FIRST_TILES`."""
    *batches, rows, columns = shape
    return math.prod(batches) * -(-rows // tile[0]) * -(-columns // tile[1])


def _tile(knobs: KnobsLike, name: str, size: int, first_block: int, first_thread: int) -> tuple[int, int]:
    """The sides of a block's and of a thread's tile over a dimension of *size*."""
    blocks = [n for n in (8, 16, 32, 64, 128, 256) if n < 2 * size] or [8]
    block = knobs.choice(f"block_{name}", blocks, default=first_block)
    smaller = max(1, min(blocks[-1], first_block) // 8)  # eight threads along a side at least
    thread = knobs.choice(f"thread_{name}", (1, 2, 4, 8, 16), default=min(first_thread, smaller))
    knobs.require(thread <= block, f"thread_{name}={thread} is more than block_{name}={block}")
    return block, thread


def _swizzle(copy: StageView, reduced: int, thread: int, vector: int) -> None:
    """Lay a tile out so that a thread's vectors stand next to those of its neighbours, step after step.

    A thread reads ``thread`` elements in vectors; what is the n-th vector of all threads is put side by side.
    """
    batches = [f"b{number}" for number in range(len(copy.op.axis) - 2)]
    names = [*batches, *(("k", "x") if reduced == 0 else ("x", "k"))]
    parts = f"k, x // {vector} % {thread // vector}, x // {thread}, x % {vector}" if thread > vector else "k, x"
    copy.transform_layout(f"{', '.join(names)} -> {', '.join([*batches, parts])}")
