"""Functions of each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te.tensor import Tensor, compute
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.errors import ShapeError
from flashsched.te.expr import as_expr

__all__ = [
    "abs", "acos", "asin", "atan", "cast", "ceil", "clip", "cos", "cosh", "elemwise_sum", "erf", "exp", "floor", "full",
    "full_like", "identity", "isfinite", "isinf", "isnan", "log", "log10", "log2", "negative", "ones", "ones_like",
    "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "zeros", "zeros_like",
]  # fmt: skip


def _function(name: str, run: Callable[[Any], Any] | None = None) -> Callable[..., Any]:
    element = run or getattr(tir, name)

    def function(x: Any) -> Any:
        if not isinstance(x, our_te.Tensor):
            return element(x)
        return compute(x.shape, lambda *i: element(x(*i)), name=f"T_{name}", tag=tag.ELEMWISE)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} of each element."
    return function


exp, log, log2, log10, sqrt, rsqrt = map(_function, ("exp", "log", "log2", "log10", "sqrt", "rsqrt"))
sin, cos, tan, asin, acos, atan = map(_function, ("sin", "cos", "tan", "asin", "acos", "atan"))
sinh, cosh, tanh, sigmoid, erf = map(_function, ("sinh", "cosh", "tanh", "sigmoid", "erf"))
floor, ceil, trunc, abs, round = map(_function, ("floor", "ceil", "trunc", "abs", "round"))
isnan, isinf, isfinite = map(_function, ("isnan", "isinf", "isfinite"))
identity = _function("identity", as_expr)
negative = _function("negative", lambda x: -as_expr(x))


def _sign(x: Any) -> Any:
    value = as_expr(x)
    one, zero = tir.const(1, value.dtype), tir.const(0, value.dtype)
    return our_te.select(value > 0, one, our_te.select(value < 0, -one, zero))


sign = _function("sign", _sign)


def cast(x: Any, dtype: str, span: Any = None) -> Any:
    """Each element converted to *dtype*."""
    if not isinstance(x, our_te.Tensor):
        return as_expr(x).astype(dtype)
    return compute(x.shape, lambda *i: x(*i).astype(dtype), name="T_cast", tag=tag.ELEMWISE)


def clip(x: Tensor, a_min: Any, a_max: Any) -> Any:
    """Each element held between two numbers."""

    def element(*i: Any) -> Any:
        low, high = (tir.const(limit, x.dtype) for limit in (a_min, a_max))
        return our_te.maximum(our_te.minimum(x(*i), high), low)

    return compute(x.shape, element, name="T_clip", tag=tag.ELEMWISE)


def full(shape: Any, dtype: str, fill_value: Any) -> Any:
    """A tensor of one value."""
    return compute(shape, lambda *i: tir.const(fill_value, dtype), name="T_full", tag=tag.ELEMWISE)


def full_like(x: Tensor, fill_value: Any) -> Any:
    """A tensor of one value, of the shape and dtype of *x*."""
    return full(x.shape, x.dtype, fill_value)


def zeros(shape: Any, dtype: str = "float32") -> Any:
    """A tensor of zeros."""
    return full(shape, dtype, 0)


def ones(shape: Any, dtype: str = "float32") -> Any:
    """A tensor of ones."""
    return full(shape, dtype, 1)


def zeros_like(x: Tensor) -> Any:
    """A tensor of zeros, of the shape and dtype of *x*."""
    return full_like(x, 0)


def ones_like(x: Tensor) -> Any:
    """A tensor of ones, of the shape and dtype of *x*."""
    return full_like(x, 1)


def elemwise_sum(xs: list[Tensor]) -> Any:
    """The sum of several tensors of one shape."""
    if any(tuple(x.shape) != tuple(xs[0].shape) for x in xs):
        raise ShapeError(f"elemwise_sum: the shapes differ: {', '.join(str(list(x.shape)) for x in xs)}")

    def element(*i: Any) -> Any:
        total = xs[0](*i)
        for x in xs[1:]:
            total = total + x(*i)
        return total

    return compute(xs[0].shape, element, name="T_elemwise_sum", tag=tag.ELEMWISE)
