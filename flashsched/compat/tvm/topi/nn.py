"""The layers of neural networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te import reducers
from flashsched.compat.tvm.te.tensor import Tensor, compute, reduce_axis
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.compat.tvm.topi.conv2d import *  # noqa: F403
from flashsched.compat.tvm.topi.conv2d import __all__ as _conv2d
from flashsched.compat.tvm.topi.norms import *  # noqa: F403
from flashsched.compat.tvm.topi.norms import __all__ as _norms
from flashsched.compat.tvm.topi.pad import pad
from flashsched.compat.tvm.topi.pooling import *  # noqa: F403
from flashsched.compat.tvm.topi.pooling import __all__ as _pooling
from flashsched.errors import ShapeError

__all__ = [
    *_conv2d, *_norms, *_pooling, "batch_matmul", "bias_add", "dense", "dilate", "flatten", "leaky_relu",
    "log_softmax", "matmul", "pad", "prelu", "relu", "scale_shift_nchw", "softmax",
]  # fmt: skip


def relu(x: Tensor) -> Any:
    """``max(x, 0)``."""
    return compute(x.shape, lambda *i: our_te.maximum(x(*i), tir.const(0, x.dtype)), name="T_relu", tag=tag.ELEMWISE)


def leaky_relu(x: Tensor, alpha: float) -> Any:
    """*x* where it is above zero, else ``alpha * x``."""

    def element(*i: Any) -> Any:
        value = x(*i)
        return tir.Select(value > 0, value, value * tir.const(alpha, x.dtype))

    return compute(x.shape, element, name="T_leaky_relu", tag=tag.ELEMWISE)


def prelu(x: Tensor, slope: Tensor, axis: int = 1) -> Any:
    """*x* where it is above zero, else times the *slope* of its channel."""
    return compute(x.shape, lambda *i: tir.Select(x(*i) > 0, x(*i), x(*i) * slope(i[axis])), name="T_prelu")


def dense(
    data: Tensor, weight: Tensor, bias: Tensor | None = None, out_dtype: str | None = None, **options: Any
) -> Any:
    """``data @ weight.T + bias``: *weight* is [out, in]."""
    return matmul(data, weight, bias, out_dtype, transpose_b=True)


def matmul(
    tensor_a: Tensor,
    tensor_b: Tensor,
    bias: Tensor | None = None,
    out_dtype: str | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    **options: Any,
) -> Any:
    """``tensor_a @ tensor_b + bias``, either transposed first where asked for."""
    rows, depth = reversed(tensor_a.shape) if transpose_a else tensor_a.shape
    inner, cols = reversed(tensor_b.shape) if transpose_b else tensor_b.shape
    if depth != inner:
        raise ShapeError(f"matmul of {list(tensor_a.shape)} and {list(tensor_b.shape)}: {depth} is not {inner}")
    dtype = out_dtype or tensor_a.dtype
    k = reduce_axis((0, depth), "k")

    def element(i: Any, j: Any) -> Any:
        a = tensor_a(k, i) if transpose_a else tensor_a(i, k)
        b = tensor_b(j, k) if transpose_b else tensor_b(k, j)
        return reducers.sum(a.astype(dtype) * b.astype(dtype), axis=k)

    product = compute((rows, cols), element, name=f"T_matmul_{'NT'[transpose_a]}{'NT'[transpose_b]}", tag="matmul")
    if bias is None:
        return product
    return compute((rows, cols), lambda i, j: product(i, j) + bias(j).astype(dtype), tag=tag.BROADCAST)


def batch_matmul(
    tensor_a: Tensor,
    tensor_b: Tensor,
    oshape: Any = None,
    out_dtype: str | None = None,
    transpose_a: bool = False,
    transpose_b: bool = True,
    **options: Any,
) -> Any:
    """Products of matrices, one for each of a batch; the second is transposed by default, as in TVM."""
    a_rows, a_cols = tensor_a.shape[1:][::-1] if transpose_a else tensor_a.shape[1:]
    b_rows, b_cols = tensor_b.shape[1:][::-1] if transpose_b else tensor_b.shape[1:]
    if a_cols != b_rows or (tensor_a.shape[0] != tensor_b.shape[0] and 1 not in (tensor_a.shape[0], tensor_b.shape[0])):
        raise ShapeError(f"batch_matmul of {list(tensor_a.shape)} and {list(tensor_b.shape)}")
    batch = max(int(tensor_a.shape[0]), int(tensor_b.shape[0]))
    dtype = out_dtype or tensor_a.dtype
    k = reduce_axis((0, a_cols), "k")

    def element(b: Any, i: Any, j: Any) -> Any:
        first, second = (0 if t.shape[0] == 1 else b for t in (tensor_a, tensor_b))
        left = tensor_a(first, k, i) if transpose_a else tensor_a(first, i, k)
        right = tensor_b(second, j, k) if transpose_b else tensor_b(second, k, j)
        return reducers.sum(left.astype(dtype) * right.astype(dtype), axis=k)

    return compute((batch, a_rows, b_cols), element, name="T_batch_matmul", tag="batch_matmul")


def bias_add(data: Tensor, bias: Tensor, axis: int = 1) -> Any:
    """*data* plus the element of *bias* that belongs to its index at *axis*."""
    place = axis % data.ndim
    return compute(data.shape, lambda *i: data(*i) + bias(i[place]), name="T_bias_add", tag=tag.BROADCAST)


def scale_shift_nchw(Input: Tensor, Scale: Tensor, Shift: Tensor) -> Any:
    """Each channel times its scale plus its shift: a batch norm in use."""
    return compute(
        Input.shape, lambda n, c, h, w: Input(n, c, h, w) * Scale(c) + Shift(c), name="ScaleShift", tag=tag.BROADCAST
    )


def flatten(data: Tensor) -> Any:
    """All dimensions but the first as one."""
    from flashsched.compat.tvm.topi.transform import reshape

    return reshape(data, (int(data.shape[0]), -1))


def softmax(x: Tensor, axis: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along *axis*, after taking the maximum away."""
    _, exps, total, drop, _ = _softmax_parts(x, axis)
    return compute(x.shape, lambda *i: exps(*i) / total(*drop(i)), name="T_softmax_norm", tag="softmax_output")


def log_softmax(x: Tensor, axis: int = -1) -> Any:
    """The logarithm of `softmax`."""
    top, _, total, drop, _ = _softmax_parts(x, axis)
    return compute(
        x.shape,
        lambda *i: x(*i) - top(*drop(i)) - our_te.log(total(*drop(i))),
        name="T_log_softmax",
        tag="log_softmax_output",
    )


def _softmax_parts(x: Tensor, axis: int) -> tuple[Any, Any, Any, Any, int]:
    place = axis % x.ndim
    shape = [size for n, size in enumerate(x.shape) if n != place]

    def drop(i: Sequence[Any]) -> list[Any]:
        return [index for n, index in enumerate(i) if n != place]

    def put(i: Sequence[Any], k: Any) -> list[Any]:
        return [*i[:place], k, *i[place:]]

    k1, k2 = reduce_axis((0, x.shape[place]), "k"), reduce_axis((0, x.shape[place]), "k")
    top = compute(shape, lambda *i: reducers.max(x(*put(i, k1)), axis=k1), name="T_softmax_maxelem")
    exps = compute(x.shape, lambda *i: our_te.exp(x(*i) - top(*drop(i))), name="T_softmax_exp")
    total = compute(shape, lambda *i: reducers.sum(exps(*put(i, k2)), axis=k2), name="T_softmax_expsum")
    return top, exps, total, drop, place


def dilate(data: Tensor, strides: Sequence[int], dilation_value: float = 0.0, name: str = "DilatedInput") -> Any:
    """*data* with ``stride - 1`` elements of *dilation_value* between its own, in each dimension."""
    steps = [int(step) for step in strides]
    shape = [(int(size) - 1) * step + 1 for size, step in zip(data.shape, steps, strict=True)]

    def element(*i: Any) -> Any:
        own = data(*(index // step for index, step in zip(i, steps, strict=True)))
        on = [index % step == 0 for index, step in zip(i, steps, strict=True) if step > 1]
        return tir.if_then_else(tir.all(*on), own, tir.const(dilation_value, data.dtype)) if on else own

    return compute(shape, element, name=name, tag=f"{tag.INJECTIVE},dilate")
