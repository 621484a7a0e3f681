"""Collectives among devices of one machine: all-reduce, all-gather, reduce-scatter, all-to-all, the NCCL way.

Latency and bandwidth (the alpha-beta model; Thakur, Rabenseifner, Gropp, 2005), with NCCL's switch of protocols: small
messages pay ``low_us`` and a start for each step but move at a fraction of the link (flags travel with the data), large
ones pay more at the start and move at the link's full rate. A ring of *p* devices takes ``p - 1`` steps (an all-reduce
two rounds of them) and sends ``(p - 1) / p`` of the data per round over each device's link. Devices without links of
their own meet in the host's: more than two of them share its bridges, and what runs from one half of the machine to the
other (8 L40S of one host reach a fourteenth of the rate of two).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.times import LAUNCHED, as_timed, column
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "COLLECTIVES", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "collective"
KINDS: tuple[str, ...] = ("gpu",)
SIZES = ("bytes", "devices", "collective")

Floats = NDArray[np.float64]

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
"""The size ``collective`` is an index into them. ``bytes`` is the whole vector: what an all-reduce sums, what an
all-gather ends with, what a reduce-scatter and an all-to-all begin with."""

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(5.0, 0.5, 60.0, "us", "of the kernel and the devices' agreement to begin"),
    "step_us": Constant(1.0, 0.05, 15.0, "us", "of a step of a small message, from one device to the next"),
    "low_share": Constant(0.25, 0.03, 1.0, "share", "of the link's rate that the protocol for small messages reaches"),
    "high_us": Constant(10.0, 0.0, 100.0, "us", "that the protocol for large messages takes longer to begin"),
    "link_share": Constant(0.75, 0.02, 1.0, "share", "of the link's rate that large messages reach"),
    "sum_share": Constant(0.9, 0.3, 1.0, "share", "of that which collectives reach that add up on the way"),
    "alltoall_share": Constant(0.9, 0.2, 1.0, "share", "of that which an all-to-all reaches"),
    "crowding": Constant(
        1.0, 0.0, 3.0, "exponent", "of half their number, that devices on the host's link slow each other"
    ),
    **LAUNCHED,
}


def variant(spec: DeviceSpec, dtype: str) -> str:
    """Bytes are bytes: one set of constants."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that the links alone take."""
    del dtype
    bound: Floats = _rounds(sizes) * _sent(sizes) / _link(spec)
    return bound


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    rounds, sent = _rounds(sizes), _sent(sizes)
    kind = column(sizes, "collective")
    steps = rounds * np.where(kind == 3, 1.0, np.maximum(column(sizes, "devices") - 1, 1.0))
    sums = np.where((kind == 0) | (kind == 2), constants["sum_share"], 1.0)
    share = constants["link_share"] * np.where(kind == 3, constants["alltoall_share"], sums)
    crowd = 1.0 if spec.interconnect_bytes_per_s else np.maximum(column(sizes, "devices") / 2.0, 1.0)
    wire = rounds * sent / _link(spec) * crowd ** constants["crowding"]
    small = steps * constants["step_us"] * 1e-6 + wire / (share * constants["low_share"])
    large = constants["high_us"] * 1e-6 + steps * constants["step_us"] * 1e-6 + wire / share
    kernel = constants["start_us"] * 1e-6 + np.minimum(small, large)
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def _rounds(sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    return np.where(column(sizes, "collective") == 0, 2.0, 1.0)


def _sent(sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Bytes that each device sends in a round."""
    devices = np.maximum(column(sizes, "devices"), 1.0)
    sent: Floats = column(sizes, "bytes") * (devices - 1) / devices
    return sent


def _link(spec: DeviceSpec) -> float:
    """Bytes per second and direction between the devices: the host's link where they have none of their own."""
    return spec.interconnect_bytes_per_s or spec.host_link_bytes_per_s or spec.dram.bandwidth_bytes_per_s
