"""The ten computations as numba and jax.jit have them, and in float64: what `benchmarks/derived.py` compares with.

Where there are two sensible ways, both are here, and the faster one counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["EXACT", "jax_ways", "numba_ways"]


def _gelu(x: Any, tanh: Any) -> Any:
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _stencil(A: Any) -> Any:
    around = A[:-2, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:] + A[2:, 1:-1]
    return A[1:-1, 1:-1] * 0.5 + around * 0.125


def _conv3d(X: Any, W: Any) -> Any:
    _, d, h, w = X.shape
    X = np.pad(X, [(0, 0), (1, 1), (1, 1), (1, 1)])
    out = np.zeros((W.shape[0], d, h, w))
    for a in range(3):
        for b in range(3):
            for c in range(3):
                out += np.tensordot(W[:, :, a, b, c], X[:, a : a + d, b : b + h, c : c + w], 1)
    return out


def _separable(X: Any, W: Any, V: Any) -> Any:
    side = X.shape[1]
    P = np.pad(X, [(0, 0), (1, 1), (1, 1)])
    D = sum(W[:, a, b, None, None] * P[:, a : a + side, b : b + side] for a in range(3) for b in range(3))
    return np.tensordot(V, np.maximum(D, 0), 1)


def _windows(A: Any, combine: Any, size: int) -> Any:
    m, n = A.shape[0] - size + 1, A.shape[1] - size + 1
    out = A[:m, :n]
    for a in range(size):
        for b in range(size):
            out = combine(out, A[a : a + m, b : b + n])
    return out


def _top_hat(A: Any) -> Any:
    opened = _windows(_windows(A, np.minimum, 5), np.maximum, 5)
    return A[4:-4, 4:-4] - opened


def _softmax(X: Any, mask: Any) -> Any:
    S = np.where(mask, X, -1e30)
    E = np.exp(S - S.max(1, keepdims=True))
    return E / E.sum(1, keepdims=True)


EXACT: dict[str, Callable[..., Any]] = {
    "stencil": _stencil,
    "outer_products": lambda A, B: A[:, :, None] * B[:, None, :],
    "bias_gelu_residual": lambda X, b, R: _gelu(X + b, np.tanh) + R,
    "conv3d": _conv3d,
    "distances": lambda X, Y: np.sqrt(((X[:, None, :] - Y[None, :, :]) ** 2).sum(-1)),
    "separable_conv": _separable,
    "top_hat": _top_hat,
    "mttkrp": lambda T, B, C: np.einsum("ikl,kj,lj->ij", T, B, C, optimize=True),
    "masked_softmax": _softmax,
    "nearest_code": lambda X, book: (X @ book).argmax(1),
}


def jax_ways(name: str) -> dict[str, Callable[..., Any]]:
    """The ways of jax: functions of whole arrays, to be compiled by ``jax.jit``."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def conv3d(X: Any, W: Any) -> Any:
        return lax.conv_general_dilated(X[None], W, (1, 1, 1), "SAME", dimension_numbers=("NCDHW", "OIDHW", "NCDHW"))[0]

    def separable(X: Any, W: Any, V: Any) -> Any:
        D = lax.conv_general_dilated(
            X[None],
            W[:, None],
            (1, 1),
            "SAME",
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=X.shape[0],
        )[0]
        return jnp.tensordot(V, jnp.maximum(D, 0), 1)

    def separable_by_taps(X: Any, W: Any, V: Any) -> Any:
        side = X.shape[1]
        P = jnp.pad(X, [(0, 0), (1, 1), (1, 1)])
        D = sum(W[:, a, b, None, None] * P[:, a : a + side, b : b + side] for a in range(3) for b in range(3))
        return jnp.tensordot(V, jnp.maximum(D, 0), 1)

    def top_hat(A: Any) -> Any:
        E = lax.reduce_window(A, jnp.inf, lax.min, (5, 5), (1, 1), "VALID")
        return A[4:-4, 4:-4] - lax.reduce_window(E, -jnp.inf, lax.max, (5, 5), (1, 1), "VALID")

    def top_hat_by_taps(A: Any) -> Any:
        return A[4:-4, 4:-4] - _windows(_windows(A, jnp.minimum, 5), jnp.maximum, 5)

    def softmax(X: Any, mask: Any) -> Any:
        return jax.nn.softmax(jnp.where(mask, X, -1e30), axis=1)

    def by_product(X: Any, Y: Any) -> Any:
        squares = (X * X).sum(1)[:, None] + (Y * Y).sum(1)[None] - 2 * (X @ Y.T)
        return jnp.sqrt(jnp.maximum(squares, 0))

    ways: dict[str, dict[str, Callable[..., Any]]] = {
        "stencil": {
            "slices": lambda A: A[1:-1, 1:-1] * 0.5 + (A[:-2, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:] + A[2:, 1:-1]) * 0.125
        },
        "outer_products": {"broadcast": lambda A, B: A[:, :, None] * B[:, None, :]},
        "bias_gelu_residual": {"fused": lambda X, b, R: _gelu(X + b, jnp.tanh) + R},
        "conv3d": {"conv_general_dilated": conv3d},
        "distances": {"broadcast": lambda X, Y: jnp.sqrt(((X[:, None] - Y[None]) ** 2).sum(-1))},
        "separable_conv": {"grouped": separable, "taps": separable_by_taps},
        "top_hat": {"reduce_window": top_hat, "taps": top_hat_by_taps},
        "mttkrp": {"einsum": lambda T, B, C: jnp.einsum("ikl,kj,lj->ij", T, B, C)},
        "masked_softmax": {"nn.softmax": softmax},
        "nearest_code": {"argmax": lambda X, book: jnp.argmax(X @ book, 1)},
    }
    return ways[name]


def numba_ways(name: str) -> dict[str, Callable[..., Any]]:
    """The ways of numba: loops as a person writes them, into an array that is there."""
    from numba import njit, prange

    def compiled(function: Any) -> Any:
        return njit(function, parallel=True, fastmath=True)

    @compiled
    def stencil(A, C):
        for i in prange(C.shape[0]):
            for j in range(C.shape[1]):
                sides = A[i, j + 1] + A[i + 1, j] + A[i + 1, j + 2] + A[i + 2, j + 1]
                C[i, j] = A[i + 1, j + 1] * np.float32(0.5) + sides * np.float32(0.125)

    @compiled
    def outer_products(A, B, C):
        for b in prange(C.shape[0]):
            for i in range(C.shape[1]):
                for j in range(C.shape[2]):
                    C[b, i, j] = A[b, i] * B[b, j]

    @compiled
    def gelu(X, bias, R, C):
        half, root, cubic = np.float32(0.5), np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
        for i in prange(C.shape[0]):
            for j in range(C.shape[1]):
                y = X[i, j] + bias[j]
                C[i, j] = half * y * (np.float32(1) + np.tanh(root * (y + cubic * y * y * y))) + R[i, j]

    @compiled
    def gelu_by_exp(X, bias, R, C):
        root, cubic = np.float32(2 * math.sqrt(2 / math.pi)), np.float32(0.044715)
        for i in prange(C.shape[0]):
            for j in range(C.shape[1]):
                y = X[i, j] + bias[j]
                C[i, j] = y / (np.float32(1) + np.exp(-root * (y + cubic * y * y * y))) + R[i, j]

    @compiled
    def conv3d(X, W, C):
        channels, depth, side = X.shape[0], X.shape[1], X.shape[2]
        P = np.zeros((channels, depth + 2, side + 2, side + 2), np.float32)
        P[:, 1:-1, 1:-1, 1:-1] = X
        for od in prange(C.shape[0] * depth):
            o, d = od // depth, od % depth
            for h in range(side):
                C[o, d, h, :] = 0
                for c in range(channels):
                    for kd in range(3):
                        for kh in range(3):
                            for kw in range(3):
                                for w in range(side):
                                    C[o, d, h, w] += P[c, d + kd, h + kh, w + kw] * W[o, c, kd, kh, kw]

    @compiled
    def distances(X, Y, C):
        for i in prange(C.shape[0]):
            for j in range(C.shape[1]):
                total = np.float32(0)
                for k in range(X.shape[1]):
                    total += (X[i, k] - Y[j, k]) * (X[i, k] - Y[j, k])
                C[i, j] = np.sqrt(total)

    @compiled
    def separable(X, W, V, C):
        channels, side = X.shape[0], X.shape[1]
        P = np.zeros((channels, side + 2, side + 2), np.float32)
        P[:, 1:-1, 1:-1] = X
        for h in prange(side):
            E = np.zeros((channels, side), np.float32)
            for c in range(channels):
                for kh in range(3):
                    for kw in range(3):
                        for w in range(side):
                            E[c, w] += P[c, h + kh, w + kw] * W[c, kh, kw]
                for w in range(side):
                    E[c, w] = max(E[c, w], np.float32(0))
            for o in range(C.shape[0]):
                C[o, h, :] = 0
                for c in range(channels):
                    for w in range(side):
                        C[o, h, w] += E[c, w] * V[o, c]

    @compiled
    def top_hat(A, C):
        m, n = A.shape[0] - 4, A.shape[1] - 4
        E = np.empty((m, n), np.float32)
        for i in prange(m):
            for j in range(n):
                least = A[i, j]
                for di in range(5):
                    for dj in range(5):
                        least = min(least, A[i + di, j + dj])
                E[i, j] = least
        for i in prange(m - 4):
            for j in range(n - 4):
                most = E[i, j]
                for di in range(5):
                    for dj in range(5):
                        most = max(most, E[i + di, j + dj])
                C[i, j] = A[i + 4, j + 4] - most

    @compiled
    def top_hat_by_rows(A, C):
        m, n = A.shape[0] - 4, A.shape[1] - 4
        E = np.empty((m, n), np.float32)
        for i in prange(m):
            E[i] = A[i, :n]
            for di in range(5):
                for dj in range(5):
                    for j in range(n):
                        E[i, j] = min(E[i, j], A[i + di, j + dj])
        for i in prange(m - 4):
            most = E[i, : n - 4].copy()
            for di in range(5):
                for dj in range(5):
                    for j in range(n - 4):
                        most[j] = max(most[j], E[i + di, j + dj])
            for j in range(n - 4):
                C[i, j] = A[i + 4, j + 4] - most[j]

    @compiled
    def mttkrp(T, B, C, M):
        for i in prange(M.shape[0]):
            row = np.zeros(M.shape[1], np.float32)
            for k in range(T.shape[1]):
                for n in range(T.shape[2]):
                    for j in range(M.shape[1]):
                        row[j] += B[k, j] * C[n, j] * T[i, k, n]
            M[i] = row

    @compiled
    def mttkrp_factored(T, B, C, M):
        for i in prange(M.shape[0]):
            row = np.zeros(M.shape[1], np.float32)
            for k in range(T.shape[1]):
                part = np.zeros(M.shape[1], np.float32)
                for n in range(T.shape[2]):
                    for j in range(M.shape[1]):
                        part[j] += C[n, j] * T[i, k, n]
                for j in range(M.shape[1]):
                    row[j] += B[k, j] * part[j]
            M[i] = row

    @compiled
    def softmax(X, mask, C):
        for i in prange(C.shape[0]):
            most = np.float32(-1e30)
            for j in range(C.shape[1]):
                C[i, j] = X[i, j] if mask[i, j] else np.float32(-1e30)
            for j in range(C.shape[1]):
                most = max(most, C[i, j])
            total = np.float32(0)
            for j in range(C.shape[1]):
                C[i, j] = np.exp(C[i, j] - most)
            for j in range(C.shape[1]):
                total += C[i, j]
            for j in range(C.shape[1]):
                C[i, j] = C[i, j] / total

    @compiled
    def nearest(X, book, A):
        for i in prange(A.shape[0]):
            row = np.zeros(book.shape[1], np.float32)
            for k in range(book.shape[0]):
                for j in range(book.shape[1]):
                    row[j] += X[i, k] * book[k, j]
            place, most = 0, row[0]
            for j in range(1, row.shape[0]):
                if row[j] > most:
                    place, most = j, row[j]
            A[i] = place

    ways: dict[str, dict[str, Callable[..., Any]]] = {
        "stencil": {"loops": stencil},
        "outer_products": {"loops": outer_products},
        "bias_gelu_residual": {"tanh": gelu, "exp": gelu_by_exp},
        "conv3d": {"loops": conv3d},
        "distances": {"loops": distances},
        "separable_conv": {"a row at a time": separable},
        "top_hat": {"an element at a time": top_hat, "a row at a time": top_hat_by_rows},
        "mttkrp": {"loops": mttkrp, "factored": mttkrp_factored},
        "masked_softmax": {"loops": softmax},
        "nearest_code": {"a row at a time": nearest},
    }
    return ways[name]
