"""Copies between host and device over their link: a start, and the bytes at a share of the link's rate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.times import LAUNCHED, as_timed, column
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "host_copy"
KINDS: tuple[str, ...] = ("gpu", "tpu")
SIZES = ("bytes",)

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(10.0, 1.0, 100.0, "us", "of a copy of nothing"),
    "link_share": Constant(0.75, 0.1, 1.0, "share", "of the link's rate that a large copy reaches"),
    **LAUNCHED,
}


def variant(spec: DeviceSpec, dtype: str) -> str:
    """Bytes are bytes: one set of constants."""
    del spec, dtype
    return ""


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row at the link's full rate; none where host and device share their memory."""
    del dtype
    link = spec.host_link_bytes_per_s
    return column(sizes, "bytes") * (0.0 if link is None else 1.0 / link)


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    least = roofline(spec, dtype, sizes)
    return as_timed(constants["start_us"] * 1e-6 + least / constants["link_share"], constants, sizes)
