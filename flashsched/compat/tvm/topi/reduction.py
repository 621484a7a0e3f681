"""Reductions over some axes, or all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te import reducers
from flashsched.compat.tvm.te.tensor import Tensor, compute, reduce_axis
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.errors import ShapeError

__all__ = ["all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "sum", "tensordot", "variance"]


def _axes(data: Tensor, axis: Any) -> list[int]:
    if axis is None:
        return list(range(data.ndim))
    found = []
    for item in axis if isinstance(axis, tuple | list) else [axis]:
        if not -data.ndim <= int(item) < data.ndim:
            raise ShapeError(f"axis {item} of a tensor with {data.ndim} dimensions")
        found.append(int(item) % data.ndim)
    return sorted(set(found))


def _reduce(
    data: Tensor, axis: Any, keepdims: bool, element: Callable[[Any, list[Any], list[Any]], Any], name: str, kind: str
) -> Any:
    over = _axes(data, axis)
    reduced = [reduce_axis((0, data.shape[n]), name=f"k{n}") for n in over]
    shape = [1 if n in over else size for n, size in enumerate(data.shape) if keepdims or n not in over]

    def value(*indices: Any) -> Any:
        left = [index for n, index in enumerate(indices) if not (keepdims and n in over)]
        at: list[Any] = []
        for n in range(data.ndim):
            at.append(reduced[over.index(n)] if n in over else left.pop(0))
        return element(data(*at), reduced, over)

    return compute(tuple(shape), value, name=name, tag=kind)


def _reduction(name: str) -> Callable[..., Any]:
    def function(data: Tensor, axis: Any = None, keepdims: bool = False) -> Any:
        reducer = getattr(reducers, name)
        return _reduce(
            data, axis, keepdims, lambda x, ks, over: reducer(x, axis=ks), f"{data.name}_red", tag.COMM_REDUCE
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {name} over *axis* (an axis or several; all by default)."
    return function


sum, prod, max, min = map(_reduction, ("sum", "prod", "max", "min"))


def _logical(name: str, start: bool) -> Callable[..., Any]:
    join = our_te.any if name == "any" else our_te.all

    def function(data: Tensor, axis: Any = None, keepdims: bool = False) -> Any:
        reducer = reducers.comm_reducer(lambda x, y: join(x, y), lambda t: our_te.const(start), name)
        return _reduce(
            data, axis, keepdims, lambda x, ks, over: reducer(x, axis=ks), f"{data.name}_red", tag.COMM_REDUCE
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Whether {name} of the elements hold, over *axis*."
    return function


all, any = _logical("all", True), _logical("any", False)


def _best(name: str, better: Callable[[Any, Any], Any], start: Callable[[str], Any]) -> Callable[..., Any]:
    def combine(x: Any, y: Any) -> Any:
        # the better value, and of two that are alike the one that comes first
        first = our_te.any(better(x[1], y[1]), our_te.all(x[1] == y[1], x[0] < y[0]))
        return tir.Select(first, x[0], y[0]), tir.Select(first, x[1], y[1])

    def function(data: Tensor, axis: Any = None, keepdims: bool = False, select_last_index: bool = False) -> Any:
        if select_last_index:
            raise NotImplementedError(
                f"{name}(select_last_index=True) is not there: of equal values it gives the first"
            )

        def identity(t0: str, t1: str) -> Any:
            return our_te.max_value(t0), start(t1)  # an index that loses to every other

        reducer = reducers.comm_reducer(combine, identity, name)

        def element(x: Any, ks: Sequence[Any], over: Sequence[int]) -> Any:
            position: Any = ks[0] + 0
            for k, n in zip(ks[1:], over[1:], strict=True):
                position = position * data.shape[n] + k
            return reducer((position, x), axis=list(ks))

        found, _ = _reduce(data, axis, keepdims, element, f"{data.name}_red_temp", tag.COMM_REDUCE_IDX)
        return compute(found.shape, lambda *i: found(*i), name=f"{data.name}_red", tag=tag.INJECTIVE)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The int32 position of the {name[3:]} over *axis*, the first where several are alike."
    return function


argmax = _best("argmax", lambda a, b: a > b, our_te.min_value)
argmin = _best("argmin", lambda a, b: a < b, our_te.max_value)


def mean(data: Tensor, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over *axis*, of floats."""
    count = math.prod(int(data.shape[n]) for n in _axes(data, axis))
    total = sum(data, axis, keepdims)
    return compute(total.shape, lambda *i: total(*i) / float(count), name=f"{data.name}_mean", tag=tag.ELEMWISE)


def variance(data: Tensor, axis: Any = None, keepdims: bool = False) -> Any:
    """The variance over *axis*, of floats: the mean of the squared distances from the mean."""
    middle = mean(data, axis, keepdims=True)
    from flashsched.compat.tvm.topi.broadcast import at

    squares = compute(data.shape, lambda *i: (data(*i) - at(middle, i)) * (data(*i) - at(middle, i)), name="T_squares")
    return mean(squares, axis, keepdims)


def tensordot(a: Tensor, b: Tensor, axes: Any) -> Any:
    """The sums of products over *axes*: that many last of *a* and first of *b*, or those named of each.

    Raises:
        ShapeError: the sizes of the axes are not alike, or not as many are named of each.
    """
    if isinstance(axes, int):
        axes = (range(a.ndim - axes, a.ndim), range(axes))
    left, right = ([axis] if isinstance(axis, int) else list(axis) for axis in axes)
    of_a, of_b = [int(n) % a.ndim for n in left], [int(n) % b.ndim for n in right]
    sizes = [str(a.shape[n]) for n in of_a], [str(b.shape[n]) for n in of_b]
    if sizes[0] != sizes[1]:
        raise ShapeError(f"tensordot of {list(a.shape)} and {list(b.shape)} over {left} and {right}: they do not fit")
    over = [reduce_axis((0, a.shape[n]), name=f"k{n}") for n in of_a]
    rows = [n for n in range(a.ndim) if n not in of_a]
    cols = [n for n in range(b.ndim) if n not in of_b]

    def element(*i: Any) -> Any:
        at_a = {**dict(zip(rows, i, strict=False)), **dict(zip(of_a, over, strict=True))}
        at_b = {**dict(zip(cols, i[len(rows) :], strict=True)), **dict(zip(of_b, over, strict=True))}
        value = a(*(at_a[n] for n in range(a.ndim))) * b(*(at_b[n] for n in range(b.ndim)))
        return reducers.sum(value, axis=over) if over else value

    shape = [*(a.shape[n] for n in rows), *(b.shape[n] for n in cols)]
    return compute(shape, element, name="T_tensordot", tag="matmul")
