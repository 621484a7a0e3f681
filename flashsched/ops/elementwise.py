"""Element-wise operators: add, relu; and the CPU template that they and users' element-wise code share."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.elementwise_gpu import elementwise_gpu
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import run_rows
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["add", "elementwise_cpu", "relu"]

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8")


def elementwise_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """One pass over memory: all dimensions as one, cut into chunks for the threads and vectors inside.

    The chunks are as many as the threads share evenly, and alike: the last one runs all its turns, be they masked off.
    """
    out = args[-1]
    lanes, _ = vector_shape(spec, out.dtype)
    vectors = knobs.choice("vectors", (1, 2, 4, 8), default=4)
    chunk = knobs.choice("chunk", (16, 64, 256, 1024, 4096), default=256)
    whole = s[out].fuse(*s[out].op.axis) if len(s[out].op.axis) > 1 else s[out].op.axis[0]
    width = lanes * vectors
    turns = max(1, -(-prod(out.known_shape) // width))
    chunks = -(-turns // chunk)
    if chunks > 1:
        chunks = -(-chunks // spec.units) * spec.units
    outer, inner = s[out].split(whole, factor=width * -(-turns // chunks), tail="cut")
    _, vector = s[out].split(inner, factor=width)
    s[out].vectorize(vector)
    run_rows(s, args, outer, knobs, spec)


def _define_add(rows: int, cols: int, dtype: str = "float32") -> list[Tensor]:
    """Z = X + Y, element by element."""
    x = te.placeholder((rows, cols), dtype, name="X")
    y = te.placeholder((rows, cols), dtype, name="Y")
    return [x, y, te.compute((rows, cols), lambda i, j: x[i, j] + y[i, j], name="Z")]


def _define_relu(rows: int, cols: int, dtype: str = "float32") -> list[Tensor]:
    """Y = max(X, 0), element by element; NaN stays NaN."""
    x = te.placeholder((rows, cols), dtype, name="X")
    return [x, te.compute((rows, cols), lambda i, j: te.maximum(x[i, j], 0), name="Y")]


def _add_reference(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x + y)


def _relu_reference(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.maximum(x, np.zeros((), x.dtype)))


add: Operator = register(Operator("add", _define_add, (1024, 1024), _DTYPES, _add_reference))
relu: Operator = register(Operator("relu", _define_relu, (1024, 1024), _DTYPES, _relu_reference))
for _op in (add, relu):
    _op.template("cpu")(elementwise_cpu)
    _op.template("gpu")(elementwise_gpu)
