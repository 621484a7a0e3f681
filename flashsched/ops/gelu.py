"""gelu, alone or in the chain that a transformer's layer has around it: ``gelu(x + bias) + residual``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError
from flashsched.hw import DeviceSpec
from flashsched.ops.matmul import activate
from flashsched.ops.operator import KnobsLike, Operator, register
from flashsched.ops.rows import row_width, run_rows, vectorize_row, wide_float
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["gelu"]

_FORMS = ("erf", "tanh")


def _define(
    rows: int,
    cols: int,
    dtype: str = "float32",
    form: str = "erf",
    bias: bool = False,
    residual: bool = False,
) -> list[Tensor]:
    """Y = gelu(X + bias) + residual in one pass; narrow floats are computed in float32.

    *form*: ``"erf"``, x times the normal distribution's Phi(x) itself, or ``"tanh"``, the usual formula near it.
    """
    if form not in _FORMS:
        raise TuneError(f"gelu: form is 'erf' or 'tanh', not {form!r}")
    wide = wide_float(dtype)
    x = te.placeholder((rows, cols), dtype, name="X")
    b = te.placeholder((cols,), dtype, name="bias")
    r = te.placeholder((rows, cols), dtype, name="residual")

    def element(i: te.Expr, j: te.Expr) -> te.Expr:
        value: te.Expr = x[i, j].astype(wide)
        if bias:
            value = value + b[j].astype(wide)
        value = activate(value, "gelu") if form == "tanh" else 0.5 * value * (1.0 + te.erf(value * math.sqrt(0.5)))
        if residual:
            value = value + r[i, j].astype(wide)
        return value.astype(dtype)

    y = te.compute((rows, cols), element, name="Y")
    return [x, *([b] if bias else []), *([r] if residual else []), y]


def _reference(
    x: NDArray[Any], *rest: NDArray[Any], form: str = "erf", bias: bool = False, residual: bool = False
) -> NDArray[Any]:
    value = x.astype(np.float64)
    if bias:
        value = value + rest[0].astype(np.float64)
    with np.errstate(all="ignore"):
        if form == "tanh":
            out = 0.5 * value * (1 + np.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))
        else:
            out = 0.5 * value * (1 + np.vectorize(math.erf, otypes=[np.float64])(value * math.sqrt(0.5)))
    return np.asarray(out + rest[-1].astype(np.float64) if residual else out)


gelu: Operator = register(
    Operator("gelu", _define, (1024, 4096), ("float32", "float64", "float16", "bfloat16"), _reference)
)


@gelu.template("cpu")
def gelu_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Row after row, in vectors: memory is read once and written once."""
    out = args[-1]
    rows, columns = out.known_shape
    if rows * columns == 0:
        return  # nothing to compute: the plain nest will do
    width, _ = row_width(knobs, spec, wide_float(out.dtype), columns)
    row, _ = s[out].op.axis
    run_rows(s, args, row, knobs, spec)
    vectorize_row(s, out, width)
