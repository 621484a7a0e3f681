"""2-D convolution, forward and both gradients, as vendor libraries run it: the fastest of their algorithms for a size.

**Implicit GEMM** of output channels × pixels × (input channels · kernel), operands gathered on the way.
**Winograd, fused** (3 × 3, stride 1): F(2×2, 3×3) in one kernel, 2.25 times fewer products; a block takes 32 tiles of
2 × 2 pixels in a rectangle, so that small images leave it half empty.
**Winograd, staged** (3 × 3 and 5 × 5, stride 1): F(4×4, ·), four or six times fewer, but the transformed image and
result travel through memory around 36 or 64 matrix products.
**FFT**: 32 × 32 tiles, whose products are complex, one for each frequency.
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; Mathieu, Henaff, LeCun, "Fast training
of convolutional networks through FFTs", 2013.)

The gradients are convolutions too: that of the data swaps the channels, that of the filters sums over the pixels and
cuts the sum into parts where it leaves few blocks. Where an image has few channels, the gradient of the data is a
product per output pixel that is scattered to the image, instead of a sum gathered for each pixel of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.constants import Constant
from flashsched.hw.operators.dtypes import arithmetic, peak_of, storage_bytes
from flashsched.hw.operators.times import LAUNCHED, as_timed, column, joined, last_cache_rate, least_seconds
from flashsched.hw.spec import DeviceSpec

__all__ = ["CONSTANTS", "GROWS", "KINDS", "NAME", "SIZES", "algorithms", "roofline", "seconds", "traits", "variant"]

NAME = "conv2d"
KINDS: tuple[str, ...] = ("gpu",)
SIZES = ("batch", "cin", "hin", "win", "cout", "kh", "kw", "stride_h", "stride_w", "pad_h", "pad_w", "pass")
GROWS = ("batch", "cin", "cout")

Floats = NDArray[np.float64]
Parts = tuple[float, ...]
Tiles = tuple[tuple[float, float], ...]

CONSTANTS: dict[str, Constant] = {
    "start_us": Constant(10.0, 0.5, 60.0, "us", "of the library's choice of an algorithm and its first kernel's start"),
    "kernel_us": Constant(5.0, 0.2, 60.0, "us", "of each further kernel: transforms, products, sums of parts, a bias"),
    "products": Constant(0.9, 0.1, 1.0, "share", "of the peak that large tiles of an implicit GEMM reach"),
    "narrow": Constant(16.0, 0.1, 200.0, "elements", "of a tile's side at which half of that is reached"),
    "whole": Constant(0.5, 0.0, 1.0, "share", "of the waves of blocks that count as whole ones"),
    "lone": Constant(1.5, 1.0, 6.0, "ratio", "of a block's time alone on its unit to its share of a full one's"),
    "fused": Constant(0.6, 0.1, 1.0, "share", "of the peak that the fused Winograd kernel reaches"),
    "staged": Constant(0.9, 0.1, 1.0, "share", "of the peak that the products of staged Winograd and FFT reach"),
    "staged_tile": Constant(2048.0, 1024.0, 16384.0, "elements", "of the smallest tile that those products have"),
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
}  # fmt: skip

_TILES = ((128.0, 128.0), (128.0, 64.0), (64.0, 128.0), (64.0, 64.0), (32.0, 128.0), (128.0, 32.0), (32.0, 64.0))
_CONVOLVED = ((128.0, 128.0), (64.0, 128.0), (32.0, 128.0))  # channels and pixels: cuDNN takes 128 of these
_PARTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_RESIDENT = 2.0
_STEP = 8.0  # the reduction goes in steps of as many elements
_FUSED = ((1, 4, 8), (4, 2, 4))  # images, rows and columns of 2 x 2 tiles that a block of fused Winograd takes
_FREQUENCIES = 32.0 * 17.0  # of a real 32 x 32 tile
_NEVER = 1e6
_ALGORITHMS = ("gemm", "scatter", "winograd fused", "winograd staged 3", "winograd staged 5", "fft")


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
    """Kernels of other kinds have constants of their own: plain lanes, lanes fed from halves, tensor units, bytes."""
    del spec
    computes = arithmetic(dtype)
    if computes in ("float32", "float64"):
        return "mixed" if storage_bytes(dtype) < storage_bytes(computes) else ""
    return "bytes" if computes == "int8" else "tensor"


def roofline(spec: DeviceSpec, dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Seconds by row that no kernel beats; without a stride, Winograd's F(4×4, 3×3) may save three products of
    four, and its F(4×4, 5×5) a little more."""
    strided = column(sizes, "stride_h") * column(sizes, "stride_w") > 1
    one = (column(sizes, "kh") == 1) & (column(sizes, "kw") == 1)
    five = (column(sizes, "kh") == 5) & (column(sizes, "kw") == 5)
    one_of = np.where(strided | one, 1.0, np.where(five, 6.25, 4.0))
    height, width = _output(sizes)
    flops = 2 * column(sizes, "batch") * column(sizes, "cin") * column(sizes, "cout") * height * width
    flops = flops * column(sizes, "kh") * column(sizes, "kw") / one_of
    flops = flops * peak_of(spec, dtype) / _peak(spec, dtype)
    return least_seconds(spec, dtype, flops, _bytes(dtype, sizes), column(sizes, "warm"))


def seconds(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> Floats:
    """Predicted seconds by row, never below `roofline`."""
    fastest = np.min(list(algorithms(spec, constants, dtype, sizes).values()), axis=0)
    kernel = np.maximum(constants["start_us"] * 1e-6 + fastest, roofline(spec, dtype, sizes))
    height, width = _output(sizes)
    result = storage_bytes(dtype) * column(sizes, "batch") * column(sizes, "cout") * height * width
    bias = 2 * result / (constants["stream"] * spec.dram.bandwidth_bytes_per_s) + constants["kernel_us"] * 1e-6
    framework = column(sizes, "launched") == 1  # whose convolution adds a bias, in a kernel of its own
    return as_timed(kernel + np.where(framework, bias, 0.0), constants, sizes)


def traits(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> dict[str, Floats]:
    """What may tell a library's choice, by row and mostly as logarithms: sizes, how they divide, and how much slower
    than the fastest algorithm the others are."""
    all_of = algorithms(spec, constants, dtype, sizes)
    fastest = np.min(list(all_of.values()), axis=0)
    time = np.log2(fastest)
    height, width = _output(sizes)
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
    for name in _ALGORITHMS:
        found[f"{name} slower"] = np.minimum(np.log2(all_of.get(name, np.full(len(time), _NEVER)) / fastest), 4.0)
    return found


def algorithms(
    spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Mapping[str, NDArray[np.int64]]
) -> dict[str, Floats]:
    """Seconds of each algorithm by row, its first start left out; a million seconds where it cannot do the row."""
    it, kind = _as_forward(sizes, constants["skipped"]), column(sizes, "pass")
    data, weights = kind == 1, kind == 2
    scale = np.select([data, weights], [constants["data"], constants["weights"]], 1.0)
    element, bandwidth, norm = storage_bytes(dtype), spec.dram.bandwidth_bytes_per_s, constants["overlap"]
    peak = _peaks(spec, dtype, it)
    gathers = constants["gather"] * last_cache_rate(spec)
    image_rate = constants["transforms"] * bandwidth
    another = constants["kernel_us"] * 1e-6
    pixels, streamed = it.batch * it.height * it.width, _bytes(dtype, sizes) / (constants["stream"] * bandwidth)
    others = variant(spec, dtype)
    layouts = np.zeros(len(pixels))
    if others == "tensor":  # whose units want channels innermost
        layouts = element * pixels * (it.cin + it.cout) / image_rate + 2 * another

    def products(m: Floats, n: Floats, k: Floats, batch: float, reach: float, parts: Parts = (1.0,),
                 least: float = 1.0, tiles: Tiles = _TILES) -> Floats:  # fmt: skip
        return _products(spec, constants, (m, n, k), batch, reach * peak, parts, least, tiles)

    summed = it.cin * it.kernel * it.fewer
    forward = products(it.cout, pixels, summed, 1.0, constants["products"], tiles=_TILES if others else _CONVOLVED)
    windows = it.kernel if others == "bytes" else 1.0  # the texture units' cache keeps the overlap of windows
    gathered = element * np.ceil(it.cout / 64) * pixels * it.cin * windows / gathers
    gemm = joined(norm, forward, streamed, gathered)
    if weights.any():
        sums = products(it.cout, it.cin * it.kernel, pixels, 1.0, constants["products"], _PARTS)
        gemm = np.where(weights, joined(norm, sums, streamed, gathered), gemm)
    found = {"gemm": scale * gemm + layouts}
    if data.any():  # every output pixel's sum over its channels is scattered to the pixels that it came from
        below = it.batch * np.prod(_output(sizes), axis=0)
        scattered = products(it.cout * it.kernel, below, it.cin, 1.0, constants["products"])
        carried = 2 * element * it.cout * it.kernel * below / image_rate
        found["scatter"] = np.where(data, scale * (scattered + carried) + another + layouts, _NEVER)

    kh, kw = column(sizes, "kh"), column(sizes, "kw")
    unstrided = column(sizes, "stride_h") * column(sizes, "stride_w") == 1
    three = (kh == 3) & (kw == 3) & unstrided
    filters = constants["filters"] * element * it.cin * it.cout / bandwidth
    if three.any():
        high, wide = np.ceil(it.height / 2), np.ceil(it.width / 2)
        tiles = np.min([np.ceil(it.batch / n) * np.ceil(high / h) * np.ceil(wide / w) for n, h, w in _FUSED], axis=0)
        columns = np.ceil(it.cout / 32)
        one = 16 * 2 * 32 * 32 * _STEP * np.ceil(it.cin / _STEP) / (constants["fused"] * peak / spec.units)
        read = element * it.cin * tiles * 32 * columns * 5.6 / gathers  # 10 x 18 pixels for 8 x 16
        fused = joined(norm, _waves(spec, constants, tiles * columns) * one, streamed, read) + 16 * filters
        plain = arithmetic(dtype) == "float32"
        found["winograd fused"] = np.where(three & ~weights & plain, fused + another, _NEVER)
    for side, can in ((3, three), (5, (kh == 5) & (kw == 5) & unstrided)):
        if can.any():
            points = (side + 3.0) ** 2
            tiles = it.batch * np.ceil(it.height / 4) * np.ceil(it.width / 4)
            least = constants["staged_tile"]
            staged = products(it.cout, tiles, it.cin, points, constants["staged"], (1.0,), least)
            if weights.any():
                sums = products(it.cout, it.cin, tiles, points, constants["staged"], _PARTS, least)
                staged = np.where(weights, sums, staged)
            carried = element * (it.cin + it.cout) * (pixels + 2 * points * tiles)
            staged = staged + carried / (2 * image_rate) + (points + side**2) * filters
            found[f"winograd staged {side}"] = np.where(can, staged + 3 * another, _NEVER)
    wide_ones = unstrided & (kh * kw > 1) & (kh <= 16) & (kw <= 16)
    if wide_ones.any():
        tiles = (
            it.batch * np.ceil(it.height / (33 - np.minimum(kh, 16))) * np.ceil(it.width / (33 - np.minimum(kw, 16)))
        )
        complex_products = 4 * products(it.cout, tiles, it.cin, _FREQUENCIES, constants["staged"])
        carried = 2 * 8 * _FREQUENCIES * (tiles * (it.cin + it.cout) + it.cin * it.cout)
        found["fft"] = np.where(wide_ones, complex_products + carried / (2 * image_rate) + 3 * another, _NEVER)
    return found


def _peak(spec: DeviceSpec, dtype: str) -> float:
    """Operations per second; halves that are said to be summed in float32 are multiplied in pairs where lanes can."""
    halves = spec.peaks.get("float16", 0.0) if variant(spec, dtype) == "mixed" else 0.0
    return max(peak_of(spec, dtype), halves)


def _peaks(spec: DeviceSpec, dtype: str, it: _Sizes) -> Floats:
    """Operations per second by row: tensor units take channels by eights, other rows are left to the plain lanes."""
    peak, plain = _peak(spec, dtype), spec.peaks.get("float32", 0.0)
    fits = (it.cin % 8 == 0) & (it.cout % 8 == 0)
    lanes = variant(spec, dtype) == "tensor" and 0 < plain < peak
    return np.where(fits, peak, plain) if lanes else np.full(len(it.cin), peak)


def _products(spec: DeviceSpec, constants: Mapping[str, float], size: tuple[Floats, Floats, Floats], batch: float,
              rate: Floats, parts: Parts, least: float, tiles: Tiles) -> Floats:  # fmt: skip
    """Seconds of *batch* products of m × n × k at the best of the tiles and, if asked, of the parts of the sum."""
    m, n, k = size
    best = np.full(len(m), _NEVER)
    for rows, columns in tiles:
        side = 2 * rows * columns / (rows + columns)
        reached = rate / spec.units * side / (side + constants["narrow"])
        lacking = max(least / (rows * columns), 1.0)
        for cut in parts:
            blocks = np.ceil(m / rows) * np.ceil(n / columns) * batch * cut
            steps = _STEP * np.ceil(k / cut / _STEP)
            time = _waves(spec, constants, blocks) * 2 * rows * columns * steps / reached * lacking
            if cut > 1:
                time = time + cut * batch * m * n * 8 / (constants["stream"] * spec.dram.bandwidth_bytes_per_s)
            best = np.minimum(best, time)
    return best


def _waves(spec: DeviceSpec, constants: Mapping[str, float], blocks: Floats) -> Floats:
    """Blocks on the busiest unit: between an even share of them and whole waves of those that fit at a time."""
    even = blocks / spec.units
    whole = np.ceil(even / _RESIDENT) * _RESIDENT
    waves: Floats = np.maximum(constants["lone"], even + constants["whole"] * np.minimum(whole - even, even))
    return waves


def _output(sizes: Mapping[str, NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Height and width of the result."""

    def length(size: str, pad: str, kernel: str, stride: str) -> Floats:
        free = column(sizes, size) + 2 * column(sizes, pad) - column(sizes, kernel)
        result: Floats = np.maximum(np.floor(free / np.maximum(column(sizes, stride), 1)) + 1, 1)
        return result

    return length("hin", "pad_h", "kh", "stride_h"), length("win", "pad_w", "kw", "stride_w")


def _as_forward(sizes: Mapping[str, NDArray[np.int64]], skipped: float) -> _Sizes:
    data = column(sizes, "pass") == 1
    height, width = _output(sizes)
    cin, cout = column(sizes, "cin"), column(sizes, "cout")
    stride = column(sizes, "stride_h") * column(sizes, "stride_w")
    return _Sizes(
        column(sizes, "batch"), np.where(data, cout, cin), np.where(data, cin, cout),
        np.where(data, column(sizes, "hin"), height), np.where(data, column(sizes, "win"), width),
        column(sizes, "kh") * column(sizes, "kw"), np.where(data, 1 - skipped * (1 - 1 / np.maximum(stride, 1)), 1.0),
    )  # fmt: skip


def _bytes(dtype: str, sizes: Mapping[str, NDArray[np.int64]]) -> Floats:
    """Image, result and filters, each once."""
    height, width = _output(sizes)
    batch, cin, cout = (column(sizes, name) for name in ("batch", "cin", "cout"))
    image, filters = column(sizes, "hin") * column(sizes, "win"), column(sizes, "kh") * column(sizes, "kw")
    return storage_bytes(dtype) * (batch * (cin * image + cout * height * width) + cin * cout * filters)
