"""``topi.testing``: what operations compute, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["conv2d_nchw_python", "conv2d_nhwc_python", "dense", "depthwise_conv2d_python_nchw", "softmax_python"]


def conv2d_nchw_python(a_np: NDArray[Any], w_np: NDArray[Any], stride: Any, padding: Any) -> NDArray[Any]:
    """The convolution of images [batch, channel, height, width] with filters [out, in, height, width]."""
    from flashsched.compat.tvm.topi.conv2d import get_pad_tuple
    from flashsched.compat.tvm.topi.utils import numbers

    sh, sw = numbers(stride, 2)
    rows, cols = w_np.shape[2:]
    top, left, bottom, right = get_pad_tuple(padding, (rows, cols))
    padded = np.pad(a_np, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, cols), axis=(2, 3))[:, :, ::sh, ::sw]
    return np.asarray(np.einsum("nchwyx,ocyx->nohw", windows, w_np, optimize=True), a_np.dtype)


def conv2d_nhwc_python(a_np: NDArray[Any], w_np: NDArray[Any], stride: Any, padding: Any) -> NDArray[Any]:
    """The convolution of images [batch, height, width, channel] with filters [height, width, in, out]."""
    found = conv2d_nchw_python(a_np.transpose(0, 3, 1, 2), w_np.transpose(3, 2, 0, 1), stride, padding)
    return found.transpose(0, 2, 3, 1)


def depthwise_conv2d_python_nchw(a_np: NDArray[Any], w_np: NDArray[Any], stride: Any, padding: Any) -> NDArray[Any]:
    """Each channel of images [batch, channel, rows, cols] convolved with its filters [channel, times, rows, cols]."""
    parts = [conv2d_nchw_python(a_np[:, [c]], filters[:, None], stride, padding) for c, filters in enumerate(w_np)]
    return np.concatenate(parts, axis=1)


def softmax_python(a_np: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Softmax along *axis*."""
    exps = np.exp(a_np - a_np.max(axis=axis, keepdims=True))
    return np.asarray(exps / exps.sum(axis=axis, keepdims=True))


def dense(x: NDArray[Any], y: NDArray[Any], bias: Any = None) -> NDArray[Any]:
    """``x @ y.T + bias``."""
    return np.asarray(x @ y.T + (0 if bias is None else bias))
