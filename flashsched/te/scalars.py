"""Numbers that are passed by value: `scalar` declares one, and the others say what a caller's number becomes.

A scalar is the one element of a tensor without dimensions, whose placeholder is marked ``by_value``. So schedules and
passes know nothing of it; it is where arguments are taken that a number is taken for it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import AxisError, DtypeError, ShapeError, user_line
from flashsched.te import dtypes
from flashsched.te.expr import Expr, SizeVar
from flashsched.te.tensor import PlaceholderOp, Read

__all__ = ["Passed", "scalar", "scalar_array", "scalar_tensor", "size_number", "taken"]


class Passed(Protocol):
    """An array that is passed, or *by_value* a number."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def by_value(self) -> bool: ...


def scalar(name: str, dtype: Any = "float32") -> Expr:
    """A number that is passed by value when a kernel is called.

    >>> import numpy as np
    >>> import flashsched as fs
    >>> from flashsched import te
    >>> alpha, A = te.scalar("alpha"), te.placeholder((3,), name="A")
    >>> C = te.compute((3,), lambda i: alpha * A[i], name="C")
    >>> fs.build(te.create_schedule(C), [alpha, A, C])(0.5, np.array([2, 4, 6], "float32"))
    array([1., 2., 3.], dtype=float32)

    Args:
        name: what messages call it.
        dtype: its type. Unlike a size (`flashsched.te.var`), an integer may be below 0.

    Raises:
        ExpressionError: *name* is no identifier, or there is no such *dtype*.
    """
    if not str(name).isidentifier():
        raise AxisError(f"a scalar is called {name!r}, and its name must be an identifier", hint='te.scalar("alpha")')
    op = PlaceholderOp(str(name), (), dtypes.check_dtype(dtype), user_line(), by_value=True)
    return Read(op.output(0), ())


def scalar_tensor(value: Any) -> Any:
    """The tensor of a scalar that `scalar` made; anything else as it is."""
    if isinstance(value, Read) and isinstance(value.tensor.op, PlaceholderOp) and value.tensor.op.by_value:
        return value.tensor
    return value


def scalar_array(value: Any, name: str, dtype: str) -> NDArray[Any]:
    """*value* as an array of one element and no dimension.

    Raises:
        DtypeError: it is no number, or none that *dtype* has.
    """
    wanted = dtypes.numpy_dtype(dtype)
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype == wanted:
        return value
    given = f"{value!r} ({value.dtype if isinstance(value, np.generic) else type(value).__name__})"
    if isinstance(value, np.ndarray):
        given = f"an array of {value.dtype}{list(value.shape)}"
    try:
        if isinstance(value, str | bytes) or np.shape(value) != ():
            raise TypeError
        if dtypes.is_float(dtype):
            with np.errstate(over="ignore"):
                return np.asarray(float(value)).astype(wanted)
        number = operator.index(value.item() if isinstance(value, np.ndarray | np.generic) else value)
    except (TypeError, ValueError, OverflowError):
        raise DtypeError(
            f"{name!r} is a number of {dtype}, and {given} is none", hint=f"pass a number for {name}"
        ) from None
    if not dtypes.min_value(dtype) <= number <= dtypes.max_value(dtype):
        raise DtypeError(
            f"{name!r} is a number of {dtype}, and {number} is not among "
            f"{dtypes.min_value(dtype)} … {dtypes.max_value(dtype)}",
            hint="declare it wider",
        )
    return np.asarray(number, wanted)


def size_number(value: Any, name: str) -> int:
    """*value*, which is passed for the size *name*.

    Raises:
        ShapeError: it is no whole number from 0 up.
    """
    try:
        number = operator.index(value.item() if isinstance(value, np.ndarray) and value.shape == () else value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number < 2**63:
        raise ShapeError(
            f"{name!r} is a size, which is a whole number from 0 up, and {value!r} is none",
            hint=f'a number of another kind is te.scalar("{name}", "int32")',
        )
    return number


def taken(
    arrays: Sequence[Passed], passed: Sequence[tuple[int, SizeVar]], args: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[SizeVar, int]]:
    """*args* without the sizes among them, and those; what is passed by value is an array.

    Args:
        arrays: what is passed besides sizes; the last may be left out.
        passed: each size with its place in *args*.
        args: what a caller passed.

    Raises:
        ExpressionError: an argument is no number of its kind.
    """
    rest, sizes = list(args), dict[SizeVar, int]()
    for place, size in reversed(passed):
        sizes[size] = size_number(rest.pop(place), size.name)
    for n, (array, value) in enumerate(zip(arrays, rest, strict=False)):
        if array.by_value:
            rest[n] = scalar_array(value, array.name, array.dtype)
    return tuple(rest), sizes
