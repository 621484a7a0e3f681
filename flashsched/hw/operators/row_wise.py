"""Reductions and normalisations along rows: bound by memory, a block to a row, its partial results joined at the end.

A sum reads each element once and writes one per row; a product of two rows (the size ``operands`` is 2) reads two.
Where rows are too few to occupy the device, each is cut into pieces. RMSNorm and LayerNorm read and write each element.

**LayerNorm** is PyTorch's (``aten/src/ATen/native/cuda/layer_norm_kernel.cu``). Where vectors of four divide a row, a
block of four warps walks it twice, and finds it at hand the second time. Other rows take two kernels: one for the means
and variances of all of them, in wide blocks and with a division for each element, and one for the results, for which
they come from memory again unless the cache holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.operators.dtypes import computed_in, storage_bytes
from flashsched.hw.operators.times import (
    LAUNCHED,
    RUNTIME,
    as_timed,
    cache_bytes,
    called,
    column,
    dram_bytes,
    issued_per_s,
    joined,
    last_cache_rate,
    launches,
    least_seconds,
)
from flashsched.hw.spec import DeviceSpec

__all__ = ["AKIN", "CONSTANTS", "KINDS", "NAME", "SIZES", "UNLIKE", "roofline", "seconds", "variant"]

NAME = "row_wise"
KINDS: tuple[str, ...] = ("gpu", "cpu")
SIZES = ("m", "n", "passes")
AKIN = ("softmax", "elementwise")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "stream": Constant(1.0, 0.3, 1.1, "ratio", "of the main memory's rate in a stream to the spec's sustained one"),
    "start_us": Constant(
        2.0, 0.0, 20.0, "us", "of a kernel beside an empty one, to its first useful transfer and back"
    ),
    "row_us": Constant(1.5, 0.1, 40.0, "us", "of a row in its block beside its steps: the joining of partial results"),
    "step_us": Constant(0.5, 0.02, 6.0, "us", "of one step of a block along its row, for each reading of the row"),
    "kept": Constant(0.65, 0.05, 1.0, "share", "of the last cache that holds data until they are read again"),
    "call": Constant(1.4, 0.7, 3.0, "ratio", "of a framework's time for a launch of it to that of an element-wise one"),
    **LAUNCHED,
    **RUNTIME,
}

_NORM = 4.0
_BLOCKS = 4.0  # rows that a unit works on at a time
_STEP = 1024.0  # elements of a step, where it is not LayerNorm's
_VECTOR = 4  # elements that LayerNorm loads at a time, and warps of its block
_MOMENTS, _RESULTS = 512.0, 256.0  # threads of the blocks of its two kernels, where no vector divides a row
_MOMENT_OPS = 40.0
"""Instructions of an element in the first of them: a division, a 64-bit count as a float, 64-bit addresses. Counted."""

UNLIKE = {"": ("apple",)}
"""Families whose rows teach other families nothing: those of Apple's chips are sums in MLX and in PyTorch's backend for
Metal, and would tell of main memory what no other GPU shares with them."""


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
    moved, rows, length = _bytes(dtype, sizes), column(sizes, "m"), column(sizes, "n")
    fetched = dram_bytes(spec, moved, column(sizes, "warm"), constants["kept"], 0.0)
    readings = np.maximum(column(sizes, "passes"), 1.0)
    at_once = _BLOCKS * spec.units
    pieces = np.where(column(sizes, "passes") > 0, 1.0, np.clip(at_once / rows, 1.0, np.maximum(length / _STEP, 1.0)))
    one_row = (constants["row_us"] + readings * length / pieces / _STEP * constants["step_us"]) * 1e-6
    turns = np.maximum(1.0, rows * pieces / at_once)
    long_rows = np.minimum(turns * one_row, one_row + moved / last_cache_rate(spec))
    times = (
        fetched / (constants["stream"] * spec.dram.drawn_by(np.inf)),
        moved / last_cache_rate(spec),
        long_rows,
    )
    start = spec.launch_s + constants["start_us"] * 1e-6
    kernel = start + joined(_NORM, *times)
    if spec.gpu is not None:
        kernel = np.where(readings > 1, start + _layernorm_s(spec, constants, dtype, sizes, fetched, start), kernel)
    return as_timed(
        np.maximum(kernel, roofline(spec, dtype, sizes)), launches(spec, constants), sizes, called(constants, sizes)
    )


def _layernorm_s(
    spec: DeviceSpec,
    constants: Mapping[str, float],
    dtype: str,
    sizes: Mapping[str, NDArray[np.int64]],
    fetched: Floats,
    start: Floats | float,
) -> Floats:
    """Seconds of LayerNorm without its first *start*; *fetched* is what one reading and one writing fetch."""
    rows, length = column(sizes, "m"), column(sizes, "n")
    data = rows * length * storage_bytes(dtype)
    dram_rate = constants["stream"] * spec.dram.drawn_by(np.inf)
    cache_rate = last_cache_rate(spec)

    def walked(threads: float, wide: int, readings: int, row_us: float) -> Floats:
        """The rows in blocks of so many *threads*, as many at a time as the device holds."""
        at_once = spec.units * np.floor(gpu_unit(spec).max_threads / threads)
        one_row = (row_us + readings * np.ceil(length / (threads * wide)) * constants["step_us"]) * 1e-6
        seconds: Floats = np.maximum(1.0, rows / at_once) * one_row
        return seconds

    small = float(_VECTOR * gpu_unit(spec).warp_size)
    together = joined(_NORM, fetched / dram_rate, 3 * data / cache_rate, walked(small, _VECTOR, 2, constants["row_us"]))
    moments = joined(
        _NORM,
        fetched / 2 / dram_rate,
        rows * length * _MOMENT_OPS / issued_per_s(spec),
        walked(_MOMENTS, 1, 1, constants["row_us"]),
    )
    lost = np.clip(data / (constants["kept"] * cache_bytes(spec)) - 1.0, 0.0, 1.0)
    results = joined(_NORM, (fetched / 2 + data * lost) / dram_rate, 2 * data / cache_rate, walked(_RESULTS, 1, 1, 0.0))
    seconds: Floats = np.where(length % _VECTOR > 0, moments + start + results, together)
    return seconds


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """A reduction (no pass over the row after it) writes an element per row, a normalisation as much as it reads."""
    rows, length = column(sizes, "m"), column(sizes, "n")
    read = length * column(sizes, "operands", 1.0)
    return storage_bytes(dtype) * rows * (read + np.where(column(sizes, "passes") > 0, length, 1))
