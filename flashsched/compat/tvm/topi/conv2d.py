"""Convolutions and pooling, as direct loops over the padded image."""

from __future__ import annotations

from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te import reducers
from flashsched.compat.tvm.te.tensor import Tensor, compute, reduce_axis
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi.pad import pad
from flashsched.compat.tvm.topi.utils import numbers
from flashsched.errors import ShapeError

__all__ = [
    "conv2d", "conv2d_nchw", "conv2d_nhwc", "depthwise_conv2d_nchw", "get_pad_tuple", "global_pool",
    "group_conv2d_nchw", "pool2d",
]  # fmt: skip


def get_pad_tuple(padding: Any, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right): from one number, two, four, ``"SAME"`` or ``"VALID"``."""
    if isinstance(padding, str):
        height, width = (size - 1 for size in kernel) if padding == "SAME" else (0, 0)
        return (height + 1) // 2, (width + 1) // 2, height - (height + 1) // 2, width - (width + 1) // 2
    items = numbers(padding, len(padding)) if isinstance(padding, tuple | list) else numbers(padding, 2)
    if len(items) not in (2, 4):
        raise ShapeError(f"padding is one number, two or four, not {padding}")
    return (items[0], items[1], items[2], items[3]) if len(items) == 4 else (items[0], items[1], items[0], items[1])


def group_conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Any, padding: Any, dilation: Any, groups: int, out_dtype: str | None = None
) -> Any:
    """A convolution whose channels are in *groups*: Filter is [out channels, in channels / groups, height, width]."""
    batch, channels, height, width = map(int, Input.shape)
    filters, depth, rows, cols = map(int, Filter.shape)
    if channels != depth * groups or filters % groups:
        raise ShapeError(
            f"conv2d: {channels} channels in {groups} groups, and filters {list(Filter.shape)}, do not fit"
        )
    (sh, sw), (dh, dw) = numbers(stride, 2), numbers(dilation, 2)
    reach = ((rows - 1) * dh + 1, (cols - 1) * dw + 1)
    top, left, bottom, right = get_pad_tuple(padding, reach)
    source = (
        pad(Input, (0, 0, top, left), (0, 0, bottom, right), name="pad_temp")
        if padding_is_some(top, left, bottom, right)
        else Input
    )
    out_h, out_w = (height + top + bottom - reach[0]) // sh + 1, (width + left + right - reach[1]) // sw + 1
    dtype = out_dtype or Input.dtype
    rc, ry, rx = reduce_axis((0, depth), "rc"), reduce_axis((0, rows), "ry"), reduce_axis((0, cols), "rx")
    per_group = filters // groups

    def element(nn: Any, ff: Any, yy: Any, xx: Any) -> Any:
        channel = rc + 0 if groups == 1 else ff // per_group * depth + rc
        image = source(nn, channel, yy * sh + ry * dh, xx * sw + rx * dw).astype(dtype)
        return reducers.sum(image * Filter(ff, rc, ry, rx).astype(dtype), axis=[rc, ry, rx])

    kind = "conv2d_nchw" if groups == 1 else "group_conv2d_nchw"
    return compute((batch, filters, out_h, out_w), element, name="compute", tag=kind)


def padding_is_some(*sides: int) -> bool:
    """Whether any side is padded."""
    return any(side != 0 for side in sides)


def conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Any, padding: Any, dilation: Any = 1, out_dtype: str | None = None
) -> Any:
    """A convolution of images [batch, channel, height, width] with filters [out, in, height, width]."""
    return group_conv2d_nchw(Input, Filter, stride, padding, dilation, 1, out_dtype)


def depthwise_conv2d_nchw(
    Input: Tensor, Filter: Tensor, stride: Any, padding: Any, dilation: Any = 1, out_dtype: str | None = None
) -> Any:
    """Each channel with filters of its own: Filter is [channel, multiplier, height, width]."""
    channels, multiplier, rows, cols = map(int, Filter.shape)
    flat = compute(
        (channels * multiplier, 1, rows, cols),
        lambda f, o, y, x: Filter(f // multiplier, f % multiplier + o, y, x),
        name="T_filter",
        tag="injective",
    )
    return group_conv2d_nchw(Input, flat, stride, padding, dilation, channels, out_dtype)


def conv2d_nhwc(
    Input: Tensor, Filter: Tensor, stride: Any, padding: Any, dilation: Any = 1, out_dtype: str | None = None
) -> Any:
    """A convolution of images [batch, height, width, channel] with filters [height, width, in, out]."""
    batch, height, width, channels = map(int, Input.shape)
    rows, cols, depth, filters = map(int, Filter.shape)
    if channels != depth:
        raise ShapeError(f"conv2d: images of {channels} channels, and filters of {depth}")
    (sh, sw), (dh, dw) = numbers(stride, 2), numbers(dilation, 2)
    reach = ((rows - 1) * dh + 1, (cols - 1) * dw + 1)
    top, left, bottom, right = get_pad_tuple(padding, reach)
    source = Input
    if padding_is_some(top, left, bottom, right):
        source = pad(Input, (0, top, left, 0), (0, bottom, right, 0), name="PaddedInput")
    out_h, out_w = (height + top + bottom - reach[0]) // sh + 1, (width + left + right - reach[1]) // sw + 1
    dtype = out_dtype or Input.dtype
    rc, ry, rx = reduce_axis((0, depth), "rc"), reduce_axis((0, rows), "ry"), reduce_axis((0, cols), "rx")

    def element(nn: Any, yy: Any, xx: Any, ff: Any) -> Any:
        image = source(nn, yy * sh + ry * dh, xx * sw + rx * dw, rc).astype(dtype)
        return reducers.sum(image * Filter(ry, rx, rc, ff).astype(dtype), axis=[ry, rx, rc])

    return compute((batch, out_h, out_w, filters), element, name="Conv2dOutput", tag="conv2d_nhwc")


def conv2d(
    input: Tensor,
    filter: Tensor,
    strides: Any,
    padding: Any,
    dilation: Any = 1,
    data_layout: str = "NCHW",
    kernel_layout: str = "",
    out_dtype: str | None = None,
    layout: str | None = None,
) -> Any:
    """A convolution of images in NCHW or NHWC (*layout* is the name before 0.8 of *data_layout*)."""
    data_layout = layout or data_layout
    if data_layout == "NCHW" and kernel_layout in ("", "OIHW"):
        return conv2d_nchw(input, filter, strides, padding, dilation, out_dtype)
    if data_layout == "NHWC" and kernel_layout in ("", "HWIO"):
        return conv2d_nhwc(input, filter, strides, padding, dilation, out_dtype)
    raise NotImplementedError(f"conv2d in {data_layout} with filters in {kernel_layout or 'their own'} is not there")


def pool2d(
    data: Tensor,
    kernel: Any,
    stride: Any,
    dilation: Any,
    padding: Any,
    pool_type: str,
    ceil_mode: bool = False,
    layout: str = "NCHW",
    count_include_pad: bool = True,
) -> Any:
    """The maximum (``"max"``) or mean (``"avg"``) of windows of images in NCHW."""
    if layout != "NCHW" or ceil_mode or pool_type not in ("max", "avg"):
        raise NotImplementedError(f"pool2d({pool_type!r}, layout={layout!r}, ceil_mode={ceil_mode}) is not there")
    batch, channels, height, width = map(int, data.shape)
    (rows, cols), (sh, sw), (dh, dw) = numbers(kernel, 2), numbers(stride, 2), numbers(dilation, 2)
    reach = ((rows - 1) * dh + 1, (cols - 1) * dw + 1)
    top, left, bottom, right = get_pad_tuple(padding, reach)
    filler = our_te.min_value(data.dtype) if pool_type == "max" else tir.const(0, data.dtype)
    source = data
    if padding_is_some(top, left, bottom, right):
        source = pad(data, (0, 0, top, left), (0, 0, bottom, right), filler, name="pad_temp")
    shape = (
        batch, channels, (height + top + bottom - reach[0]) // sh + 1, (width + left + right - reach[1]) // sw + 1
    )  # fmt: skip
    ry, rx = reduce_axis((0, rows), "rv0"), reduce_axis((0, cols), "rv1")
    reduce = reducers.max if pool_type == "max" else reducers.sum

    def window(n: Any, c: Any, y: Any, x: Any) -> Any:
        return reduce(source(n, c, y * sh + ry * dh, x * sw + rx * dw), axis=[ry, rx])

    pooled = compute(shape, window, name=f"pool_{pool_type if pool_type == 'max' else 'sum'}", tag=f"pool_{pool_type}")
    if pool_type == "max":
        return pooled

    def divided(n: Any, c: Any, y: Any, x: Any) -> Any:
        if count_include_pad:
            return pooled(n, c, y, x) / tir.const(rows * cols, data.dtype)
        inside = []
        for at, step, size, apart, before, length in ((y, sh, rows, dh, top, height), (x, sw, cols, dw, left, width)):
            first = at * step - before
            skipped = our_te.maximum(0, (-first + apart - 1) // apart)
            inside.append(our_te.minimum(size, (length - first + apart - 1) // apart) - skipped)
        return pooled(n, c, y, x) / our_te.maximum(inside[0] * inside[1], 1).astype(data.dtype)

    return compute(shape, divided, name="pool_avg", tag="elemwise")


def global_pool(data: Tensor, pool_type: str, layout: str = "NCHW") -> Any:
    """The maximum or mean of each channel of images in NCHW."""
    return pool2d(data, (int(data.shape[2]), int(data.shape[3])), 1, 1, 0, pool_type, layout=layout)
