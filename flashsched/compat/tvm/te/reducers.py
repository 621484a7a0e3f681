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
        if init is not None:
            values, where = _begun(reducer.__name__, values, axes, where, init, combine)
        return reduce(values, axis=axes, where=where)

    reducer.__name__ = reducer.__qualname__ = reduce.__name__
    reducer.__doc__ = reduce.__doc__
    return reducer


def _begun(
    name: str, values: Any, axes: list[Any], where: Any, init: Any, combine: Callable[[Any, Any], Any]
) -> tuple[Any, Any]:
    """*values* of which the first is combined with *init*, so that the reduction begins with that, and *where*.

    Raises:
        ExpressionError: it may be that there is no first value.
    """
    for axis in axes:
        if not isinstance(axis.extent, int) or axis.extent < 1:
            raise ExpressionError(
                f"{name}(…, init={init}) over {axis.name}, which has {axis.extent} elements: there may be no first one",
                hint="combine the reduction with its first value in a te.compute that follows",
            )
    several = isinstance(values, tuple)
    items = values if several else (values,)
    given = tuple(init) if isinstance(init, tuple | list) else (init,)
    start = tuple(
        as_expr(x, v.dtype if isinstance(x, int | float) else None) for x, v in zip(given, items, strict=True)
    )
    joined = combine(start, items) if several else (combine(start[0], items[0]),)
    first = te.all(*(axis == axis.begin for axis in axes))
    if where is not None:
        joined = tuple(te.select(where, new, old) for new, old in zip(joined, start, strict=True))
        where = te.any(where, first)
    made = tuple(te.select(first, new, own) for new, own in zip(map(as_expr, joined), items, strict=True))
    return (made if several else made[0]), where


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
