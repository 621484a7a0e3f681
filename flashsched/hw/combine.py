"""What every device model does with its limiters at the end: join their times, and put a price on the energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flashsched.hw.spec import DeviceSpec

__all__ = ["OVERLAP_NORM", "energy_j", "joined", "peak_s"]

OVERLAP_NORM = 4.0
"""How well limiters overlap: 1 would add their times, infinity would take the longest. At 4, two equal ones cost 19 %
more than one, and one at half the longest costs 1.5 %. With it cuBLAS's 128 x 64 float32 tiles, whose shared-memory,
issue and latency times are near half the FMA time, come out at the 92 % of peak that large products reach on an A100
(sitar-lab/NeuSight)."""

REST_SHARE = 0.25
"""Power at rest as a share of full power, where a spec does not state it. Estimated."""


def joined(seconds: Iterable[float]) -> float:
    """The p-norm of *seconds* with p = ``OVERLAP_NORM``: at least the longest, at most their sum.

    >>> joined([3.0, 0.0]), round(joined([1.0, 1.0]), 2)
    (3.0, 1.19)
    """
    times = list(seconds)
    longest = max(times, default=0.0)
    if longest <= 0.0:
        return 0.0
    total = sum((time / longest) ** OVERLAP_NORM for time in times)
    return float(longest * total ** (1.0 / OVERLAP_NORM))


def peak_s(spec: DeviceSpec, flops: Mapping[str, float]) -> float:
    """Seconds of *flops* (by dtype) one after another, each at the device's peak."""
    return sum(count / spec.peak(dtype) for dtype, count in flops.items() if count)


def energy_j(spec: DeviceSpec, time_s: float, utilization: float, dram_bytes: float) -> float | None:
    """Joules over *time_s*: power rises linearly from rest to full with the busier of arithmetic and main memory."""
    if spec.power_w is None:
        return None
    rest = spec.power_w * REST_SHARE if spec.idle_power_w is None else spec.idle_power_w
    busy = max(utilization, dram_bytes / spec.dram.bandwidth_bytes_per_s / time_s if time_s > 0 else 0.0)
    return time_s * (rest + (spec.power_w - rest) * min(1.0, busy))
