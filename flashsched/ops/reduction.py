"""sum, mean and max of a matrix over its rows or its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError
from flashsched.hw import DeviceSpec
from flashsched.ops.derived.gpu import derived_gpu
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import FOR_THREADS, combine_in_lanes, row_width, vectorize_row, wide_float
from flashsched.ops.rows_gpu import rows_gpu
from flashsched.schedule import Schedule
from flashsched.te.tensor import ComputeOp, Read, Tensor
from flashsched.te.visit import walk

__all__ = ["max_over", "mean_over", "sum_over"]

_DTYPES = ("float32", "float64", "float16", "bfloat16")

_ROWS_AT_ONCE = 4  # that are added to the columns' sums in one pass over these


def _definition(name: str, combine: Callable[..., Any], finish: Callable[[te.Expr, int], te.Expr]) -> Any:
    def define(rows: int, cols: int, dtype: str = "float32", axis: int = 1) -> list[Tensor]:
        if axis not in (0, 1):
            raise TuneError(f"{name}: axis is 0 (over the rows, for each column) or 1, not {axis!r}")
        wide = wide_float(dtype)
        x = te.placeholder((rows, cols), dtype, name="X")
        kept, count = (rows, cols) if axis == 1 else (cols, rows)
        k = te.reduce_axis((0, count), name="k")

        def combined(i: te.Expr) -> te.Expr:
            element: te.Expr = x[i, k] if axis == 1 else x[k, i]
            found: te.Expr = combine(element.astype(wide), axis=k)
            return found

        total = te.compute((kept,), combined, name="total")
        return [x, te.compute((kept,), lambda i: finish(total[i], count).astype(dtype), name="Y")]

    define.__doc__ = f"Y = {name} of X[rows, cols] over *axis*: 1 for each row, 0 for each column."
    return define


def _reference(function: Callable[..., Any], **how: Any) -> Callable[..., NDArray[Any]]:
    def reference(x: NDArray[Any], axis: int = 1) -> NDArray[Any]:
        with np.errstate(all="ignore"):
            return np.asarray(function(x.astype(np.float64), axis=axis, **how))

    return reference


def _mean(x: NDArray[Any], axis: int) -> Any:
    return x.sum(axis=axis) / np.float64(x.shape[axis])


def _divided(total: te.Expr, count: int) -> te.Expr:
    return total / count if count else total * float("nan")  # the mean of nothing, as in NumPy


def reduction_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Rows: each in vector lanes. Columns: vectors of columns, a few rows at once, chunks of rows for the threads."""
    x, out = args
    (total,) = out.op.inputs
    rows, columns = x.known_shape
    if rows * columns == 0:
        return  # nothing to compute, or only identities: the plain nest will do
    threads = knobs.choice("threads", (False, True), default=rows * columns >= FOR_THREADS)
    width, lanes = row_width(knobs, spec, total.dtype, columns)
    (i,) = s[out].op.axis
    if _along_rows(total, x):
        if threads:
            s[out].parallel(i)
        combine_in_lanes(s, total, (s[out], i), width, lanes)
        return
    vectorize_row(s, out, width)
    together = knobs.choice("rows", (1, 2, 4, 8), default=_ROWS_AT_ONCE)
    chunks = knobs.choice("chunks", (1, 2, 4, 8, 16, 32), default=2 * spec.units if threads else 1)
    (k,) = s[total].op.reduce_axis
    if threads and chunks > 1 and rows >= 2 * chunks:
        chunk, _ = s[total].split(k, factor=-(-rows // chunks), tail="cut")
        parts = s.rfactor(total, chunk, 0)
        s[parts].parallel(s[parts].op.axis[0])
        _add_rows(s, parts, width, together)
        (k,) = s[total].op.reduce_axis
    _add_rows(s, total, width, together)


def reduction_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Rows: a block for a few of them. Columns: as any graph."""
    x, out = args
    (rows_gpu if _along_rows(out.op.inputs[0], x) else derived_gpu)(s, args, knobs, spec)


def _along_rows(total: Tensor, x: Tensor) -> bool:
    """Whether *total* combines elements of *x* that lie next to each other."""
    assert isinstance(total.op, ComputeOp)
    read = next(node for node in walk(total.op.body[0]) if isinstance(node, Read) and node.tensor is x)
    return read.indices[-1] is total.op.reduce_axis[0]


def _add_rows(s: Schedule, sums: Tensor, width: int, together: int) -> None:
    """Add row after row to *sums* (a row of them, or one for each chunk), some at once, in vectors."""
    stage = s[sums]
    *around, j = stage.op.axis
    (k,) = stage.op.reduce_axis
    outer, lane = stage.split(j, factor=width, tail="cut")
    turn, row = stage.split(k, factor=together, tail="cut")
    stage.reorder(*around, turn, outer, row, lane)
    stage.unroll(row)
    stage.vectorize(lane)


sum_over: Operator = register(
    Operator("sum", _definition("sum", te.sum, lambda t, n: t), (4096, 1024), _DTYPES, _reference(np.sum))
)
mean_over: Operator = register(
    Operator("mean", _definition("mean", te.sum, _divided), (4096, 1024), _DTYPES, _reference(_mean))
)
max_over: Operator = register(
    Operator("max", _definition("max", te.max, lambda t, n: t), (4096, 1024), _DTYPES,
             _reference(np.max, initial=-np.inf))
)  # fmt: skip
for _op in (sum_over, mean_over, max_over):
    _op.template("cpu")(reduction_cpu)
    _op.template("gpu")(reduction_gpu)
