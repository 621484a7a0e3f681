"""How conv2d runs on a CPU: directly, a register tile of pixels by output channels summed over channels and window.

Vectors run over output channels, so that any image width, stride and dilation will do: a tile loads a vector of packed
weights, and multiplies it with one pixel after another. No image is ever written out as a matrix. What the tile needs
of the padded image is made for a few rows at a time, near the core; a finished tile is turned, where the image has its
columns side by side, by shuffles on its way to the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.generic import generic_cpu
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.te.external import ExternOp
from flashsched.te.tensor import Axis, ComputeOp, Tensor

__all__ = ["axes_of", "best_tile", "conv2d_cpu"]

_FOR_THREADS = 128**3  # multiplications that are worth waking threads for, a few microseconds each time
_PIXELS = (1, 2, 4, 5, 6, 7, 8, 10, 12, 13, 14, 16, 28)


def axes_of(op: ComputeOp | ExternOp) -> dict[str, Axis]:
    """The axes of a stage by the names that the definition gave them: n, o, h, w, c, kh and kw."""
    return {axis.name: axis for axis in (*op.axis, *op.reduce_axis)}


def conv2d_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a convolution with or without an epilogue; *args* are the image, the weights, and last the output."""
    out = args[-1]
    assert isinstance(out.op, ComputeOp)
    sums = out if out.op.reduction is not None else _sum_of(out)
    assert isinstance(sums.op, ComputeOp)
    axes = axes_of(sums.op)
    lanes, _ = vector_shape(spec, sums.dtype)
    if not prod(out.known_shape) * prod(axis.count for axis in sums.op.reduce_axis):
        return  # nothing to compute, or only zeros: the plain nest will do
    image = sums.op.inputs[0].known_shape
    groups = image[sums.op.axis.index(axes["o"])] // axes["c"].count
    filters = axes["o"].count // groups
    if groups > 1 and filters % lanes:  # vectors would cross groups
        generic_cpu(s, args, knobs, spec)
        return
    _by_channels(s, args, knobs, spec, filters)


def _sum_of(out: Tensor) -> Tensor:
    """The reduction that an epilogue reads."""
    return next(t for t in out.op.inputs if isinstance(t.op, ComputeOp) and t.op.reduction is not None)


def _by_channels(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec, filters: int) -> None:
    """Vectors over the *filters* of a group, pixels one after another."""
    weight, out = args[1], args[-1]
    assert isinstance(out.op, ComputeOp)
    if out.op.reduction is None:
        sums = _sum_of(out)
    else:
        sums = s.cache_write(out, "local")
    assert isinstance(sums.op, ComputeOp)
    s[sums].set_scope("local")
    axes = axes_of(out.op)
    channels_last = out.op.axis[-1] is axes["o"]
    height, width = axes["h"].count, axes["w"].count
    lanes, registers = vector_shape(spec, sums.dtype)
    work = prod(axis.count for axis in (*sums.op.axis, *sums.op.reduce_axis))

    first = best_tile(width, filters, _PIXELS, (1, 2, 3, 4), spec, sums.dtype)
    vectors = knobs.choice("tile_o", (1, 2, 3, 4), default=first[1])
    pixels = knobs.choice("tile_w", _PIXELS, default=first[0])
    knobs.require(
        pixels * vectors + vectors + 1 <= registers,
        f"{pixels} pixels by {vectors} vectors need {pixels * vectors + vectors + 1} of {registers} registers",
    )
    unrolled = knobs.choice("unroll_kw", (False, True))
    threads = knobs.choice("threads", (False, True), default=work >= _FOR_THREADS)
    rows = knobs.choice("block_h", (1, 2, 4, 7, 8, 14, 16), default=_row_block(axes["n"].count, height, spec))
    enough = axes["n"].count * ceil(height / rows) >= 4 * spec.units
    orders = "rows outside", "channels outside"
    order = knobs.choice("order", orders, default=orders[0 if enough else 1])
    near = knobs.choice("pad", ("rows", "root"), default="rows" if order == "rows outside" else "root")

    n, o, h, w = (axes[name] for name in "nohw")
    group, filter_ = s[out].split(o, factor=filters)
    o_block, o_in = s[out].split(filter_, factor=vectors * lanes, tail="cut")
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
    inner = axes_of(s[sums].op)
    window = [inner[name] for name in (("kh", "kw", "c") if channels_last else ("c", "kh", "kw"))]
    s[sums].reorder(*window, inner["n"], inner["h"], inner["w"], inner["o"])
    if unrolled:
        s[sums].unroll(inner["kw"])
    s[sums].unroll(inner["w"])
    s[sums].vectorize(inner["o"])
    if not channels_last:
        s[sums].transform_layout(lambda n, o, h, w: (n, h, w, o))
    _pack(s, weight, sums, vectors * lanes, lanes, threads)
    _pad(s, sums, out, block if near == "rows" else None, lanes, threads)


def _row_block(batch: int, height: int, spec: DeviceSpec) -> int:
    """Rows that a thread takes at a time: as many as leave each thread an even share of at least four turns."""
    for rows in (8, 7, 4, 2):
        turns = batch * ceil(height / rows)
        if turns >= 4 * spec.units and height % rows == 0 and turns % spec.units == 0:
            return rows
    return 4 if batch * height >= 16 * spec.units else 1


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

    tiles = [(p, v) for p in pixels for v in vectors if p * v + v + 1 <= registers]
    return min(tiles, key=cycles)


def _pack(s: Schedule, weight: Tensor, sums: Tensor, width: int, lanes: int, threads: bool) -> None:
    """Copy the weights into the order in which tiles read them: panels of *width* filters."""
    packed = s.cache_read(weight, "global", [sums])
    a, b, c, d = s[packed].op.axis
    panel, filter_ = s[packed].split(a, factor=width, tail="cut")
    window = weight.known_shape[2] * weight.known_shape[3]
    step = max(1, lanes // window)
    near = s.cache_read(weight, "local", [packed])
    outer, inner = s[packed].split(b, factor=step, tail="cut")
    s[packed].reorder(panel, outer, inner, c, d, filter_)
    for loop in (inner, c, d):
        s[packed].unroll(loop)
    s[packed].vectorize(filter_)
    if threads:
        s[packed].parallel(panel)
    s[packed].transform_layout(lambda o, c, h, w: (o // width, c, h, w, o % width))
    s[near].compute_at(s[packed], outer)
    f, x, y, z = s[near].op.axis
    s[near].unroll(f)
    s[near].vectorize(s[near].fuse(x, y, z))
    s[near].storage_align(f, factor=lanes)


def _pad(s: Schedule, sums: Tensor, out: Tensor, at: Loop | None, lanes: int, threads: bool) -> None:
    """The padded image, where there is one: for the rows of a loop of the output, or all at once."""
    pad = next((t for t in s[sums].op.inputs if isinstance(t.op, ComputeOp) and t.op.name == "pad"), None)
    if pad is None:
        return
    a, b, _, d = s[pad].op.axis
    _, vector = s[pad].split(d, factor=lanes, tail="cut")
    s[pad].vectorize(vector)
    if at is not None:
        s[pad].compute_at(s[out], at)
    elif threads:
        s[pad].parallel(s[pad].fuse(a, b))
