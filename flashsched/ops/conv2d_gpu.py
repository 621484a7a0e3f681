"""The GPU template of conv2d: tiles of output channels by pixels, image and weights staged in shared memory.

What it does on plain lanes is here; on tensor cores a convolution is a product (`conv2d_mma`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flashsched.errors import Infeasible
from flashsched.hw import DeviceSpec
from flashsched.ops.conv2d_mma import conv2d_mma, image_and_weights, is_product
from flashsched.ops.derived.gpu import derived_gpu
from flashsched.ops.gpu_tiles import (
    copies_late,
    copy_rows_together,
    gpu_unit,
    in_shared,
    load_of,
    operands,
    require_block,
    sums_of_whole_tiles,
    the_reduction,
    widest,
)
from flashsched.ops.gpu_warps import tensor_core_dtype
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.te import dtypes
from flashsched.te.simplify import bounds, linear
from flashsched.te.tensor import Tensor

__all__ = ["conv2d_gpu"]

_WIDTHS = (7, 4)  # pixels of a thread in a row to begin with: neighbours 7 apart read different banks
_THREADS = 256  # of a unit to begin with, at least: fewer sums each, rather than fewer threads
_WINDOW = 32  # turns of a step to begin with, at least
_BANKS = 32  # of shared memory, a word each (CUDA C++ programming guide)


def conv2d_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A block computes ``block_o`` channels of ``block_h x block_w`` pixels; a thread ``thread_o`` of ``thread_w``.

    The part of the (padded) image and of the weights that a block needs for ``step_c`` input channels is copied into
    shared memory by all its threads; padding is put in as it is copied. ``stages`` steps are in shared memory at a
    time, all but one of them on their way. A thread has its weights, and the pixels that a row of the window slides
    over, in registers. Tiles are whole: channels and pixels that there are not are 0 in shared memory, and not written
    in the end.

    Where tensor cores multiply what is convolved, and it is of one group, they do, unless ``tensor_cores`` says no.

    *args* are the image [N, C, H, W], the weights [O, C, KH, KW], possibly a bias, and the output [N, O, H', W']; on
    tensor cores also with the channels last, the image [N, H, W, C] and the weights [KH, KW, C, O].

    Raises:
        Infeasible: the graph has another form, or the knobs ask for a block that *spec* cannot hold.
    """
    gpu_unit(spec)
    out = args[-1]
    sums = the_reduction(s, out)
    read = operands(s, sums)
    if len(out.shape) != 4 or len(sums.op.reduce_axis) != 3 or len(read) != 2 or any(len(b.shape) != 4 for b in read):
        raise Infeasible(f"{sums.name} is no convolution of images of 4 dimensions")
    last = [axis.name for axis in sums.op.axis] == ["n", "h", "w", "o"]
    if not last and [axis.name for axis in sums.op.axis] != ["n", "o", "h", "w"]:
        raise Infeasible(f"{sums.name} is no convolution over n, o, h and w")
    if not math.prod((*out.known_shape, *(axis.count for axis in sums.op.reduce_axis))):
        return  # nothing to compute, or only zeros: the plain nest will do
    kind = tensor_core_dtype(s, sums, spec) if is_product(s, sums) else None
    if kind is not None and knobs.choice("tensor_cores", (False, True), default=True):
        conv2d_mma(s, out, kind, knobs, spec)
        return
    if last:  # tiles of pixels by channels are as good as any
        derived_gpu(s, args, knobs, spec)
        return
    plan = _plan(s, sums, out, knobs, spec)
    sums = sums_of_whole_tiles(s, out, (*plan.block, plan.step, 1, 1))
    image, weights = (in_shared(s, buffer, sums) for buffer in image_and_weights(s, sums))
    for other in s.stages:  # the zeros around the image
        if other.op.reduction is None and other.name not in (s[out].name, image.name, weights.name):
            other.compute_inline()
    pixels, filters = (s[s.cache_read(copy.op.output(0), "local", [sums.name])] for copy in (image, weights))

    stage = s[out]
    n, o, h, w = stage.op.axis
    tile_o, part_o = stage.split(o, factor=plan.block[1])
    tile_h, part_h = stage.split(h, factor=plan.block[2])
    tile_w, part_w = stage.split(w, factor=plan.block[3])
    each_o, inner_o = stage.split(part_o, factor=plan.thread_o)
    each_w, inner_w = stage.split(part_w, factor=plan.thread_w)
    stage.reorder(n, tile_o, tile_h, tile_w, each_o, part_h, each_w, inner_o, inner_w)
    at = stage.fuse(part_h, each_w)
    stage.bind(n, "blockIdx.z")
    stage.bind(tile_o, "blockIdx.y")
    stage.bind(stage.fuse(tile_h, tile_w), "blockIdx.x")
    stage.bind(each_o, "threadIdx.y")
    stage.bind(at, "threadIdx.x")
    stage.unroll(inner_o)
    stage.unroll(inner_w)

    sums.compute_at(stage, at)
    c, kh, kw = sums.op.reduce_axis
    round_c, step_c = sums.split(c, factor=plan.step)
    sums.reorder(round_c, step_c, kh, kw, *sums.op.axis)
    for axis in (*((kw,) if plan.unrolled else ()), *sums.op.axis):
        sums.unroll(axis)
    pixels.compute_at(sums, kh if plan.unrolled else kw)
    pixels.unroll(pixels.op.axis[3])
    filters.compute_at(sums, kw)
    vectors, lanes = filters.split(filters.op.axis[0], factor=widest(plan.dtype, plan.thread_o))
    filters.reorder(*filters.op.axis[1:], vectors, lanes)
    filters.unroll(vectors)
    filters.vectorize(lanes)
    image.compute_at(sums, round_c)
    image.storage_align(2, factor=_BANKS, offset=plan.row % _BANKS)
    copy_rows_together(image, plan.threads, 3)
    weights.compute_at(sums, round_c)
    weights.transform_layout("o, c, h, w -> c, h, w, o")
    weights.storage_align(2, factor=_BANKS, offset=plan.filters % _BANKS)
    copy_rows_together(weights, plan.threads, 1)
    if plan.stages > 1:
        sums.software_pipeline(round_c, stages=[0, 0, plan.stages - 1])


@dataclass(frozen=True)
class _Plan:
    """What was decided: *block* is a block's part of the output, *row* and *filters* the lengths of a row of the image
    and of the filters side by side in shared memory."""

    dtype: str
    block: tuple[int, int, int, int]
    thread_o: int
    thread_w: int
    step: int
    stages: int
    unrolled: bool
    row: int
    filters: int

    @property
    def threads(self) -> tuple[int, int]:
        _, channels, rows, columns = self.block
        return channels // self.thread_o, rows * (columns // self.thread_w)


def _plan(s: Schedule, sums: StageView, out: Tensor, knobs: KnobsLike, spec: DeviceSpec) -> _Plan:
    batch, channels, height, width = out.known_shape
    depth, *window = (axis.count for axis in sums.op.reduce_axis)
    dtype = operands(s, sums)[0].dtype

    first_w = min(_WIDTHS, key=lambda n: -(-width // n) * n)
    widths = [n for n in (4, 7, 8, 14, 16, 28, 32, 56) if n < 2 * width] or [4]
    side_w = max([n for n in widths if n % first_w == 0 and n <= 28] or widths[:1])
    heights = [n for n in (1, 2, 4, 7, 8) if n < 2 * height]
    side_h = next(n for n in heights if n >= min(height, 4) and (n >= height or height > 8))
    areas = batch * -(-height // side_h) * -(-width // side_w)
    sides = [n for n in (4, 8, 16, 32, 64, 128) if n < 2 * channels or n <= 8]
    least = min(gpu_unit(spec).warp_size // (side_h * side_w), sides[-1])
    busy = [n for n in (64, 32) if n in sides and areas * -(-channels // n) >= 0.9 * spec.units]
    wanted = busy[0] if busy else min(16, sides[-1])
    side_o = next(n for n in sides if n >= max(least, wanted))
    block_o = knobs.choice("block_o", sides, default=side_o)
    block_h = knobs.choice("block_h", heights, default=side_h)
    block_w = knobs.choice("block_w", widths, default=side_w)
    most = max(1.0, 1.2 * math.prod(out.known_shape) / (spec.units * _THREADS * first_w))
    enough = [(o, w) for w in (first_w, 1) for o in (8, 4, 2, 1) if o <= most and block_w % w == 0
              and block_o // o * block_h * (block_w // w) >= gpu_unit(spec).warp_size]  # fmt: skip
    first_o, first_w = (enough or [(1, 1)])[0]
    thread_o = knobs.choice("thread_o", (1, 2, 4, 8), default=first_o)
    thread_w = knobs.choice("thread_w", (1, 2, 4, 7, 8), default=first_w)
    for name, block, thread in (("o", block_o, thread_o), ("w", block_w, thread_w)):
        knobs.require(block % thread == 0, f"block_{name}={block} is no multiple of thread_{name}={thread}")
    knobs.require(thread_o * thread_w <= 64, f"{thread_o} x {thread_w} sums need more registers than a thread has")

    threads = block_o // thread_o, block_h * (block_w // thread_w)
    turns = dict(zip((*sums.op.axis, *sums.op.reduce_axis), (1, block_o, block_h, block_w, 1, *window), strict=True))
    load = load_of(s, sums, image_and_weights(s, sums)[0])
    ends = [bounds(index, {axis: (0, extent - 1) for axis, extent in turns.items()}) for index in load.indices]
    rows, columns = (int(high - low) + 1 for low, high in ends[2:])
    per_row, per_column = (linear(load.indices[2 + n]).coefficient(sums.op.axis[2 + n]) for n in (0, 1))
    across = block_w // thread_w
    row = _row(columns, [(x // across * per_row, x % across * thread_w * per_column) for x in range(threads[1])])
    filters = block_o + (4 - block_o) % _BANKS  # those of neighbouring turns begin in different banks

    def held(step: int, stages: int) -> int:
        """Bytes of shared memory."""
        return step * (rows * row + math.prod(window) * filters) * stages * dtypes.bits(dtype) // 8

    late = copies_late(spec) and dtypes.bits(dtype) >= 32
    steps = [n for n in (1, 2, 4, 8, 16, 32) if n < 2 * depth]
    fitting = [n for n in steps if 2 * held(n, 1 + late) <= gpu_unit(spec).shared_bytes_per_block and n <= 16]
    long = [n for n in fitting if n * math.prod(window) >= _WINDOW]
    step = knobs.choice("step_c", steps, default=(long or fitting[-1:] or steps)[0])
    stages = knobs.choice("stages", (1, 2, 3, 4), default=2 if late and depth >= 2 * step else 1)
    unrolled = knobs.choice("unroll_window", (False, True), default=True)
    require_block(knobs, spec, threads[0] * threads[1], held(step, stages), math.prod(out.known_shape))
    return _Plan(dtype, (1, block_o, block_h, block_w), thread_o, thread_w, step, stages, unrolled, row, filters)


def _row(columns: int, places: Sequence[tuple[int, int]]) -> int:
    """The length from *columns* up of rows in which threads that read at *places*, by row and column, meet least."""

    def meet(length: int) -> int:
        read = {row * length + column for row, column in places[:_BANKS]}
        return max(Counter(place % _BANKS for place in read).values())

    return min(range(columns, columns + _BANKS), key=meet)
