"""Convolutions, as direct loops over the padded image."""

from __future__ import annotations

from typing import Any

from flashsched.compat.tvm.te import reducers
from flashsched.compat.tvm.te.tensor import Tensor, compute, reduce_axis
from flashsched.compat.tvm.topi.pad import pad
from flashsched.compat.tvm.topi.utils import numbers
from flashsched.errors import ShapeError

__all__ = [
    "conv2d", "conv2d_nchw", "conv2d_nhwc", "depthwise_conv2d_nchw", "get_pad_tuple", "group_conv2d_nchw",
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
