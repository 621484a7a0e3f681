"""Sizes as plain numbers."""

from __future__ import annotations

from typing import Any

from flashsched.errors import ShapeError
from flashsched.te.expr import Const

__all__ = ["equal_const_int", "get_const_int", "get_const_tuple", "numbers", "simplify"]


def get_const_int(expr: Any) -> int:
    """The number that *expr* is.

    Raises:
        ShapeError: it is no number.
    """
    value = expr.value if isinstance(expr, Const) else expr
    if isinstance(value, int):
        return int(value)
    raise ShapeError(f"{expr} is no constant integer")


def get_const_tuple(in_tuple: Any) -> tuple[Any, ...]:
    """The sizes of *in_tuple* as numbers; those that are known at run time only stay as they are."""
    return tuple(get_const_int(item) if isinstance(item, Const | int) else item for item in in_tuple)


def equal_const_int(expr: Any, value: int) -> bool:
    """Whether *expr* is the number *value*."""
    return isinstance(expr, Const | int) and get_const_int(expr) == value


def simplify(expr: Any) -> Any:
    """*expr*, which is simplified where it is used."""
    return expr


def numbers(value: Any, count: int) -> tuple[int, ...]:
    """*value*, an integer or *count* of them, as *count* of them.

    Raises:
        ShapeError: there are more or fewer.
    """
    items = tuple(map(get_const_int, value)) if isinstance(value, tuple | list) else (get_const_int(value),) * count
    if len(items) != count:
        raise ShapeError(f"{value} has {len(items)} numbers, and {count} are needed")
    return items
