"""Reductions with TVM's arguments: ``te.sum(value, axis=k)``, and reducers of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.axes import BoundAxis, ReduceAxis
from flashsched.errors import ExpressionError
from flashsched.te.expr import Expr, as_expr

__all__ = ["comm_reducer", "max", "min", "prod", "sum"]


def _with_te_axes(reduce: Callable[..., Any], combine: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """*reduce* of te, taking axes of this package."""

    def reducer(expr: Any, axis: Any = None, where: Any = None, init: Any = None, *args: Any) -> Any:
        if init is not None:
            raise ExpressionError(
                f"{reducer.__name__}(…, init={init}) has no counterpart",
                hint="combine the reduction with its first value in a te.compute that follows",
            )
        items = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
        if not all(isinstance(item, ReduceAxis) or hasattr(item, "kind") for item in items) or not items:
            if axis is None:
                raise ExpressionError(f"{reducer.__name__} needs an axis", hint="axis=te.reduce_axis((0, n))")
            found = combine(expr, axis)  # TVM: two values and no axis are combined
            for value in args:
                found = combine(found, value)
            return found
        axes = [item.axis if isinstance(item, ReduceAxis) else item for item in items]
        values = tuple(map(_value, expr)) if isinstance(expr, tuple | list) else _value(expr)
        return reduce(values, axis=axes, where=where)

    reducer.__name__ = reducer.__qualname__ = reduce.__name__
    reducer.__doc__ = reduce.__doc__
    return reducer


def _value(value: Any) -> Expr:
    """*value* as an expression; an axis of an operation, taken as a value, is int32 as any index."""
    return value.var if isinstance(value, BoundAxis) else as_expr(value)


def _one(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else as_expr(value)


def comm_reducer(
    fcombine: Callable[..., Any], fidentity: Callable[..., Any], name: str = "reduce"
) -> Callable[..., Any]:
    """A reducer of one's own; ``reduce(expr, axis=k, where=None)``, with tuples where *fcombine* takes tuples.

    *fcombine* and *fidentity* are tried on random values when the reducer is first used: one that is not associative
    and commutative is refused, since a schedule reorders a reduction.
    """

    def combine(a: Any, b: Any) -> Any:
        if isinstance(a, tuple | list):
            return fcombine(tuple(map(_one, a)), tuple(map(_one, b)))
        return fcombine(_one(a), _one(b))

    return _with_te_axes(te.comm_reducer(fcombine, fidentity, name), combine)


def _builtin(name: str, combine: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return _with_te_axes(getattr(te, name), lambda a, b: _expr(combine(_one(a), _one(b))))


def _expr(value: Any) -> Expr:
    return as_expr(value)


sum = _builtin("sum", lambda a, b: a + b)
prod = _builtin("prod", lambda a, b: a * b)
min = _builtin("min", te.minimum)
max = _builtin("max", te.maximum)
