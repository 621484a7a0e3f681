"""The bound that no kernel beats: peak arithmetic and main-memory bandwidth, and nothing else.

Williams, Waterman, Patterson: "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009. The device models build on it and must never fall below it.
"""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.errors import DeviceError
from flashsched.hw.spec import DeviceSpec

__all__ = ["roofline_s"]


def roofline_s(spec: DeviceSpec, flops: Mapping[str, float], dram_bytes: float, *, warm: bool = False) -> float:
    """Seconds below which *spec* cannot do *flops* (by dtype) while moving *dram_bytes*.

    ``max(flops[d] / peak[d] for d, dram_bytes / bandwidth)``: different dtypes may run on different pipes at once, so
    the longest counts, not their sum.

    With *warm*, the bound of a call that is repeated on the same data: on a CPU what fits in a cache stays there, and
    the bandwidth is that of the smallest level, those of all units together, which holds *dram_bytes*.

    Raises:
        DeviceError: a dtype that the device has no peak for, or a negative count.

    >>> from flashsched.hw.registry import devices
    >>> round(roofline_s(devices["a100-sim"], {"float32": 2 * 4096**3}, 3 * 4096**2 * 4) * 1e3, 2)  # ms
    7.05
    """
    if not dram_bytes >= 0:
        raise DeviceError(f"roofline_s: dram_bytes is {dram_bytes!r}; it must be 0 or more")
    seconds = dram_bytes / (_warm_bandwidth(spec, dram_bytes) if warm else spec.dram.bandwidth_bytes_per_s)
    for dtype, count in flops.items():
        if not count >= 0:
            raise DeviceError(f"roofline_s: flops[{dtype!r}] is {count!r}; it must be 0 or more")
        seconds = max(seconds, count / spec.peak(dtype) if count else 0.0)
    return seconds


def _warm_bandwidth(spec: DeviceSpec, held: float) -> float:
    """Bytes per second from the smallest level of a CPU that holds *held* bytes; of main memory elsewhere."""
    if spec.kind != "cpu":
        return spec.dram.bandwidth_bytes_per_s
    rates = [spec.dram.bandwidth_bytes_per_s]
    for level in spec.memory:
        instances = spec.units if level.shared_by == "unit" else 1
        if level.size_bytes * instances >= held:
            rates.append(level.bandwidth_bytes_per_s * instances)
    return max(rates)
