"""layernorm and rmsnorm over the last axis, with their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import combine_in_lanes, row_width, run_rows, vectorize_row, wide_float
from flashsched.ops.rows_gpu import rows_gpu
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["layernorm", "rmsnorm"]

_DTYPES = ("float32", "float64", "float16", "bfloat16")


def _define_layernorm(rows: int, cols: int, dtype: str = "float32", eps: float = 1e-5) -> list[Tensor]:
    """Y[i, j] = (X[i, j] - mean) / sqrt(variance + eps) * gamma[j] + beta[j]; narrow floats are computed in float32.

    The variance is the mean of the squared distances from the mean (the biased one), in a second pass over the row: the
    difference of the mean square and the squared mean would lose all digits where the mean is far from 0.
    """
    wide = wide_float(dtype)
    x = te.placeholder((rows, cols), dtype, name="X")
    gamma = te.placeholder((cols,), dtype, name="gamma")
    beta = te.placeholder((cols,), dtype, name="beta")
    j, k = te.reduce_axis((0, cols), name="j"), te.reduce_axis((0, cols), name="k")
    total = te.compute((rows,), lambda i: te.sum(x[i, j].astype(wide), axis=j), name="total")
    mean = te.compute((rows,), lambda i: total[i] / max(cols, 1), name="mean")

    def squared(i: te.Expr) -> te.Expr:
        distance = x[i, k].astype(wide) - mean[i]
        found: te.Expr = te.sum(distance * distance, axis=k)
        return found

    spread = te.compute((rows,), squared, name="spread")
    scale = te.compute((rows,), lambda i: te.rsqrt(spread[i] / max(cols, 1) + eps), name="scale")

    def finished(i: te.Expr, j: te.Expr) -> te.Expr:
        unit = (x[i, j].astype(wide) - mean[i]) * scale[i]
        value: te.Expr = unit * gamma[j].astype(wide) + beta[j].astype(wide)
        return value.astype(dtype)

    return [x, gamma, beta, te.compute((rows, cols), finished, name="Y")]


def _define_rmsnorm(rows: int, cols: int, dtype: str = "float32", eps: float = 1e-5) -> list[Tensor]:
    """Y[i, j] = X[i, j] / sqrt(mean of the squares of X[i] + eps) * gamma[j]; narrow floats are computed in float32."""
    wide = wide_float(dtype)
    x = te.placeholder((rows, cols), dtype, name="X")
    gamma = te.placeholder((cols,), dtype, name="gamma")
    k = te.reduce_axis((0, cols), name="k")
    spread = te.compute((rows,), lambda i: te.sum(x[i, k].astype(wide) * x[i, k].astype(wide), axis=k), name="spread")
    scale = te.compute((rows,), lambda i: te.rsqrt(spread[i] / max(cols, 1) + eps), name="scale")

    def finished(i: te.Expr, j: te.Expr) -> te.Expr:
        value: te.Expr = x[i, j].astype(wide) * scale[i] * gamma[j].astype(wide)
        return value.astype(dtype)

    return [x, gamma, te.compute((rows, cols), finished, name="Y")]


def _layernorm_reference(x: NDArray[Any], gamma: NDArray[Any], beta: NDArray[Any], eps: float = 1e-5) -> NDArray[Any]:
    wide = x.astype(np.float64)
    columns = max(wide.shape[-1], 1)
    with np.errstate(all="ignore"):
        distance = wide - wide.sum(axis=-1, keepdims=True) / columns
    spread = np.square(distance).sum(axis=-1, keepdims=True) / columns
    return np.asarray(distance / np.sqrt(spread + eps) * gamma.astype(np.float64) + beta.astype(np.float64))


def _rmsnorm_reference(x: NDArray[Any], gamma: NDArray[Any], eps: float = 1e-5) -> NDArray[Any]:
    wide = x.astype(np.float64)
    spread = np.square(wide).sum(axis=-1, keepdims=True) / max(wide.shape[-1], 1)
    with np.errstate(all="ignore"):
        return np.asarray(wide / np.sqrt(spread + eps) * gamma.astype(np.float64))


def norm_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """A row at a time: its sums while the cache holds it, then the result. Memory is read once and written once."""
    out = args[-1]
    rows, columns = out.known_shape
    if rows * columns == 0:
        return  # nothing to compute: the plain nest will do
    computed = [tensor for tensor in out.op.inputs if tensor not in args]
    width, lanes = row_width(knobs, spec, computed[-1].dtype, columns)
    row, _ = s[out].op.axis
    run_rows(s, args, row, knobs, spec)
    vectorize_row(s, out, width)
    at = s[out], row
    for stage in reversed(s.stages[:-1]):  # scale, spread, mean, total: each after those that read it
        if stage.op.reduction is None:
            stage.compute_at(*at)
            stage.set_scope("local")
        else:
            combine_in_lanes(s, stage.op.output(0), at, width, lanes)


layernorm: Operator = register(Operator("layernorm", _define_layernorm, (4096, 1024), _DTYPES, _layernorm_reference))
rmsnorm: Operator = register(Operator("rmsnorm", _define_rmsnorm, (4096, 1024), _DTYPES, _rmsnorm_reference))
for _op in (layernorm, rmsnorm):
    _op.template("cpu")(norm_cpu)
    _op.template("gpu")(rows_gpu)
