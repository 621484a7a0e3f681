"""conv2d: a batch of images filtered by a bank of kernels (a cross-correlation, as the field means it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError, did_you_mean
from flashsched.ops.conv2d_cpu import conv2d_cpu
from flashsched.ops.conv2d_gpu import conv2d_gpu
from flashsched.ops.matmul import accumulator
from flashsched.ops.operator import Operator, register
from flashsched.ops.winograd import winograd
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor

__all__ = ["ALGORITHMS", "LAYOUTS", "best_algorithm", "by_layout", "conv2d", "fits_winograd", "pad_image"]

ALGORITHMS = {"direct": 0, "winograd2": 2, "winograd4": 4}
"""Ways to compute it: the sum itself, and minimal filtering that makes 2 x 2 or 4 x 4 pixels at a time."""

LAYOUTS = ("NCHW", "NHWC")
"""The order of an image's dimensions: batch, channels, rows and columns, or channels last."""


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
    if stride < 1 or dilation < 1 or groups < 1 or KH < 1:
        raise TuneError(
            f"conv2d: stride, dilation, groups and KH must be at least 1, got {stride}, {dilation}, {groups}, {KH}"
        )
    if C % groups or O % groups:
        raise TuneError(f"conv2d: groups={groups} must divide C={C} and O={O}")
    if layout not in LAYOUTS:
        raise TuneError(f"conv2d: no layout {layout!r}", hint=did_you_mean(layout, LAYOUTS))
    reach = dilation * (KH - 1) + 1
    if H + 2 * padding < reach or W + 2 * padding < reach:
        raise TuneError(f"conv2d: a kernel that reaches {reach} is larger than the padded image", hint="pad more")
    height, width = (H + 2 * padding - reach) // stride + 1, (W + 2 * padding - reach) // stride + 1
    wide = accumulator(dtype)
    last = layout == "NHWC"
    if algorithm not in ALGORITHMS:
        raise TuneError(f"conv2d: no algorithm {algorithm!r}", hint=did_you_mean(algorithm, ALGORITHMS))
    x = te.placeholder((N, H, W, C) if last else (N, C, H, W), dtype, name="X")
    kernel = (KH, KH, C // groups, O) if last else (O, C // groups, KH, KH)
    weight = te.placeholder(kernel, dtype, name="weight")
    out = wide if dtype.startswith(("int", "uint")) else dtype
    v = te.placeholder((O,), dtype, name="bias")
    inputs = [x, weight, v] if bias else [x, weight]
    if algorithm != "direct":
        if not fits_winograd(KH, stride, groups, dilation, layout, dtype):
            raise TuneError(
                f"conv2d: {algorithm} is for windows of 3 x 3, stride, groups and dilation 1, layout NCHW, float32 and "
                f"float64, not for KH={KH}, stride={stride}, groups={groups}, dilation={dilation}, {layout}, {dtype}",
                hint="algorithm='direct' takes them all",
            )
        m = ALGORITHMS[algorithm]
        right = (-(-height // m) * m + 2 - H - padding, -(-width // m) * m + 2 - W - padding)
        sums = winograd(pad_image(x, padding, layout, right), weight, height, width, m)

        def biased(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
            total = sums(n, o, h, w)
            return total + v[o] if bias else total

        return [*inputs, by_layout(layout, (N, O, height, width), biased, "Y")]
    source = pad_image(x, padding, layout)
    c = te.reduce_axis((0, C // groups), name="c")
    kh, kw = te.reduce_axis((0, KH), name="kh"), te.reduce_axis((0, KH), name="kw")

    def element(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        channel = c if groups == 1 else (o // (O // groups)) * (C // groups) + c
        row, column = h * stride + kh * dilation, w * stride + kw * dilation
        pixel: Expr = source[n, row, column, channel] if last else source[n, channel, row, column]
        factor: Expr = weight[kh, kw, c, o] if last else weight[o, c, kh, kw]
        total: Expr = te.sum(pixel.astype(wide) * factor.astype(wide), axis=[kh, kw, c] if last else [c, kh, kw])
        return total

    plain = not bias and wide == dtype
    y = by_layout(layout, (N, O, height, width), element, "Y" if plain else "XW")
    if plain:
        return [*inputs, y]

    def finish(n: Expr, o: Expr, h: Expr, w: Expr) -> Expr:
        total: Expr = y[n, h, w, o] if last else y[n, o, h, w]
        return (total + v[o].astype(wide) if bias else total).astype(out)

    finished = by_layout(layout, (N, O, height, width), finish, "Y")
    return [*inputs, finished]


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
) -> str:
    """What is fast for an *image* (N, C, H, W) with no loss of precision: F(2, 3) where it saves more than it costs.

    Multiply-adds are counted for each pair of channel and filter: 16 a tile and about 400 for its transformed weights
    (measured on Zen 4), or 9 a pixel. With few channels or filters the transforms are most of the work.
    """
    batch, channels, *size = image
    if not fits_winograd(window, stride, groups, dilation, layout, dtype) or min(channels, filters) < 16:
        return "direct"
    height, width = (n + 2 * padding - 2 for n in size)
    tiles = -(-height // 2) * -(-width // 2)
    return "winograd2" if batch * 16 * tiles + 400 <= 0.9 * batch * 9 * height * width else "direct"


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


conv2d: Operator = register(
    Operator(
        "conv2d",
        _define,
        (1, 64, 56, 56, 64, 3, 1, 1),
        ("float32", "float64", "float16", "bfloat16"),
        _reference,
        _rounding,
    )
)
conv2d.template("gpu")(conv2d_gpu)
conv2d.template("cpu")(conv2d_cpu)
