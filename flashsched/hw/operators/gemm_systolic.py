"""Matrix products on systolic arrays, as a TPU's compiler runs them.

``start + first operands + joined(arrays, remaining operands) + results``. The arrays take `streamed_cycles`. The first
operands come before they can begin: everything, if it fits the window of VMEM that the compiler fills at once; what is
beyond it comes while they work. What it writes waits for the end. More cores fill more VMEM before any of them begins,
so a product may be done sooner by fewer, and the others are left idle then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined, least_seconds
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.systolic import streamed_cycles

__all__ = ["CONSTANTS", "GROWS", "KINDS", "NAME", "SIZES", "explained", "roofline", "seconds", "variant"]

NAME = "gemm"
KINDS = ("tpu",)
SIZES = ("m", "n", "k")
GROWS = ("m", "n", "k", "batch")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(1.0, 0.3, 20.0, "us", "from the start of a kernel to its first transfer, and back"),
    "arrays": Constant(0.9, 0.3, 1.0, "share", "of the arrays' rate that a product's folds reach"),
    "stream": Constant(0.8, 0.1, 1.0, "share", "of the main memory's bandwidth, while nothing else is done"),
    "window": Constant(0.25, 0.02, 1.5, "share", "of VMEM whose operands are fetched before the arrays begin"),
    **LAUNCHED,
    "sync_us": replace(LAUNCHED["sync_us"], default=130.0),
}
"""Defaults are what the products of a v6e and the largest ones of a v5e and a Gaudi 2 reach. Those of a v4, in float16
that it has to convert, reach two thirds and half as much. JAX takes about 130 us to dispatch and await a product."""

_NORM = 8.0  # copies are made by engines of their own: they overlap with the arrays almost wholly


def variant(spec: DeviceSpec, dtype: str) -> str:
    """A set of constants of its own: those of GPUs mean other things."""
    del spec, dtype
    return "systolic"


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats: all multiply-adds, each operand read once, the result written once."""
    flops, operands, results = _work(dtype, sizes)
    return least_seconds(spec, dtype, flops, operands + results, column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    fastest = np.min([_on(cores, spec, constants, dtype, sizes) for cores in _cores(spec.units)], axis=0)
    kernel = constants["start_us"] * 1e-6 + fastest
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _cores(units: int) -> list[int]:
    """How many of *units* cores may share a product: any few, and halves of all.

    >>> _cores(2), _cores(96)[-3:]
    ([1, 2], [24, 48, 96])
    """
    halves = (units >> times for times in range(units.bit_length()))
    return sorted({*range(1, min(units, 16) + 1), *halves})


def _on(
    cores: int, spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Seconds by row of a product that so many *cores* share, its start left out."""
    unit = spec.systolic
    assert unit is not None
    _, operands, results = _work(dtype, sizes)
    m, n, k, batch = (column(sizes, name, 1.0) for name in ("m", "n", "k", "batch"))
    macs = unit.rows * unit.columns * unit.arrays * spec.units
    cycles = batch * streamed_cycles(m, n, k, unit.rows, unit.columns, unit.arrays * cores)
    arrays = cycles / (constants["arrays"] * peak_of(spec, dtype) / (2.0 * macs))
    rate = constants["stream"] * spec.dram.bandwidth_bytes_per_s
    window = constants["window"] * spec.memory[0].size_bytes * cores
    first = np.minimum(operands, window)
    return (first + results) / rate + joined(_NORM, arrays, (operands - first) / rate)


def explained(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> tuple[Floats, dict[str, Floats]]:
    """What `seconds` says, and what may tell the compiler's choice of tiles, by row and mostly as logarithms."""
    unit = spec.systolic
    assert unit is not None
    found = seconds(spec, constants, dtype, sizes)
    time = np.log2(found)
    flops, operands, results = _work(dtype, sizes)
    m, n, k, batch = (column(sizes, name, 1.0) for name in ("m", "n", "k", "batch"))
    return found, {
        "m": np.log2(m), "n": np.log2(n), "k": np.log2(k), "batch": np.log2(batch), "time": time,
        "element": np.full(len(m), float(storage_bytes(dtype))), "rate": np.log2(flops) - time,
        "operands": np.log2(operands), "results": np.log2(results), "left": np.log2(m * k), "right": np.log2(n * k),
        "m/n": np.log2(m / n), "k/n": np.log2(k / n), "k/m": np.log2(k / m), "m idle": np.ceil(m / 8) * 8 / m,
        "n idle": np.ceil(n / unit.columns) * unit.columns / n, "k idle": np.ceil(k / unit.rows) * unit.rows / k,
    }  # fmt: skip


def _work(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats, Floats]:
    """Operations, and bytes of operands and results."""
    m, n, k, batch = (column(sizes, name, 1.0) for name in ("m", "n", "k", "batch"))
    width = storage_bytes(dtype)
    return 2.0 * batch * m * n * k, batch * (m * k + k * n) * width, batch * m * n * max(width, 2)
