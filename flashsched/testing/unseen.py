"""Ten computations that no template knows, as plain te: what a derived search space is measured by.

Each is a function of its sizes that gives the inputs and then the output, and stands in `UNSEEN` under its name with
the sizes that the benchmark takes (`benchmarks/derived.py`) and small ones for tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from flashsched import te
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor

__all__ = ["UNSEEN", "Unseen"]


def stencil(rows: int, columns: int) -> list[Tensor]:
    """A 5-point stencil over the interior."""
    A = te.placeholder((rows, columns), name="A")

    def around(i: Expr, j: Expr) -> Expr:
        sides = A[i, j + 1] + A[i + 1, j] + A[i + 1, j + 2] + A[i + 2, j + 1]
        return A[i + 1, j + 1] * 0.5 + sides * 0.125

    return [A, te.compute((rows - 2, columns - 2), around, name="C")]


def outer_products(batch: int, rows: int, columns: int) -> list[Tensor]:
    """The outer product of two vectors, many times."""
    A, B = te.placeholder((batch, rows), name="A"), te.placeholder((batch, columns), name="B")
    return [A, B, te.compute((batch, rows, columns), lambda b, i, j: A[b, i] * B[b, j], name="C")]


def bias_gelu_residual(rows: int, columns: int) -> list[Tensor]:
    """``gelu(X + bias) + R``, gelu in its tanh form; its stages are given one by one."""
    X, bias = te.placeholder((rows, columns), name="X"), te.placeholder((columns,), name="bias")
    R = te.placeholder((rows, columns), name="R")
    Y = te.compute(X.shape, lambda i, j: X[i, j] + bias[j], name="Y")
    G = te.compute(
        X.shape,
        lambda i, j: (
            Y[i, j] * 0.5 * (1 + te.tanh(math.sqrt(2 / math.pi) * (Y[i, j] + 0.044715 * Y[i, j] * Y[i, j] * Y[i, j])))
        ),
        name="G",
    )
    return [X, bias, R, te.compute(X.shape, lambda i, j: G[i, j] + R[i, j], name="C")]


def conv3d(channels: int, depth: int, side: int, filters: int) -> list[Tensor]:
    """A 3-D convolution, 3 x 3 x 3, zeros beyond the border."""
    X = te.placeholder((channels, depth, side, side), name="X")
    W = te.placeholder((filters, channels, 3, 3, 3), name="W")

    def padded(c: Expr, d: Expr, h: Expr, w: Expr) -> Expr:
        inside = te.all(d >= 1, d <= depth, h >= 1, h <= side, w >= 1, w <= side)
        return te.select(inside, X[c, d - 1, h - 1, w - 1], te.const(0.0))

    P = te.compute((channels, depth + 2, side + 2, side + 2), padded, name="P")
    c = te.reduce_axis((0, channels), name="c")
    kd, kh, kw = (te.reduce_axis((0, 3), name=name) for name in ("kd", "kh", "kw"))
    C = te.compute(
        (filters, depth, side, side),
        lambda o, d, h, w: te.sum(P[c, d + kd, h + kh, w + kw] * W[o, c, kd, kh, kw], axis=[c, kd, kh, kw]),
        name="C",
    )
    return [X, W, C]


def distances(m: int, n: int, depth: int) -> list[Tensor]:
    """The Euclidean distance of each row of X to each row of Y."""
    X, Y = te.placeholder((m, depth), name="X"), te.placeholder((n, depth), name="Y")
    k = te.reduce_axis((0, depth), name="k")
    D = te.compute((m, n), lambda i, j: te.sum((X[i, k] - Y[j, k]) * (X[i, k] - Y[j, k]), axis=k), name="D")
    return [X, Y, te.compute((m, n), lambda i, j: te.sqrt(D[i, j]), name="C")]


def separable_conv(channels: int, side: int, filters: int) -> list[Tensor]:
    """A depthwise 3 x 3 convolution, a relu, and a pointwise convolution."""
    X = te.placeholder((channels, side, side), name="X")
    W, V = te.placeholder((channels, 3, 3), name="W"), te.placeholder((filters, channels), name="V")

    def padded(c: Expr, h: Expr, w: Expr) -> Expr:
        inside = te.all(h >= 1, h <= side, w >= 1, w <= side)
        return te.select(inside, X[c, h - 1, w - 1], te.const(0.0))

    P = te.compute((channels, side + 2, side + 2), padded, name="P")
    kh, kw, c = te.reduce_axis((0, 3), name="kh"), te.reduce_axis((0, 3), name="kw"), te.reduce_axis((0, channels), "c")
    D = te.compute(
        (channels, side, side), lambda d, h, w: te.sum(P[d, h + kh, w + kw] * W[d, kh, kw], axis=[kh, kw]), name="D"
    )
    E = te.compute(D.shape, lambda d, h, w: te.relu(D[d, h, w]), name="E")
    C = te.compute((filters, side, side), lambda o, h, w: te.sum(E[c, h, w] * V[o, c], axis=c), name="C")
    return [X, W, V, C]


least = te.comm_reducer(lambda x, y: te.select(y < x, y, x), te.max_value, name="least")
most = te.comm_reducer(lambda x, y: te.select(y > x, y, x), te.min_value, name="most")
"""As Python's ``min`` and ``max``: one instruction, where `te.min` takes three to hand a NaN on."""


def top_hat(rows: int, columns: int, size: int) -> list[Tensor]:
    """The white top-hat of an image: it less its opening, the largest of the smallest around, over the interior.

    A pixel is no NaN.
    """
    A = te.placeholder((rows, columns), name="A")
    di, dj = te.reduce_axis((0, size), name="di"), te.reduce_axis((0, size), name="dj")
    ei, ej = te.reduce_axis((0, size), name="ei"), te.reduce_axis((0, size), name="ej")
    reach, m, n = size - 1, rows - size + 1, columns - size + 1
    E = te.compute((m, n), lambda i, j: least(A[i + di, j + dj], axis=[di, dj]), name="E")
    D = te.compute((m - reach, n - reach), lambda i, j: most(E[i + ei, j + ej], axis=[ei, ej]), name="D")
    return [A, te.compute(D.shape, lambda i, j: A[i + reach, j + reach] - D[i, j], name="C")]


def mttkrp(rows: int, depth: int, breadth: int, rank: int) -> list[Tensor]:
    """A tensor of three dimensions, times the Khatri-Rao product of two matrices."""
    B, C = te.placeholder((depth, rank), name="B"), te.placeholder((breadth, rank), name="C")
    T = te.placeholder((rows, depth, breadth), name="T")
    k, n = te.reduce_axis((0, depth), name="k"), te.reduce_axis((0, breadth), name="n")
    M = te.compute((rows, rank), lambda i, j: te.sum(B[k, j] * C[n, j] * T[i, k, n], axis=[k, n]), name="M")
    return [T, B, C, M]


def masked_softmax(rows: int, columns: int) -> list[Tensor]:
    """Softmax over the elements of a row that a mask keeps."""
    X, mask = te.placeholder((rows, columns), name="X"), te.placeholder((rows, columns), "bool", name="mask")
    j, k = te.reduce_axis((0, columns), name="j"), te.reduce_axis((0, columns), name="k")
    S = te.compute(X.shape, lambda i, j: te.select(mask[i, j], X[i, j], te.const(-1e30)), name="S")
    M = te.compute((rows,), lambda i: te.max(S[i, j], axis=j), name="M")
    E = te.compute(X.shape, lambda i, j: te.exp(S[i, j] - M[i]), name="E")
    Z = te.compute((rows,), lambda i: te.sum(E[i, k], axis=k), name="Z")
    return [X, mask, te.compute(X.shape, lambda i, j: E[i, j] / Z[i], name="C")]


def nearest_code(rows: int, codes: int, depth: int) -> list[Tensor]:
    """For each row of X, which column of a code book it has the largest product with: an argmax over sums."""
    X, book = te.placeholder((rows, depth), name="X"), te.placeholder((depth, codes), name="book")
    k, j = te.reduce_axis((0, depth), name="k"), te.reduce_axis((0, codes), name="j")
    P = te.compute((rows, codes), lambda i, j: te.sum(X[i, k] * book[k, j], axis=k), name="P")
    place, _ = te.compute((rows,), lambda i: te.argmax(P[i, j], axis=j, dtype="int32"), name="A")
    return [X, book, place]


class Unseen(NamedTuple):
    """A computation: its definition, the sizes that it is measured with, and small ones that divide by nothing."""

    define: Callable[..., list[Tensor]]
    sizes: tuple[int, ...]
    small: tuple[int, ...]


UNSEEN = {
    "stencil": Unseen(stencil, (1024, 1024), (19, 37)),
    "outer_products": Unseen(outer_products, (64, 256, 256), (3, 7, 19)),
    "bias_gelu_residual": Unseen(bias_gelu_residual, (1024, 1024), (5, 37)),
    "conv3d": Unseen(conv3d, (16, 16, 32, 32), (3, 3, 7, 5)),
    "distances": Unseen(distances, (512, 512, 128), (9, 21, 11)),
    "separable_conv": Unseen(separable_conv, (64, 56, 128), (5, 9, 7)),
    "top_hat": Unseen(top_hat, (1024, 1024, 5), (17, 23, 3)),
    "mttkrp": Unseen(mttkrp, (256, 64, 64, 64), (5, 6, 7, 19)),
    "masked_softmax": Unseen(masked_softmax, (2048, 512), (5, 37)),
    "nearest_code": Unseen(nearest_code, (1024, 512, 64), (9, 21, 11)),
}
"""By name."""
