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
from flashsched.te.tensor import Tensor

__all__ = ["attention_cpu"]

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
    y = s[out]
    b, h, i, d = y.op.axis
    outer, query = y.split(i, factor=vectors * lanes, tail="cut")
    y.reorder(b, h, outer, d, query)
    y.vectorize(query)
    work = y.fuse(b, h, outer)
    if knobs.choice("threads", (False, True), default=4 * batch * heads * queries**2 * depth >= _FOR_THREADS):
        y.parallel(work)

    state.compute_at(y, work)
    (block,) = state.op.reduce_axis
    b, h, d, i = state.op.axis
    d_tile, d_in = state.split(d, factor=columns, tail="cut")
    state.reorder(b, h, block, d_tile, d_in, i)
    state.vectorize(i)
    _register_tile(stages["part"], state, d_tile)  # powers times values, summed over the keys of a block

    for name in ("total", "power", "most"):  # each after those that read it
        stage = stages[name]
        stage.compute_at(state, block)
        if stage.op.reduction is not None:
            stage.set_scope("local")
            stage.reorder(*stage.op.reduce_axis, *stage.op.axis)
        stage.vectorize(stage.op.axis[-1])

    score = stages["score"]
    score.compute_at(state, block)
    *_, key, i = score.op.axis
    k_tile, k_in = score.split(key, factor=rows, tail="cut")
    score.unroll(k_in)
    score.vectorize(i)
    _register_tile(stages["dot"], score, k_tile)  # keys times queries, summed over the depth

    scaled = stages["scaled"]  # the queries, turned around once for all keys
    scaled.compute_at(y, work)
    *around, d, i = scaled.op.axis
    scaled.reorder(*around, i, d)
    scaled.vectorize(d)


def _register_tile(product: StageView, reader: StageView, loop: Loop) -> None:
    """Compute in registers the tile of *product* that a turn of *loop* reads: a dimension written out, one in lanes."""
    product.compute_at(reader, loop)
    product.set_scope("local")
    *around, row, lane = product.op.axis
    product.reorder(*around, *product.op.reduce_axis, row, lane)
    product.unroll(row)
    product.vectorize(lane)
