"""The functions of ``tvm.tir`` that make expressions, `te` hands on most of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flashsched import te
from flashsched.errors import ExpressionError
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Not, as_expr, binary, cast, compare

__all__ = [
    *te.MATH,
    "Select", "abs", "add", "all", "any", "atan2", "ceildiv", "const", "convert", "copysign", "div", "fabs", "floordiv",
    "floormod", "fmod", "hypot", "if_then_else", "indexdiv", "indexmod", "infinity", "isfinite", "isinf", "isnan",
    "likely", "logical_and", "logical_not", "logical_or", "max_value", "min_value", "multiply", "nearbyint", "pow",
    "power", "rsqrt", "shift_left", "shift_right", "sigmoid", "subtract", "trunc", "truncdiv", "truncmod",
]  # fmt: skip

exp, exp2, log, log2, log10, log1p = te.exp, te.exp2, te.log, te.log2, te.log10, te.log1p
expm1, sqrt, rsqrt, erf, sigmoid = te.expm1, te.sqrt, te.rsqrt, te.erf, te.sigmoid
sin, cos, tan, asin, acos, atan, atan2 = te.sin, te.cos, te.tan, te.asin, te.acos, te.atan, te.atan2
sinh, cosh, tanh = te.sinh, te.cosh, te.tanh
abs, fabs = te.abs, te.abs
isnan, isinf, isfinite = te.isnan, te.isinf, te.isfinite


def _rounding(name: str) -> Callable[[Any], Expr]:
    run = getattr(te, name)

    def function(x: Any, span: Any = None) -> Expr:
        value = as_expr(x)
        return value if dtypes.is_int(value.dtype) else run(value)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} of a float; an integer is itself."
    return function


floor, ceil, trunc = _rounding("floor"), _rounding("ceil"), _rounding("trunc")


def nearbyint(x: Any, span: Any = None) -> Expr:
    """The nearest whole number, halves to even."""
    return te.round(x)


def round(x: Any, span: Any = None) -> Expr:
    """The nearest whole number, halves away from zero (te's own `round` takes them to even)."""
    value = as_expr(x)
    if dtypes.is_int(value.dtype):
        return value
    whole = te.trunc(value)
    step = te.select(value < 0, te.const(-1.0, value.dtype), te.const(1.0, value.dtype))
    return te.select(te.abs(value - whole) >= te.const(0.5, value.dtype), whole + step, whole)


def const(value: Any, dtype: str | None = None, span: Any = None) -> Expr:
    """A literal; int32, float32 or bool by default. A float that a *dtype* of integers can't hold is truncated."""
    if isinstance(value, Expr):
        return value if dtype is None else cast(value, dtype)
    value = value.item() if isinstance(value, np.generic) else value
    name = dtypes.check_dtype(dtype) if dtype is not None else None
    if name is not None and isinstance(value, float) and dtypes.is_int(name):
        value = int(value)
    return te.const(value, name)


def convert(value: Any) -> Any:
    """*value* as TVM would hold it: numbers become literals, tuples and lists keep their form."""
    if isinstance(value, tuple | list):
        return [convert(item) for item in value]
    return const(value) if isinstance(value, bool | int | float | np.generic) else value


def min_value(dtype: str) -> Const:
    """The least value of *dtype*; for floats the lowest finite one, as in TVM."""
    return _limit(dtype, -1)


def max_value(dtype: str) -> Const:
    """The greatest value of *dtype*; for floats the highest finite one, as in TVM."""
    return _limit(dtype, 1)


def _limit(dtype: str, sign: int) -> Const:
    name = dtypes.check_dtype(dtype)
    if not dtypes.is_float(name):
        return te.max_value(name) if sign > 0 else te.min_value(name)
    return te.const(sign * _greatest(name), name)


def _greatest(dtype: str) -> float:
    import ml_dtypes

    info: Any = ml_dtypes.finfo  # it knows bfloat16, which NumPy's does not
    return float(info(dtypes.numpy_dtype(dtype)).max)


def infinity(dtype: str) -> Const:
    """Infinity."""
    return te.max_value(dtype)


def if_then_else(cond: Any, t: Any, f: Any, span: Any = None) -> Expr:
    """*t* where *cond* holds, else *f*; the side not chosen is never read from memory."""
    return te.select(_truth(cond), t, f)


def Select(condition: Any, true_value: Any, false_value: Any, span: Any = None) -> Expr:  # noqa: N802
    """As `if_then_else`; TVM may evaluate both sides, here the one not chosen is never read."""
    return te.select(_truth(condition), true_value, false_value)


def _truth(cond: Any) -> Expr:
    value = as_expr(cond)
    return value if dtypes.is_bool(value.dtype) else compare("!=", value, 0)


def likely(cond: Any, span: Any = None) -> Expr:
    """*cond*; what is likely is proven here, not told."""
    return as_expr(cond)


def all(*args: Any, span: Any = None) -> Expr:
    """True where all of *args* are."""
    return te.all(*map(_truth, args))


def any(*args: Any, span: Any = None) -> Expr:
    """True where any of *args* is."""
    return te.any(*map(_truth, args))


logical_and, logical_or = all, any


def logical_not(a: Any, span: Any = None) -> Expr:
    """True where *a* is not."""
    return Not(_truth(a))


def _two(op: str, a: Any, b: Any) -> Expr:
    return binary(op, as_expr(a) if not isinstance(a, int | float) else a, b)


def add(lhs: Any, rhs: Any, span: Any = None) -> Expr:
    """``lhs + rhs``."""
    return _two("+", lhs, rhs)


def subtract(lhs: Any, rhs: Any, span: Any = None) -> Expr:
    """``lhs - rhs``."""
    return _two("-", lhs, rhs)


def multiply(lhs: Any, rhs: Any, span: Any = None) -> Expr:
    """``lhs * rhs``."""
    return _two("*", lhs, rhs)


def shift_left(x: Any, y: Any, span: Any = None) -> Expr:
    """``x << y``."""
    return _two("<<", x, y)


def shift_right(x: Any, y: Any, span: Any = None) -> Expr:
    """``x >> y``."""
    return _two(">>", x, y)


def floordiv(a: Any, b: Any, span: Any = None) -> Expr:
    """``a / b``, rounded down."""
    return _two("//", a, b)


def floormod(a: Any, b: Any, span: Any = None) -> Expr:
    """The rest of `floordiv`: it has the sign of *b*."""
    return _two("%", a, b)


indexdiv, indexmod = floordiv, floormod


def ceildiv(lhs: Any, rhs: Any, span: Any = None) -> Expr:
    """``lhs / rhs``, rounded up."""
    return _two("//", as_expr(lhs) + rhs - 1, rhs)


def truncdiv(a: Any, b: Any, span: Any = None) -> Expr:
    """``a / b`` of integers, rounded to zero as in C."""
    x, y = as_expr(a), as_expr(b)
    down = binary("//", x, y)
    uneven = te.all(binary("%", x, y) != 0, compare("!=", x < 0, y < 0))
    return te.select(uneven, down + 1, down)


def truncmod(a: Any, b: Any, span: Any = None) -> Expr:
    """The rest of `truncdiv`: it has the sign of *a*."""
    x, y = as_expr(a), as_expr(b)
    rest = binary("%", x, y)
    return te.select(te.all(rest != 0, compare("!=", x < 0, y < 0)), rest - y, rest)


def div(a: Any, b: Any, span: Any = None) -> Expr:
    """``a / b`` of floats; of integers `truncdiv`."""
    x, y = as_expr(a), as_expr(b)
    return truncdiv(x, y) if dtypes.is_int(x.dtype) and dtypes.is_int(y.dtype) else x / y


def power(x: Any, y: Any, span: Any = None) -> Expr:
    """*x* to the power *y*; integers by repeated multiplication, where *y* is a literal."""
    value = as_expr(x)
    exponent = y.value if isinstance(y, Const) else y
    if dtypes.is_int(value.dtype) and isinstance(exponent, int):
        if exponent < 0:
            raise ExpressionError(f"power({value}, {exponent}) of an integer", hint="cast it to a float first")
        result: Expr = te.const(1, value.dtype)
        for _ in range(exponent):
            result = result * value
        return result
    return te.pow(value, y)


pow = power


def fmod(x: Any, y: Any, span: Any = None) -> Expr:
    """The rest of ``x / y`` rounded to zero, of floats; it has the sign of *x*."""
    a, b = as_expr(x), as_expr(y)
    rest = binary("%", te.abs(a), te.abs(b))  # of two positive numbers, where rounding down is rounding to zero
    return te.select(a < 0, -rest, rest)


def copysign(x: Any, y: Any, span: Any = None) -> Expr:
    """*x* with the sign of *y* (a zero counts as positive)."""
    a, b = as_expr(x), as_expr(y)
    return te.select(b < 0, -te.abs(a), te.abs(a))


def hypot(x: Any, y: Any, span: Any = None) -> Expr:
    """``sqrt(x * x + y * y)``."""
    a, b = as_expr(x), as_expr(y)
    return te.sqrt(a * a + b * b)
