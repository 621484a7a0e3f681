"""What a case computes, said in NumPy alone: shapes, work, traffic, and the result in float64.

It stands apart from `flashsched.ops`, so that a result is never checked against the code that is measured, and other
libraries can be measured where we have no such operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMPUTATIONS", "EPSILON", "Computation", "conv2d_out"]

Array: TypeAlias = NDArray[Any]
Sizes: TypeAlias = tuple[int, ...]
Options: TypeAlias = dict[str, Any]

EPSILON = 1e-5
"""What layernorm and rmsnorm add to a mean of squares."""


@dataclass(frozen=True)
class Computation:
    """One operator.

    Attributes:
        sizes: what the numbers of a case's shape are called.
        inputs: the shapes of the inputs.
        output: the shape of the output.
        flops: arithmetic operations on elements.
        terms: of the longest sum on the way, which decides how far a result may be off.
        exact: the result, of float64 inputs.
        constants: inputs that stay the same from call to call, as weights do: a library may prepare them once.
    """

    sizes: str
    inputs: Callable[[Sizes, Options], list[Sizes]]
    output: Callable[[Sizes, Options], Sizes]
    flops: Callable[[Sizes, Options], int]
    terms: Callable[[Sizes], int]
    exact: Callable[[Sizes, Options, Sequence[Array]], Array]
    constants: tuple[int, ...] = ()


def conv2d_out(shape: Sizes, options: Options) -> Sizes:
    """The shape of a convolution's output.

    >>> conv2d_out((1, 3, 224, 224, 64, 7, 2, 3), {})
    (1, 64, 112, 112)
    """
    n, _, h, w, o, k, stride, padding = shape
    reach = options.get("dilation", 1) * (k - 1) + 1
    return (n, o, (h + 2 * padding - reach) // stride + 1, (w + 2 * padding - reach) // stride + 1)


def _product_inputs(shape: Sizes, options: Options) -> list[Sizes]:
    m, n, k = shape
    return [(m, k), (k, n), *([(n,)] if options.get("bias") else [])]


def _product_flops(shape: Sizes, options: Options) -> int:
    m, n, k = shape
    return m * n * (2 * k + bool(options.get("bias")) + {None: 0, "relu": 1, "gelu": 9}[options.get("activation")])


def _product(shape: Sizes, options: Options, inputs: Sequence[Array]) -> Array:
    x = inputs[0] @ inputs[1]
    if options.get("bias"):
        x = x + inputs[2]
    if options.get("activation") == "relu":
        return np.asarray(np.maximum(x, 0))
    if options.get("activation") == "gelu":  # its tanh form
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(x)


def _conv2d_inputs(shape: Sizes, options: Options) -> list[Sizes]:
    n, c, h, w, o, k, *_ = shape
    return [(n, c, h, w), (o, c // options.get("groups", 1), k, k), *([(o,)] if options.get("bias") else [])]


def _conv2d_flops(shape: Sizes, options: Options) -> int:
    per_output: int = 2 * shape[1] // options.get("groups", 1) * shape[5] ** 2 + bool(options.get("bias"))
    return math.prod(conv2d_out(shape, options)) * per_output


def _conv2d(shape: Sizes, options: Options, inputs: Sequence[Array]) -> Array:
    x, weight, *rest = inputs
    _, c, _, _, o, k, stride, padding = shape
    groups, dilation = options.get("groups", 1), options.get("dilation", 1)
    _, _, height, width = conv2d_out(shape, options)
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    out = np.zeros(conv2d_out(shape, options))
    for row in range(k):  # one product a tap of the window
        for column in range(k):
            rows = slice(row * dilation, row * dilation + (height - 1) * stride + 1, stride)
            columns = slice(column * dilation, column * dilation + (width - 1) * stride + 1, stride)
            pixels = x[:, :, rows, columns].reshape(x.shape[0], groups, c // groups, height * width)
            taps = weight[:, :, row, column].reshape(groups, o // groups, c // groups)
            out += (taps @ pixels).reshape(out.shape)
    return out + rest[0].reshape(-1, 1, 1) if rest else out


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _attention(shape: Sizes, options: Options, inputs: Sequence[Array]) -> Array:
    q, k, v = inputs
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(shape[-1])
    if options.get("causal"):
        scores = np.where(np.tri(shape[2], dtype=bool), scores, -np.inf)
    return np.asarray(_softmax(scores) @ v)


def _attention_flops(shape: Sizes, options: Options) -> int:
    b, h, s, d = shape
    seen = s * (s + 1) // 2 if options.get("causal") else s * s
    return 4 * b * h * seen * d  # the two products; its softmax is small beside them


def _layernorm(shape: Sizes, options: Options, inputs: Sequence[Array]) -> Array:
    x, gamma, beta = inputs
    x = x - x.mean(-1, keepdims=True)
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * gamma + beta)


def _rmsnorm(shape: Sizes, options: Options, inputs: Sequence[Array]) -> Array:
    x, gamma = inputs
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * gamma)


def _rows(count: int, vectors: int, flops: int, exact: Callable[[Sizes, Options, Sequence[Array]], Array],
          summed: bool = False) -> Computation:  # fmt: skip
    """An operator on *count* arrays (M, N) and *vectors* of N, of *flops* an element."""
    return Computation(
        "MN",
        lambda shape, _: [shape] * count + [shape[1:]] * vectors,
        lambda shape, _: shape,
        lambda shape, _: flops * math.prod(shape),
        lambda shape: shape[1] if summed else 1,
        exact,
        tuple(range(count, count + vectors)),
    )


COMPUTATIONS = {
    "matmul": Computation(
        "MNK", _product_inputs, lambda s, _: s[:2], _product_flops, lambda s: s[2], _product, constants=(1, 2)
    ),
    "batch_matmul": Computation(
        "BMNK",
        lambda s, _: [(s[0], s[1], s[3]), (s[0], s[3], s[2])],
        lambda s, _: s[:3],
        lambda s, _: 2 * math.prod(s),
        lambda s: s[3],
        _product,
    ),
    "conv2d": Computation(
        "NCHWOKSP",
        _conv2d_inputs,
        conv2d_out,
        _conv2d_flops,
        lambda s: s[1] * s[5] ** 2,
        _conv2d,
        constants=(1, 2),
    ),
    "attention": Computation(
        "BHSD", lambda s, _: [s] * 3, lambda s, _: s, _attention_flops, lambda s: s[2] + s[3], _attention
    ),
    "softmax": _rows(1, 0, 5, lambda shape, options, inputs: _softmax(inputs[0]), summed=True),
    "layernorm": _rows(1, 2, 8, _layernorm, summed=True),
    "rmsnorm": _rows(1, 1, 4, _rmsnorm, summed=True),
    "add": _rows(2, 0, 1, lambda shape, options, inputs: np.asarray(inputs[0] + inputs[1])),
    "relu": _rows(1, 0, 1, lambda shape, options, inputs: np.maximum(inputs[0], 0)),
}
"""By the name of the operator."""
