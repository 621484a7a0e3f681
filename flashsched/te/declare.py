"""Declaring a program: `placeholder`, `compute`, `reduce_axis` and `var`, with all that they refuse.

Apart from `flashsched.te.tensor`, which holds what they make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flashsched.errors import AxisError, DtypeError, ExpressionError, ShapeError, user_line
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, SizeVar, as_expr
from flashsched.te.parameters import axis_names
from flashsched.te.scalars import scalar
from flashsched.te.sizes import Shape, Size, as_size
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, PlaceholderOp, Reduce, Tensor
from flashsched.te.visit import free_vars, walk

__all__ = ["checked_shape", "compute", "placeholder", "reduce_axis", "size_var", "var"]


def var(name: str = "n", dtype: Any = "int64") -> Any:
    """A size that is known only when a kernel is called: at least 0, and usable in shapes, indices and conditions.

    A kernel finds it in the shapes of its arrays, where one of them has it as a dimension of its own; else it is
    passed, ``fs.build(s, [n, A, C])``. Of a float *dtype* it is no size but a number, as `flashsched.te.scalar` makes.

    >>> from flashsched import te
    >>> n = te.var("n")
    >>> te.placeholder((n, 2 * n + 1), name="A")
    Tensor(A, shape=[n, n * 2 + 1], float32)

    Args:
        name: what messages call it; the sizes of one program have different names.
        dtype: an integer type (sizes, like all indices, are int64 inside), or a float type.

    Raises:
        ExpressionError: *name* is no identifier, or *dtype* a type of neither kind.
    """
    kind = dtypes.check_dtype(dtype)
    if dtypes.is_float(kind):
        return scalar(name, kind)
    if not dtypes.is_int(kind):
        raise DtypeError(f"size {name} of {dtype}: a size is an integer", hint=f"te.var({name!r})")
    if not str(name).isidentifier():
        raise AxisError(f"a size is called {name!r}, and its name must be an identifier", hint='te.var("n")')
    return SizeVar(str(name), dtypes.INDEX)


size_var = var


def checked_shape(shape: Any) -> Shape:
    """*shape* as numbers and simplified expressions of sizes.

    Raises:
        ShapeError: it is made of something else.
    """
    items = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    sizes: list[Size] = []
    for size in items:
        if isinstance(size, Const):
            size = size.value
        if isinstance(size, Expr):
            size = _size(size, f"a dimension of {items}")
        if isinstance(size, Expr):
            sizes.append(size)
            continue
        if isinstance(size, bool) or not hasattr(size, "__index__") or int(size) < 0:
            raise ShapeError(
                f"a shape is made of integers from 0 up, and {size!r} in {items} is none",
                hint="give each dimension its number of elements: (64, 32)",
            )
        sizes.append(int(size))
    return tuple(sizes)


def _size(value: Expr, what: str) -> Size:
    """*value* as a size: a number, or an index expression of sizes alone."""
    wrong = [node for node in walk(value) if not isinstance(node, SizeVar | Const | Binary)]
    if wrong or value.dtype != dtypes.INDEX:
        shown = wrong[0] if wrong else f"{value}, of {value.dtype},"
        raise ShapeError(
            f"{what} is made of numbers and of sizes that te.var makes, and {shown} is neither",
            hint='n = te.var("n"), then (n, 2 * n + 1)',
        )
    return as_size(value)


def placeholder(shape: Any, dtype: Any = "float32", name: str = "placeholder") -> Tensor:
    """A tensor that the caller passes in.

    Raises:
        ExpressionError: *shape* is not made of integers >= 0 and expressions of sizes (see `var`), or there is no such
            *dtype*.
    """
    return PlaceholderOp(name, checked_shape(shape), dtypes.check_dtype(dtype), user_line()).output(0)


def reduce_axis(dom: Any, name: str = "k") -> Axis:
    """An axis to reduce over, for ``dom = (begin, end)``.

    Raises:
        ExpressionError: the range is not two integers with ``begin <= end``, the end of which may speak of sizes.
    """
    try:
        begin, end = (_size(as_expr(bound, dtypes.INDEX), "the range of a reduction") for bound in dom)
    except (TypeError, ValueError):
        raise ShapeError(
            f"reduce_axis({dom!r}): the range is a pair (begin, end) of integers", hint="te.reduce_axis((0, n))"
        ) from None
    if not isinstance(begin, int):
        raise ShapeError(
            f"reduce_axis({dom!r}): the range begins at {begin}, which is no number",
            hint=f"begin at 0, and use k + {begin} as the index",
        )
    if not isinstance(end, int):
        return Axis(name, dtypes.INDEX, as_size(end - begin), AxisKind.REDUCE, begin)
    if end < begin:
        raise ShapeError(f"reduce_axis({dom!r}): the end comes before the begin", hint="an empty one is (0, 0)")
    return Axis(name, dtypes.INDEX, end - begin, AxisKind.REDUCE, begin)


def compute(shape: Any, fcompute: Callable[..., Any], name: str = "compute") -> Any:
    """A tensor whose element at ``indices`` is ``fcompute(*indices)``.

    Args:
        shape: the extent of each dimension; ``()`` for a single value.
        fcompute: takes one index a dimension and returns an expression, or a tuple of them for several outputs.
        name: the stage's name in a schedule.

    Returns:
        A `Tensor`, or a tuple of them if *fcompute* returns a tuple.

    Raises:
        ExpressionError: the function's parameters do not fit the shape; an expression is none, or uses an axis
            that is not its own; a reduction stands inside a larger expression.
    """
    where = user_line()
    extents = checked_shape(shape)
    if not callable(fcompute):
        raise ExpressionError(
            f"{name}: {fcompute!r} is no function, and it takes one to say what each element is",
            where=where,
            hint="te.compute(shape, lambda i, j: A[i, j] + 1)",
        )
    names = axis_names(fcompute, len(extents))
    axes = tuple(Axis(n, dtypes.INDEX, extent) for n, extent in zip(names, extents, strict=True))
    result = fcompute(*axes)
    several = isinstance(result, tuple | list)
    body = tuple(as_expr(value) for value in result) if several else (as_expr(result),)
    if not body:
        raise ShapeError(f"{name}: the function returned no expression", where=where, hint="return one at least")
    _check_body(name, body, axes, where)
    op = ComputeOp(name, axes, body, where)
    return op.outputs if several else op.output(0)


def _check_body(name: str, body: tuple[Expr, ...], axes: tuple[Axis, ...], where: str) -> None:
    reductions = [value for value in body if isinstance(value, Reduce)]
    for value in body:
        for node in walk(value):
            if isinstance(node, Reduce) and node is not value:
                raise AxisError(
                    f"{name}: a reduction must be the whole expression, and here it is a part",
                    shown=f"{name} = {value}    <-- {node}",
                    where=where,
                    hint="compute the reduction in a te.compute of its own, and use that tensor here",
                )
    if reductions and len(reductions) != len(body):
        raise AxisError(
            f"{name}: some outputs are reductions and some are not",
            where=where,
            hint="compute them in two te.compute: outputs of one share all their loops",
        )
    for other in reductions[1:]:
        first = reductions[0]
        if other.reducer is not first.reducer or other.axes != first.axes or other.values != first.values:
            raise AxisError(
                f"{name}: several outputs of a reduction must come from one reducer over the same axes",
                where=where,
                hint="declare a tuple reducer with te.comm_reducer, and call it once",
            )
    if reductions and [value.index for value in reductions] != list(range(len(reductions[0].values))):
        raise AxisError(
            f"{name}: the reducer gives {len(reductions[0].values)} values, and all are kept, in their order; "
            f"here are numbers {', '.join(str(value.index) for value in reductions)}",
            where=where,
            hint="return the tuple that the reducer returned, as it is",
        )
    allowed = {*axes, *(reductions[0].axes if reductions else ())}
    for value in body:
        for var in free_vars(value):
            if isinstance(var, SizeVar):
                continue
            if not isinstance(var, Axis):
                raise AxisError(
                    f"{name}: variable {var.name!r} has no value; only axes may be used",
                    shown=f"{name} = {value}",
                    where=where,
                    hint="use the parameters of the function, te.reduce_axis, or a te.placeholder(()) for a value",
                )
            if var not in allowed:
                reduce = var.kind is AxisKind.REDUCE
                kind = "te.sum or another reducer" if reduce else "the compute it belongs to"
                raise AxisError(
                    f"{name}: axis {var.name!r} is used outside {kind}",
                    shown=f"{name} = {value}",
                    where=where,
                    hint=f"te.sum(..., axis={var.name})" if reduce else "use the parameters of this function",
                )
