"""Pooling: what is largest in each window of an image, or the mean."""

from __future__ import annotations

from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te import reducers
from flashsched.compat.tvm.te.tensor import Tensor, compute, reduce_axis
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.compat.tvm.topi.conv2d import get_pad_tuple, padding_is_some
from flashsched.compat.tvm.topi.pad import pad
from flashsched.compat.tvm.topi.utils import numbers
from flashsched.te.expr import as_expr

__all__ = ["global_pool", "pool2d"]


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
    """The maximum (``"max"``) or mean (``"avg"``) of windows of images, *layout* naming the dimensions.

    With *ceil_mode* the last windows may reach beyond the padding. A mean counts the padding if *count_include_pad*
    says so, and never what lies beyond.

    Raises:
        NotImplementedError: *layout* has blocked dimensions, such as ``NCHW16c``; there is no such *pool_type*.
    """
    if sorted(layout) != sorted("NCHW") or pool_type not in ("max", "avg"):
        raise NotImplementedError(f"pool2d({pool_type!r}, layout={layout!r}) is not there: write the te.compute of it")
    places = (layout.index("H"), layout.index("W"))
    sizes, steps, apart = numbers(kernel, 2), numbers(stride, 2), numbers(dilation, 2)
    reach = [(size - 1) * by + 1 for size, by in zip(sizes, apart, strict=True)]
    top, left, bottom, right = get_pad_tuple(padding, (reach[0], reach[1]))
    first, last = (top, left), (bottom, right)
    before, after, shape = [0] * 4, [0] * 4, list(map(int, data.shape))
    lengths = [shape[place] for place in places]
    for n, place in enumerate(places):
        before[place], after[place] = first[n], last[n] + (steps[n] - 1 if ceil_mode else 0)
        shape[place] = (lengths[n] + before[place] + after[place] - reach[n]) // steps[n] + 1
    source = data
    if padding_is_some(*before, *after):
        filler = our_te.min_value(data.dtype) if pool_type == "max" else tir.const(0, data.dtype)
        source = pad(data, before, after, filler, name="pad_temp")
    over = [reduce_axis((0, size), f"rv{n}") for n, size in enumerate(sizes)]
    reduce = reducers.max if pool_type == "max" else reducers.sum

    def window(*i: Any) -> Any:
        at = list(i)
        for n, place in enumerate(places):
            at[place] = i[place] * steps[n] + over[n] * apart[n]
        return reduce(source(*at), axis=over)

    pooled = compute(shape, window, name=f"pool_{pool_type if pool_type == 'max' else 'sum'}", tag=f"pool_{pool_type}")
    if pool_type == "max":
        return pooled

    def mean(*i: Any) -> Any:
        count: Any = 1
        for n, place in enumerate(places):
            begin = i[place] * steps[n] - first[n]
            end, skipped = lengths[n] + last[n], as_expr(0)  # the padding counts, what lies beyond does not
            if not count_include_pad:
                end, skipped = lengths[n], our_te.maximum(0, (-begin + apart[n] - 1) // apart[n])
            count = count * (our_te.minimum(sizes[n], (end - begin + apart[n] - 1) // apart[n]) - skipped)
        return pooled(*i) / our_te.maximum(count, 1).astype(data.dtype)

    return compute(shape, mean, name="pool_avg", tag=tag.ELEMWISE)


def global_pool(data: Tensor, pool_type: str, layout: str = "NCHW") -> Any:
    """The maximum or mean of each channel of images."""
    kernel = [int(data.shape[layout.index(letter)]) for letter in "HW"]
    return pool2d(data, kernel, 1, 1, 0, pool_type, layout=layout)
