"""Matrix products on CPUs, as BLAS libraries run them.

A product is cut into pieces that are dealt out to the cores, as many as are worth it. A core multiplies at a share of
its peak, faster where few are at work and the clock rises. Every dimension is longer by a little, which is what packing
of panels and ragged tiles cost; a part of the work is done by one core for all (Amdahl's law). Main memory moves each
operand once, beside that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "gemm"
KINDS = ("cpu",)
SIZES = ("m", "n", "k")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(3.0, 0.3, 200.0, "us", "of a call that wakes its threads"),
    "share": Constant(0.75, 0.2, 1.0, "share", "of the peak that all cores reach together on large products"),
    "alone": Constant(1.2, 1.0, 2.0, "ratio", "of what one core reaches alone, its clock higher, to its part of that"),
    "piece": Constant(100.0, 8.0, 500.0, "elements", "a side of the smallest cube that is worth a core of its own"),
    "packing": Constant(16.0, 0.0, 300.0, "elements", "by which each dimension is longer: packing, ragged tiles"),
    "serial": Constant(0.003, 0.00003, 0.1, "share", "of the work that one core does for all of them"),
    "stream": Constant(0.6, 0.1, 1.0, "share", "of the main memory's bandwidth, over operands and results"),
    **LAUNCHED,
}

_NORM = 4.0


def variant(spec: DeviceSpec, dtype: str) -> str:
    """A set of constants of its own, and another where a matrix unit does the work."""
    del dtype
    return "matrix" if spec.cpu is not None and spec.cpu.matrix_macs_per_clock is not None else "cores"


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no library beats: all multiply-adds, each operand read once, the result written once."""
    flops, moved = _work(dtype, sizes)
    return least_seconds(spec, dtype, flops, moved, column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`. The column ``threads`` says how many are used; 0: all cores."""
    _, moved = _work(dtype, sizes)
    m, n, k, batch = (column(sizes, name, 1.0) for name in ("m", "n", "k", "batch"))
    threads = column(sizes, "threads")
    shared = spec.cpu is not None and spec.cpu.matrix_operand_bits == 32  # one thread has all of Apple's matrix unit
    cores = np.minimum(np.where((threads > 0) & (not shared), threads, spec.units), spec.units)
    extra = constants["packing"]
    work = batch * (m + extra) * (n + extra) * (k + extra)
    busy = np.clip(work / constants["piece"] ** 3, 1.0, cores)
    rate = peak_of(spec, dtype) / spec.units * constants["share"]  # of one core where all are at work
    together = np.minimum(busy * rate * constants["alone"] ** (1.0 - busy / spec.units), peak_of(spec, dtype))
    by_one = rate * constants["alone"] ** (1.0 - 1.0 / spec.units)
    compute = 2.0 * work * ((1.0 - constants["serial"]) / together + constants["serial"] / by_one)
    nodes = (spec.cpu.numa_nodes if spec.cpu is not None else None) or 1
    # cores that draw: as many as there are pieces of data, so that more data never takes less time
    drawing = np.clip(moved / (3.0 * constants["piece"] ** 2 * storage_bytes(dtype)), 1.0, cores)
    near = np.clip(drawing / spec.units, 1.0 / nodes, 1.0)  # memories that have a core at work
    drawn = np.minimum(near * spec.dram.bandwidth_bytes_per_s, drawing * (spec.dram.per_unit_bytes_per_s or np.inf))
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, compute, moved / (constants["stream"] * drawn))
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _work(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats]:
    m, n, k, batch = (column(sizes, name, 1.0) for name in ("m", "n", "k", "batch"))
    return 2.0 * batch * m * n * k, batch * (m * k + k * n + m * n) * storage_bytes(dtype)
