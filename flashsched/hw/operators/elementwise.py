"""Element-wise operations: each element read and written once, a few instructions in between.

``start + joined(DRAM bytes / (stream · bandwidth), bytes / last cache, elements · instructions / lanes)``. What a
measurement adds to it (a host that launches slower than the device computes) is in ``times.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import computed_in, storage_bytes
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

__all__ = ["CONSTANTS", "FUNCTIONS", "KINDS", "NAME", "SIZES", "Function", "roofline", "seconds", "variant"]

NAME = "elementwise"
KINDS = ("gpu", "cpu")
SIZES = ("m", "n", "function")

Floats = NDArray[np.float64]


class Function(NamedTuple):
    """One element-wise function: arrays it reads, and which constant counts its instructions ("" for one or two)."""

    name: str
    reads: int
    cost: str = ""


FUNCTIONS: tuple[Function, ...] = (
    Function("add", 2), Function("sub", 2), Function("mul", 2), Function("div", 2), Function("maximum", 2),
    Function("minimum", 2), Function("pow", 2, "pow_ops"), Function("add_scalar", 1), Function("sub_scalar", 1),
    Function("mul_scalar", 1), Function("div_scalar", 1), Function("pow_scalar", 1, "pow_ops"), Function("relu", 1),
    Function("leaky_relu", 1), Function("copy", 1), Function("neg", 1), Function("abs", 1), Function("sqrt", 1),
    Function("exp", 1, "special_ops"), Function("log", 1, "special_ops"), Function("tanh", 1, "special_ops"),
    Function("sigmoid", 1, "special_ops"), Function("erf", 1, "special_ops"), Function("gelu", 1, "special_ops"),
    Function("silu", 1, "special_ops"), Function("sin", 1, "special_ops"), Function("cos", 1, "special_ops"),
    Function("silu_mul", 2, "special_ops"), Function("gelu_mul", 2, "special_ops"), Function("clip", 1),
    Function("hardswish", 1), Function("rsqrt", 1), Function("floor", 1), Function("elu", 1, "special_ops"),
    Function("selu", 1, "special_ops"), Function("softplus", 1, "special_ops"), Function("mish", 1, "special_ops"),
)  # fmt: skip
"""The functions; the size ``function`` is an index into them. Each writes one array."""

CONSTANTS: dict[str, Constant] = {
    "stream": Constant(0.86, 0.3, 1.0, "share", "of the main memory's bandwidth that a streaming kernel reaches"),
    "start_us": Constant(2.0, 0.3, 60.0, "us", "from the start of the kernel to its first useful transfer, and back"),
    "cache": Constant(0.6, 0.1, 1.0, "share", "of the last cache's bandwidth that a streaming kernel reaches"),
    "kept": Constant(0.45, 0.05, 1.0, "share", "of the last cache that a repeated kernel finds its data in"),
    "retained": Constant(0.1, 0.0, 1.0, "share", "of the cache whose traffic a kernel larger than the cache saves"),
    "pow_ops": Constant(60.0, 4.0, 600.0, "instructions", "of a power of two floats"),
    "special_ops": Constant(15.0, 1.0, 200.0, "instructions", "of exp, erf, tanh and what is made of them"),
    "row_GBps": Constant(12.0, 2.0, 60.0, "GB/s", "that a unit moves in a kernel of one element a thread"),
    "row_step_us": Constant(0.5, 0.05, 3.0, "us", "that a block takes for 1,024 elements of its row"),
    "one_array": Constant(1.18, 0.8, 1.6, "ratio", "of a framework's launch time with one array to that with two"),
    **LAUNCHED,
}

_READS = np.array([one.reads for one in FUNCTIONS], dtype=np.float64)
_COSTS = np.array([one.cost for one in FUNCTIONS])
_NORM = 6.0  # transfers and instructions of a streaming kernel overlap almost wholly


def variant(spec: DeviceSpec, dtype: str) -> str:
    """One set of constants for all dtypes: the bytes tell them apart."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats."""
    elements, moved, _ = _work(dtype, sizes)
    return least_seconds(spec, computed_in(spec, dtype), elements, moved, column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    elements, moved, cost = _work(dtype, sizes)
    reads = _READS[sizes["function"]]
    fetched = dram_bytes(spec, moved, column(sizes, "warm"), constants["kept"], constants["retained"])
    instructions = np.ones_like(elements)
    for name in ("pow_ops", "special_ops"):
        instructions = np.where(cost == name, constants[name], instructions)
    lanes_per_s = max(spec.peaks.get("float32", 0.0), *spec.peaks.values()) / 2
    if "float32" in spec.peaks:
        lanes_per_s = spec.peaks["float32"] / 2
    times = [
        fetched / (constants["stream"] * spec.dram.bandwidth_bytes_per_s),
        moved / (constants["cache"] * last_cache_rate(spec)),
        elements * instructions / lanes_per_s,
    ]
    rows = (column(sizes, "rowwise") > 0) & (cost == "special_ops")
    if rows.any():
        all_units = moved / (constants["row_GBps"] * 1e9 * spec.units)
        one_block = column(sizes, "n") / 1024 * constants["row_step_us"] * 1e-6
        times += [np.where(rows, all_units, 0.0), np.where(rows, one_block, 0.0)]
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, *times)
    kernel = np.maximum(kernel, roofline(spec, dtype, sizes))
    return as_timed(kernel, constants, sizes, np.where(reads > 1, 1.0, constants["one_array"]))


def _work(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats, NDArray[np.str_]]:
    elements = column(sizes, "m") * column(sizes, "n")
    moved = elements * storage_bytes(dtype) * (_READS[sizes["function"]] + 1)
    return elements, moved, _COSTS[sizes["function"]]
