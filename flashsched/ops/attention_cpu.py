"""How attention runs on a CPU: queries in the lanes, two register-tiled products, and the softmax between them.

With queries in the lanes a maximum and a sum over keys are plain vector operations, keys and values are read as they
lie in memory, one element for all lanes, and only a tile of queries is turned around. Parallel over heads and tiles.
"""

from __future__ import annotations

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.views import StageView
from flashsched.te.tensor import Axis, Tensor

__all__ = ["attention_cpu"]

_SIDE = 16
"""Rows and columns of the squares that are turned around in registers."""

_FOR_THREADS = 2**22
"""Operations that are worth waking threads for."""


def attention_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule an attention; *args* are Q, K, V and the output.

    For a tile of queries and a block of keys at a time: scores, their maximum, powers, sums, and the powers times the
    values, which are joined to what earlier blocks gave. All buffers are of that size and stay in the near caches.
    """
    out = args[-1]
    batch, heads, queries, depth = out.known_shape
    if batch * heads * queries * depth == 0:
        return  # nothing to compute: the plain nest will do
    stages = {stage.name: stage for stage in s.stages}
    state, most = stages["state"], stages["most"]
    lanes, registers = vector_shape(spec, most.op.output(0).dtype)
    vectors = knobs.choice("tile_q", (1, 2, 3, 4), default=min(2, -(-queries // lanes)))
    rows = knobs.choice("tile_k", (2, 4, 6, 8, 12), default=8 if registers == 32 else 6)
    columns = knobs.choice("tile_d", (2, 4, 6, 8, 12), default=8 if registers == 32 else 4 + 2 * (depth % 4 > 0))
    for name, tile in (("tile_k", rows), ("tile_d", columns)):
        needed = (tile + 1) * vectors + 1
        knobs.require(needed <= registers, f"tile_q={vectors} and {name}={tile} need {needed} of {registers} registers")
    wide = most.op.output(0).dtype
    scaled, y = stages["scaled"], s[out]
    narrow = wide if args[0].dtype != wide else None
    near = [s.cache_read(read, "local", [out]) for read in out.op.inputs]
    b, h, i, d = y.op.axis
    outer, query = y.split(i, factor=vectors * lanes, tail="cut")
    side = min(lanes, _SIDE)
    y_tile = _turned(y, query, d, side)
    y.reorder(b, h, outer, *y_tile)
    y.unroll(y_tile[2])
    y.vectorize(y_tile[3])
    for copy in near:
        _read_along(s, copy, y, y_tile[1])
    work = y.fuse(b, h, outer)
    if knobs.choice("threads", (False, True), default=4 * batch * heads * queries**2 * depth >= _FOR_THREADS):
        y.parallel(work)

    state.compute_at(y, work)
    b, h, d, i = state.op.axis
    d_tile, d_in = state.split(d, factor=columns, tail="cut")
    state.reorder(b, h, *state.op.reduce_axis, d_tile, d_in, i)
    state.vectorize(i)
    block = (state, state.op.reduce_axis[0]) if state.op.reduction is not None else (y, work)  # or all keys are one
    _register_tile(stages["part"], state, d_tile)  # powers times values, summed over the keys of a block

    for name in ("share", "total", "power", "most"):  # each after those that read it
        if name not in stages:
            continue
        stage = stages[name]
        stage.compute_at(*block)
        if stage.op.reduction is not None:
            stage.set_scope("local")
            stage.reorder(*stage.op.reduce_axis, *stage.op.axis)
        stage.vectorize(stage.op.axis[-1])

    score = stages["score"]
    score.compute_at(*block)
    *_, key, i = score.op.axis
    k_tile, k_in = score.split(key, factor=rows, tail="cut")
    score.unroll(k_in)
    score.vectorize(i)
    _register_tile(stages["dot"], score, k_tile)  # keys times queries, summed over the depth

    scaled.compute_at(y, work)  # the queries, turned around once for all keys
    *around, d, i = scaled.op.axis
    square = _turned(scaled, d, i, side)
    scaled.reorder(*around, *square)
    scaled.unroll(square[2])
    scaled.vectorize(square[3])
    _read_along(s, s.cache_read(args[0], "local", [scaled.name], narrow), scaled, square[1])


def _turned(stage: StageView, row: Axis | Loop, column: Axis | Loop, side: int) -> tuple[Loop, Loop, Loop, Loop]:
    """The loops of *stage* in squares of *side*, so that rows which were read the other way are turned in registers."""
    rows, turned = stage.split(row, factor=side, tail="cut")
    columns, lane = stage.split(column, factor=side, tail="cut")
    return rows, columns, turned, lane


def _read_along(s: Schedule, near: Tensor, reader: StageView, loop: Loop) -> None:
    """A square of what *reader* reads the other way, as it lies."""
    s[near].compute_at(reader, loop)
    *_, row, column = s[near].op.axis
    s[near].unroll(row)
    s[near].vectorize(column)


def _register_tile(product: StageView, reader: StageView, loop: Loop) -> None:
    """Compute in registers the tile of *product* that a turn of *loop* reads: a dimension written out, one in lanes."""
    product.compute_at(reader, loop)
    product.set_scope("local")
    *around, row, lane = product.op.axis
    product.reorder(*around, *product.op.reduce_axis, row, lane)
    product.unroll(row)
    product.vectorize(lane)
