"""Building scalar expressions: constants, promotion of operands, and what an operator makes of them.

The nodes themselves are in `flashsched.te.nodes`, and are shown here too.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from flashsched.errors import DtypeError, ShapeError
from flashsched.te import dtypes
from flashsched.te.nodes import (
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    ExprLike,
    Not,
    Select,
    SizeVar,
    Var,
    same,
)

__all__ = [
    "Binary",
    "Call",
    "Cast",
    "Compare",
    "Const",
    "Expr",
    "ExprLike",
    "Not",
    "Select",
    "SizeVar",
    "Var",
    "as_expr",
    "binary",
    "cast",
    "compare",
    "const",
    "is_const",
    "logical_and",
    "logical_or",
    "same",
]

_NUMBER = (bool, int, float, np.generic)


def const(value: int | float | bool, dtype: str | None = None) -> Const:
    """A literal of *dtype*; by default bool, int32 (int64 where it does not fit) or float32 as the value is.

    Raises:
        ExpressionError: the value does not fit an integer *dtype*.
    """
    if type(value) is int and dtype == dtypes.INDEX and -(2**63) <= value < 2**63:
        return Const(value, dtype)  # what indices are made of
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float):
        raise DtypeError(f"a constant is a bool, an int or a float, not {type(value).__name__}", hint="te.const(1.5)")
    if dtype is None:
        fits = not isinstance(value, int) or -(2**31) <= value < 2**31
        dtype = "bool" if isinstance(value, bool) else "float32" if isinstance(value, float) else "int32"
        dtype = dtype if fits else "int64"
    dtype = dtypes.check_dtype(dtype)
    if dtypes.is_float(dtype):
        return Const(float(value), dtype)
    if dtypes.is_bool(dtype):
        return Const(bool(value), dtype)
    if isinstance(value, float) and (not math.isfinite(value) or value != int(value)):
        raise DtypeError(f"{value} is not an integer, and {dtype} holds nothing else", hint="cast it yourself")
    if not dtypes.min_value(dtype) <= value <= dtypes.max_value(dtype):
        raise DtypeError(f"{value} does not fit {dtype}", hint=f"give it a wider type: te.const({value}, 'int64')")
    return Const(int(value), dtype)


def as_expr(value: Any, dtype: str | None = None) -> Expr:
    """*value* as an expression; a Python number becomes a constant of *dtype*.

    Raises:
        ExpressionError: *value* is nothing that can be computed with.
    """
    if isinstance(value, Expr):
        return value
    to_expr = getattr(value, "__te_expr__", None)  # an axis stands for its variable, a rank-0 tensor for its element
    if to_expr is not None:
        found: Expr = to_expr()
        return found
    if isinstance(value, _NUMBER):
        return const(value, dtype)  # type: ignore[arg-type]
    what = f"a tensor of shape {value.shape}" if hasattr(value, "shape") else f"{type(value).__name__} {value!r}"
    raise (ShapeError if hasattr(value, "shape") else DtypeError)(
        f"{what} is not a scalar expression",
        hint="index it, as in A[i, j]" if hasattr(value, "shape") else "use elements of tensors, axes and numbers",
    )


def cast(value: ExprLike, dtype: Any) -> Expr:
    """*value* converted to *dtype*; nothing is done where it has that dtype."""
    dtype, value = dtypes.check_dtype(dtype), as_expr(value)
    if value.dtype == dtype:
        return value
    integers = dtypes.is_int(value.dtype) and dtypes.is_int(dtype)
    if integers and isinstance(value, Const) and dtypes.min_value(dtype) <= value.value <= dtypes.max_value(dtype):
        return Const(value.value, dtype)
    return Cast(value, dtype)


def _agree(a: Any, b: Any) -> tuple[Expr, Expr]:
    """Both sides in one dtype: a number (Python's or NumPy's) takes the other side's, two expressions are promoted."""
    if isinstance(a, Expr) and isinstance(b, Expr) and a.dtype == b.dtype:
        return a, b
    first = isinstance(a, _NUMBER)
    if first != isinstance(b, _NUMBER):
        number, other = (a, as_expr(b)) if first else (b, as_expr(a))
        number = number.item() if isinstance(number, np.generic) else number
        dtype = other.dtype
        if isinstance(number, float) and not dtypes.is_float(dtype):
            dtype = "float32"
        elif dtypes.is_bool(dtype) and not isinstance(number, bool):
            dtype = "int32"
        other, literal = cast(other, dtype), const(number, dtype)
        return (literal, other) if first else (other, literal)
    x, y = as_expr(a), as_expr(b)
    dtype = dtypes.promote(x.dtype, y.dtype)
    return cast(x, dtype), cast(y, dtype)


def binary(op: str, a: Any, b: Any) -> Expr:
    """``a op b`` after promotion, with constants folded for indices.

    Raises:
        ExpressionError: *op* means nothing for these dtypes, e.g. ``/`` on integers.
    """
    if isinstance(a, Const) and isinstance(b, Const) and a.dtype == b.dtype == dtypes.INDEX and op != "/":
        from flashsched.te.simplify import fold  # the simplifier is built on these nodes

        return fold(op, a, b)
    x, y = _agree(a, b)
    if op in ("+", "-", "*", "//", "%", "/", "<<", ">>") and dtypes.is_bool(x.dtype):
        hint = "use & | ^ on bools, or .astype('int32') to count them"
        raise DtypeError(f"'{op}' on two bools: {x} {op} {y}", hint=hint)
    if op == "/" and not dtypes.is_float(x.dtype):
        hint = "use // (rounds down), or .astype('float32') first"
        raise DtypeError(f"'/' on integers is ambiguous: {x} / {y}", hint=hint)
    if op in ("&", "|", "^", "<<", ">>") and dtypes.is_float(x.dtype):
        hint = "cast first: .astype('int32')"
        raise DtypeError(f"'{op}' works on integers and bools, not on {x.dtype}: {x} {op} {y}", hint=hint)
    if op in ("&", "|") and dtypes.is_bool(x.dtype):
        op = "and" if op == "&" else "or"
    if op == "^" and dtypes.is_bool(x.dtype):
        return Compare("!=", x, y)
    if op in ("//", "%") and isinstance(y, Const) and y.value == 0 and not dtypes.is_float(y.dtype):
        raise DtypeError(f"division by zero: {x} {op} 0", hint="divide by something that is at least 1")
    return Binary(op, x, y)


def compare(op: str, a: Any, b: Any) -> Expr:
    """``a op b`` as a bool, after promotion."""
    x, y = _agree(a, b)
    return Compare(op, x, y)


def _conditions(name: str, terms: tuple[Any, ...]) -> Expr:
    values = [as_expr(term) for term in terms]
    if not values:
        function = "te.all" if name == "and" else "te.any"
        raise ShapeError(f"{function} needs at least one condition", hint=f"{function}(i >= 0, i < n)")
    for value in values:
        if not dtypes.is_bool(value.dtype):
            raise DtypeError(f"{value} is {value.dtype}, not a condition", hint=f"compare it: {value} != 0")
    return functools.reduce(lambda a, b: Binary(name, a, b), values)


def logical_and(*terms: Any) -> Expr:
    """True where all of *terms* are."""
    return _conditions("and", terms)


def logical_or(*terms: Any) -> Expr:
    """True where any of *terms* is."""
    return _conditions("or", terms)


def is_const(value: Expr, number: int | float | None = None) -> bool:
    """Whether *value* is a literal (equal to *number*, where it is given)."""
    return isinstance(value, Const) and (number is None or value.value == number)
