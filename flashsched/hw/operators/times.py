"""What the operator models share: how times overlap, what a warm cache saves, and what a launch costs in a measurement.

Besides an operator's own sizes, a model may be told how the rows were timed, in columns that default to 0:

``warm``      1: the measurement repeats on the same data, so what fits in the last cache is not fetched again.
``launched``  how a framework's launches show in the time, see `as_timed`; 0: not at all.
``rowwise``   1: the kernel gives each row to one block and moves one element a thread at a time (vLLM's activations).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import peak_of
from flashsched.hw.spec import DeviceSpec

__all__ = [
    "LAUNCHED",
    "RUNTIME",
    "as_timed",
    "cache_bytes",
    "called",
    "column",
    "dram_bytes",
    "issued_per_s",
    "joined",
    "last_cache_rate",
    "launches",
    "least_seconds",
]

Floats = NDArray[np.float64]

LAUNCHED: dict[str, Constant] = {
    "host_us": Constant(30.0, 1.0, 400.0, "us", "time the framework takes from one launch to the next"),
    "gap_us": Constant(16.0, 0.0, 100.0, "us", "time around a kernel that the events record with it"),
    "loop_us": Constant(8.0, 1.0, 400.0, "us", "time of a call on the host, where a clock runs over many calls"),
    "sync_us": Constant(30.0, 1.0, 1000.0, "us", "time of a call and its synchronisation, under a host clock"),
}
"""Constants of a measurement that launches kernels one by one; no part of a prediction of the device's own time."""

RUNTIME: dict[str, Constant] = {
    "hip": Constant(1.0, 0.3, 1.5, "ratio", "of what AMD's runtime takes around a kernel to what NVIDIA's does"),
}
"""What of `LAUNCHED` is the runtime's, whatever the host."""


def launches(spec: DeviceSpec, constants: Mapping[str, float]) -> dict[str, float]:
    """*constants* with the times around a kernel that the runtime of *spec*'s vendor takes.

    Both published sources that timed an AMD and an NVIDIA board through PyTorch saw half the time around a kernel:
    12.6 us from one launch to the next against 26 to 45 (sitar-lab/NeuSight), 21 us with a synchronisation against 48
    (PrincetonUniversity/LLMCompass).
    """
    ratio = constants["hip"] if spec.vendor == "AMD" and spec.kind == "gpu" else 1.0
    return {name: value * ratio if name in LAUNCHED else value for name, value in constants.items()}


def called(constants: Mapping[str, float], sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """The ``call`` of an operation that a framework launches slower than others; a synchronisation takes as long."""
    scale: Floats = np.where(column(sizes, "launched") == 3, 1.0, constants["call"])
    return scale


def column(sizes: Mapping[str, NDArray[np.int64]], name: str, default: float = 0.0) -> Floats:
    """The column *name* as floats, or *default* in every row."""
    if name in sizes:
        return np.asarray(sizes[name], dtype=np.float64)
    length = len(next(iter(sizes.values())))
    return np.full(length, default)


def joined(norm: float, *times: Floats) -> Floats:
    """The p-norm of *times* by row: 1 adds them up, infinity takes the longest.

    >>> joined(4.0, np.array([1.0, 3.0]), np.array([1.0, 0.0])).round(2)
    array([1.19, 3.  ])
    """
    longest = np.maximum(np.max(times, axis=0), 1e-30)
    total: Floats = longest * sum((time / longest) ** norm for time in times) ** (1.0 / norm)
    return total


def cache_bytes(spec: DeviceSpec) -> float:
    """Bytes of the last cache before main memory, of the whole device."""
    level = spec.memory[-2]
    return float(level.size_bytes) * (spec.units if level.shared_by == "unit" else 1)


def last_cache_rate(spec: DeviceSpec) -> float:
    """Bytes per second of the last cache before main memory, all units together."""
    level = spec.memory[-2]
    return level.bandwidth_bytes_per_s * (spec.units if level.shared_by == "unit" else 1)


def issued_per_s(spec: DeviceSpec) -> float:
    """Instructions of single lanes, of whatever kind, that all units start in a second.

    A scheduler starts one instruction of a warp in a clock, whether its lanes compute, convert or work an address out;
    where a warp has 64 lanes, these take turns on 16. A unit that is no GPU's starts what its peak has multiply-adds.

    >>> from flashsched.hw.registry import devices
    >>> [f"{issued_per_s(devices[name]) / 1e12:.1f}" for name in ("a100-sim", "p100-sim", "mi210-sim")]
    ['19.5', '5.3', '11.3']
    """
    if spec.gpu is None:
        return max(spec.peaks.values()) / 2
    lanes = 16.0 if spec.gpu.warp_size == 64 else float(spec.gpu.warp_size)
    return spec.units * spec.gpu.schedulers * lanes * spec.clock_hz


def dram_bytes(spec: DeviceSpec, moved: Floats, warm: Floats, kept: float, retained: float) -> Floats:
    """Bytes that really cross to main memory, of *moved* by a kernel that reads and writes all its data once.

    In a warm row, data up to ``kept`` of the last cache stays there, and a stream of twice that replaces itself before
    it is read again. ``retained`` of the cache still saves its own size of traffic in larger rows: the operands' ends
    that the kernel before has left, and results not written back yet when the kernel ends.
    """
    share = moved / (kept * cache_bytes(spec))
    hits = np.maximum(np.clip(2.0 - share, 0.0, 1.0), retained / np.maximum(share, 1.0))
    return moved * (1.0 - np.where(warm > 0, hits, 0.0))


def as_timed(seconds: Floats, constants: Mapping[str, float], sizes: Mapping[str, NDArray[np.int64]],
             host_scale: Floats | float = 1.0) -> Floats:  # fmt: skip
    """What a clock shows of kernels that take *seconds*, by the rows' ``launched``.

    1: events around each kernel show ``gap + kernel``, or the ``host``'s time to the next launch if that is longer.
    2: a clock over many calls shows the kernel, or the call itself if that is longer.
    3: a clock around each call and its synchronisation shows ``sync``, three quarters of which no kernel hides.
    """
    how = column(sizes, "launched")
    if not how.any():
        return seconds
    us = {name: constants[name] * 1e-6 * host_scale + 0.0 * seconds for name in ("host_us", "loop_us", "sync_us")}
    shown = seconds
    for kind, alone, together in (
        (1, us["host_us"], constants["gap_us"] * 1e-6 + seconds),
        (2, us["loop_us"], seconds),
        (3, us["sync_us"], 0.75 * us["sync_us"] + seconds),
    ):
        if (how == kind).any():
            shown = np.where(how == kind, joined(16.0, alone, together), shown)
    return shown


def least_seconds(spec: DeviceSpec, dtype: str, flops: Floats, moved: Floats, warm: Floats) -> Floats:
    """The roofline by row; a warm row need not fetch what the last cache can hold, but must read it from there."""
    fetched = np.where(warm > 0, np.maximum(moved - cache_bytes(spec), 0.0), moved)
    inside = np.where(warm > 0, moved / max(last_cache_rate(spec), spec.dram.bandwidth_bytes_per_s), 0.0)
    times = (fetched / spec.dram.bandwidth_bytes_per_s, inside, flops / peak_of(spec, dtype))
    bound: Floats = np.max(times, axis=0)
    return bound
