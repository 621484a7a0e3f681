"""2-D convolution, forward and both gradients, as vendor libraries run it: the fastest of their algorithms for a size.

**Implicit GEMM** of output channels × pixels × (input channels · kernel), operands gathered on the way.
**Winograd, fused** (3 × 3, stride 1): F(2×2, 3×3) in one kernel, 2.25 times fewer products.
**Winograd, staged**: F(4×4, 3×3), four times fewer, but the transformed image and result travel through memory around
36 matrix products.
**FFT**: 32 × 32 tiles, whose products are complex, one for each frequency.
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; Mathieu, Henaff, LeCun, "Fast training
of convolutional networks through FFTs", 2013.)

The gradients are convolutions too: that of the data swaps the channels, that of the filters sums over the pixels and
cuts the sum into parts where it leaves few blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import arithmetic, peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "KINDS", "NAME", "SIZES", "algorithms", "roofline", "seconds", "variant"]

NAME = "conv2d"
KINDS: tuple[str, ...] = ("gpu",)
SIZES = ("batch", "cin", "hin", "win", "cout", "kh", "kw", "stride_h", "stride_w", "pad_h", "pad_w", "pass")

Floats = NDArray[np.float64]
Parts = tuple[float, ...]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(20.0, 0.5, 250.0, "us", "of the library's choice of an algorithm and the kernels' starts"),
    "products": Constant(0.9, 0.1, 1.0, "share", "of the peak that large tiles of an implicit GEMM reach"),
    "narrow": Constant(16.0, 0.1, 200.0, "elements", "of a tile's side at which half of that is reached"),
    "whole": Constant(0.5, 0.0, 1.0, "share", "of the waves of blocks that count as whole ones"),
    "fused": Constant(0.6, 0.1, 1.0, "share", "of the peak that the fused Winograd kernel reaches"),
    "staged": Constant(0.9, 0.1, 1.0, "share", "of the peak that the products of staged Winograd and FFT reach"),
    "transforms": Constant(0.5, 0.05, 1.0, "share", "of the memory's bandwidth that transforms reach"),
    "filters": Constant(3.0, 0.5, 60.0, "ratio", "of the time of transforming the filters to that of reading them"),
    "stream": Constant(0.6, 0.1, 1.0, "share", "of the memory's bandwidth that a convolution in one kernel reaches"),
    "data": Constant(1.1, 0.7, 4.0, "ratio", "of the gradient of the data to a convolution of its size"),
    "weights": Constant(1.3, 0.7, 6.0, "ratio", "of the gradient of the filters to a matrix product of its size"),
    **LAUNCHED,
}  # fmt: skip

_TILES = ((128.0, 128.0), (128.0, 64.0), (64.0, 128.0), (64.0, 64.0), (32.0, 128.0), (128.0, 32.0), (32.0, 64.0))
_PARTS = (1.0, 4.0, 16.0, 64.0)
_RESIDENT = 2.0
_STEP = 8.0  # the reduction goes in steps of as many elements
_FREQUENCIES = 32.0 * 17.0  # of a real 32 x 32 tile
_NEVER = 1e6


class _Sizes(NamedTuple):
    """A forward convolution, or the one that a gradient is: channels in and out, output pixels, kernel."""

    batch: Floats
    cin: Floats
    cout: Floats
    height: Floats
    width: Floats
    kernel: Floats
    fewer: Floats
    """Products of a strided gradient of the data for one of its unstrided size: most meet a zero."""


def variant(spec: DeviceSpec, dtype: str) -> str:
    """Plain lanes and tensor units have constants of their own."""
    del spec
    return "" if arithmetic(dtype) in ("float32", "float64") else "tensor"


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats; without a stride, Winograd's F(4×4, 3×3) may save three products of four."""
    strided = column(sizes, "stride_h") * column(sizes, "stride_w") > 1
    one = (column(sizes, "kh") == 1) & (column(sizes, "kw") == 1)
    one_of = np.where(strided | one, 1.0, 4.0)
    height, width = _output(sizes)
    flops = 2 * column(sizes, "batch") * column(sizes, "cin") * column(sizes, "cout") * height * width
    flops = flops * column(sizes, "kh") * column(sizes, "kw") / one_of
    return least_seconds(spec, dtype, flops, _bytes(dtype, sizes), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    fastest = np.min(list(algorithms(spec, constants, dtype, sizes).values()), axis=0)
    kind = column(sizes, "pass")
    scale = np.select([kind == 1, kind == 2], [constants["data"], constants["weights"]], 1.0)
    kernel = constants["start_us"] * 1e-6 + fastest * scale
    return as_timed(np.maximum(kernel, roofline(spec, dtype, sizes)), constants, sizes)


def algorithms(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> dict[str, Floats]:
    """Seconds of each algorithm by row, its start left out; a million seconds where it cannot do the row."""
    it, weights = _as_forward(sizes), column(sizes, "pass") == 2
    element, peak, bandwidth = storage_bytes(dtype), peak_of(spec, dtype), spec.dram.bandwidth_bytes_per_s
    pixels, streamed = it.batch * it.height * it.width, _bytes(dtype, sizes) / (constants["stream"] * bandwidth)

    def products(m: Floats, n: Floats, k: Floats, batch: float, reach: float, parts: Parts = (1.0,)) -> Floats:
        return _products(spec, constants, (m, n, k), batch, reach * peak, parts)

    forward = products(it.cout, pixels, it.cin * it.kernel * it.fewer, 1.0, constants["products"])
    gemm = forward
    if weights.any():
        summed = products(it.cout, it.cin * it.kernel, pixels, 1.0, constants["products"], _PARTS)
        gemm = np.where(weights, summed, forward)
    found = {"gemm": joined(4.0, gemm, streamed)}

    unstrided = column(sizes, "stride_h") * column(sizes, "stride_w") == 1
    three = (column(sizes, "kh") == 3) & (column(sizes, "kw") == 3) & unstrided
    filters = constants["filters"] * element * it.cin * it.cout / bandwidth
    if three.any():
        tiles = it.batch * np.ceil(it.height / 2) * np.ceil(it.width / 2)
        blocks = np.ceil(it.cout / 32) * np.ceil(tiles / 32)
        one = 16 * 2 * 32 * 32 * _STEP * np.ceil(it.cin / _STEP) / (constants["fused"] * peak / spec.units)
        fused = joined(4.0, _waves(spec, constants, blocks) * one, streamed) + 16 * filters
        plain = arithmetic(dtype) == "float32"
        found["winograd fused"] = np.where(three & ~weights & plain, fused, _NEVER)
        tiles = it.batch * np.ceil(it.height / 4) * np.ceil(it.width / 4)
        staged = products(it.cout, tiles, it.cin, 36.0, constants["staged"])
        if weights.any():
            summed = products(it.cout, it.cin, tiles, 36.0, constants["staged"], _PARTS)
            staged = np.where(weights, summed, staged)
        carried = element * (it.cin + it.cout) * (pixels + 2 * 36 * tiles)
        staged = staged + carried / (constants["transforms"] * 2 * bandwidth) + 45 * filters
        found["winograd staged"] = np.where(three, staged, _NEVER)
    kh, kw = column(sizes, "kh"), column(sizes, "kw")
    wide = unstrided & (kh * kw > 1) & (kh <= 16) & (kw <= 16)
    if wide.any():
        tiles = (
            it.batch * np.ceil(it.height / (33 - np.minimum(kh, 16))) * np.ceil(it.width / (33 - np.minimum(kw, 16)))
        )
        complex_products = 4 * products(it.cout, tiles, it.cin, _FREQUENCIES, constants["staged"])
        carried = 2 * 8 * _FREQUENCIES * (tiles * (it.cin + it.cout) + it.cin * it.cout)
        found["fft"] = np.where(wide, complex_products + carried / (constants["transforms"] * 2 * bandwidth), _NEVER)
    return found


def _products(spec: DeviceSpec, constants: Mapping[str, float], size: tuple[Floats, Floats, Floats], batch: float,
              rate: float, parts: tuple[float, ...]) -> Floats:  # fmt: skip
    """Seconds of *batch* products of m × n × k at the best of the tiles and, if asked, of the parts of the sum."""
    m, n, k = size
    best = np.full(len(m), _NEVER)
    for rows, columns in _TILES:
        side = 2 * rows * columns / (rows + columns)
        reached = rate / spec.units * side / (side + constants["narrow"])
        for cut in parts:
            blocks = np.ceil(m / rows) * np.ceil(n / columns) * batch * cut
            steps = _STEP * np.ceil(k / cut / _STEP)
            time = _waves(spec, constants, blocks) * 2 * rows * columns * steps / reached
            if cut > 1:
                time = time + cut * batch * m * n * 8 / (constants["stream"] * spec.dram.bandwidth_bytes_per_s)
            best = np.minimum(best, time)
    return best


def _waves(spec: DeviceSpec, constants: Mapping[str, float], blocks: Floats) -> Floats:
    """Blocks on the busiest unit: between an even share of them and whole waves of those that fit at a time."""
    even = blocks / spec.units
    whole = np.ceil(even / _RESIDENT) * _RESIDENT
    waves: Floats = np.maximum(1.0, even + constants["whole"] * np.minimum(whole - even, even))
    return waves


def _output(sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Height and width of the result."""

    def length(size: str, pad: str, kernel: str, stride: str) -> Floats:
        free = column(sizes, size) + 2 * column(sizes, pad) - column(sizes, kernel)
        result: Floats = np.maximum(np.floor(free / np.maximum(column(sizes, stride), 1)) + 1, 1)
        return result

    return length("hin", "pad_h", "kh", "stride_h"), length("win", "pad_w", "kw", "stride_w")


def _as_forward(sizes: Mapping[str, NDArray[np.int64]]) -> _Sizes:
    data = column(sizes, "pass") == 1
    height, width = _output(sizes)
    cin, cout = column(sizes, "cin"), column(sizes, "cout")
    stride = column(sizes, "stride_h") * column(sizes, "stride_w")
    return _Sizes(
        column(sizes, "batch"), np.where(data, cout, cin), np.where(data, cin, cout),
        np.where(data, column(sizes, "hin"), height), np.where(data, column(sizes, "win"), width),
        column(sizes, "kh") * column(sizes, "kw"), np.where(data, 1 / np.maximum(stride, 1), 1.0),
    )  # fmt: skip


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Image, result and filters, each once."""
    height, width = _output(sizes)
    batch, cin, cout = (column(sizes, name) for name in ("batch", "cin", "cout"))
    image, filters = column(sizes, "hin") * column(sizes, "win"), column(sizes, "kh") * column(sizes, "kw")
    return storage_bytes(dtype) * (batch * (cin * image + cout * height * width) + cin * cout * filters)
