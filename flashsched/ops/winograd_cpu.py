"""How Winograd's convolution runs on a CPU: rows of tiles at a time, from the image to the output, near the core.

A thread takes a few rows of tiles. It brings their part of the image into vectors over channels, transforms it, and
multiplies it with the transformed weights: (m + 2)**2 matrix products, each in register tiles. The sums of a vector of
filters and a vector of columns are then transformed back, turned by shuffles, and written.
"""

from __future__ import annotations

from math import ceil

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import register_tile, second_level, tile_fits, vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.te import dtypes
from flashsched.te.tensor import ComputeOp, Tensor, graph

__all__ = ["is_winograd", "winograd_cpu"]

_ROWS = (1, 2, 4, 6, 7, 8, 10, 12, 13, 14)
_VECTORS = (1, 2, 3, 4)


def is_winograd(out: Tensor) -> bool:
    """Whether *out* is computed from transformed sums."""
    return any(op.name == "AM" for op in graph([out]))


def winograd_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a convolution made by `winograd`; *args* are the image, the weights, and last the output."""
    out = args[-1]
    made = {op.name: op.output(0) for op in graph([out]) if isinstance(op, ComputeOp)}
    back, product, v = made["AM"], made["M"], made["V"]
    m, columns, filters = (back.known_shape[at] for at in (2, 4, 5))
    lanes, registers = vector_shape(spec, out.dtype)
    best = register_tile(columns, filters, spec, out.dtype)
    width = 0 if "U" in made else args[1].known_shape[-1]  # of a panel of weights that were packed ahead
    vectors = ceil(width / lanes) if width else knobs.choice("tile_o", _VECTORS, default=best[1])
    across = knobs.choice("tile_x", _ROWS, default=best[0])
    knobs.require(tile_fits(across, vectors, registers), f"{across} tiles by {vectors} vectors need more registers")
    tall = knobs.choice("block_y", (1, 2, 3, 4, 7, 8), default=_tall(v, product, spec))
    threads = knobs.choice("threads", (False, True), default=spec.units > 1)

    mine = s.cache_write(out, "local")
    sums = s.cache_write(product, "local")
    n, o, h, w = s[out].op.axis
    h_block, h_rest = s[out].split(h, factor=m * tall)
    h_tile, h_in = s[out].split(h_rest, factor=m)
    o_tile, o_in = s[out].split(o, factor=lanes, tail="cut")
    w_tile, w_in = s[out].split(w, factor=lanes, tail="cut")
    s[out].reorder(n, h_block, h_tile, o_tile, w_tile, h_in, o_in, w_in)
    s[out].unroll(o_in)
    s[out].vectorize(w_in)
    block = s[out].fuse(n, h_block)
    if threads:
        s[out].parallel(block)
    _transform_back(s, mine, back, out, w_tile)
    _multiply(s, product, sums, width or vectors * lanes, across)
    s[product].compute_at(s[out], block)
    _transform_image(s, made, args[0], out, block, lanes)
    if not width:
        _transform_weights(s, made, args[1], vectors * lanes, lanes, threads)


def _tall(v: Tensor, product: Tensor, spec: DeviceSpec) -> int:
    """Rows of tiles that a thread takes: as many as L2 holds half of, if that leaves each thread as much."""
    batch, rows, t, _, columns, channels = v.known_shape
    row = t * t * columns * (channels + product.known_shape[-1]) * dtypes.bits(v.dtype) // 8
    fitting = [n for n in (8, 7, 4, 3, 2) if n * row <= second_level(spec) // 2 and rows % n == 0]
    return next((n for n in fitting if batch * rows // n % spec.units == 0), 1)


def _transform_back(s: Schedule, mine: Tensor, back: Tensor, out: Tensor, at: Loop) -> None:
    n, o, h, w = s[mine].op.axis
    s[mine].compute_at(s[out], at)
    s[mine].reorder(n, h, w, o)
    s[mine].unroll(h)
    s[mine].unroll(w)
    s[mine].vectorize(o)
    s[mine].transform_layout(lambda n, o, h, w: (n, h, w, o))
    n, y, i, b, x, o = s[back].op.axis
    s[back].compute_at(s[out], at)
    s[back].set_scope("local")
    s[back].reorder(n, y, x, b, i, o)
    s[back].unroll(i)
    s[back].vectorize(o)


def _multiply(s: Schedule, product: Tensor, sums: Tensor, width: int, across: int) -> None:
    """For each of the (m + 2)**2 products, a panel of filters after another; tiles are summed in registers."""
    n, y, a, b, x, o = s[product].op.axis
    panel, o_in = s[product].split(o, factor=width, tail="cut")
    x_tile, x_in = s[product].split(x, factor=across, tail="cut")
    s[product].reorder(n, a, b, panel, y, x_tile, x_in, o_in)
    s[product].unroll(x_in)
    s[product].vectorize(o_in)
    s[sums].compute_at(s[product], x_tile)
    n, y, a, b, x, o = s[sums].op.axis
    (c,) = s[sums].op.reduce_axis
    s[sums].reorder(c, n, y, a, b, x, o)
    s[sums].unroll(x)
    s[sums].vectorize(o)


def _transform_image(s: Schedule, made: dict[str, Tensor], x: Tensor, out: Tensor, block: Loop, lanes: int) -> None:
    """Rows of the padded image with their channels side by side, then the transformed tiles of all columns."""
    v, part = made["V"], made["BX"]
    n, y, a, b, column, c = s[v].op.axis
    c_tile, c_in = s[v].split(c, factor=lanes, tail="cut")
    s[v].reorder(n, y, column, c_tile, a, b, c_in)
    s[v].unroll(a)
    s[v].unroll(b)
    s[v].vectorize(c_in)
    s[v].compute_at(s[out], block)
    s[part].compute_at(s[v], c_tile)
    s[part].set_scope("local")
    _, _, a, j, _, c = s[part].op.axis
    s[part].unroll(a)
    s[part].unroll(j)
    s[part].vectorize(c)

    turned = s.cache_read(made.get("pad", x), "global", [part])
    near = made["pad"] if "pad" in made else s.cache_read(x, "local", [turned])
    n, c, h, w = s[turned].op.axis
    c_tile, c_in = s[turned].split(c, factor=lanes, tail="cut")
    w_tile, w_in = s[turned].split(w, factor=lanes, tail="cut")
    s[turned].reorder(n, h, w_tile, c_tile, w_in, c_in)
    s[turned].unroll(w_in)
    s[turned].vectorize(c_in)
    s[turned].transform_layout(lambda n, c, h, w: (n, h, w, c))
    s[turned].compute_at(s[out], block)
    s[near].compute_at(s[turned], c_tile)
    s[near].set_scope("local")
    _, c, _, w = s[near].op.axis
    s[near].unroll(c)
    s[near].vectorize(w)


def _transform_weights(
    s: Schedule, made: dict[str, Tensor], weight: Tensor, width: int, lanes: int, threads: bool
) -> None:
    """All weights, in panels of *width* filters."""
    u, half = made["U"], made["GW"]
    a, b, c, o = s[u].op.axis
    panel, o_in = s[u].split(o, factor=width, tail="cut")
    s[u].reorder(panel, c, a, b, o_in)
    s[u].unroll(a)
    s[u].unroll(b)
    s[u].vectorize(o_in)
    if threads:
        s[u].parallel(panel)
    s[u].transform_layout(lambda a, b, c, o: (a, b, o // width, c, o % width))
    s[half].compute_at(s[u], c)
    s[half].set_scope("local")
    a, j, _, o = s[half].op.axis
    s[half].unroll(a)
    s[half].unroll(j)
    s[half].vectorize(o)
    near = s.cache_read(weight, "local", [half])
    s[near].compute_at(s[u], c)
    row, *along = s[near].op.axis
    s[near].unroll(row)
    s[near].vectorize(s[near].fuse(*along))
    s[near].storage_align(row, factor=lanes)
