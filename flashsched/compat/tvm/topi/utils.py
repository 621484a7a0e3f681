"""Sizes as plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.compat.tvm.topi.tag import is_injective
from flashsched.errors import ShapeError
from flashsched.te.expr import Const

__all__ = ["equal_const_int", "get_const_int", "get_const_tuple", "numbers", "simplify", "traverse_inline"]


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


def traverse_inline(s: Any, final_op: Any, callback: Callable[[Any], None]) -> None:
    """Inline what is element by element, from *final_op* back, and call *callback* with each operation."""
    seen: set[int] = set()

    def visit(op: Any) -> None:
        if id(op) in seen:
            return
        seen.add(id(op))
        if is_injective(op.tag):
            if not s[op].is_output:
                s[op].compute_inline()
            for tensor in op.input_tensors:
                if tensor.op.input_tensors:
                    visit(tensor.op)
        callback(op)

    visit(final_op)
