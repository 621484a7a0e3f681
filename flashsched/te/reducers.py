"""Reducers of pairs: where the largest or the smallest value stands.

Apart from the simple ones of `flashsched.te.functions`, because a pair needs a rule for ties and for NaN, and an index
that is counted from the axes. Both rules are NumPy's: of equal values the first wins, and the first NaN beats them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flashsched.errors import AxisError, DtypeError, ReducerError, ShapeError, counted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, as_expr, binary, cast, compare, const, logical_and, logical_or
from flashsched.te.functions import comm_reducer, select
from flashsched.te.tensor import Axis, AxisKind

__all__ = ["argmax", "argmin"]

_Pair = tuple[Expr, Expr]


def _first_of(beats: str) -> Callable[[_Pair, _Pair], _Pair]:
    """Of two (place, value) the one whose value *beats* the other's, or that stands first where neither does."""

    def combine(x: _Pair, y: _Pair) -> _Pair:
        wins, ties = compare(beats, x[1], y[1]), compare("==", x[1], y[1])
        if dtypes.is_float(x[1].dtype):
            x_nan, y_nan = compare("!=", x[1], x[1]), compare("!=", y[1], y[1])
            wins = logical_or(wins, logical_and(x_nan, compare("==", y[1], y[1])))
            ties = logical_or(ties, logical_and(x_nan, y_nan))
        first = logical_or(wins, logical_and(ties, compare("<=", x[0], y[0])))
        return select(first, x[0], y[0]), select(first, x[1], y[1])

    return combine


def _identity(worst: Callable[[str], Any]) -> Callable[[str, str], tuple[Const, Const]]:
    return lambda place, value: (const(dtypes.max_value(place), place), const(worst(value), value))


_ARGMAX = comm_reducer(_first_of(">"), _identity(dtypes.min_value), "argmax")
_ARGMIN = comm_reducer(_first_of("<"), _identity(dtypes.max_value), "argmin")


def argmax(value: Any, axis: Any = None, where: Any = None, dtype: str = "int64") -> tuple[Expr, Expr]:
    """The place and the value of the largest *value* over *axis*: two outputs for one `te.compute`.

    The place is counted from 0 in the order of the axes, the last one fastest, as ``np.argmax`` counts what is
    combined. Of equal values the first wins, and the first NaN beats every number, whatever the schedule. Over nothing
    (an empty axis, or *where* never holds) the place is the largest *dtype* has, and the value minus infinity (or the
    smallest integer).

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> at, largest = te.compute((4,), lambda i: te.argmax(A[i, k], axis=k), name="M")
    >>> at, largest
    (Tensor(M.v0, shape=[4], int64), Tensor(M.v1, shape=[4], float32))

    Args:
        value: what is compared; or a pair (place, value), to count places your own way.
        axis: a `te.reduce_axis`, or several.
        where: a condition on what takes part.
        dtype: of the place.

    Raises:
        AxisError: *axis* is no reduce axis.
        DtypeError: *dtype*, or the place that was given, is no integer.
        ShapeError: *dtype* is too narrow to count the axes.
        ReducerError: *value* is neither one value nor a pair.
    """
    return _reduced(_ARGMAX, "argmax", value, axis, where, dtype)


def argmin(value: Any, axis: Any = None, where: Any = None, dtype: str = "int64") -> tuple[Expr, Expr]:
    """The place and the value of the smallest *value* over *axis*; all else is as in `argmax`.

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> te.compute((4,), lambda i: te.argmin(A[i, k], axis=k, dtype="int32"), name="M")[0]
    Tensor(M.v0, shape=[4], int32)
    """
    return _reduced(_ARGMIN, "argmin", value, axis, where, dtype)


def _reduced(reduce: Callable[..., Any], name: str, value: Any, axis: Any, where: Any, dtype: str) -> tuple[Expr, Expr]:
    axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if not axes or not all(isinstance(item, Axis) and item.kind is AxisKind.REDUCE for item in axes):
        raise AxisError(
            f"{name}: axis must be a te.reduce_axis or several, not {axis!r}", hint="axis=te.reduce_axis((0, n))"
        )
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ReducerError(
                f"{name} takes a value or a pair (place, value), and was given {counted(len(value), 'value')}",
                hint="give one of them",
            )
        place = as_expr(value[0], dtypes.check_dtype(dtype))
        value = value[1]
        if not dtypes.is_int(place.dtype):
            raise DtypeError(f"{name}: the place {place} is {place.dtype}, not an integer", hint="cast it")
    else:
        place = _counted(name, axes, dtypes.check_dtype(dtype))
    pair: tuple[Expr, Expr] = reduce((place, as_expr(value)), axis=axes, where=where)
    return pair


def _counted(name: str, axes: Sequence[Axis], dtype: str) -> Expr:
    """The number of a point of *axes*, the last one fastest."""
    if not dtypes.is_int(dtype):
        raise DtypeError(f"{name}: a place is an integer, and dtype is {dtype}", hint="use 'int64' or 'int32'")
    place: Expr | None = None
    points: Any = 1
    for axis in axes:
        step = axis - axis.begin if not _is_zero(axis.begin) else axis
        place = step if place is None else binary("+", binary("*", place, axis.extent), step)
        points = points * axis.extent
    assert place is not None
    if isinstance(points, int) and points - 1 > dtypes.max_value(dtype):
        most = dtypes.max_value(dtype)
        raise ShapeError(f"{name}: there are {points} places, and {dtype} counts to {most}", hint="dtype='int64'")
    return cast(place, dtype)


def _is_zero(begin: Any) -> bool:
    return isinstance(begin, int) and begin == 0
