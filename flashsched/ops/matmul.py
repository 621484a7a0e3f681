"""matmul: ``out = activation(a @ b + bias)``, in one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError
from flashsched.ops.matmul_cpu import matmul_cpu
from flashsched.ops.matmul_gpu import matmul_gpu
from flashsched.ops.operator import Operator, register
from flashsched.te.tensor import Tensor

__all__ = ["ACTIVATIONS", "accumulator", "activate", "matmul"]

ACTIVATIONS = (None, "relu", "gelu", "silu")
"""Functions that may follow: max(x, 0); x * Phi(x) in its tanh form (Hendrycks and Gimpel, 2016); x * sigmoid(x)."""

_GELU = 0.7978845608028654  # sqrt(2 / pi)


def accumulator(dtype: str) -> str:
    """The dtype in which products of *dtype* are summed: float32 for narrow floats, int32 for narrow integers."""
    return {"float16": "float32", "bfloat16": "float32", "int8": "int32", "uint8": "int32", "int16": "int32"}.get(
        dtype, dtype
    )


def activate(x: te.Expr, activation: str | None) -> te.Expr:
    """*activation* of *x*.

    Raises:
        TuneError: there is no such activation.
    """
    if activation is None:
        return x
    if activation == "relu":
        return te.maximum(x, 0)
    if activation == "gelu":
        return 0.5 * x * (1.0 + te.tanh(_GELU * (x + 0.044715 * x * x * x)))
    if activation == "silu":
        return x / (1.0 + te.exp(-x))
    raise TuneError(f"no activation {activation!r}", hint="known: None, 'relu', 'gelu', 'silu'")


def _define(
    M: int,
    N: int,
    K: int,
    dtype: str = "float32",
    bias: bool = False,
    activation: str | None = None,
) -> list[Tensor]:
    """C[M, N] = activation(A[M, K] @ B[K, N] + bias[N]); narrow floats are summed in float32, int8 in int32."""
    wide = accumulator(dtype)
    out = wide if dtype.startswith(("int", "uint")) else dtype
    a = te.placeholder((M, K), dtype, name="A")
    b = te.placeholder((K, N), dtype, name="B")
    k = te.reduce_axis((0, K), name="k")
    plain = not bias and activation is None and wide == out
    product = te.compute(
        (M, N),
        lambda i, j: te.sum(a[i, k].astype(wide) * b[k, j].astype(wide), axis=k),
        name="C" if plain else "AB",
    )
    if plain:
        return [a, b, product]
    v = te.placeholder((N,), dtype, name="bias")
    if activation is not None and not wide.startswith("float"):
        raise TuneError(f"matmul: activation {activation!r} needs a float dtype, not {dtype}")

    def finish(i: te.Expr, j: te.Expr) -> te.Expr:
        value = product[i, j] + v[j].astype(wide) if bias else product[i, j]
        return activate(value, activation).astype(out)

    c = te.compute((M, N), finish, name="C")
    return [a, b, v, c] if bias else [a, b, c]


def _reference(a: NDArray[Any], b: NDArray[Any], *rest: NDArray[Any], **options: Any) -> NDArray[Any]:
    exact = np.float64 if a.dtype.kind not in "iu" else np.int64
    out = a.astype(exact) @ b.astype(exact)
    if rest:
        out = out + rest[0].astype(exact)
    activation = options.get("activation")
    if activation == "relu":
        out = np.maximum(out, 0)
    elif activation == "gelu":
        out = 0.5 * out * (1 + np.tanh(_GELU * (out + 0.044715 * out**3)))
    elif activation == "silu":
        out = out / (1 + np.exp(-out))
    return np.asarray(out)


matmul: Operator = register(
    Operator(
        "matmul",
        _define,
        (512, 512, 512),
        ("float32", "float64", "float16", "bfloat16", "int8"),
        _reference,
    )
)
matmul.template("cpu")(matmul_cpu)
matmul.template("gpu")(matmul_gpu)
