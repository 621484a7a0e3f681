"""What an expression, and a whole te graph, computes: in NumPy, without any schedule.

This is the first of the two oracles (the other is the interpreter of the loop IR). It evaluates expressions over whole
arrays of indices at once; a value is computed in its own dtype, as the compiled code does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DtypeError, ExpressionError, ReducerError, ShapeError
from flashsched.te import dtypes
from flashsched.te.binding import bound_graph, graph_sizes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, SizeVar, Var
from flashsched.te.external import ExternOp, run_extern
from flashsched.te.foreign import Foreign
from flashsched.te.recurrence import Scan, ScanOp, cycles
from flashsched.te.scalars import scalar_array, scalar_tensor, size_number
from flashsched.te.sizes import Sizes, infer_sizes, numbers
from flashsched.te.tensor import ComputeOp, Read, Reducer, Tensor, graph

__all__ = ["Array", "Load", "call_function", "check_reducer", "evaluate", "run_graph"]

Array: TypeAlias = NDArray[Any]
Load: TypeAlias = Callable[[Expr, list[Array], Array | None], Array]
"""``load(node, indices, mask)``: the elements at *indices*; where *mask* is False nothing may be read."""

_CHUNK = 1 << 22  # points of a reduction that are evaluated at once: 32 MB in float64

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "//": np.floor_divide, "%": np.mod,
    "min": np.minimum, "max": np.maximum, "and": np.logical_and, "or": np.logical_or,
    "&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor, "<<": np.left_shift, ">>": np.right_shift,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip

_RENAMED = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "round": "rint", "pow": "power",
}  # fmt: skip


def _erf(x: Any) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(np.asarray(x, dtype=np.float64)), dtype=np.float64)


def _fma(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


def _tf32(x: Any) -> Array:
    value = np.asarray(x)
    bits = value.astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.asarray(np.where(np.isfinite(value), rounded, value)).astype(value.dtype)


_OWN: dict[str, Callable[..., Any]] = {"erf": _erf, "fma": _fma, "tf32": _tf32}


def call_function(func: str) -> Callable[..., Any]:
    """The NumPy function that a `Call` of *func* means; its result is still to be converted to the call's dtype."""
    if func in _OWN:
        return _OWN[func]
    function: Callable[..., Any] = getattr(np, _RENAMED.get(func, func))
    return function


def evaluate(
    expr: Expr, env: Mapping[Var, Array], load: Load, mask: Array | None = None, floats: str | None = None
) -> Array:
    """The value of *expr* for every point of *env*, whose arrays broadcast against each other.

    Args:
        expr: what to evaluate; reductions are not (see `run_graph`).
        env: the values of its variables.
        load: reads tensors (or buffers).
        mask: the points that matter; elsewhere the value is arbitrary and nothing is read.
        floats: a dtype to compute all floats in, whatever their own.
    """
    with np.errstate(all="ignore"):
        return _evaluate(expr, env, load, mask, floats)


def _dtype(dtype: str, floats: str | None) -> np.dtype[Any]:
    return dtypes.numpy_dtype(floats if floats is not None and dtypes.is_float(dtype) else dtype)


def _evaluate(expr: Expr, env: Mapping[Var, Array], load: Load, mask: Array | None, floats: str | None) -> Array:
    dtype = _dtype(expr.dtype, floats)
    if isinstance(expr, Const):
        return np.asarray(expr.value, dtype=dtype)
    if isinstance(expr, Var):
        return np.asarray(env[expr]).astype(dtype, copy=False)
    if isinstance(expr, Select):
        condition = _evaluate(expr.condition, env, load, mask, floats)
        yes = condition if mask is None else condition & mask
        no = ~condition if mask is None else ~condition & mask
        a, b = _evaluate(expr.a, env, load, yes, floats), _evaluate(expr.b, env, load, no, floats)
        return np.where(condition, a, b)
    if isinstance(expr, Binary) and expr.op in ("and", "or"):
        left = _evaluate(expr.a, env, load, mask, floats)
        asked = left if expr.op == "and" else ~left
        right = _evaluate(expr.b, env, load, asked if mask is None else asked & mask, floats)
        return np.asarray(_ARITHMETIC[expr.op](left, right))
    values = [_evaluate(child, env, load, mask, floats) for child in expr.children]
    if isinstance(expr, Binary | Compare):
        return np.asarray(_ARITHMETIC[expr.op](values[0], values[1])).astype(dtype, copy=False)
    if isinstance(expr, Not):
        return np.logical_not(values[0])
    if isinstance(expr, Cast):
        return values[0].astype(dtype)
    if isinstance(expr, Call):
        return np.asarray(call_function(expr.func)(*values)).astype(dtype, copy=False)
    if isinstance(expr, Foreign):
        own = [value.astype(dtypes.numpy_dtype(arg.dtype)) for value, arg in zip(values, expr.args, strict=True)]
        return np.asarray(expr.meaning()(*own)).astype(dtype, copy=False)
    return load(expr, values, mask).astype(dtype, copy=False)


def _combine(reducer: Reducer, a: Sequence[Array], b: Sequence[Array], floats: str | None = None) -> list[Array]:
    env = {**dict(zip(reducer.lhs, a, strict=True)), **dict(zip(reducer.rhs, b, strict=True))}
    return [evaluate(value, env, _no_load, None, floats) for value in reducer.result]


def _no_load(node: Expr, indices: list[Array], mask: Array | None) -> Array:
    raise ReducerError(
        f"{node} is read where only plain values may be used",
        hint="a reducer combines its two arguments, and reads no tensor",
    )


def run_graph(outputs: Sequence[Tensor], feeds: Mapping[Any, Any], accumulate: str | None = None) -> list[Array]:
    """The values of *outputs*, given those of the placeholders in *feeds*.

    Args:
        outputs: the tensors wanted.
        feeds: an array a placeholder, a number a scalar; the arrays' shapes say what the sizes of the program are,
            or a size is fed itself.
        accumulate: compute floats in this dtype instead of each tensor's own (``"float64"`` gives a reference for
            tolerances), the outputs too; integers and bools keep theirs.

    Raises:
        ExpressionError: a placeholder has no array, or one of another shape or dtype; a tensor is read out of bounds; a
            size can't be told from the arrays, or they contradict each other.
    """
    told = {key: size_number(value, key.name) for key, value in feeds.items() if isinstance(key, SizeVar)}
    fed = {
        tensor: scalar_array(value, tensor.name, tensor.dtype) if tensor is not key else value
        for key, value in feeds.items()
        if key not in told
        for tensor in (scalar_tensor(key),)
    }
    return _run_graph(outputs, fed, told, accumulate)


def _run_graph(
    outputs: Sequence[Tensor], feeds: Mapping[Tensor, Array], told: Sizes, accumulate: str | None
) -> list[Array]:
    sizes = graph_sizes(outputs)
    if sizes:  # the program for the sizes of these arrays is one without sizes
        known = infer_sizes([(t.name, t.shape, array.shape) for t, array in feeds.items()], sizes, told)
        twins = bound_graph(outputs, known)
        bound = {twins.get(id(tensor), tensor): array for tensor, array in feeds.items()}
        return _run_graph([twins[id(tensor)] for tensor in outputs], bound, {}, accumulate)
    values: dict[int, Array] = {}

    def load(node: Expr, indices: list[Array], mask: Array | None) -> Array:
        assert isinstance(node, Read)
        array = values[id(node.tensor)]
        if mask is not None:
            if not mask.any():
                return np.zeros((), dtype=array.dtype)
            indices = [np.where(mask, index, 0) for index in indices]
        for index, size in zip(indices, array.shape, strict=True):
            if index.size and (index.min() < 0 or index.max() >= size):
                raise ShapeError(
                    f"{node} reads outside {node.tensor.name}, shape {list(array.shape)}",
                    hint="keep the index inside: te.select(te.all(i >= 0, i < n), A[i], 0.0)",
                )
        return np.asarray(array[tuple(indices)])

    ops = graph(outputs)
    inside = cycles(ops)
    for op in ops:
        if id(op) in inside:
            continue  # computed row by row, with the scan
        if isinstance(op, ScanOp):
            if op.index == 0:
                _run_scan(op.scan, values, load, accumulate)
        elif isinstance(op, ComputeOp):
            for tensor, array in zip(op.outputs, _run_op(op, load, accumulate), strict=True):
                values[id(tensor)] = array
        elif isinstance(op, ExternOp):
            made = run_extern(op, [values[id(tensor)] for tensor in op.arguments], accumulate)
            values |= {id(tensor): array for tensor, array in zip(op.outputs, made, strict=True)}
        else:
            values[id(op.output(0))] = _fed(op.output(0), feeds)
    return [values[id(tensor)] for tensor in outputs]


def _fed(tensor: Tensor, feeds: Mapping[Tensor, Array]) -> Array:
    if tensor not in feeds:
        given = ", ".join(other.name for other in feeds) or "none"
        raise ExpressionError(
            f"placeholder {tensor.name} is given no array; given: {given}", hint="feed an array for each placeholder"
        )
    array = feeds[tensor]
    if array.shape != tensor.shape or array.dtype != dtypes.numpy_dtype(tensor.dtype):
        raise (DtypeError if array.shape == tensor.shape else ShapeError)(
            f"placeholder {tensor.name} is {tensor.dtype}{list(tensor.shape)}, and the array given is "
            f"{array.dtype}{list(array.shape)}",
            hint="feed an array of its shape and dtype",
        )
    return array


def _run_scan(scan: Scan, values: dict[int, Array], load: Load, floats: str | None) -> None:
    """Enter the states of *scan* into *values*, computed one row after another."""
    for part, state, init in zip(scan.parts, scan.states, scan.init, strict=True):
        rows = np.zeros(state.known_shape, _dtype(state.dtype, floats))
        rows[: scan.rows] = values[id(init)]
        values[id(state)] = values[id(part.output(0))] = rows
    for op in scan.cycle:
        values |= {id(t): np.zeros(t.known_shape, _dtype(t.dtype, floats)) for t in op.outputs}
    for time in range(scan.rows, scan.states[0].known_shape[0]):
        for op in scan.cycle:
            for tensor, row in zip(op.outputs, _run_op(op, load, floats, slice(time, time + 1)), strict=True):
                values[id(tensor)][time] = row[0]
        for state, update in zip(scan.states, scan.update, strict=True):
            values[id(state)][time] = values[id(update)][time]


def _run_op(op: ComputeOp, load: Load, floats: str | None, rows: slice | None = None) -> list[Array]:
    """The outputs of *op*, or *rows* of them."""
    axes = [*op.axis, *op.reduce_axis]
    counts = numbers([axis.extent for axis in axes], f"evaluating {op.name}")
    rank, shape = len(op.axis), counts[: len(op.axis)]
    reduced = math.prod(counts[rank:])
    first = 0 if rows is None else rows.start
    if rows is not None:
        shape = (rows.stop - rows.start, *shape[1:])
    result = [np.empty(shape, dtype=_dtype(t.dtype, floats)) for t in op.outputs]
    if rank == 0:
        pieces: list[tuple[slice, ...]] = [()]
    else:
        row = max(1, math.prod(shape[1:]) * reduced)
        step = max(1, _CHUNK // row)
        pieces = [(slice(at, min(at + step, shape[0])),) for at in range(0, shape[0], step)]
    for piece in pieces:
        env: dict[Var, Array] = {}
        for position, axis in enumerate(axes):
            low, high = axis.begin, axis.begin + counts[position]
            if position == 0 and piece:
                low, high = first + piece[0].start, first + piece[0].stop
            env[axis] = np.arange(low, high).reshape([-1 if n == position else 1 for n in range(len(axes))])
        extents = [len(env[axis].ravel()) for axis in axes]
        for target, value in zip(result, _values(op, env, extents, rank, load, floats), strict=True):
            target[piece] = value
    return result


def _values(
    op: ComputeOp, env: Mapping[Var, Array], extents: list[int], rank: int, load: Load, floats: str | None
) -> list[Array]:
    if 0 in extents[:rank]:  # no element at all, so nothing may be read
        return [np.zeros(extents[:rank], dtype=_dtype(t.dtype, floats)) for t in op.outputs]
    if op.reduction is None:
        return [np.broadcast_to(evaluate(value, env, load, None, floats), extents) for value in op.body]
    reducer = op.reduction.reducer
    start = [np.full(extents[:rank], c.value, dtype=_dtype(c.dtype, floats)) for c in reducer.identity]
    if 0 in extents:
        return start
    current = [np.broadcast_to(evaluate(v, env, load, None, floats), extents) for v in op.reduction.values]
    flat = [np.reshape(v, (*extents[:rank], math.prod(extents[rank:]))) for v in current]
    fast = _ufunc(reducer)
    if fast is not None:
        return [np.asarray(fast.reduce(flat[0], axis=-1, dtype=flat[0].dtype))]
    while flat[0].shape[-1] > 1:  # pairwise, which also keeps the rounding small
        half = flat[0].shape[-1] // 2
        joined = _combine(reducer, [f[..., :half] for f in flat], [f[..., half : 2 * half] for f in flat], floats)
        flat = [np.concatenate([j, f[..., 2 * half :]], axis=-1) for j, f in zip(joined, flat, strict=True)]
    return _combine(reducer, start, [f[..., 0] for f in flat], floats)


def _ufunc(reducer: Reducer) -> np.ufunc | None:
    """What NumPy calls the combination, where it is one of the simple ones."""
    result = reducer.result[0]
    if len(reducer.result) > 1 or not isinstance(result, Binary):
        return None
    if {result.a, result.b} != {reducer.lhs[0], reducer.rhs[0]}:
        return None
    return {"+": np.add, "*": np.multiply, "min": np.minimum, "max": np.maximum}.get(result.op)


def check_reducer(reducer: Reducer) -> None:
    """Try a reducer's laws on random values.

    Raises:
        ExpressionError: it is not commutative or not associative, or its identity changes a value.
    """
    rng = np.random.default_rng(0)

    def draw(dtype: str, turn: int) -> Array:
        if dtypes.is_bool(dtype):
            return rng.integers(0, 2, 64).astype(bool)
        if dtypes.is_float(dtype):
            values: Array = rng.uniform(0.5, 1.5, 64) * rng.choice([-1.0, 1.0], 64)
            return values.astype(dtypes.numpy_dtype(dtype))
        low = 0 if dtypes.is_unsigned(dtype) else -14
        return np.asarray(3 * rng.integers(low, 14, 64) + turn, dtype)  # no ties, which an argmax may break either way

    def draws(turn: int) -> list[Array]:
        return [draw(var.dtype, turn) for var in reducer.lhs]

    def alike(p: Sequence[Array], q: Sequence[Array]) -> bool:
        for x, y in zip(p, q, strict=True):
            if dtypes.is_float(str(x.dtype)):
                loose = {16: 2e-2, 32: 1e-4, 64: 1e-10}[x.dtype.itemsize * 8]
                if not np.allclose(x.astype(np.float64), y.astype(np.float64), rtol=loose, atol=loose):
                    return False
            elif not np.array_equal(x, y):
                return False
        return True

    a, b, c = draws(0), draws(1), draws(2)
    identity = [np.full(64, v.value, dtype=dtypes.numpy_dtype(v.dtype)) for v in reducer.identity]
    shown = f"{reducer.name}({', '.join(map(str, reducer.lhs + reducer.rhs))}) = {', '.join(map(str, reducer.result))}"
    any_order = "a schedule may combine values in any order, so the answer would depend on it"
    laws = [
        (_combine(reducer, a, b), _combine(reducer, b, a), "is not commutative", any_order),
        (
            _combine(reducer, _combine(reducer, a, b), c),
            _combine(reducer, a, _combine(reducer, b, c)),
            "is not associative",
            any_order,
        ),
        (
            _combine(reducer, identity, a),
            a,
            f"has {', '.join(map(str, reducer.identity))} as identity, and combining with it changes values",
            "give the value that changes nothing: 0 for a sum, 1 for a product, te.min_value(t) for a maximum",
        ),
    ]
    for left, right, fault, hint in laws:
        if not alike(left, right):
            raise ReducerError(
                f"reducer {reducer.name!r} {fault}",
                shown=shown,
                hint=hint,
            )
