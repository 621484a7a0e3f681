"""The kernel that quantises a product's activations, in rows that hold one: a framework's layer, not a product alone.

A block takes a row, one element a thread at a time, so that a row takes as many turns to main memory as it has
thousands of elements: no constant is fitted. Rows say so in a column ``quantised``; it is no part of a prediction of
the device's own time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.operators.times import column
from flashsched.hw.spec import DeviceSpec

__all__ = ["quantising_s"]

THREADS, TURNS = 1024, 3.0
"""Of a block, and what it waits for besides its elements, in turns to main memory. Estimated: TensorRT-LLM's layers
take 1.5 us for a short row on an H100 and a B200 and 0.8 on an L40S, whose memory answers twice as soon, and 13 to
27 us for a row of 51,200 (aiconfigurator)."""


def quantising_s(spec: DeviceSpec, sizes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Seconds that quantising ``m`` rows of ``k`` elements adds, by row.

    >>> from flashsched.hw.registry import devices
    >>> sizes = {"m": np.array([1, 4096]), "k": np.array([4096, 4096]), "quantised": np.array([1, 1])}
    >>> [f"{seconds * 1e6:.1f} us" for seconds in quantising_s(devices["h100-sim"], sizes)]
    ['4.4 us', '53.1 us']
    """
    quantised = column(sizes, "quantised") > 0
    if not quantised.any():
        return np.zeros(len(quantised))
    m, k = column(sizes, "m"), column(sizes, "k")
    row = spec.dram.latency_s * (TURNS + k / THREADS)
    at_once = spec.units * max(1, gpu_unit(spec).max_threads // THREADS)
    moved = 3.0 * m * k  # 16 bits read, 8 written
    rows = np.maximum(row * np.maximum(m / at_once, 1.0), moved / spec.dram.drawn_by(np.inf))
    return np.where(quantised, spec.launch_s + rows, 0.0)
