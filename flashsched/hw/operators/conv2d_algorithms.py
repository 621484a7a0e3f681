"""The algorithms that vendor libraries have for a convolution, and what each takes; `conv2d` takes the fastest.

**Implicit GEMM** of output channels × pixels × (input channels · kernel), operands gathered on the way. The units of
one-byte and half-precision products take input channels by 32, padded where there are fewer.
**Winograd, fused** (3 × 3, stride 1): F(2×2, 3×3) in one kernel, 2.25 times fewer products; a block takes 32 tiles of
2 × 2 pixels from one, two or four images, so that small images leave it half empty. AMD's takes the tiles in a row
whatever their image, any filter as pieces of 3 × 3, and a stride of 2 as the four phases of the image.
**Winograd, staged** (3 × 3 and 5 × 5, stride 1): F(4×4, 3×3) and F(5×5, 5×5), four or eight times fewer, but the
transformed image and result travel through memory around 36 or 81 matrix products.
**FFT**: 32 × 32 tiles, whose products are complex, one for each frequency.
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; Mathieu, Henaff, LeCun, "Fast training
of convolutional networks through FFTs", 2013.)

The gradients are convolutions too: that of the data swaps the channels, that of the filters sums over the pixels and
cuts the sum into parts where it leaves few blocks. Where an image has few channels, the gradient of the data is a
product per output pixel that is scattered to the image, instead of a sum gathered for each pixel of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.operators.dtypes import arithmetic, peak_of, storage_bytes
from flashsched.hw.operators.times import column, joined, last_cache_rate
from flashsched.hw.spec import DeviceSpec

__all__ = ["ALGORITHMS", "NEVER", "algorithms", "moved_bytes", "output_size", "peak", "variant"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Sizes = Mapping[str, NDArray[np.int64]]
Parts = tuple[float, ...]
Tiles = tuple[tuple[float, float], ...]

ALGORITHMS = ("gemm", "scatter", "winograd fused", "winograd staged 3", "winograd staged 5", "fft")
NEVER = 1e6
"""Seconds of an algorithm that cannot do a row."""

_ANY: Tiles = (
    (128.0, 128.0), (128.0, 64.0), (64.0, 128.0), (64.0, 64.0), (32.0, 128.0), (128.0, 32.0), (32.0, 64.0),
)  # fmt: skip
_GATHERED: dict[str, Tiles] = {
    "": ((128.0, 128.0), (64.0, 128.0), (32.0, 128.0)),
    "mixed": ((128.0, 128.0),),
    "bytes": ((128.0, 128.0), (128.0, 64.0)),
}
"""Tiles of channels and pixels that kernels which gather take, by variant: others have any."""
_SUMMED: dict[str, Tiles] = {**_GATHERED, "tensor": ((128.0, 128.0),)}
"""The same of the gradient of the filters."""
_PARTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_RESIDENT = 2.0  # blocks of a unit
_STEP = 8.0  # the reduction goes in steps of as many elements
_PIXELS = 16.0  # an image's pixels are summed over in steps of as many
_CHANNELS = 32.0  # of a step of a matrix unit
_FUSED = ((1, 4, 8), (2, 2, 8), (4, 1, 8))  # images, rows and columns of tiles that a block of fused Winograd takes
_FREQUENCIES = 32.0 * 17.0  # of a real 32 x 32 tile


def variant(spec: DeviceSpec, dtype: str) -> str:
    """Kernels of other kinds have constants of their own: plain lanes, lanes fed from halves, tensor units, bytes."""
    del spec
    computes = arithmetic(dtype)
    if computes in ("float32", "float64"):
        return "mixed" if storage_bytes(dtype) < storage_bytes(computes) else ""
    return "bytes" if computes == "int8" else "tensor"


def algorithms(spec: DeviceSpec, constants: Mapping[str, float], dtype: str, sizes: Sizes) -> dict[str, Floats]:
    """Seconds of each algorithm by row, its first start left out; `NEVER` where it cannot do the row."""
    case = _Case(spec, constants, dtype, sizes)
    found = {"gemm": _implicit_gemm(case)}
    for name, can, seconds in (
        ("scatter", case.data, _scatter),
        ("winograd fused", _fusible(case), _fused),
        ("winograd staged 3", _staged_fits(case, 3), lambda case: _staged(case, 3, 4)),
        ("winograd staged 5", _staged_fits(case, 5), lambda case: _staged(case, 5, 5)),
        ("fft", case.unstrided & (case.kh * case.kw > 1) & (case.kh <= 16) & (case.kw <= 16), _fourier),
    ):
        if can.any():
            found[name] = np.where(can, seconds(case), NEVER)
    return found


def output_size(sizes: Sizes) -> tuple[Floats, Floats]:
    """Height and width of the result."""

    def length(size: str, pad: str, kernel: str, stride: str) -> Floats:
        free = column(sizes, size) + 2 * column(sizes, pad) - column(sizes, kernel)
        result: Floats = np.maximum(np.floor(free / np.maximum(column(sizes, stride), 1)) + 1, 1)
        return result

    return length("hin", "pad_h", "kh", "stride_h"), length("win", "pad_w", "kw", "stride_w")


def moved_bytes(dtype: str, sizes: Sizes, *, lines: bool = False) -> Floats:
    """Image, result and filters, each once; of the image the pixels that the filters touch, or their whole *lines*."""
    height, width = output_size(sizes)
    batch, cin, cout, kh, kw = (column(sizes, name) for name in ("batch", "cin", "cout", "kh", "kw"))
    line = column(sizes, "win") if lines else np.minimum(column(sizes, "win"), width * kw)
    image = np.minimum(column(sizes, "hin"), height * kh) * line
    return storage_bytes(dtype) * (batch * (cin * image + cout * height * width) + cin * cout * kh * kw)


def peak(spec: DeviceSpec, dtype: str) -> float:
    """Operations per second; halves that are said to be summed in float32 are multiplied in pairs where lanes can."""
    halves = spec.peaks.get("float16", 0.0) if variant(spec, dtype) == "mixed" else 0.0
    return max(peak_of(spec, dtype), halves)


@dataclass(frozen=True, eq=False)
class _Case:
    """Rows as the forward convolution that each is, or that its gradient is."""

    spec: DeviceSpec
    constants: Mapping[str, float]
    dtype: str
    sizes: Sizes

    @cached_property
    def variant(self) -> str:
        return variant(self.spec, self.dtype)

    @property
    def innermost(self) -> bool:
        """Whether channels lie innermost in memory, as tensor units want them, and not pixels."""
        return self.variant == "tensor"

    @cached_property
    def data(self) -> Bools:
        asked: Bools = column(self.sizes, "pass") == 1
        return asked

    @cached_property
    def weights(self) -> Bools:
        asked: Bools = column(self.sizes, "pass") == 2
        return asked

    @cached_property
    def kh(self) -> Floats:
        return column(self.sizes, "kh")

    @cached_property
    def kw(self) -> Floats:
        return column(self.sizes, "kw")

    @cached_property
    def stride(self) -> Floats:
        return column(self.sizes, "stride_h") * column(self.sizes, "stride_w")

    @cached_property
    def unstrided(self) -> Bools:
        steps_by_one: Bools = self.stride == 1
        return steps_by_one

    @cached_property
    def batch(self) -> Floats:
        return column(self.sizes, "batch")

    @cached_property
    def channels(self) -> tuple[Floats, Floats]:
        """In and out."""
        cin, cout = column(self.sizes, "cin"), column(self.sizes, "cout")
        into, out = np.where(self.data, cout, cin), np.where(self.data, cin, cout)
        if self.variant in ("tensor", "bytes"):
            into = _CHANNELS * np.ceil(into / _CHANNELS)
        return into, out

    @cached_property
    def image(self) -> tuple[Floats, Floats]:
        """Height and width of what is computed: the result, or the image where its gradient is asked for."""
        height, width = output_size(self.sizes)
        data = self.data
        return np.where(data, column(self.sizes, "hin"), height), np.where(data, column(self.sizes, "win"), width)

    @property
    def pixels(self) -> Floats:
        """Of all images that are computed."""
        return self.batch * self.image[0] * self.image[1]

    @property
    def element(self) -> int:
        return storage_bytes(self.dtype)

    @property
    def another(self) -> float:
        """Seconds of one more kernel."""
        return self.constants["kernel_us"] * 1e-6

    @property
    def bandwidth(self) -> float:
        return self.spec.dram.bandwidth_bytes_per_s

    @property
    def transforms(self) -> float:
        """Bytes per second of a transform."""
        return self.constants["transforms"] * self.bandwidth

    @property
    def gathers(self) -> float:
        """Bytes per second that all blocks gather."""
        return self.constants["gather"] * last_cache_rate(self.spec)

    @cached_property
    def streamed(self) -> Floats:
        """Seconds in which one kernel moves everything once; without channels innermost, a stride skips no bytes of a
        line."""
        moved = moved_bytes(self.dtype, self.sizes, lines=not self.innermost)
        return moved / (self.constants["stream"] * self.bandwidth)

    @property
    def filters(self) -> Floats:
        """Seconds of a filter's transform for each point of it."""
        into, out = self.channels
        return self.constants["filters"] * self.element * into * out / self.bandwidth

    def products(self, m: Floats, n: Floats, k: Floats, reach: str = "products", *, batch: float = 1.0,
                 parts: Parts = (1.0,), least: float = 1.0, tiles: Tiles = _ANY) -> Floats:  # fmt: skip
        """Seconds of *batch* products of m × n × k at the best of the tiles and, if asked, of the parts of the sum."""
        constants = self.constants
        rate = constants[reach] * peak(self.spec, self.dtype) / self.spec.units
        rows, columns, cut = np.array([(*tile, cut) for tile in tiles for cut in parts]).T[:, :, None]
        side = 2 * rows * columns / (rows + columns)
        reached = rate * side / (side + constants["narrow"])
        blocks = np.ceil(m / rows) * np.ceil(n / columns) * batch * cut
        steps = constants["ramp"] + _STEP * np.ceil(k / cut / _STEP)
        time = self.waves(blocks) * 2 * np.maximum(rows * columns, least) * steps / reached
        summing = batch * m * n * 8 / (constants["stream"] * self.bandwidth)
        best: Floats = (time + np.where(cut > 1, cut, 0.0) * summing).min(axis=0)
        return best

    def waves(self, blocks: Floats) -> Floats:
        """Blocks on the busiest unit: between an even share of them and whole waves of those that fit at a time."""
        even = blocks / self.spec.units
        whole = np.ceil(even / _RESIDENT) * _RESIDENT
        share = even + self.constants["whole"] * np.minimum(whole - even, even)
        waves: Floats = np.maximum(self.constants["lone"], share)
        return waves


def _implicit_gemm(case: _Case) -> Floats:
    constants, (into, out), kernel = case.constants, case.channels, case.kh * case.kw
    fewer = np.where(case.data, 1 - constants["skipped"] * (1 - 1 / np.maximum(case.stride, 1)), 1.0)
    forward = case.products(out, case.pixels, into * kernel * fewer, tiles=_GATHERED.get(case.variant, _ANY))
    apart = 1.0 if case.innermost else np.maximum(column(case.sizes, "stride_w") / case.kw, 1.0)
    gathered = case.element * np.ceil(out / 64) * case.pixels * into * apart / case.gathers  # windows lie in a cache
    time = joined(constants["overlap"], forward, case.streamed, gathered)
    if case.weights.any():
        one = case.image[0] * case.image[1]
        summed = case.pixels if case.innermost else case.batch * _PIXELS * np.ceil(one / _PIXELS)
        sums = case.products(out, into * kernel, summed, parts=_PARTS, tiles=_SUMMED.get(case.variant, _ANY))
        time = np.where(case.weights, joined(constants["overlap"], sums, case.streamed, gathered), time)
    return _slower(case) * time


def _slower(case: _Case) -> Floats:
    """How much slower a gradient is than the convolution that it is."""
    constants = case.constants
    return np.select([case.data, case.weights], [constants["data"], constants["weights"]], 1.0)


def _scatter(case: _Case) -> Floats:
    """Every output pixel's sum over its channels goes to the pixels that it came from."""
    into, out = case.channels
    rows, below = out * case.kh * case.kw, case.batch * np.prod(output_size(case.sizes), axis=0)
    carried = case.element * (2 * rows * below + out * case.pixels) / case.transforms
    time: Floats = _slower(case) * (case.products(rows, below, into) + carried) + case.another
    return time


def _fusible(case: _Case) -> Bools:
    fits = (case.kh == 3) & (case.kw == 3) & case.unstrided
    if case.spec.vendor == "AMD":
        fits = (case.kh * case.kw > 1) & (case.unstrided | ~case.data)
    plain = arithmetic(case.dtype) == "float32"
    fusible: Bools = fits & ~case.weights & plain
    return fusible


def _fused(case: _Case) -> Floats:
    constants, (into, out) = case.constants, case.channels
    high, wide = (np.ceil(side / 2) for side in case.image)
    if case.spec.vendor == "AMD":
        into = (
            into * _pieces(case.kh, column(case.sizes, "stride_h")) * _pieces(case.kw, column(case.sizes, "stride_w"))
        )
        tiles = np.ceil(case.batch * high * wide / 32)
    else:
        blocks = [np.ceil(case.batch / n) * np.ceil(high / h) * np.ceil(wide / w) for n, h, w in _FUSED]
        tiles = np.min(blocks, axis=0)
    columns = np.ceil(out / 32)
    steps = constants["ramp"] + _STEP * np.ceil(into / _STEP)
    one = 16 * 2 * 32 * 32 * steps / (constants["fused"] * peak(case.spec, case.dtype) / case.spec.units)
    read = case.element * into * tiles * 32 * columns * 5.6 / case.gathers  # 10 x 18 pixels for 8 x 16
    time = joined(constants["overlap"], case.waves(tiles * columns) * one, case.streamed, read)
    return time + 16 * case.filters + case.another


def _pieces(kernel: Floats, stride: Floats) -> Floats:
    """Into how many pieces of 3 a filter's side is cut, the phases of a stride of 2 apart."""
    phases = np.ceil(np.ceil(kernel / 2) / 3) + np.ceil(np.floor(kernel / 2) / 3)
    return np.where(stride > 1, phases, np.ceil(kernel / 3))


def _staged_fits(case: _Case, side: int) -> Bools:
    """Forward on tensor units, libraries were not seen to take it, nor for bytes at all."""
    known = (case.variant != "bytes") & ((case.variant != "tensor") | case.data | case.weights)
    fits: Bools = known & case.unstrided & (case.kh == side) & (case.kw == side)
    return fits


def _staged(case: _Case, side: int, outputs: int) -> Floats:
    constants, (into, out) = case.constants, case.channels
    points = (side + outputs - 1.0) ** 2
    tiles = case.batch * np.ceil(case.image[0] / outputs) * np.ceil(case.image[1] / outputs)
    least = constants["staged_tile"]
    time = case.products(out, tiles, into, "staged", batch=points, least=least)
    if case.weights.any():
        sums = case.products(out, into, tiles, "staged", batch=points, parts=_PARTS, least=least)
        time = np.where(case.weights, sums, time)
    carried = case.element * (into + out) * (case.pixels + 2 * points * tiles)
    return time + carried / (2 * case.transforms) + (points + side**2) * case.filters + 3 * case.another


def _fourier(case: _Case) -> Floats:
    into, out = case.channels
    high, wide = (
        np.ceil(size / (33 - np.minimum(k, 16))) for size, k in zip(case.image, (case.kh, case.kw), strict=True)
    )
    tiles = case.batch * high * wide
    products = 4 * case.products(out, tiles, into, "staged", batch=_FREQUENCIES)  # complex ones
    carried = 2 * 8 * _FREQUENCIES * (tiles * (into + out) + into * out)
    time: Floats = case.constants["fourier"] * (products + carried / (2 * case.transforms)) + 3 * case.another
    return time
