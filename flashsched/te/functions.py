"""The functions of te: selection, the usual mathematics, and the reducers.

Minimum and maximum of floats give NaN where either side is NaN, as NumPy's ``minimum`` and ``maximum`` do; which zero
is returned for ``max(0.0, -0.0)`` is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.errors import AxisError, DtypeError, ReducerError
from flashsched.te import dtypes
from flashsched.te.expr import (
    Call,
    Compare,
    Const,
    Expr,
    ExprLike,
    Select,
    Var,
    as_expr,
    binary,
    cast,
    const,
)
from flashsched.te.tensor import Axis, AxisKind, Reduce, Reducer

__all__ = [
    "MATH",
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "clip",
    "comm_reducer",
    "cos",
    "cosh",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "if_then_else",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "max",
    "max_value",
    "maximum",
    "min",
    "min_value",
    "minimum",
    "pow",
    "power",
    "prod",
    "relu",
    "round",
    "rsqrt",
    "select",
    "sigmoid",
    "sin",
    "sinh",
    "sqrt",
    "sum",
    "tan",
    "tanh",
    "tf32",
    "trunc",
]

MATH = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "erf", "floor", "ceil", "trunc", "round",
)  # fmt: skip
"""Functions of one float; ``round`` rounds halves to even, as NumPy does."""


def _float(name: str, value: ExprLike) -> Expr:
    expr = as_expr(value, "float32" if isinstance(value, int) and not isinstance(value, bool) else None)
    if not dtypes.is_float(expr.dtype):
        raise DtypeError(
            f"{name}({expr}) is asked of {expr.dtype}, and is defined for floats",
            hint=f"cast it: te.{name}(x.astype('float32'))",
        )
    return expr


def _math(name: str) -> Callable[[ExprLike], Expr]:
    def function(x: ExprLike) -> Expr:
        value = _float(name, x)
        return Call(name, (value,), value.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}(x) of a float, element by element."
    return function


exp = _math("exp")
exp2 = _math("exp2")
expm1 = _math("expm1")
log = _math("log")
log2 = _math("log2")
log10 = _math("log10")
log1p = _math("log1p")
sqrt = _math("sqrt")
sin = _math("sin")
cos = _math("cos")
tan = _math("tan")
asin = _math("asin")
acos = _math("acos")
atan = _math("atan")
sinh = _math("sinh")
cosh = _math("cosh")
tanh = _math("tanh")
erf = _math("erf")
floor = _math("floor")
ceil = _math("ceil")
trunc = _math("trunc")
round = _math("round")


def tf32(x: ExprLike) -> Expr:
    """A float32 rounded to the 10 bits of mantissa that tensor cores multiply float32 with, halves away from zero.

    A program says so itself where it can do with as much: nothing rounds float32 without being told.

    >>> from flashsched.te.evaluate import call_function
    >>> float(call_function("tf32")(1.0009)), float(call_function("tf32")(1.0004))
    (1.0009765625, 1.0)
    """
    value = _float("tf32", x)
    if value.dtype != "float32":
        raise DtypeError(f"tf32({value}) is asked of {value.dtype}, and rounds float32", hint="x.astype('float32')")
    return Call("tf32", (value,), "float32")


def _condition(name: str, value: ExprLike) -> Expr:
    test = as_expr(value)
    if not dtypes.is_bool(test.dtype):
        raise DtypeError(f"{name}: {test} is {test.dtype}, not a condition", hint=f"compare it: {test} != 0")
    return test


def select(condition: ExprLike, a: ExprLike, b: ExprLike) -> Expr:
    """*a* where *condition* holds, else *b*; the side that is not chosen is never read from memory."""
    test = _condition("select", condition)
    added = binary("max", a, b)  # agrees on a dtype for both
    x, y = added.children if added.children else (as_expr(a), as_expr(b))
    return Select(test, x, y)


if_then_else = select


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    """The smaller of two values; NaN if either is."""
    return binary("min", a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    """The larger of two values; NaN if either is."""
    return binary("max", a, b)


def relu(x: ExprLike) -> Expr:
    """``max(x, 0)``."""
    return binary("max", x, 0)


def clip(x: ExprLike, low: ExprLike, high: ExprLike) -> Expr:
    """*x* held between *low* and *high*."""
    return binary("min", binary("max", x, low), high)


def abs(x: ExprLike) -> Expr:
    """The magnitude of an integer or float."""
    value = as_expr(x)
    if dtypes.is_unsigned(value.dtype) or dtypes.is_bool(value.dtype):
        return value
    return Call("abs", (value,), value.dtype)


def pow(x: ExprLike, y: ExprLike) -> Expr:
    """*x* to the power *y*, on floats."""
    product = binary("*", x, y)  # agrees on a dtype
    a, b = product.children if product.children else (as_expr(x), as_expr(y))
    return Call("pow", (_float("pow", a), _float("pow", b)), product.dtype)


power = pow


def atan2(y: ExprLike, x: ExprLike) -> Expr:
    """The angle of the point (*x*, *y*)."""
    product = binary("*", y, x)
    a, b = product.children if product.children else (as_expr(y), as_expr(x))
    return Call("atan2", (_float("atan2", a), _float("atan2", b)), product.dtype)


def rsqrt(x: ExprLike) -> Expr:
    """``1 / sqrt(x)``."""
    value = _float("rsqrt", x)
    return binary("/", 1.0, Call("sqrt", (value,), value.dtype))


def sigmoid(x: ExprLike) -> Expr:
    """``1 / (1 + exp(-x))``."""
    value = _float("sigmoid", x)
    return binary("/", 1.0, binary("+", 1.0, Call("exp", (-value,), value.dtype)))


def isnan(x: ExprLike) -> Expr:
    """Whether a float is NaN."""
    value = _float("isnan", x)
    return Compare("!=", value, value)


def isinf(x: ExprLike) -> Expr:
    """Whether a float is plus or minus infinity."""
    value = _float("isinf", x)
    return Compare("==", Call("abs", (value,), value.dtype), const(float("inf"), value.dtype))


def isfinite(x: ExprLike) -> Expr:
    """Whether a float is neither NaN nor infinite."""
    value = _float("isfinite", x)
    return Compare("<", Call("abs", (value,), value.dtype), const(float("inf"), value.dtype))


def min_value(dtype: Any) -> Const:
    """The smallest value of *dtype* (minus infinity for floats)."""
    name = dtypes.check_dtype(dtype)
    return const(dtypes.min_value(name), name)


def max_value(dtype: Any) -> Const:
    """The largest value of *dtype* (infinity for floats)."""
    name = dtypes.check_dtype(dtype)
    return const(dtypes.max_value(name), name)


def comm_reducer(
    fcombine: Callable[..., Any], fidentity: Callable[..., Any], name: str = "reduce"
) -> Callable[..., Any]:
    """A reducer of one's own, from a commutative and associative *fcombine* and its identity.

    ``fcombine(x, y)`` combines two values, ``fidentity(dtype)`` gives the value that changes nothing. For tuples both
    take and return tuples: ``fcombine((a, b), (c, d))`` and ``fidentity(dtype_a, dtype_b)``.

    Returns:
        A function ``reduce(value, axis=k, where=None)`` for use in `te.compute`; called with two values and no axis
        it combines them.

    Raises:
        ExpressionError: when used: *fcombine* turned out not to be associative or commutative, or the identity to
            change a value, on random values. A schedule reorders a reduction, so such a reducer would give
            answers that depend on the schedule.
    """
    made: dict[tuple[str, ...], Reducer] = {}

    def reducer_for(types: tuple[str, ...]) -> Reducer:
        if types not in made:
            made[types] = _make_reducer(fcombine, fidentity, name, types)
        return made[types]

    def reduce(value: Any, axis: Any = None, where: Any = None) -> Any:
        if not _are_axes(axis):
            if where is None and axis is not None and not isinstance(axis, tuple | list):
                a, b = (v if isinstance(v, bool | int | float) else as_expr(v) for v in (value, axis))
                return as_expr(fcombine(a, b))  # te.max(a, b): two values
            raise AxisError(
                f"{name}: axis must be a te.reduce_axis or several, not {axis!r}",
                hint="declare k = te.reduce_axis((0, n)), and say axis=k",
            )
        axes = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
        for item in axes:
            if item.kind is not AxisKind.REDUCE:
                raise AxisError(
                    f"{name}: axis {item.name!r} belongs to the output and can't be reduced over",
                    hint=f"declare {item.name} = te.reduce_axis((0, {item.extent}))",
                )
        if len(set(axes)) < len(axes):
            raise AxisError(
                f"{name}: an axis is given twice: {', '.join(item.name for item in axes)}", hint="name each axis once"
            )
        several = isinstance(value, tuple | list)
        values = tuple(as_expr(v) for v in value) if several else (as_expr(value),)
        for item in values:
            if isinstance(item, Reduce):
                raise AxisError(f"{name}: a reduction of a reduction: {item}", hint="reduce over both axes")
        reducer = reducer_for(tuple(v.dtype for v in values))
        if where is not None:
            test = _condition(f"{name}(where=…)", where)
            values = tuple(Select(test, v, i) for v, i in zip(values, reducer.identity, strict=True))
        nodes = tuple(Reduce(reducer, values, axes, n) for n in range(len(values)))
        return nodes if several else nodes[0]

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"{name} of *value* over *axis* (a te.reduce_axis or several), where *where* holds."
    return reduce


def _are_axes(axis: Any) -> bool:
    items = axis if isinstance(axis, tuple | list) else (axis,)
    return len(items) > 0 and all(isinstance(item, Axis) for item in items)


def _make_reducer(
    fcombine: Callable[..., Any], fidentity: Callable[..., Any], name: str, types: tuple[str, ...]
) -> Reducer:
    from flashsched.te.evaluate import check_reducer

    several = len(types) > 1
    lhs = tuple(Var(f"x{n}" if several else "x", t) for n, t in enumerate(types))
    rhs = tuple(Var(f"y{n}" if several else "y", t) for n, t in enumerate(types))
    combined = fcombine(lhs, rhs) if several else (fcombine(lhs[0], rhs[0]),)
    start = fidentity(*types)
    starts = tuple(start) if several else (start,)
    if len(combined) != len(types) or len(starts) != len(types):
        raise ReducerError(
            f"{name}: {len(types)} values are reduced, and combine gives {len(combined)}, identity {len(starts)}",
            hint="both take and give one value for each that is reduced, as a tuple",
        )
    result = tuple(cast(as_expr(value, t), t) for value, t in zip(combined, types, strict=True))
    identity = []
    for value, t in zip(starts, types, strict=True):
        literal = cast(as_expr(value, t), t)
        if not isinstance(literal, Const):
            raise ReducerError(
                f"{name}: the identity must be a constant, not {literal}", hint="for a sum: lambda t: te.const(0, t)"
            )
        identity.append(literal)
    reducer = Reducer(name, lhs, rhs, result, tuple(identity))
    check_reducer(reducer)
    return reducer


sum = comm_reducer(lambda x, y: x + y, lambda t: const(0, t), "sum")
prod = comm_reducer(lambda x, y: x * y, lambda t: const(1, t), "prod")
min = comm_reducer(minimum, lambda t: const(dtypes.max_value(t), t), "min")
max = comm_reducer(maximum, lambda t: const(dtypes.min_value(t), t), "max")
