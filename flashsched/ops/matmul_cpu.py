"""How a matrix product runs on a CPU: a register tile held across the reduction, over panels that the caches like.

The plan is Goto's (see `gemm_plan`), said in schedule primitives. The output is cut into blocks for the threads and
the caches, blocks into register tiles. A tile is summed over the reduction, or one part of it after another, in
registers; A and B are copied first into the order in which tiles read them, where that pays. A product with hardly any
columns runs its vectors along the reduction; one with hardly any elements gives parts of the reduction to the threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_dots import Dot, copy_rows, dot_for, whole_steps
from flashsched.ops.gemm_packing import LINE, ROWS_ALONG, pack_columns, pack_rows
from flashsched.ops.gemm_plan import (
    PAGE,
    ROWS,
    VECTORS,
    block_counts,
    depth_parts,
    last_level,
    panel_depth,
    register_tile,
    row_blocks,
    rows_of_one_set,
    rows_that_fit,
    second_level,
    shallow,
    share_rows,
    tile_fits,
    vector_shape,
    vectors_of_panel,
)
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.ir import block_loads
from flashsched.te import dtypes
from flashsched.te.tensor import ComputeOp, Tensor
from flashsched.te.visit import uses

__all__ = ["matmul_cpu", "schedule_product"]

_FOR_THREADS = 60**3  # multiplications that are worth two threads: 4 µs of one core, a fork and join take 1.3
_FEW_DOTS = 16  # rows of A up to which a transposed B is read as it lies
_CONVERTED = 16  # rows of A from which B's narrow numbers are worth converting once
_STREAMED = 48  # rows of A from which B is worth packing
_ROW_TILES_ALONG = 2  # tiles below each other that go along the rows of an output which takes longer to write
_PIECES = 32  # pieces of work a thread that may be shared out: one that is put off its core takes fewer
_DOT_ROWS = (1, 2, 3, 4, 6, 8)
_PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class _Product:
    """What is to be scheduled: *out*, whose elements are *sums* of products of *a* and *b*, or made of such sums.

    Attributes:
        batch: how many matrices, an axis each.
        turned_a, turned_b: whether A lies as (k, i), and B as (j, k).
    """

    a: Tensor
    b: Tensor
    out: Tensor
    sums: Tensor
    batch: tuple[int, ...]
    m: int
    n: int
    depth: int
    turned_a: bool
    turned_b: bool

    @property
    def fused(self) -> bool:
        """Whether something follows the sums."""
        return self.sums is not self.out

    @property
    def packed(self) -> bool:
        """Whether B comes in panels."""
        return len(self.b.shape) > len(self.out.shape)

    @property
    def matrices(self) -> int:
        """How many matrices there are."""
        return math.prod(self.batch)

    @property
    def work(self) -> int:
        """How many multiplications."""
        return self.matrices * self.m * self.n * self.depth


@dataclass(frozen=True)
class _Plan:
    """What was decided: the register tile, the blocks, what is packed, and which loop the threads share.

    Attributes:
        convert: what packed copies are converted to, where tiles would convert each element at each read.
        pads: whether the sums are computed over whole steps of `dot`, zeros beyond the ends.
    """

    rows: int
    width: int
    blocks_m: int
    blocks_n: int
    parts: int
    pack_a: bool
    pack_b: bool
    by_columns: bool
    parallel: bool
    unrolled: int
    dot: Dot | None
    convert: str | None
    pads: bool


def matmul_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule a product with or without an epilogue; *args* are A, B, perhaps more inputs, and the output."""
    schedule_product(s, args[0], args[1], args[-1], knobs, spec)


def schedule_product(s: Schedule, a: Tensor, b: Tensor, out: Tensor, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule *out*, a sum over one axis of products of *a* and *b*, or an element-wise function of such sums.

    The last two axes of *out* are the matrix, those before count matrices. Either operand may be transposed.
    """
    assert isinstance(out.op, ComputeOp)
    sums = _sum_of(out) if out.op.reduction is None else out
    assert isinstance(sums.op, ComputeOp)
    turned = (_turned(s, sums, operand) for operand in (a, b))
    *batch, m, n = out.known_shape
    p = _Product(a, b, out, sums, tuple(batch), m, n, sums.op.reduce_axis[0].count, *turned)
    lanes, _ = vector_shape(spec, sums.dtype)
    narrow = n * 2 <= lanes or (p.turned_b and m <= _FEW_DOTS)
    few = not p.packed and narrow and p.depth >= 4 * lanes
    if knobs.choice("vectors_along", ("n", "k"), default="k" if few else "n") == "k":
        _along_the_sum(s, p, knobs, spec)
        return
    p = _shared_out(s, p, lanes, knobs, spec)
    _blocked(s, p, _decide(p, knobs, spec))


def _shared_out(s: Schedule, p: _Product, lanes: int, knobs: KnobsLike, spec: DeviceSpec) -> _Product:
    """The product whose matrices are the threads' parts of the reduction, where that is shared out among them."""
    if spec.units == 1:
        return p
    tiles = p.matrices * -(-p.m // ROWS[-1]) * -(-p.n // (2 * lanes))
    scarce = tiles < spec.units and p.depth >= 4096 and p.depth % spec.units == 0 and not p.fused
    split = knobs.choice("split_k", (1, spec.units), default=spec.units if scarce else 1)
    if split == 1:
        return p
    even = p.depth > 0 and p.depth % split == 0 and not p.fused
    knobs.require(even, f"{p.depth} products can't be shared out evenly among {split} threads")
    whole = s[p.sums]
    k_part, _ = whole.split(whole.op.reduce_axis[0], nparts=split)
    parts = s.rfactor(p.sums, k_part)
    *rows, column = whole.op.axis
    tile, inner = whole.split(column, factor=lanes, tail="cut")
    whole.reorder(*rows, tile, *whole.op.reduce_axis, inner)
    whole.vectorize(inner)
    return replace(p, out=parts, sums=parts, batch=(split, *p.batch), depth=p.depth // split)


def _decide(p: _Product, knobs: KnobsLike, spec: DeviceSpec) -> _Plan:
    m, n, depth, dtype = p.m, p.n, p.depth, p.sums.dtype
    lanes, registers = vector_shape(spec, dtype)
    size = dtypes.bits(dtype) // 8
    threads = spec.units
    parallel = knobs.choice("threads", (False, True), default=threads > 1 and p.work >= _FOR_THREADS)
    even = threads if parallel and p.matrices < threads else 1
    along_rows = shallow(m, n, depth, spec, dtype)  # C is written as it lies
    by_rows = along_rows or share_rows(m, n, spec, dtype, even)
    near = ROWS[-1] if p.turned_a else rows_of_one_set(depth, p.a.dtype)
    best_rows, best_vectors = register_tile(m, n, spec, dtype, even, by_rows=by_rows)
    if best_rows > near and n <= 2 * lanes * best_vectors:  # A is read once or twice: not worth packing
        best_rows, best_vectors = register_tile(m, n, spec, dtype, even, by_rows=by_rows, most=near)
    if p.packed:
        width = p.b.known_shape[-1]
        vectors = 1 if width % lanes else vectors_of_panel(width // lanes, m, registers)
        width = width if width % lanes else vectors * lanes
    else:
        vectors = knobs.choice("tile_n", VECTORS, default=best_vectors)
        width = vectors * lanes
    rows = knobs.choice(
        "tile_m",
        ROWS,
        default=best_rows if tile_fits(best_rows, vectors, registers) else rows_that_fit(vectors, m, registers),
    )
    knobs.require(
        tile_fits(rows, vectors, registers),
        f"a tile of {rows} rows by {vectors} vectors needs {rows * vectors + vectors + 1} of {registers} registers",
    )
    row_tiles, column_tiles = max(1, -(-m // rows)), max(1, -(-n // width))
    dot = None if p.packed or p.turned_a else dot_for(p.a, p.b, spec)
    if dot is not None and (n < dot.lanes or depth < dot.products or 0 in (m, p.matrices)):
        dot = None  # no whole step of it
    if dot is not None and not knobs.choice("dot", (False, True), default=True):
        dot = None
    pads = dot is not None and (n % dot.lanes > 0 or depth % dot.products > 0)
    convert = dtype if dot is None and p.a.dtype != dtype else None
    if dot is not None:
        size = dtypes.bits(p.b.dtype) // 8
    large_b = n * depth * size > 2 * second_level(spec) or (n * size % PAGE == 0 and depth > ROWS_ALONG)
    packs_b = (m >= _STREAMED and large_b) or p.turned_b or dot is not None or (convert is not None and m >= _CONVERTED)
    longest = panel_depth(width, spec, dtype if dot is None else p.b.dtype)
    if not packs_b and not p.packed and n * depth * size > second_level(spec):
        longest = max(8, m)  # so few rows of B at a time are read along, each in long runs
    several = [n for n in _PARTS if dot is None or depth % _part(depth, n) == 0]  # all of a part, for an instruction
    parts = 1 if p.fused or pads else knobs.choice("parts_k", several, default=depth_parts(depth, longest))
    knobs.require(parts <= max(1, depth), f"{depth} products can't be summed in {parts} parts")
    part = _part(depth, parts)
    blocks = row_blocks(row_tiles, rows, part, spec, dtype)
    best = "columns" if m * part * size < last_level(spec) // 8 and column_tiles >= even and not by_rows else "rows"
    by_columns = knobs.choice("outside", ("rows", "columns"), default=best) == "columns"
    if by_columns:
        pieces = even if even == 1 or not packs_b else min(column_tiles, _PIECES * threads)
        blocks_m, blocks_n = 1, knobs.choice("blocks_n", block_counts(column_tiles, threads), default=pieces)
    else:
        counts = block_counts(row_tiles, threads)
        wanted = max(blocks, row_tiles // _ROW_TILES_ALONG) if along_rows else blocks
        nearest = next((count for count in counts if count >= wanted and count % even == 0), counts[-1])
        blocks_m, blocks_n = knobs.choice("blocks_m", counts, default=nearest), 1
    often = column_tiles > 2 and (not (by_columns or along_rows) or rows > near or convert is not None)
    pack_a = knobs.choice("pack_a", (False, True), default=often)
    pack_b = not p.packed and (dot is not None or knobs.choice("pack_b", (False, True), default=packs_b))
    unrolled = knobs.choice("unroll_k", (1, 2, 4))
    return _Plan(
        rows, width, blocks_m, blocks_n, parts, pack_a, pack_b, by_columns, parallel, unrolled, dot, convert, pads
    )


def _part(depth: int, parts: int) -> int:
    """How deep a part of the reduction is: whole lines of A, where there are several."""
    part = -(-depth // parts)
    return part if parts == 1 else -(-part // LINE) * LINE


def _blocked(s: Schedule, p: _Product, plan: _Plan) -> None:
    """Blocks of *out* inside its leading axes, tiles inside blocks, the panels that they read packed."""
    out, sums = p.out, p.sums
    copies: dict[str, Tensor] = {}
    if plan.pads:
        assert plan.dot is not None
        sums, copies = whole_steps(s, plan.dot, p.a, p.b, sums)
        if p.fused:
            s[p.sums].compute_inline()
    elif p.fused:
        s[sums].set_scope("local")
    elif plan.parts == 1:
        sums = s.cache_write(out, "local")
    *leading, i, j = s[out].op.axis
    i_tiles, i_in = s[out].split(i, factor=plan.rows, tail="cut")
    i_block, i_tile = s[out].split(i_tiles, nparts=plan.blocks_m)
    j_tiles, j_in = s[out].split(j, factor=plan.width, tail="cut")
    j_block, j_tile = s[out].split(j_tiles, nparts=plan.blocks_n)
    blocks = (j_block, i_block) if plan.by_columns else (i_block, j_block)
    tiles = (*blocks, j_tile, i_tile, i_in, j_in)
    k_outer: Loop | None = None
    inside_blocks = plan.by_columns or not (plan.pack_b or p.packed)  # else a part of B serves all blocks
    if plan.parts > 1:
        k_outer, k_inner = s[out].split(s[out].op.reduce_axis[0], factor=_part(p.depth, plan.parts), tail="cut")
        if inside_blocks:
            s[out].reorder(*leading, blocks[0], k_outer, *tiles[1:], k_inner)
        else:
            s[out].reorder(*leading, k_outer, *tiles, k_inner)
        sums = s.stage_mem(out, k_outer, inside=i_tile)
    else:
        s[out].reorder(*leading, *tiles)
        s[sums].compute_at(s[out], i_tile)
    s[out].unroll(i_in)
    s[out].vectorize(j_in)
    shared = blocks[0]
    outside: Loop | None = None if plan.by_columns else k_outer  # where all blocks begin
    if leading:
        shared = s[out].fuse(*leading)
        outside = outside or shared
    if plan.parallel:
        s[out].parallel(shared)
    if k_outer is not None:
        _schedule_zeros(s, out, k_outer, plan, inside_blocks)
    here = plan.parallel and not leading  # whether what is packed for all blocks is packed by all threads
    if plan.pack_b:
        panel = copies.pop("B") if "B" in copies else s.cache_read(p.b, "global", [sums], plan.convert)
        if plan.by_columns:
            s[panel].compute_at(s[out], j_tile)
        elif outside is not None:
            s[panel].compute_at(s[out], outside)
        deep = plan.dot.products if plan.dot else 1
        pack_columns(s, panel, p.turned_b, plan.width, deep, here and not plan.by_columns)
    if plan.pack_a:
        panel = copies.pop("A") if "A" in copies else s.cache_read(p.a, "global", [sums], plan.convert)
        if not plan.by_columns:
            s[panel].compute_at(s[out], k_outer if k_outer is not None and inside_blocks else i_block)
        elif leading:
            s[panel].compute_at(s[out], shared)
        pack_rows(s, panel, p.turned_a, plan.rows, here and plan.by_columns)
    for copy in copies.values():
        if leading:
            s[copy].compute_at(s[out], shared)
        copy_rows(s, copy, here)
    _schedule_tile(s, sums, plan)


def _schedule_tile(s: Schedule, tile: Tensor, plan: _Plan) -> None:
    """The sums of one register tile: for each k, a row of B times each element of a column of A."""
    row, column = s[tile].op.axis[-2:]
    (k,) = s[tile].op.reduce_axis
    if plan.dot is not None:
        k_outer, k_inner = s[tile].split(k, factor=plan.dot.products, tail="cut")
        vector, lane = s[tile].split(column, factor=plan.dot.lanes)
        s[tile].reorder(k_outer, row, vector, lane, k_inner)
        s[tile].unroll(row)
        s[tile].unroll(vector)
        s[tile].tensorize(lane, plan.dot.intrinsic, tail="cut")
        return
    if plan.unrolled > 1:
        k_outer, k_inner = s[tile].split(k, factor=plan.unrolled, tail="cut")
        s[tile].reorder(k_outer, k_inner, row, column)
        s[tile].unroll(k_inner)
    else:
        s[tile].reorder(k, row, column)
    s[tile].unroll(row)
    s[tile].vectorize(column)


def _schedule_zeros(s: Schedule, out: Tensor, k_outer: Loop, plan: _Plan, inside_blocks: bool) -> None:
    """An output that is summed in parts is 0 at first."""
    zeros = s[out].decompose_reduction(k_outer)
    row, column = s[zeros].op.axis[-2:]
    _, vector = s[zeros].split(column, factor=plan.width, tail="cut")
    s[zeros].vectorize(vector)
    if plan.parallel and not inside_blocks and len(s[zeros].op.axis) == 2:
        s[zeros].parallel(row)


def _along_the_sum(s: Schedule, p: _Product, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Vectors of products along the reduction, a few rows and all columns at a time, summed up at the end."""
    out, sums = p.out, p.sums
    lanes, registers = vector_shape(spec, sums.dtype)
    columns = knobs.choice("dots_n", (1, 2, 4), default=min(4, p.n))
    most = (registers - columns) // (columns + 1)  # sums and a vector of each row, beside a vector of each column
    few = [rows for rows in _DOT_ROWS if rows <= (8 if columns == 1 else 4)]
    rows = knobs.choice("dots_m", _DOT_ROWS, default=max(rows for rows in few if rows <= most))
    knobs.require(
        rows <= most,
        f"{rows} by {columns} sums need {rows * columns + rows + columns} of {registers} registers",
    )
    if not p.turned_b and p.n > 1:
        panel = s.cache_read(p.b, "global", [sums])
        s[panel].transform_layout(lambda *at: (*at[:-2], at[-1], at[-2]))
    if p.fused:
        s[sums].set_scope("local")
    _, k_lane = s[sums].split(s[sums].op.reduce_axis[0], factor=lanes, tail="cut")
    parts = s.rfactor(sums, k_lane, factor_axis=-1)
    *leading, i, j = s[out].op.axis
    i_tile, i_in = s[out].split(i, factor=rows, tail="cut")
    j_tile, j_in = s[out].split(j, factor=columns, tail="cut")
    s[out].reorder(*leading, i_tile, j_tile, i_in, j_in)
    shared = s[out].fuse(*leading, i_tile)
    if spec.units > 1 and knobs.choice("threads", (False, True), default=p.work >= _FOR_THREADS):
        s[out].parallel(shared)
    if p.fused:
        s[sums].compute_at(s[out], j_tile)
    s[parts].compute_at(s[out], j_tile)
    s[parts].set_scope("local")
    *_, row, column, lane = s[parts].op.axis
    (k_outer,) = s[parts].op.reduce_axis
    s[parts].reorder(k_outer, row, column, lane)
    s[parts].unroll(row)
    s[parts].unroll(column)
    s[parts].vectorize(lane)


def _turned(s: Schedule, sums: Tensor, operand: Tensor) -> bool:
    """Whether *operand* has its matrix the other way: A as (k, i), B as (j, k)."""
    block = s.state.stages[sums.op.name].block
    k = next(item.var for item in block.iters if item.kind.value == "reduce")
    column = next(item.var for item in reversed(block.iters) if item.kind.value != "reduce")
    for load in block_loads(block):
        if load.buffer.name == operand.name and len(load.indices) <= len(block.iters):
            other, last = load.indices[-2:]
            if uses(other, k) or uses(last, k):
                right = uses(other, column) or uses(last, column)
                return uses(last, k) if right else uses(other, k)
    return False


def _sum_of(out: Tensor) -> Tensor:
    """The reduction that an epilogue reads."""
    return next(t for t in out.op.inputs if isinstance(t.op, ComputeOp) and t.op.reduction is not None)
