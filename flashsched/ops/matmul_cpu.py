"""How matmul runs on a CPU: a register tile held across the reduction, over panels that the caches like.

The plan is Goto's (K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3),
2008), said in schedule primitives: the output is cut into blocks for the threads and the caches, blocks into register
tiles of ``MR`` rows by ``NR`` columns; a tile is summed over all of the reduction in registers; A and B are copied
first into the order in which tiles read them, where that pays.
"""

from __future__ import annotations

from flashsched.hw import DeviceSpec
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te import dtypes
from flashsched.te.tensor import ComputeOp, Tensor

__all__ = ["matmul_cpu"]

_FOR_THREADS = 128**3  # multiplications that are worth waking threads for, a few microseconds each time
_LINE = 16  # elements of A that lie together in its packed form: a cache line of float32


def matmul_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a matmul with or without an epilogue; *args* are A, B, perhaps more inputs, and the output."""
    a, b, out = args[0], args[1], args[-1]
    assert isinstance(out.op, ComputeOp)
    if out.op.reduction is None:  # an epilogue reads the sums
        sums = _sum_of(out)
        s[sums].set_scope("local")
    else:
        sums = s.cache_write(out, "local")
    m, n = out.shape
    depth = s[sums].op.reduce_axis[0].extent
    lanes, registers = vector_shape(spec, sums.dtype)

    vectors = knobs.choice("tile_n", (1, 2, 3, 4, 6), default=2)
    rows = knobs.choice("tile_m", (1, 2, 4, 6, 8, 10, 12, 13, 14), default=max(1, (registers - 4) // 2))
    knobs.require(
        rows * vectors + vectors + 1 <= registers,
        f"a tile of {rows} rows by {vectors} vectors needs {rows * vectors + vectors + 1} of {registers} registers",
    )
    width = vectors * lanes
    row_tiles = knobs.choice("block_m", (1, 2, 4, 8, 16, 32), default=4)
    column_tiles = knobs.choice("block_n", (1, 2, 4, 8, 16, 32), default=8)
    rows_inside = knobs.choice("order", ("rows inside", "columns inside"))
    unrolled = knobs.choice("unroll_k", (1, 2, 4))
    pack_a = knobs.choice("pack_a", (False, True), default=m * depth >= 256 * 256)
    pack_b = knobs.choice("pack_b", (False, True), default=m >= 4 * rows and n * depth >= 256 * 256)
    threads = knobs.choice("threads", (False, True), default=m * n * depth >= _FOR_THREADS)

    i, j = s[out].op.axis
    i_tiles, i_in = s[out].split(i, factor=rows, tail="cut")
    i_block, i_tile = s[out].split(i_tiles, factor=row_tiles)
    j_tiles, j_in = s[out].split(j, factor=width, tail="cut")
    j_block, j_tile = s[out].split(j_tiles, factor=column_tiles)
    tiles = (j_tile, i_tile) if rows_inside == "rows inside" else (i_tile, j_tile)
    s[out].reorder(i_block, j_block, *tiles, i_in, j_in)
    s[out].unroll(i_in)
    s[out].vectorize(j_in)
    block = s[out].fuse(i_block, j_block)
    if threads:
        s[out].parallel(block)

    s[sums].compute_at(s[out], tiles[1])
    row, column = s[sums].op.axis
    (k,) = s[sums].op.reduce_axis
    if unrolled > 1:
        k_outer, k_inner = s[sums].split(k, factor=unrolled, tail="cut")
        s[sums].reorder(k_outer, k_inner, row, column)
        s[sums].unroll(k_inner)
    else:
        s[sums].reorder(k, row, column)
    s[sums].unroll(row)
    s[sums].vectorize(column)

    if pack_b:
        panel = s.cache_read(b, "global", [sums])
        pk, pj = s[panel].op.axis
        p_outer, p_inner = s[panel].split(pj, factor=width, tail="cut")
        s[panel].reorder(p_outer, pk, p_inner)
        s[panel].vectorize(p_inner)
        if threads:
            s[panel].parallel(p_outer)
        s[panel].transform_layout(lambda k, j: (j // width, k, j % width))
    if pack_a:
        panel = s.cache_read(a, "global", [sums])
        pi, pk = s[panel].op.axis
        i_outer, i_inner = s[panel].split(pi, factor=rows)
        k_outer, k_inner = s[panel].split(pk, factor=_LINE, tail="cut")
        s[panel].reorder(i_outer, k_outer, i_inner, k_inner)
        s[panel].vectorize(k_inner)
        if threads:
            s[panel].parallel(i_outer)
        s[panel].transform_layout(lambda i, k: (i // rows, k // _LINE, i % rows, k % _LINE))


def vector_shape(spec: DeviceSpec, dtype: str) -> tuple[int, int]:
    """Elements of *dtype* in a vector register of *spec*, and how many such registers there are."""
    assert spec.cpu is not None
    return max(1, spec.cpu.vector_bits // dtypes.bits(dtype)), spec.cpu.vector_registers


def _sum_of(out: Tensor) -> Tensor:
    """The reduction that an epilogue reads."""
    return next(t for t in out.op.inputs if isinstance(t.op, ComputeOp) and t.op.reduction is not None)
