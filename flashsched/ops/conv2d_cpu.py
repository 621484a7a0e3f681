"""How conv2d runs on a CPU: directly, a register tile of the output summed over channels and window.

No image is written out as a matrix. Two ways lead to vectors:

- over **output channels**: a tile loads a vector of packed weights, and multiplies it with one pixel after another. Any
  image width, stride and dilation will do. Where the image has its columns side by side (NCHW), a finished tile is
  turned by shuffles on its way to the output.
- over **output columns**: a tile loads a vector of pixels, and multiplies it with the weight of one channel after
  another. For NCHW with few filters in a group: depthwise convolutions above all.

What the tile needs of the padded image is made for a few rows at a time, near the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import second_level, vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.ops.winograd_cpu import is_winograd, winograd_cpu
from flashsched.schedule import Loop, Schedule
from flashsched.te import dtypes
from flashsched.te.expr import Expr
from flashsched.te.tensor import Axis, ComputeOp, Operation, Tensor

__all__ = ["axes_of", "best_tile", "computed", "conv2d_cpu", "filters_tile", "sum_of"]

FOR_THREADS = 64**3
"""Multiplications that are worth waking threads for, a few microseconds each time."""

_PIXELS = (1, 2, 4, 5, 6, 7, 8, 10, 12, 13, 14, 16, 28)
_VECTORS = (1, 2, 3, 4)
_PADS = ("rows", "root", "inline")


def conv2d_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a convolution with or without an epilogue; *args* are the image, the weights, and last the output."""
    out = args[-1]
    if is_winograd(out):
        if prod(out.known_shape) * args[0].known_shape[1]:
            winograd_cpu(s, args, knobs, spec)
        return
    sums = sum_of(out)
    op = computed(sums)
    axes = axes_of(op)
    if not prod(out.known_shape) * prod(axis.count for axis in op.reduce_axis):
        return  # nothing to compute, or only zeros: the plain nest will do
    last = op.axis[-1].name
    groups = op.inputs[0].known_shape[op.axis.index(axes["o"])] // axes["c"].count
    filters = axes["o"].count // groups
    lanes, _ = vector_shape(spec, sums.dtype)
    if last == "o" and axes["c"].count == filters == 1:
        groups, filters = 1, groups  # depthwise: vectors over the channels of all groups, each its own pixel's
    ways = ("channels",) if last == "o" or is_packed(args[1]) else ("channels", "columns")
    whole = filters >= lanes and (groups == 1 or filters % lanes == 0)
    vectors_along = knobs.choice("vectors_along", ways, default=ways[0 if whole else -1])
    if sums is out:
        sums = s.cache_write(out, "local")
    s[sums].set_scope("local")
    if vectors_along == "channels":
        _by_channels(s, args[1], out, sums, filters, knobs, spec)
    else:
        _by_columns(s, out, sums, filters, knobs, spec)


def axes_of(op: Operation) -> dict[str, Axis]:
    """The axes of a stage by the names that the definition gave them: n, o, h, w, c, kh and kw."""
    assert isinstance(op, ComputeOp)
    return {axis.name: axis for axis in (*op.axis, *op.reduce_axis)}


def is_packed(weight: Tensor) -> bool:
    """Whether weights are in panels already."""
    return len(weight.known_shape) > 4


def computed(tensor: Tensor) -> ComputeOp:
    """The operation of a tensor that is computed."""
    assert isinstance(tensor.op, ComputeOp)
    return tensor.op


def sum_of(out: Tensor) -> Tensor:
    """The reduction of which *out* is a function of elements, or which it is itself."""
    if computed(out).reduction is not None:
        return out
    return next(t for t in out.op.inputs if isinstance(t.op, ComputeOp) and t.op.reduction is not None)


def _by_channels(
    s: Schedule, weight: Tensor, out: Tensor, sums: Tensor, filters: int, knobs: KnobsLike, spec: DeviceSpec
) -> None:
    """Vectors over the *filters* of a group, pixels one after another."""
    axes, inner = axes_of(out.op), axes_of(s[sums].op)
    channels_last = computed(out).axis[-1] is axes["o"]
    batch, height, width = (axes[name].count for name in "nhw")
    lanes, registers = vector_shape(spec, sums.dtype)
    packed = is_packed(weight)
    depthwise = channels_last and filters > 1 and weight.known_shape[2] == 1 and not packed

    if packed:
        vectors = ceil(weight.known_shape[-1] / lanes)
        best = best_tile(width, filters, _PIXELS, [vectors], spec, sums.dtype)
    else:
        depth = prod(axis.count for axis in s[sums].op.reduce_axis)
        best = filters_tile(width, filters, depth, spec, sums.dtype)
        vectors = knobs.choice("tile_o", _VECTORS, default=1 if depthwise else best[1])
    pixels = knobs.choice("tile_w", _PIXELS, default=min(7, width) if depthwise else best[0])
    knobs.require(
        pixels * vectors + vectors + 1 <= registers,
        f"{pixels} pixels by {vectors} vectors need {pixels * vectors + vectors + 1} of {registers} registers",
    )
    wide = weight.known_shape[-1] if packed else vectors * lanes
    if filters < axes["o"].count:  # a tile that sticks out of its group would read the image of the next one
        wide = max(n for n in range(1, min(filters, wide) + 1) if filters % n == 0)
    unrolled = knobs.choice("unroll_window", ("none", "kw", "all"), default="all" if depthwise else "none")
    panels = axes["o"].count // filters * ceil(filters / wide)
    rows, order = _blocks(batch, panels, height, knobs, spec)
    threads = knobs.choice("threads", (False, True), default=spec.units > 1 and _work(sums) >= FOR_THREADS)
    pad = "inline" if depthwise else "rows" if order == "rows outside" else "root"
    pad_how = knobs.choice("pad", _PADS, default=pad)
    once = order == "channels outside" and batch * ceil(height / rows) == 1
    packs: tuple[str, ...] = ("panel", "root") if once else ("root",)
    best_pack = "none" if channels_last and (depthwise or filters < lanes) else packs[0]
    pack_at = (
        "none" if packed else knobs.choice("pack", ("none", *packs) if channels_last else packs, default=best_pack)
    )

    n, o, h, w = (axes[name] for name in "nohw")
    group, filter_ = s[out].split(o, factor=filters)
    o_block, o_in = s[out].split(filter_, factor=wide, tail="cut")
    h_block, h_in = s[out].split(h, factor=rows)
    w_tile, w_in = s[out].split(w, factor=pixels, tail="cut")
    tile = (w_in, o_in) if channels_last else (o_in, w_in)
    if order == "rows outside":
        s[out].reorder(n, h_block, group, o_block, h_in, w_tile, *tile)
        block = s[out].fuse(n, h_block)
    else:
        s[out].reorder(n, group, o_block, h_block, h_in, w_tile, *tile)
        block = s[out].fuse(n, group, o_block, h_block)
    s[out].unroll(tile[0])
    s[out].vectorize(tile[1])
    if threads:
        s[out].parallel(block)
    s[sums].compute_at(s[out], w_tile)
    window = [inner[name] for name in (("kh", "kw", "c") if channels_last else ("c", "kh", "kw"))]
    s[sums].reorder(*window, inner["n"], inner["h"], inner["w"], inner["o"])
    _unroll_window(s, sums, unrolled)
    s[sums].unroll(inner["w"])
    s[sums].vectorize(inner["o"])
    if not channels_last:
        s[sums].transform_layout(lambda n, o, h, w: (n, h, w, o))
        if wide % lanes:
            s[sums].storage_align(2, factor=lanes)
    _pad(s, sums, out, pad_how, block, (h_in, w_tile), lanes, threads)
    if pack_at != "none":
        at = block if pack_at == "panel" else None
        _pack(s, weight, sums, out, at, filters, wide, lanes, threads)


def _by_columns(s: Schedule, out: Tensor, sums: Tensor, filters: int, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Vectors over the columns of an image, a few rows and *filters* of a group in a tile."""
    op = s[sums].op
    assert isinstance(op, ComputeOp)
    axes, inner = axes_of(out.op), axes_of(op)
    batch, height, width = (axes[name].count for name in "nhw")
    lanes, registers = vector_shape(spec, sums.dtype)
    short = inner["c"].count == 1  # depthwise: the window is all of the sum

    best = best_tile(filters, width, _PIXELS[:6], _VECTORS, spec, sums.dtype)
    row = ceil(width / lanes)
    vectors = knobs.choice("tile_w", _VECTORS, default=ceil(row / ceil(row / _VECTORS[-1])) if short else best[1])
    channels = knobs.choice("tile_o", _PIXELS[:6], default=min(best[0], filters))
    tall = knobs.choice("tile_h", (1, 2, 4), default=2 if channels == 1 else 1)
    sizes = f"{channels} channels by {tall} rows by {vectors} vectors"
    needed = channels * tall * vectors + vectors + 1
    knobs.require(needed <= registers, f"{sizes} need {needed} of {registers} registers")
    unrolled = knobs.choice("unroll_window", ("none", "kw", "all"), default="all" if short else "none")
    panels = axes["o"].count // filters * ceil(filters / channels)
    rows, order = _blocks(batch, panels, height, knobs, spec, whole=batch * panels >= 4 * spec.units)
    threads = knobs.choice("threads", (False, True), default=spec.units > 1 and _work(sums) >= FOR_THREADS)
    pad = "inline" if short else "rows" if order == "rows outside" else "root"
    pad_how = knobs.choice("pad", _PADS, default=pad)

    n, o, h, w = (axes[name] for name in "nohw")
    group, filter_ = s[out].split(o, factor=filters)
    o_block, o_in = s[out].split(filter_, factor=channels, tail="cut")
    h_block, h_rest = s[out].split(h, factor=rows)
    h_tile, h_in = s[out].split(h_rest, factor=tall, tail="cut")
    w_tile, w_in = s[out].split(w, factor=vectors * lanes, tail="cut")
    if order == "rows outside":
        s[out].reorder(n, h_block, group, o_block, h_tile, w_tile, o_in, h_in, w_in)
        block = s[out].fuse(n, h_block)
    else:
        s[out].reorder(n, group, o_block, h_block, h_tile, w_tile, o_in, h_in, w_in)
        block = s[out].fuse(n, group, o_block, h_block)
    for loop in (o_in, h_in):
        s[out].unroll(loop)
    s[out].vectorize(w_in)
    if threads:
        s[out].parallel(block)
    s[sums].compute_at(s[out], w_tile)
    s[sums].reorder(*(inner[name] for name in ("c", "kh", "kw", "n", "o", "h", "w")))
    _unroll_window(s, sums, unrolled)
    for name in "oh":
        s[sums].unroll(inner[name])
    s[sums].vectorize(inner["w"])
    _pad(s, sums, out, pad_how, block, (h_tile, w_tile), lanes, threads)


def _work(sums: Tensor) -> int:
    op = sums.op
    assert isinstance(op, ComputeOp)
    return prod(axis.count for axis in (*op.axis, *op.reduce_axis))


def _blocks(
    batch: int, panels: int, height: int, knobs: KnobsLike, spec: DeviceSpec, whole: bool = False
) -> tuple[int, str]:
    """How many rows a thread takes at a time, and whether it goes through all *panels* of channels for them.

    If there are enough rows, it does: what it needs of the image is then near for all panels. Else each thread takes
    panels, and a panel goes through all rows while its weights are near; so it does if the *whole* image of a panel's
    channels is small.
    """
    options = sorted({*(n for n in (1, 2, 4, 7, 8, 14, 16, 28) if n < height), height})
    even = [n for n in options if height % n == 0 and (batch * height // n) % spec.units == 0]
    enough = [n for n in even if batch * height // n >= 4 * spec.units]
    rows_outside = not whole and (bool(enough) or panels < spec.units)
    best = height if whole else max(enough) if enough else max(even or options[:1]) if panels < spec.units else height
    rows = knobs.choice("block_h", options, default=best)
    orders = "rows outside", "channels outside"
    return rows, knobs.choice("order", orders, default=orders[0 if rows_outside else 1])


def best_tile(
    width: int, filters: int, pixels: Sequence[int], vectors: Sequence[int], spec: DeviceSpec, dtype: str
) -> tuple[int, int]:
    """Pixels and vectors of the register tile that computes ``width x filters`` points in the fewest cycles.

    A step of the reduction takes a load for each pixel and vector, at two a cycle, a multiply-add for each pair, and
    no less than the latency of one; what sticks out of the image or the channels is computed as well.
    """
    cpu = spec.cpu
    assert cpu is not None
    lanes, registers = vector_shape(spec, dtype)

    def cycles(tile: tuple[int, int]) -> float:
        p, v = tile
        step = max(p * v / cpu.fma_ports, (p + v) / 2, cpu.fma_latency_cycles)
        step += 0.5  # the loop itself
        return step * ceil(width / p) * ceil(filters / (v * lanes))

    return min(((p, v) for p in pixels for v in vectors if p * v + v + 1 <= registers), key=cycles)


def filters_tile(width: int, filters: int, depth: int, spec: DeviceSpec, dtype: str) -> tuple[int, int]:
    """`best_tile` for vectors of filters, of sums over *depth* products: their weights stay near, with their rows."""
    lanes, _ = vector_shape(spec, dtype)
    panel = depth * lanes * dtypes.bits(dtype) // 8
    near = [v for v in _VECTORS if v == 1 or v * panel <= second_level(spec) // 2]
    return best_tile(width, filters, _PIXELS, near, spec, dtype)


def _unroll_window(s: Schedule, sums: Tensor, which: str) -> None:
    axes = axes_of(s[sums].op)
    if which != "none":
        s[sums].unroll(axes["kw"])
    if which == "all":
        s[sums].unroll(axes["kh"])


def _pack(
    s: Schedule,
    weight: Tensor,
    sums: Tensor,
    out: Tensor,
    at: Loop | None,
    filters: int,
    width: int,
    lanes: int,
    threads: bool,
) -> None:
    """Copy the weights into the order in which tiles read them, at the root or *at* a loop.

    The *filters* of each group go into panels of *width*.

    Weights that have their filters last are copied along those. Others have the window last, and are turned: vectors
    along channel and window are loaded for each filter of a panel, and its columns written.
    """
    packed = s.cache_read(weight, "global", [sums])
    axes = s[packed].op.axis
    filters_last = s[sums].op.axis[-1].name == "o"
    o_axis, rest = (axes[-1], axes[:-1]) if filters_last else (axes[0], axes[1:])
    group, in_group = s[packed].split(o_axis, factor=filters)
    panel, filter_ = s[packed].split(in_group, factor=width, tail="cut")

    def place(o: Expr) -> tuple[Expr, ...]:
        """Group, panel and filter: of one group panels need not be whole, and of several they are."""
        if o_axis.count == filters:
            return o // width, o % width
        return o // filters, o // width % (filters // width), o % width

    if filters_last:
        s[packed].reorder(group, panel, *rest, filter_)
        s[packed].transform_layout(lambda h, w, c, o: (*place(o)[:-1], h, w, c, place(o)[-1]))
    else:
        near = s.cache_read(weight, "local", [packed])
        step = max(1, lanes // (weight.known_shape[2] * weight.known_shape[3]))
        outer, inner = s[packed].split(rest[0], factor=step, tail="cut")
        s[packed].reorder(group, panel, outer, inner, *rest[1:], filter_)
        s[packed].unroll(inner)
        for axis in rest[1:]:
            s[packed].unroll(axis)
        s[packed].transform_layout(lambda o, c, h, w: (*place(o)[:-1], c, h, w, place(o)[-1]))
    s[packed].vectorize(filter_)
    if at is not None:
        s[packed].compute_at(s[out], at)
    elif threads:
        s[packed].parallel(s[packed].fuse(group, panel))
    if not filters_last:
        row, *along = s[near].op.axis
        s[near].compute_at(s[packed], outer)
        s[near].unroll(row)
        s[near].vectorize(s[near].fuse(*along))
        s[near].storage_align(row, factor=lanes)


def _pad(
    s: Schedule, sums: Tensor, out: Tensor, how: str, block: Loop, borders: Sequence[Loop], lanes: int, threads: bool
) -> None:
    """The padded image, where there is one: made for the rows of a *block*, or all at once, or not at all.

    Where each pixel is read a few times only, it is read from the image itself ("inline"), and the loops over tiles are
    cut at the *borders*, so that tiles inside test nothing.
    """
    pad = next((t for t in s[sums].op.inputs if isinstance(t.op, ComputeOp) and t.op.name == "pad"), None)
    if pad is None:
        return
    if how == "inline":
        s[pad].compute_inline()
        for loop in borders:
            s[out].loop_partition(loop)
        return
    first, second, _, last = s[pad].op.axis
    _, vector = s[pad].split(last, factor=lanes, tail="cut")
    s[pad].vectorize(vector)
    if how == "rows":
        s[pad].compute_at(s[out], block)
    elif threads:
        s[pad].parallel(s[pad].fuse(first, second))
