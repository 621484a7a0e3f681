"""Element-wise operations: each element read and written once, a few instructions in between.

``launch + start + joined(DRAM bytes / (stream · sustained rate), bytes / last cache, instructions issued)``. A kernel
that gives each row to one block (``rowwise``) issues for whole turns of the block's threads, and a device of fewer rows
than units waits for the longest row alone. What a measurement adds to it (a host that launches slower than the device
computes) is in ``times.py``.
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
    RUNTIME,
    as_timed,
    column,
    dram_bytes,
    issued_per_s,
    joined,
    last_cache_rate,
    launches,
    least_seconds,
)
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "FUNCTIONS", "KINDS", "KNOWN", "NAME", "SIZES", "Function", "roofline", "seconds", "variant"]

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
    "stream": Constant(1.0, 0.5, 1.2, "ratio", "of the main memory's rate in a stream to the spec's sustained one"),
    "start_us": Constant(
        0.3, 0.0, 20.0, "us", "of a kernel beside an empty one, to its first useful transfer and back"
    ),
    "cache": Constant(0.6, 0.1, 1.0, "share", "of the last cache's bandwidth that a streaming kernel reaches"),
    "kept": Constant(0.45, 0.05, 1.0, "share", "of the last cache that a repeated kernel finds its data in"),
    "retained": Constant(0.1, 0.0, 1.0, "share", "of the cache whose traffic a kernel larger than the cache saves"),
    "pow_ops": Constant(100.0, 4.0, 600.0, "instructions", "of a power of two floats"),
    "special_ops": Constant(30.0, 1.0, 200.0, "instructions", "of exp, erf, tanh and what is made of them"),
    "row_ops": Constant(33.0, 5.0, 120.0, "instructions", "of an element read or written, one to a thread at a time"),
    "one_array": Constant(1.18, 0.8, 1.6, "ratio", "of a framework's launch time with one array to that with two"),
    **LAUNCHED,
    **RUNTIME,
}

KNOWN: dict[str, dict[str, float | None]] = {
    "": {"start_us": 0.3, "special_ops": 30.0, "one_array": 1.18, "host_us": 26.0, "gap_us": 17.0}
}
"""Constants that a fit over several devices is told. A host's times are no trait of a device: of the five with an
NVIDIA board in sitar-lab/NeuSight three took 26 or 27 us from one launch to the next, the others 33 and 45, and a joint
fit would blame a kernel's start for what differs. `RUNTIME` has what AMD's takes. An error function's instructions hide
behind main memory on most devices, whose rows tell nothing of them."""

_READS = np.array([one.reads for one in FUNCTIONS], dtype=np.float64)
_COSTS = np.array([one.cost for one in FUNCTIONS])
_THREADS = 1024.0  # of a block that has a row to itself
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
    issued = elements * instructions
    rows = (column(sizes, "rowwise") > 0) & (cost == "special_ops")
    if rows.any():  # each unit its blocks, and each block its turns
        turns = np.ceil(column(sizes, "n") / _THREADS) * np.maximum(column(sizes, "m"), spec.units)
        issued = np.where(rows, turns * _THREADS * (reads + 1) * constants["row_ops"], issued)
    times = [
        fetched / (constants["stream"] * spec.dram.drawn_by(np.inf)),
        moved / (constants["cache"] * last_cache_rate(spec)),
        issued / issued_per_s(spec),
    ]
    kernel = spec.launch_s + constants["start_us"] * 1e-6 + joined(_NORM, *times)
    kernel = np.maximum(kernel, roofline(spec, dtype, sizes))
    return as_timed(kernel, launches(spec, constants), sizes, np.where(reads > 1, 1.0, constants["one_array"]))


def _work(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats, NDArray[np.str_]]:
    elements = column(sizes, "m") * column(sizes, "n")
    moved = elements * storage_bytes(dtype) * (_READS[sizes["function"]] + 1)
    return elements, moved, _COSTS[sizes["function"]]
