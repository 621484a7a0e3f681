"""Reductions and normalisations along rows: bound by memory, a block to a row, its partial results joined at the end.

A sum reads each element once and writes one per row; a product of two rows (the size ``operands`` is 2) reads two.
RMSNorm and LayerNorm read and write each element; a block that holds its row in registers reads it once, and the mean,
the variance and the scaling cost a few instructions each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import computed_in, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, dram_bytes, joined, last_cache_rate, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["AKIN", "CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "row_wise"
KINDS: tuple[str, ...] = ("gpu", "cpu")
SIZES = ("m", "n", "passes")
AKIN = ("softmax", "elementwise")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "stream": Constant(0.82, 0.2, 1.0, "share", "of the main memory's bandwidth that the kernel reaches at best"),
    "start_us": Constant(3.0, 0.3, 60.0, "us", "from the start of the kernel to its first useful transfer, and back"),
    "row_us": Constant(2.5, 0.1, 40.0, "us", "of a row in its block beside its steps: the joining of partial results"),
    "step_us": Constant(0.5, 0.02, 6.0, "us", "of 1,024 elements of a row in its block, for each reading of the row"),
    "kept": Constant(0.5, 0.05, 1.0, "share", "of the last cache that a repeated kernel finds its data in"),
    **LAUNCHED,
}

_NORM = 4.0
_BLOCKS = 4.0  # rows that a unit works on at a time


def variant(spec: DeviceSpec, dtype: str) -> str:
    """One set of constants for all dtypes."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats."""
    elements = column(sizes, "m") * column(sizes, "n")
    return least_seconds(spec, computed_in(spec, dtype), elements, _bytes(dtype, sizes), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    moved = _bytes(dtype, sizes)
    fetched = dram_bytes(spec, moved, column(sizes, "warm"), constants["kept"], 0.0)
    readings = np.maximum(column(sizes, "passes"), 1.0)
    one_row = (constants["row_us"] + readings * column(sizes, "n") / 1024 * constants["step_us"]) * 1e-6
    turns = np.maximum(1.0, column(sizes, "m") / (_BLOCKS * spec.units))
    long_rows = np.minimum(turns * one_row, one_row + moved / last_cache_rate(spec))
    times = (
        fetched / (constants["stream"] * spec.dram.bandwidth_bytes_per_s),
        moved / last_cache_rate(spec),
        long_rows,
    )
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, *times)
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """A reduction (no pass over the row after it) writes an element per row, a normalisation as much as it reads."""
    rows, length = column(sizes, "m"), column(sizes, "n")
    read = length * column(sizes, "operands", 1.0)
    return storage_bytes(dtype) * rows * (read + np.where(column(sizes, "passes") > 0, length, 1))
