"""2-D convolution on CPUs, forward and both gradients, as a library that computes it directly runs it.

A register tile holds some pixels of a row by a vector of channels; channels are padded to whole vectors, and what a row
of pixels leaves over after whole tiles is done by a smaller one. Rows of pixels of all images and channels are dealt
out to the cores, in turns: the last turn leaves some without work. The gradient of the filters is dealt out by channels
and window instead, and each tile of it sums over pixels. Main memory moves image, filters and result once, beside that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.conv2d import SIZES, roofline
from flashsched.hw.operators.conv2d_algorithms import moved_bytes, output_size
from flashsched.hw.operators.dtypes import arithmetic, peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "roofline", "seconds", "variant"]

NAME = "conv2d"
KINDS = ("cpu",)

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(10.0, 0.5, 300.0, "us", "of a call that wakes its threads"),
    "share": Constant(0.75, 0.05, 1.0, "share", "of the peak that whole tiles reach"),
    "row": Constant(2.0, 0.0, 30.0, "pixels", "by which a row of the result is longer: its last tile, its turn-over"),
    "narrow": Constant(2.0, 0.0, 64.0, "products", "by which a sum is longer: its tile is loaded and stored"),
    "data": Constant(1.1, 0.7, 6.0, "ratio", "of the time of the gradient of the data to a convolution of its size"),
    "weights": Constant(1.3, 0.7, 6.0, "ratio", "of the time of the gradient of the filters to that"),
    "stream": Constant(0.6, 0.1, 1.0, "share", "of the main memory's bandwidth, over image, filters and result"),
    **LAUNCHED,
}

_NORM = 4.0


def variant(spec: DeviceSpec, dtype: str) -> str:
    """A set of constants for floats, and another for bytes, which other libraries multiply."""
    del spec
    return "bytes" if arithmetic(dtype) == "int8" else ""


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    height, width = output_size(sizes)
    batch, cin, cout = (column(sizes, name) for name in ("batch", "cin", "cout"))
    window, which = column(sizes, "kh") * column(sizes, "kw"), column(sizes, "pass")
    lanes = spec.cpu.vector_bits / (8 * storage_bytes(dtype)) if spec.cpu is not None else 8.0
    vectors = np.ceil(np.where(which == 1, cin, cout) / lanes)
    pixels, summed = batch * height * (width + constants["row"]), np.where(which == 1, cout, cin) * window
    narrow = constants["narrow"] * np.where(which == 2, summed, pixels)  # of a filter's sum, which is over pixels
    done = vectors * lanes * (pixels * summed + narrow)
    pieces = np.where(which == 2, vectors * cin * column(sizes, "kh"), batch * height * vectors)
    idle = np.ceil(pieces / spec.units) * spec.units / pieces
    ratio = np.select([which == 1, which == 2], [constants["data"], constants["weights"]], 1.0)
    compute = 2.0 * done * idle * ratio / (constants["share"] * peak_of(spec, dtype))
    moved = moved_bytes(dtype, sizes) / (constants["stream"] * spec.dram.bandwidth_bytes_per_s)
    kernel = constants["start_us"] * 1e-6 + joined(_NORM, compute, moved)
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)
