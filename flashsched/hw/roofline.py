"""The bound that no kernel beats: peak arithmetic and main-memory bandwidth, and nothing else.

Williams, Waterman, Patterson: "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009. The device models build on it and must never fall below it.
"""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.errors import DeviceError
from flashsched.hw.spec import DeviceSpec

__all__ = ["roofline_s"]


def roofline_s(spec: DeviceSpec, flops: Mapping[str, float], dram_bytes: float) -> float:
    """Seconds below which *spec* cannot do *flops* (by dtype) while moving *dram_bytes*.

    ``max(flops[d] / peak[d] for d, dram_bytes / bandwidth)``: different dtypes may run on different pipes at once, so
    the longest counts, not their sum.

    Raises:
        DeviceError: a dtype that the device has no peak for, or a negative count.

    >>> from flashsched.hw.registry import devices
    >>> round(roofline_s(devices["a100-sim"], {"float32": 2 * 4096**3}, 3 * 4096**2 * 4) * 1e3, 2)  # ms
    7.05
    """
    if not dram_bytes >= 0:
        raise DeviceError(f"roofline_s: dram_bytes is {dram_bytes!r}; it must be 0 or more")
    seconds = dram_bytes / spec.dram.bandwidth_bytes_per_s
    for dtype, count in flops.items():
        if not count >= 0:
            raise DeviceError(f"roofline_s: flops[{dtype!r}] is {count!r}; it must be 0 or more")
        seconds = max(seconds, count / spec.peak(dtype) if count else 0.0)
    return seconds
