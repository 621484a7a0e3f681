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

from flashsched.errors import ExpressionError
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var
from flashsched.te.tensor import ComputeOp, Read, Reduce, Reducer, Tensor, graph

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


def call_function(func: str) -> Callable[..., Any]:
    """The NumPy function that a `Call` of *func* means; its result is still to be converted to the call's dtype."""
    if func in ("erf", "fma"):
        return _erf if func == "erf" else _fma
    function: Callable[..., Any] = getattr(np, _RENAMED.get(func, func))
    return function


def evaluate(expr: Expr, env: Mapping[Var, Array], load: Load, mask: Array | None = None) -> Array:
    """The value of *expr* for every point of *env*, whose arrays broadcast against each other.

    Args:
        expr: what to evaluate; reductions are not (see `run_graph`).
        env: the values of its variables.
        load: reads tensors (or buffers).
        mask: the points that matter; elsewhere the value is arbitrary and nothing is read.
    """
    with np.errstate(all="ignore"):
        return _evaluate(expr, env, load, mask)


def _evaluate(expr: Expr, env: Mapping[Var, Array], load: Load, mask: Array | None) -> Array:
    dtype = dtypes.numpy_dtype(expr.dtype)
    if isinstance(expr, Const):
        return np.asarray(expr.value, dtype=dtype)
    if isinstance(expr, Var):
        return np.asarray(env[expr], dtype=dtype)
    if isinstance(expr, Select):
        condition = _evaluate(expr.condition, env, load, mask)
        yes = condition if mask is None else condition & mask
        no = ~condition if mask is None else ~condition & mask
        return np.where(condition, _evaluate(expr.a, env, load, yes), _evaluate(expr.b, env, load, no))
    if isinstance(expr, Binary) and expr.op in ("and", "or"):
        left = _evaluate(expr.a, env, load, mask)
        asked = left if expr.op == "and" else ~left
        right = _evaluate(expr.b, env, load, asked if mask is None else asked & mask)
        return np.asarray(_ARITHMETIC[expr.op](left, right))
    values = [_evaluate(child, env, load, mask) for child in expr.children]
    if isinstance(expr, Binary | Compare):
        return np.asarray(_ARITHMETIC[expr.op](values[0], values[1])).astype(dtype, copy=False)
    if isinstance(expr, Not):
        return np.logical_not(values[0])
    if isinstance(expr, Cast):
        return values[0].astype(dtype)
    if isinstance(expr, Call):
        return np.asarray(call_function(expr.func)(*values)).astype(dtype, copy=False)
    return load(expr, values, mask)


def _combine(reducer: Reducer, a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    env = {**dict(zip(reducer.lhs, a, strict=True)), **dict(zip(reducer.rhs, b, strict=True))}
    return [evaluate(value, env, _no_load) for value in reducer.result]


def _no_load(node: Expr, indices: list[Array], mask: Array | None) -> Array:
    raise ExpressionError(f"{node} is read where only plain values may be used")


def run_graph(
    outputs: Sequence[Tensor], feeds: Mapping[Tensor, Array], accumulate: str | None = None
) -> list[Array]:
    """The values of *outputs*, given those of the placeholders in *feeds*.

    Args:
        outputs: the tensors wanted.
        feeds: an array a placeholder.
        accumulate: compute in this dtype instead of each tensor's own (``"float64"`` gives a reference for
            tolerances); integers and bools keep theirs.
    """
    values: dict[int, Array] = {id(tensor): array for tensor, array in feeds.items()}

    def load(node: Expr, indices: list[Array], mask: Array | None) -> Array:
        assert isinstance(node, Read)
        array = values[id(node.tensor)]
        if mask is not None:
            indices = [np.where(mask, index, 0) for index in indices]
        if array.size == 0 and (mask is None or not np.any(mask)):
            return np.zeros(np.broadcast_shapes(*(i.shape for i in indices)), dtype=array.dtype)
        for index, size in zip(indices, array.shape, strict=True):
            if index.size and (index.min() < 0 or index.max() >= size):
                raise ExpressionError(f"{node} reads outside {node.tensor.name}, shape {list(array.shape)}")
        return np.asarray(array[tuple(indices)])

    for op in graph(outputs):
        if not isinstance(op, ComputeOp):
            continue
        for tensor, array in zip(op.outputs, _run_op(op, load), strict=True):
            values[id(tensor)] = array.astype(dtypes.numpy_dtype(tensor.dtype), copy=False)
    return [values[id(tensor)] for tensor in outputs]


def _run_op(op: ComputeOp, load: Load) -> list[Array]:
    rank, shape = len(op.axis), tuple(axis.extent for axis in op.axis)
    axes = [*op.axis, *op.reduce_axis]
    reduced = math.prod(axis.extent for axis in op.reduce_axis)
    result = [np.empty(shape, dtype=dtypes.numpy_dtype(t.dtype)) for t in op.outputs]
    if rank == 0:
        pieces: list[tuple[slice, ...]] = [()]
    else:
        row = max(1, math.prod(shape[1:]) * reduced)
        step = max(1, _CHUNK // row)
        pieces = [(slice(at, min(at + step, shape[0])),) for at in range(0, shape[0], step)]
    for piece in pieces:
        env: dict[Var, Array] = {}
        for position, axis in enumerate(axes):
            low, high = axis.begin, axis.begin + axis.extent
            if position == 0 and piece:
                low, high = piece[0].start, piece[0].stop
            env[axis] = np.arange(low, high).reshape([-1 if n == position else 1 for n in range(len(axes))])
        extents = [len(env[axis].ravel()) for axis in axes]
        for target, value in zip(result, _values(op, env, extents, rank, load), strict=True):
            target[piece] = value
    return result


def _values(op: ComputeOp, env: Mapping[Var, Array], extents: list[int], rank: int, load: Load) -> list[Array]:
    if op.reduction is None:
        return [np.broadcast_to(evaluate(value, env, load), extents) for value in op.body]
    reducer = op.reduction.reducer
    current = [np.broadcast_to(evaluate(v, env, load), extents) for v in op.reduction.values]
    flat = [np.reshape(v, (*extents[:rank], -1)) for v in current]
    start = [np.full(extents[:rank], c.value, dtype=dtypes.numpy_dtype(c.dtype)) for c in reducer.identity]
    if flat[0].shape[-1] == 0:
        return start
    fast = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}.get(reducer.name)
    if fast is not None and len(flat) == 1:
        return [fast.reduce(flat[0], axis=-1, dtype=flat[0].dtype)]
    while flat[0].shape[-1] > 1:  # pairwise, which also keeps the rounding small
        half = flat[0].shape[-1] // 2
        joined = _combine(reducer, [f[..., :half] for f in flat], [f[..., half : 2 * half] for f in flat])
        flat = [np.concatenate([j, f[..., 2 * half :]], axis=-1) for j, f in zip(joined, flat, strict=True)]
    return _combine(reducer, start, [f[..., 0] for f in flat])


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
            return rng.uniform(0.5, 1.5, 64).astype(dtypes.numpy_dtype(dtype))
        return (3 * rng.integers(0, 14, 64) + turn).astype(dtype)  # no ties, which an argmax may break either way

    def draws(turn: int) -> list[Array]:
        return [draw(var.dtype, turn) for var in reducer.lhs]

    def alike(p: Sequence[Array], q: Sequence[Array]) -> bool:
        for x, y in zip(p, q, strict=True):
            if dtypes.is_float(str(x.dtype)):
                loose = {16: 2e-2, 32: 1e-4, 64: 1e-10}[x.dtype.itemsize * 8]
                if not np.allclose(x.astype(np.float64), y.astype(np.float64), rtol=loose):
                    return False
            elif not np.array_equal(x, y):
                return False
        return True

    a, b, c = draws(0), draws(1), draws(2)
    identity = [np.full(64, v.value, dtype=dtypes.numpy_dtype(v.dtype)) for v in reducer.identity]
    shown = f"{reducer.name}({', '.join(map(str, reducer.lhs + reducer.rhs))}) = {', '.join(map(str, reducer.result))}"
    laws = [
        (_combine(reducer, a, b), _combine(reducer, b, a), "is not commutative"),
        (
            _combine(reducer, _combine(reducer, a, b), c),
            _combine(reducer, a, _combine(reducer, b, c)),
            "is not associative",
        ),
        (_combine(reducer, identity, a), a, f"has {', '.join(map(str, reducer.identity))} as identity, and it is not"),
    ]
    for left, right, fault in laws:
        if not alike(left, right):
            raise ExpressionError(
                f"reducer {reducer.name!r} {fault}",
                shown=shown,
                hint="a schedule may combine values in any order, so the answer would depend on it",
            )
