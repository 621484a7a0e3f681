"""Attention of a prompt (or of one new token), as the fused kernels compute it, with the serving framework's own step
before it that turns the projections into rotated queries and a cache of keys and values.

A block takes ``TILE`` queries of one head and walks the keys in steps; under a causal mask it stops at the diagonal,
and the tile on the diagonal is computed whole. A step costs its two matrix products at a share of the tensor peak, plus
the softmax's instructions, which run on the plain lanes between them. Blocks are dealt out to the units longest first,
so the whole takes the mean of a unit, or the longest block if the grid is small.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import peak_of, storage_bytes
from flashsched.hw.operators.times import (
    LAUNCHED,
    as_timed,
    column,
    dram_bytes,
    joined,
    last_cache_rate,
    least_seconds,
)
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "attention"
KINDS = ("gpu",)
SIZES = ("batch", "seqlen", "kv_len", "heads", "kv_heads", "head_dim", "causal")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(8.0, 1.0, 60.0, "us", "of the two kernels' starts"),
    "products": Constant(0.7, 0.15, 1.0, "share", "of the tensor peak that a step's matrix products reach"),
    "half": Constant(
        0.85, 0.5, 1.0, "ratio", "of the share that tiles of half the queries reach to that of whole ones"
    ),
    "padding": Constant(0.0, 0.0, 1.0, "share", "of a head's padding to a power of two that is computed"),
    "softmax_ops": Constant(6.0, 0.5, 60.0, "instructions", "of the softmax, for each query and key"),
    "block_us": Constant(1.5, 0.05, 20.0, "us", "of a unit's time that each block takes beside its steps"),
    "wide": Constant(0.3, -0.5, 1.0, "share", "of that time which goes with the length of a head, against 128"),
    "alone": Constant(
        1.5, 1.0, 6.0, "ratio", "of a block's time, when it has a unit for itself, to its share of a full one"
    ),
    "kept": Constant(0.6, 0.05, 1.0, "share", "of the last cache that hands on what the step before has written"),
    "stream": Constant(0.7, 0.1, 1.0, "share", "of the memory's bandwidth, over queries, keys, values and results"),
    "passes": Constant(
        2.0, 1.0, 6.0, "ratio", "of the bytes moved, the step before the kernel counted, to those of the kernel"
    ),
    **LAUNCHED,
}

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
    return least_seconds(spec, dtype, flops, _bytes(dtype, sizes), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    queries, keys, dim = column(sizes, "seqlen"), column(sizes, "kv_len"), column(sizes, "head_dim")
    causal = column(sizes, "causal") > 0
    padded = dim + constants["padding"] * (2.0 ** np.ceil(np.log2(np.maximum(dim, 1.0))) - dim)
    heads = column(sizes, "batch") * column(sizes, "heads")
    lanes = (spec.peaks["float32"] if "float32" in spec.peaks else max(spec.peaks.values())) / 2 / spec.units
    overhead = constants["block_us"] * 1e-6 * (1 + constants["wide"] * (dim / 128 - 1))
    candidates = []
    for most in _TILES:
        tile, step = (np.minimum(most, 16 * np.ceil(length / 16)) for length in (queries, keys))
        tiles = np.ceil(queries / tile)
        longest = np.ceil(keys / step) * step
        walked = np.where(causal, longest - (tiles - 1) * tile / 2, longest)  # keys that a block meets, on average
        reach = constants["products"] * (constants["half"] if most < _TILES[-1] else 1.0)
        per_key = tile * (4 * padded / (reach * peak_of(spec, dtype) / spec.units) + constants["softmax_ops"] / lanes)
        all_units = heads * tiles / spec.units * (walked * per_key + overhead)
        one_block = constants["alone"] * (longest * per_key + overhead)
        candidates.append(joined(_NORM, all_units, one_block))
    moved = _bytes(dtype, sizes)
    kept = dram_bytes(spec, moved, np.ones_like(moved), constants["kept"], 0.0) / moved
    fetched = (
        constants["passes"]
        * moved
        * (kept / (constants["stream"] * spec.dram.bandwidth_bytes_per_s) + (1 - kept) / last_cache_rate(spec))
    )
    kernel = constants["start_us"] * 1e-6 + np.min(candidates, axis=0) + fetched
    kernel = np.maximum(kernel, roofline(spec, dtype, sizes))
    return as_timed(kernel, constants, sizes)


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Queries, keys, values and results, each once."""
    queries = column(sizes, "seqlen") * column(sizes, "heads")
    keys = column(sizes, "kv_len") * column(sizes, "kv_heads")
    return column(sizes, "batch") * column(sizes, "head_dim") * 2 * (queries + keys) * storage_bytes(dtype)
