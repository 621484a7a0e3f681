"""Softmax along rows, as GPU frameworks compute it: short rows in the registers of a warp, long ones by a block.

A **short row** (up to 1,024 elements) is read once into the registers of one warp, padded to a power of two, so that
the instructions go by the padded length. A **long row** belongs to a block that reads it three times: for the maximum,
for the sum, for the result. The second and third time it comes from the last cache as long as the rows that are being
worked on at one time fit there. Loads are four elements wide except for the rest of the row, and each step waits for
the one before, so a block takes ``row_us + steps · step_us``, as many blocks at a time as the device holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import computed_in, storage_bytes
from flashsched.hw.operators.times import (
    LAUNCHED,
    as_timed,
    cache_bytes,
    column,
    dram_bytes,
    joined,
    last_cache_rate,
    least_seconds,
)
from flashsched.hw.spec import DeviceSpec

__all__ = ["AKIN", "CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "softmax"
KINDS = ("gpu",)
SIZES = ("m", "n")
AKIN = ("elementwise",)

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "stream": Constant(0.88, 0.3, 1.0, "share", "of the main memory's bandwidth that the kernel reaches at best"),
    "start_us": Constant(3.0, 0.3, 30.0, "us", "from the start of the kernel to its first useful transfer, and back"),
    "kept": Constant(0.5, 0.05, 1.5, "share", "of the last cache that holds rows until they are read again"),
    "row_us": Constant(5.0, 0.2, 40.0, "us", "of a long row: its two reductions over a block, and its turn-over"),
    "step_us": Constant(1.8, 0.1, 12.0, "us", "of one step of a block along its row, all three readings together"),
    "warp_us": Constant(3.0, 0.2, 40.0, "us", "of a short row in its warp"),
    "ops": Constant(25.0, 4.0, 300.0, "instructions", "per element, exponential included"),
    "ragged": Constant(1.0, 0.8, 4.0, "ratio", "of a step's time in rows that do not begin at a vector's boundary"),
    **LAUNCHED,
}

_NORM = 4.0
_SHORT = 1024
_VECTOR_BYTES = 16


def variant(spec: DeviceSpec, dtype: str) -> str:
    """One set of constants for all dtypes."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats: each element read and written once, three operations on it."""
    elements = column(sizes, "m") * column(sizes, "n")
    moved = 2 * storage_bytes(dtype) * elements
    return least_seconds(spec, computed_in(spec, dtype), 3 * elements, moved, column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    rows, length = column(sizes, "m"), column(sizes, "n")
    element = storage_bytes(dtype)
    wide = _VECTOR_BYTES // element
    long_row = length > _SHORT
    resident_threads = float(spec.gpu.max_threads) if spec.gpu is not None else 2048.0
    warp = float(spec.gpu.warp_size) if spec.gpu is not None else 32.0

    block = _block(spec, length, wide)
    blocks_resident = spec.units * np.maximum(1.0, np.floor(resident_threads / block))
    whole = np.floor(length / (wide * block))
    steps = whole + np.ceil((length - whole * wide * block) / block)
    ragged = np.where(length % wide > 0, constants["ragged"], 1.0)
    turns = np.maximum(1.0, rows / blocks_resident)
    one_row = (constants["row_us"] + steps * constants["step_us"] * ragged) * 1e-6

    padded = 2.0 ** np.ceil(np.log2(np.maximum(length, 2.0)))
    per_warp = np.where(padded <= 128, 2.0, 1.0)
    warps_resident = spec.units * resident_threads / warp
    short_turns = np.maximum(1.0, rows / per_warp / warps_resident)
    latency = np.where(long_row, turns * one_row, short_turns * constants["warp_us"] * 1e-6)

    moved = 2 * element * rows * length
    worked_on = np.minimum(rows, blocks_resident) * length * element
    again = np.clip(worked_on / (constants["kept"] * cache_bytes(spec)) - 1.0, 0.0, 1.0)
    warm = column(sizes, "warm")
    fetched = dram_bytes(spec, moved, warm, np.minimum(1.0, constants["kept"]), 0.1)
    fetched = fetched + np.where(long_row, 2 * element * rows * length * again, 0.0)
    lanes_per_s = (spec.peaks["float32"] if "float32" in spec.peaks else max(spec.peaks.values())) / 2
    times = (
        fetched / (constants["stream"] * spec.dram.bandwidth_bytes_per_s),
        np.where(long_row, 2.0, 1.0) * moved / last_cache_rate(spec),
        rows * np.where(long_row, length, padded) * constants["ops"] / lanes_per_s,
        latency,
    )
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, *times)
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _block(spec: DeviceSpec, length: Floats, wide: int) -> Floats:
    """Threads of a block for a long row: a power of two from an eighth of the row's vectors up, at most 512."""
    if spec.gpu is not None and spec.gpu.warp_size == 64:
        return np.full(len(length), 1024.0)
    most = np.minimum(np.floor(length / wide), 1024.0)
    half = np.maximum(np.floor(most / 2), 32.0)
    threads: Floats = 2.0 ** np.ceil(np.log2(half))
    return threads
