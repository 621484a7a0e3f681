"""The numbers of a matrix product on a CPU, chosen from its shape and the machine's spec, with no tuning.

They are the defaults of the knobs in `matmul_cpu`; the reasons stand at each. The plan is that of K. Goto and
R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flashsched.hw import DeviceSpec
from flashsched.te import dtypes

__all__ = [
    "PAGE",
    "ROWS",
    "VECTORS",
    "block_counts",
    "depth_parts",
    "last_level",
    "panel_depth",
    "register_tile",
    "rows_of_one_set",
    "row_blocks",
    "rows_that_fit",
    "second_level",
    "shallow",
    "share_rows",
    "tile_fits",
    "vector_shape",
    "vectors_of_panel",
]

ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14)
"""How many rows a register tile may have."""

VECTORS = (1, 2, 3, 4, 6, 8)
"""How many vectors wide it may be."""

PAGE = 4096
"""Bytes; rows that far apart meet in one set of the first cache."""

_WAYS = 8  # lines in such a set


def vector_shape(spec: DeviceSpec, dtype: str) -> tuple[int, int]:
    """Elements of *dtype* in a vector register of *spec*, and how many such registers there are."""
    assert spec.cpu is not None
    return max(1, spec.cpu.vector_bits // dtypes.bits(dtype)), spec.cpu.vector_registers


def tile_fits(rows: int, vectors: int, registers: int) -> bool:
    """Whether a tile's sums stay in *registers*, with a row of B and one element of A beside them."""
    return rows * vectors + vectors + 1 <= registers


def register_tile(
    m: int, n: int, spec: DeviceSpec, dtype: str, threads: int = 1, *, by_rows: bool = False, most: int = ROWS[-1]
) -> tuple[int, int]:
    """Rows and vectors of the register tile that computes an m by n product in the fewest cycles, remainders included.

    For each k a tile of r rows by v vectors does r·v multiply-adds, loads v vectors of B and r elements of A, and its
    sums wait for those before: it takes the longest of r·v / ports, v + r/2 (one vector or two elements a cycle)
    and the latency of a multiply-add, where it is whole with a cycle to spare: 4 by 2 AVX2 sums, which just fill two
    ports of a latency of four, reach 85% of the peak where 6 by 2 reach 91% (one core of a Zen 4). *threads* share the
    columns, a tile's width at a time, or the rows. Of equal tiles the one counts that loads the least for a
    multiply-add, and of those the widest, which takes the most of a row of B at once. None has more than *most* rows.
    """
    lanes, registers = vector_shape(spec, dtype)

    def cost(tile: tuple[int, int]) -> tuple[float, float, int]:
        rows, vectors = tile
        return (
            _cycles(m, n, tile, spec, dtype, threads, by_rows),
            (vectors + rows / 2) / (rows * vectors),
            -vectors,
        )

    tiles = [
        (r, v)
        for r in ROWS
        for v in VECTORS
        if tile_fits(r, v, registers) and r <= max(1, min(m, most)) and v <= max(1, math.ceil(n / lanes))
    ]
    return min(tiles, key=cost)


def _cycles(m: int, n: int, tile: tuple[int, int], spec: DeviceSpec, dtype: str, threads: int, by_rows: bool) -> float:
    """Cycles for each k of an m by n product in such tiles, of the thread that has the most of them."""
    assert spec.cpu is not None
    lanes, _ = vector_shape(spec, dtype)
    ports, latency = spec.cpu.fma_ports, spec.cpu.fma_latency_cycles

    def cycles(rows: int, vectors: int, spare: int = 0) -> float:
        return max(rows * vectors / ports, vectors + rows / 2, latency + spare) if rows and vectors else 0.0

    rows, vectors = tile
    full, rest = divmod(m, rows)
    wide, narrow = divmod(math.ceil(n / lanes), vectors)
    if threads > 1 and by_rows:
        full, rest = math.ceil((full + (rest > 0)) / threads), 0
    elif threads > 1:
        wide, narrow = math.ceil((wide + (narrow > 0)) / threads), 0
    total = full * (wide * cycles(rows, vectors, 1) + cycles(rows, narrow))
    return total + wide * cycles(rest, vectors) + cycles(rest, narrow)


def share_rows(m: int, n: int, spec: DeviceSpec, dtype: str, threads: int) -> bool:
    """Whether *threads* are clearly done sooner if they share the rows of the output than if they share its columns."""
    if threads == 1:
        return False
    tiles = {by_rows: register_tile(m, n, spec, dtype, threads, by_rows=by_rows) for by_rows in (False, True)}
    took = {by_rows: _cycles(m, n, tile, spec, dtype, threads, by_rows) for by_rows, tile in tiles.items()}
    return took[True] < 0.95 * took[False]


def rows_of_one_set(depth: int, dtype: str) -> int:
    """How many rows of A, *depth* long and read side by side, the first cache holds a line of at a time.

    Rows that lie whole pages apart meet in one of its sets.
    """
    return _WAYS if depth * dtypes.bits(dtype) // 8 % PAGE == 0 else ROWS[-1]


def shallow(m: int, n: int, depth: int, spec: DeviceSpec, dtype: str) -> bool:
    """Whether the output takes longer to write than to compute, and past the cores' own caches.

    An element takes ``2 * depth`` operations, and is read and written.
    """
    size = dtypes.bits(dtype) // 8
    peak, bandwidth = spec.peaks.get(dtype), spec.memory[-1].bandwidth_bytes_per_s
    if peak is None or m * n * size <= second_level(spec):
        return False
    return 2 * depth / peak < 2 * size / bandwidth


def rows_that_fit(vectors: int, m: int, registers: int) -> int:
    """The most rows, of *m*, of a tile so many *vectors* wide, with which it fits; 1 if it never does."""
    return max((rows for rows in ROWS if rows <= m and tile_fits(rows, vectors, registers)), default=1)


def vectors_of_panel(panel: int, m: int, registers: int) -> int:
    """How many vectors wide a tile is that reads panels *panel* wide, made for whatever machine: a divisor that fits.

    Of those the one counts that loads the least for a multiply-add, and of equal ones the widest.
    """

    def loads(vectors: int) -> tuple[float, int]:
        rows = rows_that_fit(vectors, m, registers)
        return (vectors + rows / 2) / (rows * vectors), -vectors

    return min((v for v in range(1, panel + 1) if panel % v == 0 and tile_fits(1, v, registers)), key=loads)


def panel_depth(width: int, spec: DeviceSpec, dtype: str) -> int:
    """How deep a panel of B, *width* columns, is at most: a quarter of L2, so that it stays beside a block of A."""
    return max(1, second_level(spec) // 4 // (width * (dtypes.bits(dtype) // 8)))


def depth_parts(depth: int, longest: int) -> int:
    """In how many parts a reduction is summed: one part is a quarter longer than *longest* at most.

    Each part but the first reads the output once more, so there are as few as may be.
    """
    return 1 if depth <= 1.25 * longest else math.ceil(depth / longest)


def row_blocks(tiles: int, rows: int, depth: int, spec: DeviceSpec, dtype: str) -> int:
    """Into how many blocks the row *tiles* go, so that one, *depth* deep, takes half of L2 at most."""
    size = dtypes.bits(dtype) // 8
    fitting = max(1, second_level(spec) // 2 // max(1, rows * depth * size))
    return math.ceil(tiles / fitting)


def block_counts(most: int, step: int) -> Sequence[int]:
    """1, multiples of *step* in growing distances, and *most*: how many blocks there may be."""
    found = {
        1,
        max(1, most),
        *(step * count for count in (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128)),
    }
    return sorted(count for count in found if count <= max(1, most))


def last_level(spec: DeviceSpec) -> int:
    """Bytes of the cache before memory."""
    return (spec.memory[-2] if len(spec.memory) > 1 else spec.memory[0]).size_bytes


def second_level(spec: DeviceSpec) -> int:
    """Bytes of the cache of a core that blocks are made for."""
    own = [level for level in spec.memory[:-1] if level.shared_by == "unit"]
    return (own[-1] if own else spec.memory[0]).size_bytes
