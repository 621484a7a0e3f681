"""conv2d: a batch of images filtered by a bank of kernels (a cross-correlation, as the field means it), NCHW."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError
from flashsched.ops.conv2d_cpu import conv2d_cpu
from flashsched.ops.conv2d_gpu import conv2d_gpu
from flashsched.ops.matmul import accumulator
from flashsched.ops.operator import Operator, register
from flashsched.te.tensor import Tensor

__all__ = ["conv2d"]


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
) -> list[Tensor]:
    """Y[N, O, H', W'] = sum over c, kh, kw of X[N, C, H, W] * weight[O, C / groups, KH, KH], zeros around X.

    ``H' = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1``, and so for W'.
    """
    if stride < 1 or dilation < 1 or groups < 1 or KH < 1:
        raise TuneError(
            f"conv2d: stride, dilation, groups and KH must be at least 1, got {stride}, {dilation}, {groups}, {KH}"
        )
    if C % groups or O % groups:
        raise TuneError(f"conv2d: groups={groups} must divide C={C} and O={O}")
    reach = dilation * (KH - 1) + 1
    if H + 2 * padding < reach or W + 2 * padding < reach:
        raise TuneError(f"conv2d: a kernel that reaches {reach} is larger than the padded image", hint="pad more")
    height, width = (H + 2 * padding - reach) // stride + 1, (W + 2 * padding - reach) // stride + 1
    wide = accumulator(dtype)
    x = te.placeholder((N, C, H, W), dtype, name="X")
    weight = te.placeholder((O, C // groups, KH, KH), dtype, name="weight")
    source = x
    if padding:
        zero = te.const(0, dtype)

        def padded(n: te.Expr, c: te.Expr, h: te.Expr, w: te.Expr) -> te.Expr:
            inside = te.all(h >= padding, h < H + padding, w >= padding, w < W + padding)
            return te.select(inside, x[n, c, h - padding, w - padding], zero)

        source = te.compute((N, C, H + 2 * padding, W + 2 * padding), padded, name="pad")
    c = te.reduce_axis((0, C // groups), name="c")
    kh, kw = te.reduce_axis((0, KH), name="kh"), te.reduce_axis((0, KH), name="kw")
    per_group = O // groups

    def element(n: te.Expr, o: te.Expr, h: te.Expr, w: te.Expr) -> te.Expr:
        channel = c if groups == 1 else (o // per_group) * (C // groups) + c
        pixel: te.Expr = source[n, channel, h * stride + kh * dilation, w * stride + kw * dilation]
        total: te.Expr = te.sum(pixel.astype(wide) * weight[o, c, kh, kw].astype(wide), axis=[c, kh, kw])
        return total

    plain = not bias and wide == dtype
    y = te.compute((N, O, height, width), element, name="Y" if plain else "XW")
    if plain:
        return [x, weight, y]
    out = wide if dtype.startswith(("int", "uint")) else dtype
    inputs = [x, weight]
    if bias:
        v = te.placeholder((O,), dtype, name="bias")
        inputs.append(v)
        finished = te.compute(y.shape, lambda n, o, h, w: (y[n, o, h, w] + v[o].astype(wide)).astype(out), name="Y")
    else:
        finished = te.compute(y.shape, lambda n, o, h, w: y[n, o, h, w].astype(out), name="Y")
    return [*inputs, finished]


def _reference(x: NDArray[Any], weight: NDArray[Any], *rest: NDArray[Any], **options: Any) -> NDArray[Any]:
    stride, padding = options["stride"], options["padding"]
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


conv2d: Operator = register(
    Operator("conv2d", _define, (1, 64, 56, 56, 64, 3, 1, 1), ("float32", "float64", "float16", "bfloat16"), _reference)
)
conv2d.template("gpu")(conv2d_gpu)
conv2d.template("cpu")(conv2d_cpu)
