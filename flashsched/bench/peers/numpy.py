"""NumPy, as an expert writes it: products by its BLAS, everything else in place in arrays that are made once.

``numpy-avx512`` is NumPy with its BLAS's AVX-512 kernels forced, as an expert would on a CPU that the BLAS does not
recognise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flashsched.bench.computations import EPSILON, Array, conv2d_out
from flashsched.bench.peers.peer import Peer, Way, Work, empty

__all__ = ["NUMPY", "NUMPY_AVX512"]


def _ways(work: Work) -> Iterator[Way]:
    make = _MAKERS.get(work.case.op)
    if make is not None:
        name, call, out = make(work)
        yield Way(name, call, lambda: out)


def _product(work: Work) -> tuple[str, Callable[[], Any], Array]:
    a, b, *bias = work.inputs
    activation = work.activation
    out = empty(work.case.out_shape, work.case.dtype)
    room = empty(out.shape, out.dtype) if activation == "gelu" else None

    def call() -> None:
        np.matmul(a, b, out=out)
        if bias:
            np.add(out, bias[0], out=out)
        if activation == "relu":
            np.maximum(out, 0, out=out)
        if room is not None:  # gelu: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
            np.multiply(out, out, out=room)
            np.multiply(room, 0.044715 * math.sqrt(2 / math.pi), out=room)
            np.add(room, math.sqrt(2 / math.pi), out=room)
            np.multiply(room, out, out=room)
            np.tanh(room, out=room)
            np.add(room, 1, out=room)
            np.multiply(room, 0.5, out=room)
            np.multiply(out, room, out=out)

    return "matmul(out=)", call, out


def _conv2d(work: Work) -> tuple[str, Callable[[], Any], Array]:
    """Windows copied to columns of a matrix, and one product a group; depthwise, a multiplication for each tap."""
    x, weight, *bias = work.inputs
    n, c, h, w, o, k, stride, padding = work.case.shape
    groups, dilation = work.case.options.get("groups", 1), work.case.options.get("dilation", 1)
    _, _, height, width = conv2d_out(work.case.shape, work.case.options)
    padded = np.zeros((n, c, h + 2 * padding, w + 2 * padding), x.dtype) if padding else x
    inside = padded[:, :, padding : padding + h, padding : padding + w]
    taps = [
        padded[:, :, i * dilation :, j * dilation :][:, :, : (height - 1) * stride + 1 : stride,
                                                      : (width - 1) * stride + 1 : stride]
        for i in range(k) for j in range(k)
    ]  # fmt: skip
    out = empty(work.case.out_shape, x.dtype)
    if groups == c == o:
        room = empty(out.shape, out.dtype)
        factors = [weight[:, 0, i, j].reshape(1, o, 1, 1) for i in range(k) for j in range(k)]

        def depthwise() -> None:
            if padding:
                inside[...] = x
            np.multiply(taps[0], factors[0], out=out)
            for tap, factor in zip(taps[1:], factors[1:], strict=True):
                np.multiply(tap, factor, out=room)
                np.add(out, room, out=out)
            if bias:
                np.add(out, bias[0].reshape(-1, 1, 1), out=out)

        return "a product a tap", depthwise, out
    columns = empty((n, groups, c // groups, k * k, height, width), x.dtype)
    matrices = columns.reshape(n, groups, c // groups * k * k, height * width)
    filters = weight.reshape(groups, o // groups, -1)
    results = out.reshape(n, groups, o // groups, height * width)
    if k == 1 and stride == 1 and not padding:
        matrices = x.reshape(matrices.shape)

    def call() -> None:
        if k > 1 or stride > 1 or padding:
            if padding:
                inside[...] = x
            for index, tap in enumerate(taps):
                columns[:, :, :, index] = tap.reshape(n, groups, c // groups, height, width)
        np.matmul(filters, matrices, out=results)
        if bias:
            np.add(out, bias[0].reshape(-1, 1, 1), out=out)

    return "columns and matmul(out=)", call, out


def _softmax_into(out: Array, x: Array, edge: Array) -> None:
    np.max(x, axis=-1, keepdims=True, out=edge)
    np.subtract(x, edge, out=out)
    np.exp(out, out=out)
    np.sum(out, axis=-1, keepdims=True, out=edge)
    np.divide(out, edge, out=out)


def _softmax(work: Work) -> tuple[str, Callable[[], Any], Array]:
    (x,) = work.inputs
    out, edge = empty(x.shape, x.dtype), empty((*x.shape[:-1], 1), x.dtype)
    return "in place", lambda: _softmax_into(out, x, edge), out


def _attention(work: Work) -> tuple[str, Callable[[], Any], Array]:
    q, k, v = work.inputs
    b, h, length, width = work.case.shape
    scores, edge = empty((b, h, length, length), q.dtype), empty((b, h, length, 1), q.dtype)
    out = empty(q.shape, q.dtype)
    scale = np.asarray(1 / math.sqrt(width), q.dtype)
    scaled = empty(q.shape, q.dtype)
    hidden = (
        np.where(np.tri(length, dtype=bool), 0, -np.inf).astype(q.dtype) if work.case.options.get("causal") else None
    )

    def call() -> None:
        np.multiply(q, scale, out=scaled)
        np.matmul(scaled, k.swapaxes(-1, -2), out=scores)
        if hidden is not None:
            np.add(scores, hidden, out=scores)
        _softmax_into(scores, scores, edge)
        np.matmul(scores, v, out=out)

    return "two products, in place", call, out


def _norm(work: Work) -> tuple[str, Callable[[], Any], Array]:
    x, gamma, *beta = work.inputs
    out, edge = empty(x.shape, x.dtype), empty((*x.shape[:-1], 1), x.dtype)
    count = x.shape[-1]

    def call() -> None:
        centred = x
        if beta:
            np.mean(x, axis=-1, keepdims=True, out=edge)
            centred = np.subtract(x, edge, out=out)
        np.einsum("...j,...j->...", centred, centred, out=edge[..., 0])
        np.divide(edge, count, out=edge)
        np.add(edge, EPSILON, out=edge)
        np.sqrt(edge, out=edge)
        np.divide(centred, edge, out=out)
        np.multiply(out, gamma, out=out)
        if beta:
            np.add(out, beta[0], out=out)

    return "in place", call, out


def _add(work: Work) -> tuple[str, Callable[[], Any], Array]:
    x, y = work.inputs
    out = empty(x.shape, x.dtype)
    return "add(out=)", lambda: np.add(x, y, out=out), out


def _relu(work: Work) -> tuple[str, Callable[[], Any], Array]:
    (x,) = work.inputs
    out = empty(x.shape, x.dtype)
    return "maximum(out=)", lambda: np.maximum(x, 0, out=out), out


_MAKERS = {
    "matmul": _product,
    "batch_matmul": _product,
    "conv2d": _conv2d,
    "attention": _attention,
    "softmax": _softmax,
    "layernorm": _norm,
    "rmsnorm": _norm,
    "add": _add,
    "relu": _relu,
}

NUMPY = Peer("numpy", "NumPy", "numpy", "numpy", _ways)
NUMPY_AVX512 = Peer("numpy-avx512", "NumPy, AVX-512", "numpy", "numpy", _ways, {"OPENBLAS_CORETYPE": "SkylakeX"})
