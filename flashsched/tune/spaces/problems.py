"""The problems of the benchmark of tuners: each a small computation, and a template with a few hundred points.

A template is what was measured: whoever changes one records its table anew (``benchmarks/spaces.py``). They depend on
no template of an operator, so those may become better. Names of knobs and their options are part of the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.task import Task

__all__ = ["PROBLEMS", "Problem"]

_WIDTHS = (4, 16, 64)  # elements in the innermost, vectorized loop


@dataclass(frozen=True)
class Problem:
    """A computation, the template that spans its space, and the device that it is for.

    Attributes:
        name: what the table is called.
        title: a line for people.
        device: ``"cpu"``, the machine that measures, or a simulated one.
        define: makes the te graph, inputs and then the output.
        template: how it may be scheduled.
    """

    name: str
    title: str
    device: str
    define: Callable[[], list[Tensor]]
    template: Callable[[Schedule, list[Tensor], KnobsLike, DeviceSpec], None]

    @cached_property
    def task(self) -> Task:
        """The task to tune."""
        kind = "cpu" if self.device == "cpu" else "gpu"
        return Task.from_te(self.define(), name=self.name, template={kind: self.template})


def _product(m: int, n: int, depth: int) -> list[Tensor]:
    a = te.placeholder((m, depth), name="A")
    b = te.placeholder((depth, n), name="B")
    k = te.reduce_axis((0, depth), name="k")
    return [a, b, te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")]


_ORDERS = ("ijk", "ikj", "jik", "jki", "kij", "kji")


def _permuted(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Three loops cut in tiles, the tiles in any order, and two orders within a tile; one thread."""
    out = args[-1]
    i, j = s[out].op.axis
    (k,) = s[out].op.reduce_axis
    tiles, inner = {}, {}
    for name, loop, sizes in (("i", i, (1, 2, 4, 8, 16)), ("j", j, (8, 16, 32, 64)), ("k", k, (1, 4, 16, 64))):
        factor = knobs.choice(f"tile_{name}", sizes)
        tiles[name], inner[name] = s[out].split(loop, factor=factor, tail="cut")
    order = knobs.choice("order", _ORDERS)
    inside = knobs.choice("inside", ("ikj", "kij"))
    s[out].reorder(*(tiles[name] for name in order), *(inner[name] for name in inside))
    if inside == "kij":
        s[out].unroll(inner["i"])
    s[out].vectorize(inner["j"])


def _blocked(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A product on two threads: blocks of rows, a tile in registers, B packed or read where it lies."""
    out, b = args[-1], args[1]
    rows = knobs.choice("rows", (2, 4, 6, 8, 12))
    width = knobs.choice("width", (16, 32, 48))
    knobs.require(rows * width <= 28 * 16, f"{rows} x {width} sums are more than the registers hold")
    sums = s.cache_write(out, "local")
    i, j = s[out].op.axis
    i_tiles, i_in = s[out].split(i, factor=rows, tail="cut")
    i_block, i_tile = s[out].split(i_tiles, nparts=knobs.choice("blocks", (1, 2, 4)))
    j_tile, j_in = s[out].split(j, factor=width, tail="cut")
    inside = knobs.choice("inside", ("rows", "columns"))
    order = (j_tile, i_tile) if inside == "rows" else (i_tile, j_tile)
    s[out].reorder(i_block, *order, i_in, j_in)
    s[sums].compute_at(s[out], order[1])
    s[out].unroll(i_in)
    s[out].vectorize(j_in)
    if knobs.choice("threads", (False, True)):
        s[out].parallel(i_block)
    if knobs.choice("packed", (False, True)):
        panel = s.cache_read(b, "global", [sums])
        s[panel].transform_layout(lambda k, j: (j // width, k, j % width))
    (k,) = s[sums].op.reduce_axis
    row, column = s[sums].op.axis
    k_out, k_in = s[sums].split(k, factor=knobs.choice("unroll_k", (1, 4)))
    s[sums].reorder(k_out, k_in, row, column)
    s[sums].unroll(k_in)
    s[sums].unroll(row)
    s[sums].vectorize(column)


def _convolution() -> list[Tensor]:
    x = te.placeholder((16, 30, 34), name="X")
    w = te.placeholder((16, 16, 3, 3), name="W")
    c, y, z = (te.reduce_axis((0, n), name=name) for n, name in ((16, "c"), (3, "y"), (3, "z")))
    out = te.compute((16, 28, 32), lambda o, i, j: te.sum(x[c, i + y, j + z] * w[o, c, y, z], axis=(c, y, z)), name="C")
    return [x, w, out]


def _direct(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A convolution: channels and columns in a tile, the window unrolled or not, one thread."""
    out = args[-1]
    channels = knobs.choice("channels", (1, 2, 4, 8))
    width = knobs.choice("width", (4, 8, 16, 32))
    sums = s.cache_write(out, "local")
    o, i, j = s[out].op.axis
    o_tile, o_in = s[out].split(o, factor=channels)
    j_tile, j_in = s[out].split(j, factor=width)
    lines = knobs.choice("lines", (1, 2, 4))
    i_tile, i_in = s[out].split(i, factor=lines)
    knobs.require(channels * lines * width <= 28 * 16, f"{channels} x {lines} x {width} sums are too many")
    outer = (o_tile, i_tile, j_tile) if knobs.choice("outside", ("channels", "lines")) == "channels" else (
        i_tile, j_tile, o_tile,
    )  # fmt: skip
    s[out].reorder(*outer, o_in, i_in, j_in)
    s[sums].compute_at(s[out], outer[2])
    c, y, z = s[sums].op.reduce_axis
    window = (c, y, z) if knobs.choice("window", ("inside", "outside")) == "inside" else (y, z, c)
    channel, line, column = s[sums].op.axis
    s[sums].reorder(*window, channel, line, column)
    if knobs.choice("unroll_z", (False, True)):
        s[sums].unroll(z)
    for stage, loops in ((s[sums], (channel, line)), (s[out], (o_in, i_in))):
        for loop in loops:
            stage.unroll(loop)
    s[sums].vectorize(column)
    s[out].vectorize(j_in)


def _softmax() -> list[Tensor]:
    x = te.placeholder((128, 512), name="X")
    j, k = te.reduce_axis((0, 512), name="j"), te.reduce_axis((0, 512), name="k")
    most = te.compute((128,), lambda i: te.max(x[i, j], axis=j), name="most")
    power = te.compute((128, 512), lambda i, j: te.exp(x[i, j] - most[i]), name="power")
    total = te.compute((128,), lambda i: te.sum(power[i, k], axis=k), name="total")
    return [x, te.compute((128, 512), lambda i, j: power[i, j] / total[i], name="Y")]


def _rows(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A softmax: each stage with its row or all at once, its sums in lanes or one by one."""
    out = args[-1]
    most, power, total = s["most"], s["power"], s["total"]
    row = s[out].op.axis[0]
    place = knobs.choice("place", ("apart", "total", "all"))
    if place != "apart":
        total.compute_at(s[out], row)
    if place == "all":
        power.compute_at(s[out], row)
        most.compute_at(s[out], row)
    if knobs.choice("threads", (False, True)):
        s[out].parallel(row)
        for stage in {"apart": (most, power, total), "total": (most, power)}.get(place, ()):
            stage.parallel(stage.op.axis[0])
    for name, stage in (("power", power), ("out", s[out])):
        width = knobs.choice(f"width_{name}", _WIDTHS)
        stage.vectorize(stage.split(stage.op.axis[1], factor=width)[1])
    for name in ("most", "total"):
        lanes = knobs.choice(f"lanes_{name}", (1, 16, 64))
        if lanes > 1:
            _in_lanes(s, name, lanes)


def _in_lanes(s: Schedule, name: str, lanes: int) -> None:
    """Reduce in so many lanes at once, and the lanes at the end."""
    stage = s[name]
    _, lane = stage.split(stage.op.reduce_axis[0], factor=lanes)
    before = stage.loops[0] if len(stage.loops) > 1 else None
    parts = s[s.rfactor(name, lane)]
    if before is not None:
        parts.compute_at(s[name], s[name].op.axis[0])
    parts.reorder(*parts.op.reduce_axis, parts.op.axis[0])
    parts.vectorize(parts.op.axis[0])


def _pointwise() -> list[Tensor]:
    x = te.placeholder((256, 512), name="X")
    b = te.placeholder((512,), name="B")
    r = te.placeholder((256, 512), name="R")
    shifted = te.compute((256, 512), lambda i, j: x[i, j] + b[j], name="shifted")
    gate = te.compute((256, 512), lambda i, j: 1.0 / (1.0 + te.exp(-1.702 * shifted[i, j])), name="gate")
    return [x, b, r, te.compute((256, 512), lambda i, j: shifted[i, j] * gate[i, j] + r[i, j], name="Y")]


def _chain(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A chain of element-wise stages: joined or apart, in vectors, unrolled, on one thread or two."""
    out = args[-1]
    row, column = s[out].op.axis
    width = knobs.choice("width", (4, 8, 16, 32, 64, 128))
    vectors, lane = s[out].split(column, factor=width)
    turns = knobs.choice("unroll", (1, 4))
    knobs.require(512 // width % turns == 0, f"{512 // width} vectors are no multiple of {turns}")
    tile, turn = s[out].split(vectors, factor=turns)
    s[out].unroll(turn)
    s[out].vectorize(lane)
    places = ("apart", "row", "tile", "inline")
    shifted = knobs.choice("shifted", places)
    gate = knobs.choice("gate", places)
    outside = gate == "inline" or shifted == "inline" or places.index(shifted) <= places.index(gate)
    knobs.require(outside, f"shifted at {shifted} is inside of its reader gate at {gate}")
    for name, place in (("gate", gate), ("shifted", shifted)):  # readers first
        stage = s[name]
        if place == "inline":
            stage.compute_inline()
            continue
        if place != "apart":
            stage.compute_at(s[out], row if place == "row" else tile)
        if knobs.choice(f"vectors_{name}", (False, True)):
            stage.vectorize(stage.split(stage.op.axis[1], factor=16, tail="cut")[1])
    if knobs.choice("threads", (False, True)):
        s[out].parallel(row)


def _columns() -> list[Tensor]:
    x = te.placeholder((512, 256), name="X")
    k = te.reduce_axis((0, 512), name="k")
    return [x, te.compute((256,), lambda j: te.sum(x[k, j] * x[k, j], axis=k), name="Y")]


def _reduction(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Sums of squares of columns: the reduction cut among threads or chains, columns in vectors."""
    out = args[-1]
    parts = knobs.choice("parts", (1, 2, 4, 8, 16, 32))
    width = knobs.choice("width", (4, 8, 16, 32, 64, 128))
    stage = s[out]
    if parts > 1:
        k_part, _ = stage.split(stage.op.reduce_axis[0], nparts=parts)
        stage = s[s.rfactor(out, k_part)]
        if knobs.choice("threads", (False, True)):
            stage.parallel(stage.op.axis[0])
        last = s[out]
        last_tile, last_lane = last.split(last.op.axis[0], factor=16)
        last.reorder(last_tile, *last.op.reduce_axis, last_lane)
        last.vectorize(last_lane)
    column = stage.op.axis[-1]
    (k,) = stage.op.reduce_axis
    tile, lane = stage.split(column, factor=width)
    k_out, k_in = stage.split(k, factor=knobs.choice("unroll", (1, 2, 4, 8)))
    if knobs.choice("outside", ("columns", "rows")) == "columns":
        stage.reorder(tile, k_out, k_in, lane)
    else:
        stage.reorder(k_out, tile, k_in, lane)
    stage.unroll(k_in)
    stage.vectorize(lane)


def _blur() -> list[Tensor]:
    x = te.placeholder((258, 258), name="X")
    across = te.compute((258, 256), lambda i, j: (x[i, j] + x[i, j + 1] + x[i, j + 2]) / 3.0, name="across")
    return [
        x,
        te.compute((256, 256), lambda i, j: (across[i, j] + across[i + 1, j] + across[i + 2, j]) / 3.0, name="Y"),
    ]


def _stencil(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Two stages of a blur: where the first is computed for the second, the tile, vectors, threads."""
    out = args[-1]
    across = s["across"]
    i, j = s[out].op.axis
    i_tile, i_in = s[out].split(i, factor=knobs.choice("tile_i", (1, 4, 16, 64)))
    j_tile, j_in = s[out].split(j, factor=knobs.choice("tile_j", (32, 64, 128, 256)))
    s[out].reorder(i_tile, j_tile, i_in, j_in)
    place = knobs.choice("across", ("apart", "band", "tile", "line", "inline"))
    width = knobs.choice("width", (8, 16, 32))
    if place == "inline":
        across.compute_inline()
    else:
        if place != "apart":
            across.compute_at(s[out], {"band": i_tile, "tile": j_tile, "line": i_in}[place])
        across.vectorize(across.split(across.op.axis[1], factor=width, tail="cut")[1])
    s[out].vectorize(s[out].split(j_in, factor=width)[1])
    if knobs.choice("threads", (False, True)):
        s[out].parallel(i_tile)
        if place == "apart":
            across.parallel(across.op.axis[0])


def _gpu_tile(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A product on a GPU: a block's tile in shared memory, a thread's in registers."""
    a, b, out = args
    sides = [knobs.choice(f"block_{name}", (32, 64, 128)) for name in "ij"]
    parts = [knobs.choice(f"thread_{name}", (2, 4, 8)) for name in "ij"]
    depth = knobs.choice("depth", (8, 16, 32))
    turns = knobs.choice("unroll_k", (1, 4))
    threads = [side // part for side, part in zip(sides, parts, strict=True)]
    knobs.require(32 <= threads[0] * threads[1] <= 1024, f"{threads[0]} x {threads[1]} threads are too few or too many")
    sums = s.cache_write(out, "local")
    copies = [s.cache_read(operand, "shared", [sums]) for operand in (a, b)]
    i, j = s[out].op.axis
    blocks, inner = [], []
    for loop, side, part in zip((i, j), sides, parts, strict=True):
        block, rest = s[out].split(loop, factor=side)
        thread, element = s[out].split(rest, factor=part)
        blocks.append((block, thread))
        inner.append(element)
    s[out].reorder(blocks[0][0], blocks[1][0], blocks[0][1], blocks[1][1], *inner)
    for (block, thread), axis in zip(blocks, "yx", strict=True):
        s[out].bind(block, f"blockIdx.{axis}")
        s[out].bind(thread, f"threadIdx.{axis}")
    s[out].unroll(inner[0])
    s[out].vectorize(inner[1])
    s[sums].compute_at(s[out], blocks[1][1])
    (k,) = s[sums].op.reduce_axis
    row, column = s[sums].op.axis
    k_out, k_step = s[sums].split(k, factor=depth)
    k_mid, k_in = s[sums].split(k_step, factor=turns)
    s[sums].reorder(k_out, k_mid, k_in, row, column)
    for each in (k_in, row, column):
        s[sums].unroll(each)
    vector = knobs.choice("vector", (1, 2, 4))
    for copy in copies:
        stage = s[copy]
        stage.compute_at(s[sums], k_out)
        whole = stage.fuse(*stage.op.axis)
        _, shares = stage.split(whole, factor=threads[0] * threads[1] * vector)
        thread, lanes = stage.split(shares, factor=vector)
        thread_y, thread_x = stage.split(thread, factor=threads[1])
        stage.bind(thread_y, "threadIdx.y")
        stage.bind(thread_x, "threadIdx.x")
        if vector > 1:
            stage.vectorize(lanes)


def _all() -> list[Problem]:
    blocked, gpu = _blocked, _gpu_tile
    return [
        Problem(
            "loops",
            "a product of 128 x 128 matrices in any order, one thread",
            "cpu",
            lambda: _product(128, 128, 128),
            _permuted,
        ),
        Problem(
            "matmul-192",
            "a product of 192 x 192 matrices, two threads",
            "cpu",
            lambda: _product(192, 192, 192),
            blocked,
        ),
        Problem("convolution", "3 x 3, 16 to 16 channels of 28 x 32, one thread", "cpu", _convolution, _direct),
        Problem("softmax", "over rows of 128 x 512", "cpu", _softmax, _rows),
        Problem("pointwise", "bias, gate and residual of 256 x 512", "cpu", _pointwise, _chain),
        Problem("columns", "sums of squares of the columns of 512 x 256", "cpu", _columns, _reduction),
        Problem("blur", "3 x 3, in two stages, of 256 x 256", "cpu", _blur, _stencil),
        Problem(
            "matmul-a100", "1024 x 1024 on the simulated A100", "a100-sim", lambda: _product(1024, 1024, 1024), gpu
        ),
        Problem("matmul-t4", "1024 x 512 x 2048 on the simulated T4", "t4-sim", lambda: _product(1024, 512, 2048), gpu),
    ]


PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _all()}
"""The problems by name."""
