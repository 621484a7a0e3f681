"""Softmax along rows, as GPU frameworks compute it: short rows in the registers of a warp, long ones by a block.

A **short row** (up to 1,024 elements) is read once into the registers of one warp, padded to a power of two, so that
the instructions go by the padded length. A **long row** belongs to a block that reads it three times: for the maximum,
for the sum, for the result. The second and third time it comes from the last cache as long as the rows that are being
worked on at one time fit there. Loads are four elements wide except for the rest of the row, and each step waits for
the one before, so a block takes ``row_us + steps · step_us``, as many blocks at a time as the device holds. A reading
takes instructions for each element, and others for each step, whether a thread has four elements of it or one: where a
unit starts half as many in a clock (P100), these are what a long row takes.

Rows of a framework that computes it operation by operation say in a column ``arrays`` how many arrays these move.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
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

__all__ = ["AKIN", "CONSTANTS", "KINDS", "KNOWN", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "softmax"
KINDS = ("gpu",)
SIZES = ("m", "n")
AKIN = ("elementwise",)

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "stream": Constant(1.0, 0.3, 1.2, "ratio", "of the main memory's rate in a stream to the spec's sustained one"),
    "start_us": Constant(
        2.0, 0.0, 20.0, "us", "of a kernel beside an empty one, to its first useful transfer and back"
    ),
    "kept": Constant(0.55, 0.05, 1.5, "share", "of the last cache that holds rows until they are read again"),
    "row_us": Constant(2.5, 0.2, 40.0, "us", "of a long row: its two reductions over a block, and its turn-over"),
    "step_us": Constant(1.5, 0.1, 12.0, "us", "of one step of a block along its row, all three readings together"),
    "warp_us": Constant(2.5, 0.2, 40.0, "us", "of a short row in its warp"),
    "ops": Constant(30.0, 4.0, 300.0, "instructions", "of an element for each reading of it, exponential included"),
    "step_ops": Constant(
        50.0, 5.0, 300.0, "instructions", "of a thread for a step, all three readings together, its elements apart"
    ),
    "call": Constant(
        1.28, 0.7, 3.0, "ratio", "of a framework's time for a launch of it to that of an element-wise one"
    ),
    **LAUNCHED,
    **RUNTIME,
}

KNOWN: dict[str, dict[str, float | None]] = {
    "": {
        "start_us": 2.0, "row_us": 2.5, "warp_us": 2.5, "kept": 0.55, "ops": 30.0, "step_ops": 50.0, "call": 1.28,
        "host_us": 26.0, "gap_us": 22.0,
    }
}  # fmt: skip
"""Constants that a fit over several devices is told, where otherwise one would make up for another. A host's times are
no trait of a device (``call`` is 1.26 to 1.30 on five of six), and short rows tell of little else. ``ops`` is what an
exponential, a division and their loads come to, ``step_ops`` what three loops' addresses and tests do. The others are
about what devices come to that are each fitted alone."""

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
    steps = _steps(length, block, wide)
    held = (length % wide == 0) & _is_later(spec)
    steps = np.where(held, np.ceil(length / (wide * block)), steps)
    turns = np.maximum(1.0, rows / blocks_resident)
    one_row = (constants["row_us"] + steps * constants["step_us"]) * 1e-6

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
    fetched = fetched + np.where(long_row & ~held, 2 * element * rows * length * again, 0.0)
    in_steps = 3 * length * constants["ops"] + steps * block * constants["step_ops"]
    instructions = np.where(long_row, in_steps, padded * constants["ops"])
    times = (
        fetched / (constants["stream"] * spec.dram.drawn_by(np.inf)),
        np.where(long_row & ~held, 2.0, 1.0) * moved / last_cache_rate(spec),
        rows * instructions / issued_per_s(spec),
        latency,
    )
    start = spec.launch_s + constants["start_us"] * 1e-6
    arrays = column(sizes, "arrays")
    streamed = arrays * element * rows * length / (constants["stream"] * spec.dram.drawn_by(np.inf))
    kernel = np.where(arrays > 0, arrays / 2 * start + streamed, start + joined(_NORM, *times))
    return as_timed(
        np.maximum(kernel, roofline(spec, dtype, sizes)), launches(spec, constants), sizes, called(constants, sizes)
    )


def _steps(length: Floats, block: Floats, wide: int) -> Floats:
    """Steps of a block along its row: of ``wide`` elements to a thread, and of one to a thread for the rest of the row.

    A row that does not begin at a vector's boundary has a step of single elements before, up to where one does. Of rows
    whose length is no multiple of a vector, one begins there in as many as the vector has parts.
    """
    begins = np.gcd(length.astype(np.int64), wide) / wide
    steps = np.zeros_like(length)
    for share, before in ((begins, 0.0), (1.0 - begins, 1.0)):
        left = np.maximum(length - before * block, 0.0)
        vectors = np.floor(left / (wide * block))
        steps = steps + share * (before + vectors + np.ceil((left - vectors * wide * block) / block))
    return steps


def _is_later(spec: DeviceSpec) -> bool:
    """Whether the kernel is PyTorch's of 2.1 and later, as it is in what was published of AMD's boards: long rows have
    blocks of 1,024 threads, and a row that vectors divide stays in shared memory from its one reading on."""
    return spec.gpu is not None and spec.gpu.warp_size == 64


def _block(spec: DeviceSpec, length: Floats, wide: int) -> Floats:
    """Threads of a block for a long row: a power of two from an eighth of the row's vectors up, at most 512."""
    if _is_later(spec):
        return np.full(len(length), 1024.0)
    most = np.minimum(np.floor(length / wide), 1024.0)
    half = np.maximum(np.floor(most / 2), 32.0)
    threads: Floats = 2.0 ** np.ceil(np.log2(half))
    return threads
