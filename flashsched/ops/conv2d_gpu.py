"""The GPU template of conv2d: tiles of output channels by pixels, image and weights staged in shared memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flashsched.errors import Infeasible
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import copy_together, gpu_unit, operands, require_block, sums_in_registers
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer, block_loads
from flashsched.te import dtypes
from flashsched.te.expr import Var
from flashsched.te.simplify import bounds
from flashsched.te.sizes import numbers
from flashsched.te.tensor import Axis, Tensor

__all__ = ["conv2d_gpu"]

FIRST_TILES = ((4, 7), (4, 4), (1, 7), (4, 1), (1, 1))
"""Channels and pixels of a thread to begin with: the first that divide the block and leave it a warp of threads."""


def conv2d_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A block computes ``block_o`` channels of ``block_h x block_w`` pixels; a thread ``thread_o`` of ``thread_w``.

    The part of the (padded) image and of the weights that a block needs for ``step_c`` input channels is copied into
    shared memory by all its threads; padding is put in as it is copied.

    *args* are the image [N, C, H, W], the weights [O, C, KH, KW], possibly a bias, and the output [N, O, H', W'].

    Raises:
        Infeasible: the graph has another form, or the knobs ask for a block that *spec* cannot hold.
    """
    unit = gpu_unit(spec)
    out = args[-1]
    sums = sums_in_registers(s, out)
    read = operands(s, sums)
    if len(out.shape) != 4 or len(sums.op.reduce_axis) != 3 or len(read) != 2 or any(len(b.shape) != 4 for b in read):
        raise Infeasible(f"{sums.name} is no convolution of images [N, C, H, W]")
    if [axis.name for axis in sums.op.axis] != ["n", "o", "h", "w"]:
        raise Infeasible(f"{sums.name} has its channels last, and blocks are made for images [N, C, H, W]")
    channels, height, width = out.shape[1:]
    depth, window_h, window_w = (axis.count for axis in sums.op.reduce_axis)
    if not math.prod(out.shape) * depth:
        return  # nothing to compute, or only zeros: the plain nest will do

    block_o = knobs.choice("block_o", [n for n in (4, 8, 16, 32, 64, 128) if n < 2 * channels] or [4], default=16)
    block_h = knobs.choice("block_h", [n for n in (1, 2, 4, 8) if n < 2 * height], default=4)
    widths = [n for n in (4, 7, 8, 14, 16, 28, 32, 56) if n < 2 * width] or [4]
    block_w = knobs.choice("block_w", widths, default=14 if 14 in widths else widths[0])
    enough = [(o, w) for o, w in FIRST_TILES
              if block_w % w == 0 and block_o // o * block_h * (block_w // w) >= unit.warp_size]  # fmt: skip
    first = (enough or FIRST_TILES[-1:])[0]
    thread_o = knobs.choice("thread_o", (1, 2, 4, 8), default=first[0])
    thread_w = knobs.choice("thread_w", (1, 2, 4, 7, 8), default=first[1])
    step = knobs.choice("step_c", [n for n in (1, 2, 4, 8, 16, 32) if n < 2 * depth], default=4)
    unrolled = knobs.choice("unroll_window", (False, True), default=True)
    for name, block, thread in (("o", block_o, thread_o), ("w", block_w, thread_w)):
        knobs.require(block % thread == 0, f"block_{name}={block} is no multiple of thread_{name}={thread}")
    threads = block_o // thread_o, block_h * (block_w // thread_w)
    tile = dict(zip((*sums.op.axis, *sums.op.reduce_axis), (1, block_o, block_h, block_w, step, window_h, window_w),
                    strict=True))  # fmt: skip
    elements = sum(_reach(s, sums, buffer, tile) for buffer in read)
    shared_bytes = elements * dtypes.bits(read[0].dtype) // 8
    require_block(knobs, spec, threads[0] * threads[1], shared_bytes, math.prod(out.known_shape))
    knobs.require(thread_o * thread_w <= 64, f"{thread_o} x {thread_w} sums need more registers than a thread has")

    copies = [_staged(s, buffer, sums) for buffer in read]
    stage = s[out]
    n, o, h, w = stage.op.axis
    tile_o, part_o = stage.split(o, factor=block_o)
    tile_h, part_h = stage.split(h, factor=block_h)
    tile_w, part_w = stage.split(w, factor=block_w)
    each_o, inner_o = stage.split(part_o, factor=thread_o)
    each_w, inner_w = stage.split(part_w, factor=thread_w)
    stage.reorder(n, tile_o, tile_h, tile_w, each_o, part_h, each_w, inner_o, inner_w)
    pixels = stage.fuse(part_h, each_w)
    stage.bind(n, "blockIdx.z")
    stage.bind(tile_o, "blockIdx.y")
    stage.bind(stage.fuse(tile_h, tile_w), "blockIdx.x")
    stage.bind(each_o, "threadIdx.y")
    stage.bind(pixels, "threadIdx.x")
    stage.unroll(inner_o)
    stage.unroll(inner_w)

    sums.compute_at(stage, pixels)
    c, kh, kw = sums.op.reduce_axis
    round_c, step_c = sums.split(c, factor=step)
    sums.reorder(round_c, step_c, kh, kw, *sums.op.axis)
    for axis in (*((kw,) if unrolled else ()), *sums.op.axis):
        sums.unroll(axis)
    for copy in copies:
        copy.compute_at(sums, round_c)
        copy_together(copy, threads, 1)


def _staged(s: Schedule, buffer: Buffer, sums: StageView) -> StageView:
    """A stage that brings *buffer* into shared memory: the padding that computes it, or a copy."""
    if buffer.name in s.state.stages:
        s[buffer.name].set_scope("shared")
        return s[buffer.name]
    return s[s.cache_read(buffer.name, "shared", [sums.name])]


def _reach(s: Schedule, sums: StageView, buffer: Buffer, tile: Mapping[Axis, int]) -> int:
    """Elements of *buffer* that a *tile* of the loops reads."""
    ranges: dict[Var, tuple[float, float]] = {axis: (0, extent - 1) for axis, extent in tile.items()}
    load = next(load for load in block_loads(s.state.stage(sums.name).block) if load.buffer is buffer)
    extents = []
    for index, size in zip(load.indices, numbers(buffer.shape, buffer.name), strict=True):
        low, high = bounds(index, ranges)
        extents.append(int(min(high - low + 1, size)))
    return math.prod(extents)
