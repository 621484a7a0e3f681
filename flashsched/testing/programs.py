"""The small programs that the tests of the schedule language are about, exact on small whole numbers."""

from __future__ import annotations

from flashsched import te
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor

__all__ = ["argmax", "blur", "chain", "diamond", "largest", "matmul", "pointwise", "row_sum", "running_sum"]


def pointwise(*shape: int) -> tuple[Tensor, Tensor]:
    """A, and ``C = A * 2 + 1`` of any rank."""
    A = te.placeholder(shape, name="A")
    return A, te.compute(shape, lambda *i: A[i] * 2 + 1, name="C")


def matmul(m: int, n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, B, and ``C = A @ B``, its axes i, j and k."""
    A, B = te.placeholder((m, k), name="A"), te.placeholder((k, n), name="B")
    axis = te.reduce_axis((0, k), name="k")
    return A, B, te.compute((m, n), lambda i, j: te.sum(A[i, axis] * B[axis, j], axis=axis), name="C")


def row_sum(n: int, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """A[n, end], and C: the sums of its rows from *begin* to *end*; its axes i and k."""
    A = te.placeholder((n, end), name="A")
    k = te.reduce_axis((begin, end), name="k")
    return A, te.compute((n,), lambda i: te.sum(A[i, k], axis=k), name="C")


def chain(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, ``P = A + 1`` and ``C = P * 2``."""
    A = te.placeholder(shape, name="A")
    P = te.compute(shape, lambda *i: A[i] + 1, name="P")
    return A, P, te.compute(shape, lambda *i: P[i] * 2, name="C")


def blur(n: int, reach: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A, ``P = A + 1``, and C: the sum of P's elements up to *reach* away, nothing beyond the border."""
    A = te.placeholder((n,), name="A")
    P = te.compute((n,), lambda i: A[i] + 1, name="P")

    def around(i: Expr) -> Expr:
        total: Expr = P[i]
        for offset in [d for d in range(-reach, reach + 1) if d]:
            total = total + te.select(te.all(i + offset >= 0, i + offset < n), P[i + offset], te.const(0.0))
        return total

    return A, P, te.compute((n,), around, name="C")


def diamond(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A, P of A, L and R of P at two offsets, and C of both; P has n + 3 elements."""
    A = te.placeholder((n + 3,), name="A")
    P = te.compute((n + 3,), lambda i: A[i] + 1, name="P")
    L = te.compute((n,), lambda i: P[i] * 2, name="L")
    R = te.compute((n,), lambda i: P[i + 3] - 1, name="R")
    return A, P, L, R, te.compute((n,), lambda i: L[i] * R[i], name="C")


def argmax(n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """A (int32), and the place and the value of the largest element of each row (the first of equals)."""
    A = te.placeholder((n, k), "int32", name="A")
    axis = te.reduce_axis((0, k), name="k")

    def later(x: tuple[Expr, Expr], y: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
        first = te.any(x[1] > y[1], te.all(x[1] == y[1], x[0] <= y[0]))
        return te.select(first, x[0], y[0]), te.maximum(x[1], y[1])

    reducer = te.comm_reducer(later, lambda s, t: (te.max_value(s), te.min_value(t)), name="argmax")
    at, value = te.compute((n,), lambda i: reducer((axis.astype("int32"), A[i, axis]), axis=axis), name="M")
    return A, at, value


def largest(n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `argmax`, the value before the place: the second output needs what the first was before the combination."""
    A = te.placeholder((n, k), "int32", name="A")
    axis = te.reduce_axis((0, k), name="k")

    def later(x: tuple[Expr, Expr], y: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
        first = te.any(x[0] > y[0], te.all(x[0] == y[0], x[1] <= y[1]))
        return te.maximum(x[0], y[0]), te.select(first, x[1], y[1])

    reducer = te.comm_reducer(later, lambda s, t: (te.min_value(s), te.max_value(t)), name="largest")
    value, at = te.compute((n,), lambda i: reducer((A[i, axis], axis.astype("int32")), axis=axis), name="M")
    return A, value, at


def running_sum(steps: int = 6, n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """X, the scan ``S[t] = S[t - 1] + X[t]`` of its rows, and ``C = S * 2``."""
    X, state = te.placeholder((steps, n), name="X"), te.placeholder((steps, n), name="state")
    init = te.compute((1, n), lambda t, i: X[t, i], name="first")
    update = te.compute((steps, n), lambda t, i: state[t - 1, i] + X[t, i], name="update")
    S = te.scan(init, update, state, name="S")
    return X, S, te.compute((steps, n), lambda t, i: S[t, i] * 2, name="C")
