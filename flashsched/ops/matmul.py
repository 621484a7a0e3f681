"""matmul: ``out = activation(a @ b + bias)``, in one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.errors import TuneError
from flashsched.ops.matmul_cpu import matmul_cpu
from flashsched.ops.matmul_gpu import matmul_gpu
from flashsched.ops.operator import Operator, register
from flashsched.te.tensor import Tensor

__all__ = ["ACTIVATIONS", "accumulator", "activate", "batch_matmul", "matmul", "packed_matmul"]

ACTIVATIONS = (None, "relu", "gelu", "silu")
"""Functions that may follow: max(x, 0); x * Phi(x) in its tanh form (Hendrycks and Gimpel, 2016); x * sigmoid(x)."""

_GELU = 0.7978845608028654  # sqrt(2 / pi)


def accumulator(dtype: str) -> str:
    """The dtype in which products of *dtype* are summed: float32 for narrow floats, int32 for narrow integers."""
    return {"float16": "float32", "bfloat16": "float32", "int8": "int32", "uint8": "int32", "int16": "int32"}.get(
        dtype, dtype
    )


def _weights(dtype: str) -> str:
    """The dtype of the right side: uint8 is multiplied by int8, as instructions have it, anything else by its own."""
    return "int8" if dtype == "uint8" else dtype


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
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> list[Tensor]:
    """C[M, N] = activation(A[M, K] @ B[K, N] + bias[N]); narrow floats are summed in float32, int8 in int32.

    Of dtype uint8, B is int8.
    *transpose_a* and *transpose_b* take A as [K, M] and B as [N, K].
    """
    a = te.placeholder((K, M) if transpose_a else (M, K), dtype, name="A")
    b = te.placeholder((N, K) if transpose_b else (K, N), _weights(dtype), name="B")

    def left(i: te.Expr, k: te.Expr) -> te.Expr:
        return a[k, i] if transpose_a else a[i, k]

    def right(k: te.Expr, j: te.Expr) -> te.Expr:
        return b[j, k] if transpose_b else b[k, j]

    return _product((M, N), K, a, b, left, right, dtype, bias, activation)


def _define_packed(
    M: int,
    N: int,
    K: int,
    W: int,
    dtype: str = "float32",
    bias: bool = False,
    activation: str | None = None,
    transpose_a: bool = False,
) -> list[Tensor]:
    """`matmul` with B in panels of W columns, [N / W rounded up, K, W]: packed ahead, since it does not change."""
    if W < 1:
        raise TuneError(f"packed_matmul: a panel has from 1 column up, not {W}")
    a = te.placeholder((K, M) if transpose_a else (M, K), dtype, name="A")
    b = te.placeholder((-(-N // W), K, W), _weights(dtype), name="B")

    def left(i: te.Expr, k: te.Expr) -> te.Expr:
        return a[k, i] if transpose_a else a[i, k]

    def right(k: te.Expr, j: te.Expr) -> te.Expr:
        return b[j // W, k, j % W]

    return _product((M, N), K, a, b, left, right, dtype, bias, activation)


def _define_batch(
    B: int,
    M: int,
    N: int,
    K: int,
    dtype: str = "float32",
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> list[Tensor]:
    """C[b] = A[b] @ B[b] for each of B pairs of matrices, as `matmul`."""
    a = te.placeholder((B, K, M) if transpose_a else (B, M, K), dtype, name="A")
    b = te.placeholder((B, N, K) if transpose_b else (B, K, N), _weights(dtype), name="B")

    def left(p: te.Expr, i: te.Expr, k: te.Expr) -> te.Expr:
        return a[p, k, i] if transpose_a else a[p, i, k]

    def right(p: te.Expr, k: te.Expr, j: te.Expr) -> te.Expr:
        return b[p, j, k] if transpose_b else b[p, k, j]

    return _product((B, M, N), K, a, b, left, right, dtype, False, None)


def _product(
    shape: tuple[int, ...],
    depth: int,
    a: Tensor,
    b: Tensor,
    left: Callable[..., te.Expr],
    right: Callable[..., te.Expr],
    dtype: str,
    bias: bool,
    activation: str | None,
) -> list[Tensor]:
    """The inputs and the output of a product of *left* ``(*batch, i, k)`` and *right* ``(*batch, k, j)``."""
    wide = accumulator(dtype)
    out = wide if dtype.startswith(("int", "uint")) else dtype
    k = te.reduce_axis((0, depth), name="k")
    plain = not bias and activation is None and wide == out

    def sums(*at: te.Expr) -> te.Expr:
        *batch, i, j = at
        total: te.Expr = te.sum(left(*batch, i, k).astype(wide) * right(*batch, k, j).astype(wide), axis=k)
        return total

    product = te.compute(shape, _named(sums, len(shape)), name="C" if plain else "AB")
    if plain:
        return [a, b, product]
    v = te.placeholder(shape[-1:], _weights(dtype), name="bias")
    if activation is not None and not wide.startswith("float"):
        raise TuneError(f"matmul: activation {activation!r} needs a float dtype, not {dtype}")

    def finish(*at: te.Expr) -> te.Expr:
        value = product[at] + v[at[-1]].astype(wide) if bias else product[at]
        return activate(value, activation).astype(out)

    c = te.compute(shape, _named(finish, len(shape)), name="C")
    return [a, b, v, c] if bias else [a, b, c]


def _named(function: Callable[..., te.Expr], rank: int) -> Callable[..., te.Expr]:
    """*function* with its axes called i and j, and b before them where there is a batch."""
    return (lambda i, j: function(i, j)) if rank == 2 else (lambda b, i, j: function(b, i, j))


def _reference(a: NDArray[Any], b: NDArray[Any], *rest: NDArray[Any], **options: Any) -> NDArray[Any]:
    exact = np.float64 if a.dtype.kind not in "iu" else np.int64
    if options.get("transpose_a"):
        a = a.swapaxes(-1, -2)
    if options.get("transpose_b"):
        b = b.swapaxes(-1, -2)
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


_DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "uint8")
matmul: Operator = register(Operator("matmul", _define, (512, 512, 512), _DTYPES, _reference))
packed_matmul: Operator = register(Operator("packed_matmul", _define_packed, (512, 512, 512, 32), _DTYPES))
packed_matmul.template("cpu")(matmul_cpu)
batch_matmul: Operator = register(Operator("batch_matmul", _define_batch, (64, 64, 64, 64), _DTYPES, _reference))
batch_matmul.template("cpu")(matmul_cpu)
batch_matmul.template("gpu")(matmul_gpu)
matmul.template("cpu")(matmul_cpu)
matmul.template("gpu")(matmul_gpu)
