"""conv2d: a batch of images filtered by a bank of kernels (a cross-correlation, as the field means it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError, did_you_mean
from flashsched.ops.conv2d_cpu import conv2d_cpu
from flashsched.ops.conv2d_gpu import conv2d_gpu
from flashsched.ops.matmul import accumulator
from flashsched.ops.operator import Operator, register
from flashsched.ops.winograd import transformed, winograd
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor

__all__ = [
    "ALGORITHMS",
    "LAYOUTS",
    "best_algorithm",
    "by_layout",
    "conv2d",
    "fits_winograd",
    "packed_conv2d",
    "pad_image",
]

ALGORITHMS = {"direct": 0, "winograd2": 2, "winograd4": 4}
"""Ways to compute it: the sum itself, and minimal filtering that makes 2 x 2 or 4 x 4 pixels at a time."""

_Element = Callable[[Expr, Expr, Expr, Expr], Expr]

LAYOUTS = ("NCHW", "NHWC")
"""The order of an image's dimensions: batch, channels, rows and columns, or channels last."""


@dataclass(frozen=True, slots=True)
class _Convolution:
    """What is convolved how: *image* is (N, C, H, W) in every layout.

    Raises:
        TuneError: there is no such convolution.
    """

    image: tuple[int, int, int, int]
    filters: int
    window: int
    stride: int
    padding: int
    dtype: str
    bias: bool
    groups: int
    dilation: int
    layout: str
    algorithm: str

    def __post_init__(self) -> None:
        stride, groups, dilation = self.stride, self.groups, self.dilation
        _, channels, *size = self.image
        if stride < 1 or dilation < 1 or groups < 1 or self.window < 1:
            raise TuneError(
                "conv2d: stride, dilation, groups and KH must be at least 1, "
                f"got {stride}, {dilation}, {groups}, {self.window}"
            )
        if channels % groups or self.filters % groups:
            raise TuneError(f"conv2d: groups={groups} must divide C={channels} and O={self.filters}")
        if self.layout not in LAYOUTS:
            raise TuneError(f"conv2d: no layout {self.layout!r}", hint=did_you_mean(self.layout, LAYOUTS))
        if min(size) + 2 * self.padding < self.reach:
            raise TuneError(
                f"conv2d: a kernel that reaches {self.reach} is larger than the padded image", hint="pad more"
            )
        if self.algorithm not in ALGORITHMS:
            raise TuneError(f"conv2d: no algorithm {self.algorithm!r}", hint=did_you_mean(self.algorithm, ALGORITHMS))
        fits = fits_winograd(self.window, stride, groups, dilation, self.layout, self.dtype)
        if self.algorithm != "direct" and not fits:
            raise TuneError(
                f"conv2d: {self.algorithm} is for windows of 3 x 3, stride, groups and dilation 1, layout NCHW, "
                f"float32 and float64, not for KH={self.window}, stride={stride}, groups={groups}, "
                f"dilation={dilation}, {self.layout}, {self.dtype}",
                hint="algorithm='direct' takes them all",
            )

    @property
    def reach(self) -> int:
        """Pixels from the first to the last that a window sees in a row."""
        return self.dilation * (self.window - 1) + 1

    @property
    def out(self) -> tuple[int, int, int, int]:
        """The shape of the output, in the order of *image*."""
        batch, _, *size = self.image
        height, width = ((n + 2 * self.padding - self.reach) // self.stride + 1 for n in size)
        return batch, self.filters, height, width

    @property
    def last(self) -> bool:
        """Whether channels are an image's last dimension."""
        return self.layout == "NHWC"


def _define(
    N: int,
    C: int,
    H: int,
    W: int,
    O: int,  # noqa: E741
    KH: int,
    stride: int,
    padding: int,
    dtype: str = "float32",
    bias: bool = False,
    groups: int = 1,
    dilation: int = 1,
    layout: str = "NCHW",
    algorithm: str = "direct",
) -> list[Tensor]:
    """Y[N, O, H', W'] = sum over c, kh, kw of X[N, C, H, W] * weight[O, C / groups, KH, KH], zeros around X.

    With *layout* NHWC, images have their channels last, X[N, H, W, C] and Y[N, H', W', O], and the weights their
    filters: weight[KH, KH, C / groups, O].

    *algorithm* says how windows of 3 x 3 are summed (see `winograd`): "winograd2" takes 2.25 times fewer
    multiplications than "direct", and errs no more, its sums being shorter; "winograd4" 4 times fewer, and errs some 8
    times more than that, by 1e-6 to 2e-5 of the largest result in float32.
    ``H' = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1``, and so for W'.
    """
    what = _Convolution((N, C, H, W), O, KH, stride, padding, dtype, bias, groups, dilation, layout, algorithm)
    kernel = (KH, KH, C // groups, O) if what.last else (O, C // groups, KH, KH)
    weight = te.placeholder(kernel, dtype, name="weight")
    if algorithm != "direct":
        u = transformed(weight, ALGORITHMS[algorithm])
        return _filtered(what, weight, lambda a, b, c, o: u[a, b, c, o])
    return _summed(what, weight, lambda o, c, h, w: weight[h, w, c, o] if what.last else weight[o, c, h, w])


def _define_packed(
    N: int,
    C: int,
    H: int,
    W: int,
    O: int,  # noqa: E741
    KH: int,
    stride: int,
    padding: int,
    P: int,
    dtype: str = "float32",
    bias: bool = False,
    dilation: int = 1,
    layout: str = "NCHW",
    algorithm: str = "direct",
) -> list[Tensor]:
    """`conv2d` with the weights in panels of P filters: packed ahead, since they do not change.

    They are [O / P rounded up, C, KH, KH, P], with layout NHWC [O / P rounded up, KH, KH, C, P], and with a Winograd
    algorithm what it makes of them, [T, T, O / P rounded up, C, P] for tiles of T x T.
    """
    if P < 1:
        raise TuneError(f"packed_conv2d: a panel has from 1 filter up, not {P}")
    what = _Convolution((N, C, H, W), O, KH, stride, padding, dtype, bias, 1, dilation, layout, algorithm)
    panels = -(-O // P)
    if algorithm != "direct":
        t = ALGORITHMS[algorithm] + 2
        u = te.placeholder((t, t, panels, C, P), dtype, name="weight")
        return _filtered(what, u, lambda a, b, c, o: u[a, b, o // P, c, o % P])
    weight = te.placeholder((panels, KH, KH, C, P) if what.last else (panels, C, KH, KH, P), dtype, name="weight")

    def factor(o: Expr, c: Expr, kh: Expr, kw: Expr) -> Expr:
        found: Expr = weight[o // P, kh, kw, c, o % P] if what.last else weight[o // P, c, kh, kw, o % P]
        return found

    return _summed(what, weight, factor)


def _filtered(what: _Convolution, weight: Tensor, u: _Element) -> list[Tensor]:
    """Inputs and output of a convolution by minimal filtering; ``u(a, b, c, o)`` are the transformed weights."""
    x = te.placeholder(what.image, what.dtype, name="X")
    v = te.placeholder((what.filters,), what.dtype, name="bias")
    m = ALGORITHMS[what.algorithm]
    after = [-(-made // m) * m + 2 - n - what.padding for n, made in zip(what.image[2:], what.out[2:], strict=True)]
    padded = pad_image(x, what.padding, "NCHW", (after[0], after[1]))
    sums = winograd(padded, u, *what.out[1:], m)

    def biased(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        total = sums(n, o, h, w)
        return total + v[o] if what.bias else total

    y = by_layout("NCHW", what.out, biased, "Y")
    return [x, weight, v, y] if what.bias else [x, weight, y]


def _summed(what: _Convolution, weight: Tensor, factor: _Element) -> list[Tensor]:
    """Inputs and output of a convolution as the sum that it is; ``factor(o, c, kh, kw)`` are the weights."""
    batch, channels, rows, columns = what.image
    dtype, last, groups = what.dtype, what.last, what.groups
    wide = accumulator(dtype)
    out = wide if dtype.startswith(("int", "uint")) else dtype
    x = te.placeholder((batch, rows, columns, channels) if last else what.image, dtype, name="X")
    v = te.placeholder((what.filters,), dtype, name="bias")
    inputs = [x, weight, v] if what.bias else [x, weight]
    source = pad_image(x, what.padding, what.layout)
    c = te.reduce_axis((0, channels // groups), name="c")
    kh, kw = te.reduce_axis((0, what.window), name="kh"), te.reduce_axis((0, what.window), name="kw")

    def element(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        channel = c if groups == 1 else (o // (what.filters // groups)) * (channels // groups) + c
        row, column = h * what.stride + kh * what.dilation, w * what.stride + kw * what.dilation
        pixel: Expr = source[n, row, column, channel] if last else source[n, channel, row, column]
        product = pixel.astype(wide) * factor(o, c, kh, kw).astype(wide)
        total: Expr = te.sum(product, axis=[kh, kw, c] if last else [c, kh, kw])
        return total

    plain = not what.bias and wide == dtype
    y = by_layout(what.layout, what.out, element, "Y" if plain else "XW")
    if plain:
        return [*inputs, y]

    def finish(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        total: Expr = y[n, h, w, o] if last else y[n, o, h, w]
        return (total + v[o].astype(wide) if what.bias else total).astype(out)

    return [*inputs, by_layout(what.layout, what.out, finish, "Y")]


def fits_winograd(window: int, stride: int, groups: int, dilation: int, layout: str, dtype: str) -> bool:
    """Whether minimal filtering is there for such a convolution."""
    plain = stride == groups == dilation == 1 and layout == "NCHW"
    return window == 3 and plain and dtype in ("float32", "float64")


def best_algorithm(
    image: tuple[int, ...],
    filters: int,
    window: int,
    padding: int,
    *,
    stride: int,
    groups: int,
    dilation: int,
    layout: str,
    dtype: str,
    packed: bool = False,
) -> str:
    """What is fast for an *image* (N, C, H, W) with no loss of precision: F(2, 3) where it saves more than it costs.

    Multiply-adds are counted for each pair of channel and filter: 16 a tile and about 400 for its transformed weights
    (measured on Zen 4) unless they are *packed* ahead, or 9 a pixel. With few channels or filters the transforms are
    most of the work.
    """
    batch, channels, *size = image
    if not fits_winograd(window, stride, groups, dilation, layout, dtype) or min(channels, filters) < 16:
        return "direct"
    height, width = (n + 2 * padding - 2 for n in size)
    tiles = -(-height // 2) * -(-width // 2)
    return "winograd2" if batch * 16 * tiles + (0 if packed else 400) <= 0.9 * batch * 9 * height * width else "direct"


def by_layout(
    layout: str, shape: tuple[int, int, int, int], element: Callable[[Expr, Expr, Expr, Expr], Expr], name: str
) -> Tensor:
    """A tensor of *layout*, where *shape* and the arguments of *element* are in the order n, channel, h, w."""
    n, o, h, w = shape
    if layout == "NHWC":
        made: Tensor = te.compute((n, h, w, o), lambda n, h, w, o: element(n, o, h, w), name=name)
        return made
    made = te.compute((n, o, h, w), lambda n, o, h, w: element(n, o, h, w), name=name)
    return made


def pad_image(x: Tensor, padding: int, layout: str, right: tuple[int, int] | None = None) -> Tensor:
    """*x* with *padding* zeros around its rows and columns; *right*: other numbers of them after the last."""
    after = (padding, padding) if right is None else right
    if not padding and after == (0, 0):
        return x
    last = layout == "NHWC"
    n, height, width, channels = x.known_shape if last else [x.known_shape[at] for at in (0, 2, 3, 1)]
    zero = te.const(0, x.dtype)

    def pixel(n: Expr, c: Expr, h: Expr, w: Expr) -> Expr:
        inside = te.all(h >= padding, h < height + padding, w >= padding, w < width + padding)
        row, column = h - padding, w - padding
        return te.select(inside, x[n, row, column, c] if last else x[n, c, row, column], zero)

    return by_layout(layout, (n, channels, height + padding + after[0], width + padding + after[1]), pixel, "pad")


def _reference(x: NDArray[Any], weight: NDArray[Any], *rest: NDArray[Any], **options: Any) -> NDArray[Any]:
    stride, padding = options["stride"], options["padding"]
    if options.get("layout") == "NHWC":
        there = _reference(
            x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1), *rest, **{**options, "layout": "NCHW"}
        )
        return there.transpose(0, 2, 3, 1)
    groups, dilation = options.get("groups", 1), options.get("dilation", 1)
    exact = np.float64 if x.dtype.kind not in "iu" else np.int64
    wide = np.pad(x.astype(exact), [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
    o, per_group, kh, _ = weight.shape
    reach = dilation * (kh - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(wide, (reach, reach), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    parts = []
    for group in range(groups):
        channels = windows[:, group * per_group : (group + 1) * per_group]
        filters = weight.astype(exact)[group * o // groups : (group + 1) * o // groups]
        parts.append(np.tensordot(channels, filters, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2))
    out = np.concatenate(parts, axis=1)
    return np.asarray(out + rest[0].astype(exact).reshape(1, -1, 1, 1) if rest else out)


def _rounding(options: Mapping[str, Any]) -> float:
    """Beside the sums over channels that the graph of a Winograd convolution shows."""
    return {"direct": 1.0, "winograd2": 3.0, "winograd4": 8.0}[options.get("algorithm", "direct")]


_DTYPES = ("float32", "float64", "float16", "bfloat16")
conv2d: Operator = register(Operator("conv2d", _define, (1, 64, 56, 56, 64, 3, 1, 1), _DTYPES, _reference, _rounding))
packed_conv2d: Operator = register(
    Operator("packed_conv2d", _define_packed, (1, 64, 56, 56, 64, 3, 1, 1, 32), _DTYPES, None, _rounding)
)
conv2d.template("gpu")(conv2d_gpu)
conv2d.template("cpu")(conv2d_cpu)
packed_conv2d.template("cpu")(conv2d_cpu)
