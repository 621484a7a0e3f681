"""The element types: their names, widths, limits, and what two of them promote to.

A dtype is a plain string, spelled as NumPy spells it; this table is the one place that knows more about it.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import numpy as np

from flashsched.errors import DtypeError, did_you_mean

__all__ = [
    "DTYPES",
    "INDEX",
    "bits",
    "check_dtype",
    "is_bool",
    "is_float",
    "is_int",
    "is_unsigned",
    "max_value",
    "min_value",
    "numpy_dtype",
    "promote",
]

INDEX: Final = "int64"
"""The dtype of loop variables and indices: 64 bits, since fused extents overflow 32."""

_BITS: Final[dict[str, int]] = {
    "float64": 64,
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "int64": 64,
    "int32": 32,
    "int16": 16,
    "int8": 8,
    "uint64": 64,
    "uint32": 32,
    "uint16": 16,
    "uint8": 8,
    "bool": 8,
}
DTYPES: Final = tuple(_BITS)
_ALIASES: Final = {"float": "float32", "int": "int32", "double": "float64", "half": "float16", "handle": "int64"}
_LONG: Final = {"f": "float", "fp": "float", "bf": "bfloat", "i": "int", "s": "int", "u": "uint"}
_SHORT: Final = re.compile(r"^(f|fp|bf|i|s|u)(\d+)$")  # as data sheets have them, for hints


_NUMPY: Final[dict[str, np.dtype[Any]]] = {name: np.dtype(name) for name in _BITS if name != "bfloat16"}


def check_dtype(dtype: Any) -> str:
    """The canonical name of *dtype* (a name, a NumPy dtype or scalar type).

    Raises:
        ExpressionError: flashsched has no such element type.
    """
    name = _ALIASES.get(dtype, dtype) if isinstance(dtype, str) else None
    if name is None and dtype is not None:  # NumPy takes None for float64
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = str(dtype)
    name = str(name)
    if name not in _BITS:
        spelled = _SHORT.sub(lambda found: f"{_LONG[found[1]]}{found[2]}", name.lower())
        hint = did_you_mean(spelled, _BITS)
        if spelled.startswith(("float8", "tf32")):
            hint = "no kernel is made in it; what a vendor's library takes is told by flashsched.hw.operators.estimate"
        raise DtypeError(f"no dtype {name!r}", hint=hint)
    return name


def bits(dtype: str) -> int:
    """Bits that one element takes in memory (a bool takes a byte)."""
    return _BITS[dtype]


def is_float(dtype: str) -> bool:
    """Whether *dtype* is a floating-point type."""
    return dtype.startswith(("float", "bfloat"))


def is_int(dtype: str) -> bool:
    """Whether *dtype* is an integer type; bool is not."""
    return dtype.startswith(("int", "uint"))


def is_unsigned(dtype: str) -> bool:
    """Whether *dtype* is an unsigned integer type."""
    return dtype.startswith("uint")


def is_bool(dtype: str) -> bool:
    """Whether *dtype* is bool."""
    return dtype == "bool"


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of the same name; bfloat16 is the one that `ml_dtypes` registers."""
    if dtype == "bfloat16":
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    return _NUMPY[dtype]


@functools.cache
def min_value(dtype: str) -> float | int | bool:
    """The smallest value: minus infinity for floats, the least integer for integers (the identity of max)."""
    if is_float(dtype):
        return float("-inf")
    return False if is_bool(dtype) else int(np.iinfo(dtype).min)


@functools.cache
def max_value(dtype: str) -> float | int | bool:
    """The largest value: infinity for floats, the greatest integer for integers (the identity of min)."""
    if is_float(dtype):
        return float("inf")
    return True if is_bool(dtype) else int(np.iinfo(dtype).max)


def promote(a: str, b: str) -> str:
    """The dtype in which an operation on an *a* and a *b* is done.

    A float beats an integer and keeps its width (as in te, where NumPy would widen int32 + float32 to float64);
    of two floats, or of two integers, the wider wins; float16 with bfloat16 gives float32. An unsigned integer with a
    signed one that does not hold all its values gives the next wider signed one; for uint64 there is none.

    >>> promote("int32", "float16"), promote("float32", "float64"), promote("bool", "int8")
    ('float16', 'float64', 'int8')
    >>> promote("int8", "uint8"), promote("uint32", "int8"), promote("uint8", "int32"), promote("uint64", "uint8")
    ('int16', 'int64', 'int32', 'uint64')

    Raises:
        DtypeError: one is uint64 and the other a signed integer.
    """
    if a == b:
        return a
    if is_bool(a):
        return b
    if is_bool(b):
        return a
    if is_float(a) != is_float(b):
        return a if is_float(a) else b
    if is_unsigned(a) != is_unsigned(b):
        signed, unsigned = (b, a) if is_unsigned(a) else (a, b)
        if bits(unsigned) == 64:
            raise DtypeError(
                f"no integer type holds all values of {signed} and of uint64",
                hint="cast one of them, .astype('int64'), where its values fit",
            )
        return signed if bits(signed) > bits(unsigned) else f"int{2 * bits(unsigned)}"
    if bits(a) != bits(b):
        return a if bits(a) > bits(b) else b
    return "float32"
