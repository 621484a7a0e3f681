"""The template of convolutions on tensor cores: a product of two matrices, one of which is gathered from the image.

Rows and columns are the pixels of all images and the channels of the output, and what is summed over are the channels
and the window ("implicit GEMM": S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, section 3).
"""

from __future__ import annotations

import functools
import math
import operator

from flashsched.codegen.gpu.copies import moved
from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import load_of, operands, product_sides, sums_of_whole_tiles, the_reduction, widest
from flashsched.ops.gpu_warps import Lying, multiply_by_warps, plan_warps
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer
from flashsched.schedule.match import physical
from flashsched.te.expr import Expr, Var, const
from flashsched.te.simplify import Ranges, linear, simplify
from flashsched.te.tensor import Tensor
from flashsched.te.visit import substitute, uses

__all__ = ["conv2d_mma", "image_and_weights", "is_product"]

_PACKED, _PACKERS = 1024, 128
"""Elements that a block packs, and its threads: a few for each, since blocks take their time to begin."""

_WHOLE = 16
"""Steps of the sum that divide the channels stay with one pixel of the window, whose place is found once for all."""


def conv2d_mma(s: Schedule, out: Tensor, kind: str, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A block computes ``block_m x block_n`` of the output, a warp ``warp_m x warp_n`` of that, by tiles of 16 x 8.

    Where channels are an image's last dimension, rows are pixels and columns are channels, else the other way round:
    neighbours in memory are columns, and are written together. Tiles go on from row to row of an image, and from image
    to image. The windows of the pixels are gathered in steps of ``step_k`` into shared memory, 0 for what lies beyond
    the image; ``stages`` steps are there at a time.

    *out* is a convolution as `conv2d_gpu` takes it, or is computed from one; *kind* is its `tensor_core_dtype`.
    """
    sums = the_reduction(s, out)
    last = sums.op.axis[-1].name == "o"
    axes = {axis.name: axis for axis in (*sums.op.axis, *sums.op.reduce_axis)}
    pixels, channels = [axes[name] for name in "nhw"], [axes["o"]]
    window = [axes["kh"], axes["kw"]]
    summed = [*window, axes["c"]] if last else [axes["c"], *window]
    left, right = (pixels, channels) if last else (channels, pixels)
    packed = None
    if not last and math.prod(axis.count for axis in window) > 1:
        whole = axes["c"].count % _WHOLE == 0  # steps of the sum then stay with one pixel of the window
        if knobs.choice("pack_weights", (False, True), default=whole):
            packed, summed = _packed(s, sums), [*window, axes["c"]]
    flat = s.flatten_axes(sums.name, [left, right, summed])
    if sums.name != s[out].name:
        sums.compute_inline()
    for buffer in operands(s, s[flat]):
        s.reindex(flat, buffer.name)
    _inline_others(s, out, packed)
    plan = plan_warps(s, s[flat], kind, knobs, spec)
    sides = [buffer.name for buffer, _ in product_sides(s, s[flat])]
    lying = Lying(1, _row(s, sides[0], 1)), Lying(0, _row(s, sides[1], 0))
    product = sums_of_whole_tiles(s, out, plan.tile)
    _inline_others(s, out, packed)

    stage = s[out]
    n, h, w, o = (next(axis for axis in stage.op.axis if axis.name == name) for name in "nhwo")
    stage.reorder(n, h, w, o)
    pixel = stage.fuse(n, h, w)
    if not last:
        stage.reorder(o, pixel)
    multiply_by_warps(s, stage, (pixel, o) if last else (o, pixel), product, lying, plan)


def image_and_weights(s: Schedule, sums: StageView) -> list[Buffer]:
    """What the convolution *sums* reads at its pixels, and what is the same for all of them."""
    (column,) = (axis for axis in sums.op.axis if axis.name == "w")

    def same_for_all(buffer: Buffer) -> bool:
        return not any(uses(index, column) for index in load_of(s, sums, buffer).indices)

    return sorted(operands(s, sums), key=same_for_all)


def is_product(s: Schedule, sums: StageView) -> bool:
    """Whether the convolution *sums* is a product of matrices, of more than one row, column and step of the sum.

    All channels of the image go into each sum then: those of several groups are as many products.
    """
    (o,) = (axis for axis in sums.op.axis if axis.name == "o")
    image, _ = image_and_weights(s, sums)
    pixels, steps = (math.prod(a.count for a in axes) for axes in (sums.op.axis, sums.op.reduce_axis))
    one_group = not any(uses(index, o) for index in load_of(s, sums, image).indices)
    return one_group and min(o.count, pixels // o.count, steps) > 1


def _packed(s: Schedule, sums: StageView) -> str:
    """The copy of the weights that a kernel of its own makes, whose neighbours are channels, as they are summed."""
    _, weights = image_and_weights(s, sums)
    copy = s[s.cache_read(weights.name, "global", [sums.name])]
    copy.transform_layout("o, c, h, w -> o, h, w, c")
    o, c, h, w = copy.op.axis
    copy.reorder(o, h, w, c)
    block, part = copy.split(copy.fuse(o, h, w, c), factor=_PACKED)
    each, thread = copy.split(part, factor=_PACKERS)
    copy.bind(block, "blockIdx.x")
    copy.bind(thread, "threadIdx.x")
    copy.unroll(each)
    return copy.name


def _inline_others(s: Schedule, out: Tensor, packed: str | None) -> None:
    """Inline what is neither written nor multiplied: zeros around the image, and what is copied once more."""
    kept = {s[out].name, packed, *(buffer.name for buffer in operands(s, the_reduction(s, out)))}
    for stage in s.stages:
        if stage.op.reduction is None and stage.name not in kept:
            stage.compute_inline()


def _row(s: Schedule, copy: str, along: int) -> int:
    """How many elements of *copy* along one of its axes, from each multiple of that number on, lie side by side in what
    is copied, and exist together."""
    known = s.state.stage(copy)
    load, where = moved(known.block.stores[0].value)
    if load is None:  # what is computed on the way goes element by element
        return 1
    axis, turn, lane = known.axes[along], Var("turn"), Var("lane")
    row = widest(load.dtype, axis.count)
    while row > 1:
        ranges: Ranges = {other: (0.0, other.count - 1.0) for other in known.axes}
        ranges = {**ranges, turn: (0.0, axis.count // row - 1.0), lane: (0.0, row - 1.0)}
        at: dict[Var, Expr] = {axis: turn * row + lane}
        places, strides = physical(load.buffer, [substitute(index, at) for index in load.indices], ranges)
        address = functools.reduce(operator.add, map(operator.mul, places, strides))
        exists = const(True) if where is None else simplify(substitute(where, at), ranges)
        if not uses(linear(address, ranges).plus(lane, -1).expr(), lane) and not uses(exists, lane):
            break
        row //= 2
    return row
