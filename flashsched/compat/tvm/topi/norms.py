"""Normalisations: what is shifted and scaled by a mean and a variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te.tensor import Tensor, compute
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import reduction, tag
from flashsched.compat.tvm.topi.broadcast import at
from flashsched.errors import ShapeError

__all__ = ["batch_norm", "layer_norm", "rms_norm"]


def batch_norm(
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    axis: int | None = None,
    epsilon: float | None = None,
    center: bool | None = None,
    scale: bool | None = None,
    training: bool | None = None,
    momentum: float | None = None,
) -> list[Any]:
    """``(data - mean) / sqrt(var + epsilon) * gamma + beta`` for each channel, with its moving mean and variance.

    The result, the moving mean and the moving variance, as TVM returns them. In *training*, the mean and the variance
    are those of *data*, and the moving ones move towards them by *momentum* (0.1).
    """
    place = (1 if axis is None else axis) % data.ndim
    _require_size("batch_norm", data, (place,), gamma, beta, moving_mean, moving_var)
    mean, var = moving_mean, moving_var
    moved = [moving_mean, moving_var]
    if training:
        others = [n for n in range(data.ndim) if n != place]
        mean, var = reduction.mean(data, others), reduction.variance(data, others)
        share = 0.1 if momentum is None else momentum
        moved = [_moved(old, new, share) for old, new in ((moving_mean, mean), (moving_var, var))]

    def element(*i: Any) -> Any:
        c = i[place]
        value = (data(*i) - mean(c)) / our_te.sqrt(var(c) + tir.const(1e-5 if epsilon is None else epsilon, data.dtype))
        value = value * gamma(c) if scale in (None, True) else value
        return value + beta(c) if center in (None, True) else value

    return [compute(data.shape, element, name="T_batch_norm", tag=tag.BROADCAST), *moved]


def _moved(old: Tensor, new: Tensor, share: float) -> Any:
    kept, taken = tir.const(1 - share, old.dtype), tir.const(share, old.dtype)
    return compute(old.shape, lambda c: old(c) * kept + new(c) * taken, name="T_moving", tag=tag.ELEMWISE)


def layer_norm(data: Tensor, gamma: Tensor | None, beta: Tensor | None, axis: Any, epsilon: float = 1e-5) -> Any:
    """*data* less its mean over *axis*, by the root of its variance, times *gamma* plus *beta*.

    Float16 is summed in float32. *gamma* and *beta* have the dimensions of *axis*.
    """
    over = _places(data, axis)
    _require_size("layer_norm", data, over, *(part for part in (gamma, beta) if part is not None))
    wide = _widened(data)
    mean = reduction.mean(wide, over, keepdims=True)
    var = reduction.variance(wide, over, keepdims=True)

    def element(*i: Any) -> Any:
        root = our_te.sqrt(at(var, i) + tir.const(epsilon, wide.dtype))
        value = ((wide(*i) - at(mean, i)) / root).astype(data.dtype)
        own = [i[n] for n in over]
        value = value if gamma is None else value * gamma(*own)
        return value if beta is None else value + beta(*own)

    return compute(data.shape, element, name="T_layer_norm", tag=tag.INJECTIVE)


def rms_norm(data: Tensor, weight: Tensor, axis: Any, epsilon: float = 1e-5) -> Any:
    """*data* by the root of the mean of its squares over *axis*, times *weight*; float16 is summed in float32."""
    over = _places(data, axis)
    _require_size("rms_norm", data, over, weight)
    wide = _widened(data)
    squares = compute(wide.shape, lambda *i: wide(*i) * wide(*i), name="T_squares", tag=tag.ELEMWISE)
    mean = reduction.mean(squares, over, keepdims=True)

    def element(*i: Any) -> Any:
        root = our_te.sqrt(at(mean, i) + tir.const(epsilon, wide.dtype))
        return (wide(*i) / root).astype(data.dtype) * weight(*(i[n] for n in over))

    return compute(data.shape, element, name="T_rms_norm", tag=tag.INJECTIVE)


def _places(data: Tensor, axis: Any) -> list[int]:
    return [int(n) % data.ndim for n in (axis if isinstance(axis, tuple | list) else [axis])]


def _widened(data: Tensor) -> Any:
    if data.dtype != "float16":
        return data
    return compute(data.shape, lambda *i: data(*i).astype("float32"), name="T_cast", tag=tag.ELEMWISE)


def _require_size(name: str, data: Tensor, over: Sequence[int], *parts: Tensor) -> None:
    """Refuse *parts* that have other dimensions than those of *data* at the places *over*."""
    wanted = [data.shape[n] for n in over]
    for part in parts:
        if list(map(str, part.shape)) != list(map(str, wanted)):
            raise ShapeError(f"{name}: {part.name} has shape {list(part.shape)}, and must have {wanted}")
