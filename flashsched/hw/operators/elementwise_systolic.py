"""Element-wise operations on a TPU's vector unit, as its compiler runs them: through VMEM, in registers of 8 x 128.

``start + joined(bytes / (stream · bandwidth), registers · cycles / clock)``: main memory holds arrays without gaps, but
in registers two of their dimensions are padded to 8 x 128: those two of which the compiler needs fewest registers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import computed_in, storage_bytes
from flashsched.hw.operators.elementwise import FUNCTIONS
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "elementwise"
KINDS = ("tpu",)
SIZES = ("m", "n", "function")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(1.0, 0.3, 20.0, "us", "from the start of a kernel to its first transfer, and back"),
    "stream": Constant(0.8, 0.05, 1.0, "share", "of the main memory's bandwidth that a kernel reaches"),
    "register": Constant(3.0, 0.2, 40.0, "cycles", "of one register, loaded, computed with and stored, for each array"),
    "special_ops": Constant(15.0, 1.0, 200.0, "instructions", "of exp, erf, tanh and what is made of them"),
    **LAUNCHED,
}

_READS = np.array([one.reads for one in FUNCTIONS], dtype=np.float64)
_COSTS = np.array([one.cost for one in FUNCTIONS])
_NORM = 8.0


def variant(spec: DeviceSpec, dtype: str) -> str:
    """A set of constants of its own: those of GPUs mean other things."""
    del spec, dtype
    return "systolic"


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats."""
    elements = column(sizes, "m") * column(sizes, "n")
    moved = elements * storage_bytes(dtype) * (_READS[sizes["function"]] + 1)
    return least_seconds(spec, computed_in(spec, dtype), elements, moved, column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    unit = spec.systolic
    assert unit is not None
    registers = _registers(sizes, unit.vector_sublanes, unit.vector_lanes)
    elements = column(sizes, "m") * column(sizes, "n")
    arrays = _READS[sizes["function"]] + 1
    ops = np.where(_COSTS[sizes["function"]] == "", 0.0, constants["special_ops"])
    cycles = registers * (constants["register"] * arrays + ops) / spec.units
    transferred = elements * storage_bytes(dtype) * arrays / (constants["stream"] * spec.dram.bandwidth_bytes_per_s)
    computed = cycles / spec.clock_hz
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, transferred, computed)
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _registers(sizes: Mapping[str, NDArray[np.int64]], sublanes: int, lanes: int) -> Floats:
    """Registers of one array. ``inner`` is the dimension before the last, where it is known; 0 where it is not."""
    m, n, inner = column(sizes, "m"), column(sizes, "n"), column(sizes, "inner")
    inner = np.where(inner > 0, inner, m)
    outer = np.maximum(m / np.maximum(inner, 1.0), 1.0)
    dims = (n, np.maximum(inner, 1.0), outer)
    elements = np.maximum(m * n, 1.0)
    choices = [
        elements / (dims[a] * dims[b]) * np.ceil(dims[a] / lanes) * np.ceil(dims[b] / sublanes)
        for a in range(3)
        for b in range(3)
        if a != b
    ]
    one_row = np.ceil(elements / (lanes * sublanes))  # of a vector, which is cut into lines
    fewest: Floats = np.where(m > 1, np.min(choices, axis=0), one_row)
    return fewest
