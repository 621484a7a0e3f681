"""2-D convolution, forward and both gradients, as vendor libraries run it: the fastest of their algorithms for a size.

The algorithms stand in `conv2d_algorithms`; here is what is asked of them, what no algorithm beats, and what a clock
shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.conv2d_algorithms import (
    ALGORITHMS,
    NEVER,
    algorithms,
    moved_bytes,
    output_size,
    peak,
    variant,
)
from flashsched.hw.operators.dtypes import peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "GROWS", "KINDS", "NAME", "SIZES", "algorithms", "explained", "roofline", "seconds", "variant"]

NAME = "conv2d"
KINDS: tuple[str, ...] = ("gpu",)
SIZES = ("batch", "cin", "hin", "win", "cout", "kh", "kw", "stride_h", "stride_w", "pad_h", "pad_w", "pass")
GROWS = ("batch", "cin", "cout")

Floats = NDArray[np.float64]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(10.0, 0.5, 60.0, "us", "of the library's choice of an algorithm and its first kernel's start"),
    "kernel_us": Constant(5.0, 0.2, 60.0, "us", "of each further kernel: transforms, products, sums of parts, a bias"),
    "products": Constant(0.9, 0.1, 1.0, "share", "of the peak that large tiles of an implicit GEMM reach"),
    "narrow": Constant(16.0, 0.1, 200.0, "elements", "of a tile's side at which half of that is reached"),
    "ramp": Constant(16.0, 0.0, 256.0, "elements", "of a block's sum, in whose time it begins and writes its tile"),
    "whole": Constant(0.5, 0.0, 1.0, "share", "of the waves of blocks that count as whole ones"),
    "lone": Constant(1.5, 1.0, 6.0, "ratio", "of a block's time alone on its unit to its share of a full one's"),
    "fused": Constant(0.6, 0.1, 1.0, "share", "of the peak that the fused Winograd kernel reaches"),
    "staged": Constant(0.9, 0.1, 1.0, "share", "of the peak that the products of staged Winograd and FFT reach"),
    "staged_tile": Constant(2048.0, 1024.0, 16384.0, "elements", "of the smallest tile that those products have"),
    "fourier": Constant(1.5, 0.5, 10.0, "ratio", "of the time of a convolution by FFT to its products and transforms"),
    "transforms": Constant(0.5, 0.05, 1.0, "share", "of the memory's bandwidth that transforms reach"),
    "filters": Constant(3.0, 0.5, 60.0, "ratio", "of the time of transforming the filters to that of reading them"),
    "stream": Constant(0.6, 0.1, 1.0, "share", "of the memory's bandwidth that a convolution in one kernel reaches"),
    "gather": Constant(0.5, 0.02, 3.0, "ratio", "of the rate at which all blocks gather the image to the last cache's"),
    "overlap": Constant(3.0, 1.0, 8.0, "norm", "that joins arithmetic, gathering and memory: 1 adds them up"),
    "data": Constant(1.1, 0.7, 4.0, "ratio", "of an implicit GEMM's gradient of the data to a convolution of its size"),
    "weights": Constant(1.3, 0.7, 6.0, "ratio", "of an implicit GEMM's gradient of the filters to a product like it"),
    "skipped": Constant(0.8, 0.0, 1.0, "share", "of a strided gradient's products with a zero that are not done"),
    **LAUNCHED,
    "gap_us": Constant(40.0, 0.0, 400.0, "us", "time around a convolution that the events record with it"),
    "drift_us": Constant(400.0, 0.0, 2000.0, "us", "by which that time grows from the first row of a run to its last"),
}  # fmt: skip


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats; Winograd's F(4×4, 3×3) may save three products of four, its F(5×5, 5×5) a
    little more, and with a stride its F(2×2, 3×3) on each phase of the image more than half."""
    strided = column(sizes, "stride_h") * column(sizes, "stride_w") > 1
    one = (column(sizes, "kh") == 1) & (column(sizes, "kw") == 1)
    five = (column(sizes, "kh") == 5) & (column(sizes, "kw") == 5)
    one_of = np.select([one, strided, five], [1.0, 9 / 4, 625 / 81], 4.0)
    height, width = output_size(sizes)
    flops = 2 * column(sizes, "batch") * column(sizes, "cin") * column(sizes, "cout") * height * width
    flops = flops * column(sizes, "kh") * column(sizes, "kw") / one_of
    flops = flops * peak_of(spec, dtype) / peak(spec, dtype)
    return least_seconds(spec, dtype, flops, moved_bytes(dtype, sizes), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    fastest = np.min(list(algorithms(spec, constants, dtype, sizes).values()), axis=0)
    return _as_called(fastest, spec, constants, dtype, sizes)


def _as_called(
    fastest: Floats,
    spec: DeviceSpec,
    constants: Mapping[str, float],
    dtype: str,
    sizes: Mapping[str, NDArray[np.int64]],
) -> Floats:
    """What a clock shows of convolutions whose *fastest* algorithms are known."""
    kernel = np.maximum(constants["start_us"] * 1e-6 + fastest, roofline(spec, dtype, sizes))
    height, width = output_size(sizes)
    result = storage_bytes(dtype) * column(sizes, "batch") * column(sizes, "cout") * height * width
    bias = 2 * result / (constants["stream"] * spec.dram.bandwidth_bytes_per_s) + constants["kernel_us"] * 1e-6
    framework = column(sizes, "launched") == 1  # whose convolution adds a bias, in a kernel of its own
    around = np.where(framework, bias + constants["drift_us"] * 1e-6 * column(sizes, "place") / 1000, 0.0)
    return as_timed(kernel + around, constants, sizes)


def explained(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> tuple[Floats, dict[str, Floats]]:
    """What `seconds` says, and what may tell a library's choice, by row and mostly as logarithms: sizes, how they
    divide, and how much slower than the fastest algorithm the others are."""
    all_of = algorithms(spec, constants, dtype, sizes)
    fastest = np.min(list(all_of.values()), axis=0)
    time = np.log2(fastest)
    height, width = output_size(sizes)
    batch, cin, cout = (column(sizes, name) for name in ("batch", "cin", "cout"))
    kernel, pixels = column(sizes, "kh") * column(sizes, "kw"), batch * height * width
    found = {
        "time": time, "pixels": np.log2(pixels), "rate": np.log2(pixels * cin * cout * kernel) - time,
        "image": np.log2(batch * cin * column(sizes, "hin") * column(sizes, "win")), "result": np.log2(pixels * cout),
        "filters": np.log2(kernel * cin * cout), "sum": np.log2(kernel * cin), "kernel": kernel,
        "one image": np.log2(height * width), "cin/cout": np.log2(cin / cout), "width": width,
        "pass": column(sizes, "pass"), "launched": column(sizes, "launched"),
        "stride": column(sizes, "stride_h") * column(sizes, "stride_w"), "pad": column(sizes, "pad_h"),
        **{name: np.log2(column(sizes, name)) for name in ("batch", "cin", "cout", "hin", "kh")},
    }  # fmt: skip
    for name in ("batch", "cin", "cout"):
        size = np.asarray(sizes[name], dtype=np.int64)
        found[f"{name} divides"] = np.log2(np.minimum(size & -size, 64))
    for rows, columns in ((128, 128), (64, 64), (32, 32)):
        waves = np.ceil(pixels / rows) * np.ceil(cout / columns) / spec.units
        found[f"{rows}x{columns} waves"] = np.log2(waves)
        found[f"{rows}x{columns} idle"] = np.ceil(waves) / waves
        found[f"{columns} idle"] = np.ceil(cout / columns) * columns / cout
    for name in ALGORITHMS:
        found[f"{name} slower"] = np.minimum(np.log2(all_of.get(name, np.full(len(time), NEVER)) / fastest), 4.0)
    return _as_called(fastest, spec, constants, dtype, sizes), found
