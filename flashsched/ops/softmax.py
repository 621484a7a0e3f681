"""softmax over the last axis: ``exp(x - max(x))``, divided by its sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import combine_in_lanes, largest, row_width, run_rows, vectorize_row, wide_float
from flashsched.ops.rows_gpu import rows_gpu
from flashsched.ops.rows_short import SHORT, rows_in_lanes
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["softmax"]


def _define(rows: int, cols: int, dtype: str = "float32") -> list[Tensor]:
    """Y[i, j] = exp(X[i, j] - max X[i]) / sum over j of it; narrow floats are computed in float32.

    A row with a NaN, an infinity above 0, or nothing but infinities below 0 becomes NaN.
    """
    wide = wide_float(dtype)
    x = te.placeholder((rows, cols), dtype, name="X")
    j, k = te.reduce_axis((0, cols), name="j"), te.reduce_axis((0, cols), name="k")
    most = te.compute((rows,), lambda i: largest(x[i, j].astype(wide), axis=j), name="most")
    power = te.compute((rows, cols), lambda i, j: te.exp(x[i, j].astype(wide) - most[i]), name="power")
    total = te.compute((rows,), lambda i: te.sum(power[i, k], axis=k), name="total")
    share = te.compute((rows,), lambda i: 1.0 / total[i], name="share")
    return [x, te.compute((rows, cols), lambda i, j: (power[i, j] * share[i]).astype(dtype), name="Y")]


def _reference(x: NDArray[Any]) -> NDArray[Any]:
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        power = np.exp(wide - wide.max(axis=-1, keepdims=True, initial=-np.inf))
        return np.asarray(power / power.sum(axis=-1, keepdims=True))


softmax: Operator = register(
    Operator("softmax", _define, (4096, 1024), ("float32", "float64", "float16", "bfloat16"), _reference)
)


@softmax.template("cpu")
def softmax_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A row at a time: its maximum, its powers into a buffer that the cache holds, their sum, and the result.

    Memory is read once and written once, whatever the row needs in between.
    """
    out = args[-1]
    power, share = out.op.inputs
    (total,) = share.op.inputs
    most = next(tensor for tensor in power.op.inputs if tensor is not args[0])
    rows, columns = out.known_shape
    if rows * columns == 0:
        return  # nothing to compute: the plain nest will do
    lanes, _ = vector_shape(spec, power.dtype)
    if knobs.choice("rows_in_lanes", (False, True), default=columns < SHORT * lanes and rows >= lanes):
        rows_in_lanes(s, args, power.dtype, knobs, spec)
        return
    width, lanes = row_width(knobs, spec, power.dtype, columns)
    row, _ = s[out].op.axis
    run_rows(s, args, row, knobs, spec)
    vectorize_row(s, out, width)
    at = s[out], row
    s[share].compute_at(*at)
    s[share].set_scope("local")
    combine_in_lanes(s, total, at, width, lanes)
    s[power].compute_at(*at)
    vectorize_row(s, power, width)
    combine_in_lanes(s, most, at, width, lanes)


softmax.template("gpu")(rows_gpu)
