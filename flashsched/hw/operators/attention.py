"""Attention of a prompt (or of one new token), as the fused kernels compute it, with the serving framework's own step
before it that turns the projections into rotated queries and a cache of keys and values.

A block takes up to 128 queries of one head and walks the keys in steps; under a causal mask it stops at the diagonal,
and the tile on the diagonal is computed whole. A step costs its two matrix products at a share of the tensor peak, and
the softmax's instructions: between the products, or beside them where matrix instructions take a whole unit's tile and
leave the warps free. Blocks are dealt out to the units longest first, so the whole takes the mean of a unit, or the
longest block if the grid is small. Both kinds of arithmetic, and the keys and values that each block fetches from L2,
take their energy of the power limit, with the figures that products on matrix units have taught.

A single new token has one query a head: heads that share their keys may make up a tile, and where blocks are too few
for the units each may walk a part of the keys, where that is faster. What was cached before comes from main memory;
only the token itself is new.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.gpu_constants import DEFAULTS
from flashsched.hw.gpu_power import power_s
from flashsched.hw.matrix_units import computes_whole_tiles
from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.operators.dtypes import arithmetic, peak_of, storage_bytes
from flashsched.hw.operators.gemm_constants import KNOWN as PRODUCTS
from flashsched.hw.operators.times import (
    LAUNCHED,
    as_timed,
    column,
    dram_bytes,
    issued_per_s,
    joined,
    last_cache_rate,
    least_seconds,
)
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.works import Works

__all__ = ["CONSTANTS", "KINDS", "KNOWN", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "attention"
KINDS = ("gpu",)
SIZES = ("batch", "seqlen", "kv_len", "heads", "kv_heads", "head_dim", "causal")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(6.0, 0.0, 60.0, "us", "of the two kernels' starts, beside their turns to main memory"),
    "products": Constant(0.7, 0.15, 1.0, "share", "of the tensor peak that a step's matrix products reach"),
    "half": Constant(
        0.85, 0.5, 1.0, "ratio", "of the share that tiles of half the queries reach to that of whole ones"
    ),
    "padding": Constant(0.0, 0.0, 1.0, "share", "of a head's padding to a power of two that is computed"),
    "softmax_ops": Constant(12.0, 1.0, 60.0, "instructions", "of the softmax, for each query and key"),
    "op_pj": Constant(1.4, 0.2, 6.0, "pJ", "that an operation of 16 bits takes of the power limit on matrix units"),
    "block_turns": Constant(
        5.0, 0.2, 50.0, "turns", "to main memory that a unit takes for each block beside its steps"
    ),
    "wide": Constant(0.3, -0.5, 1.0, "share", "of those turns which goes with the length of a head, against 128"),
    "alone": Constant(
        1.5, 1.0, 6.0, "ratio", "of a block's time, when it has a unit for itself, to its share of a full one"
    ),
    "kept": Constant(0.6, 0.05, 1.0, "share", "of the last cache that hands on what the step before has written"),
    "stream": Constant(1.0, 0.1, 1.2, "ratio", "of the main memory's rate to the spec's sustained one"),
    "passes": Constant(
        2.0, 1.0, 6.0, "ratio", "of the bytes moved, the step before the kernel counted, to those of the kernel"
    ),
    **LAUNCHED,
}

KNOWN: dict[str, dict[str, float | None]] = {"": {"op_pj": 1.4, "wide": 0.3, "kept": 0.6, "stream": 1.0}}
"""Constants that a fit over several devices is told. What an operation takes is better told by products, and heads of
one length tell nothing of others; of what comes from the cache and what from main memory, three boards whose caches
differ twofold tell no rule, so most of the cache is taken to hold it, and a stream to reach the spec's sustained rate.
"""

_POWER = {**DEFAULTS, **{name: value for name, value in PRODUCTS["tensor"].items() if value is not None}}
_START_TURNS = 10.0
"""Turns to main memory of both kernels together: what to do, where it lies, and the operands. Estimated: of the least
times on an A100, an H100 and an L40S, 14, 14 and 10 us, it leaves what differs least."""
_CACHE = 0.4  # of the last cache's rate that streams reach, as those of element-wise operations do
_BESIDE = 4.0  # norm that joins products and softmax where both run at a time
_NORM = 4.0
_TILES = (64.0, 128.0)  # queries of a block


def variant(spec: DeviceSpec, dtype: str) -> str:
    """One set of constants for all dtypes of the tensor units."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats: both products of what the mask leaves, each operand moved once."""
    queries, keys, dim = column(sizes, "seqlen"), column(sizes, "kv_len"), column(sizes, "head_dim")
    causal = column(sizes, "causal") > 0
    pairs = np.where(causal, queries * keys - queries * (queries - 1) / 2, queries * keys)
    flops = 4 * column(sizes, "batch") * column(sizes, "heads") * pairs * dim
    return least_seconds(spec, dtype, flops, _bytes(dtype, sizes, keys), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    queries, keys, dim = column(sizes, "seqlen"), column(sizes, "kv_len"), column(sizes, "head_dim")
    heads = column(sizes, "batch") * column(sizes, "heads")
    token = (queries == 1) & (keys > 1)
    alike = np.maximum(column(sizes, "heads") / np.maximum(column(sizes, "kv_heads"), 1.0), 1.0)
    shapes = [(heads / each, queries * each, keys, dim) for each in (np.ones_like(alike), np.where(token, alike, 1.0))]
    causal = (column(sizes, "causal") > 0) & ~token  # it comes last, and sees all keys
    candidates = [_walked_s(spec, constants, dtype, shape, causal, most) for shape in shapes for most in _TILES]
    new = _bytes(dtype, sizes, np.minimum(queries, keys))
    lost = dram_bytes(spec, new, np.ones_like(new), constants["kept"], 0.0) / new
    dram_rate = constants["stream"] * spec.dram.drawn_by(np.inf)
    of_new = constants["passes"] * (lost / dram_rate + (1 - lost) / (_CACHE * last_cache_rate(spec)))
    of_cached = np.minimum(1 / dram_rate, of_new)  # or else making them anew would be told as faster
    fetched = new * of_new + (_bytes(dtype, sizes, keys) - new) * of_cached
    start = constants["start_us"] * 1e-6 + _START_TURNS * spec.dram.latency_s
    kernel = start + np.min(candidates, axis=0) + fetched
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _walked_s(
    spec: DeviceSpec,
    constants: Mapping[str, float],
    dtype: str,
    shape: tuple[Floats, Floats, Floats, Floats],
    causal: NDArray[np.bool_],
    most: float,
) -> Floats:
    """Seconds of all blocks of at most *most* queries; *shape*: heads of all sequences, queries, keys, their length."""
    heads, queries, keys, dim = shape
    tile, step = (np.minimum(most, 16 * np.ceil(length / 16)) for length in (queries, keys))
    tiles = np.ceil(queries / tile)
    longest = np.ceil(keys / step) * step
    walked = np.where(causal, longest - (tiles - 1) * tile / 2, longest)  # keys that a block meets, on average
    parts = np.where(causal, 1.0, np.clip(spec.units / (heads * tiles), 1.0, longest / step))

    padded = dim + constants["padding"] * (2.0 ** np.ceil(np.log2(np.maximum(dim, 1.0))) - dim)
    reach = constants["products"] * (constants["half"] if most < _TILES[-1] else 1.0)
    together = _BESIDE if computes_whole_tiles(gpu_unit(spec)) else 1.0
    products = 4 * padded / (reach * peak_of(spec, dtype) / spec.units)
    softmax = constants["softmax_ops"] / (issued_per_s(spec) / spec.units) + 0.0 * products
    per_key = tile * joined(together, products, softmax)
    turns = constants["block_turns"] * (1 + constants["wide"] * (dim / 128 - 1))
    overhead = turns * spec.dram.latency_s

    def dealt(parts: Floats) -> Floats:
        """The blocks, each walking one of so many *parts* of the keys."""
        all_units = heads * tiles / spec.units * (walked * per_key + parts * overhead)
        return joined(_NORM, all_units, constants["alone"] * (longest / parts * per_key + overhead))

    seconds = np.minimum(dealt(np.ones_like(parts)), dealt(parts))

    pairs = heads * tiles * tile * walked
    flops = {arithmetic(dtype): 4 * padded * pairs, "float32": constants["softmax_ops"] * pairs}
    works = Works(flops=flops, dram_read_bytes=0.0, dram_write_bytes=0.0)
    from_l2 = heads * tiles * walked * 2 * dim * storage_bytes(dtype)
    power = power_s(spec, works, from_l2, {**_POWER, "op_pj": constants["op_pj"]})
    droop = _POWER["droop"]
    limited: Floats = np.maximum(seconds, seconds ** (1.0 - droop) * power**droop)
    return limited


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]], keys: Floats) -> Floats:
    """Queries and results, and *keys* keys and values, each once."""
    of_queries = column(sizes, "seqlen") * column(sizes, "heads")
    of_keys = keys * column(sizes, "kv_heads")
    return column(sizes, "batch") * column(sizes, "head_dim") * 2 * (of_queries + of_keys) * storage_bytes(dtype)
