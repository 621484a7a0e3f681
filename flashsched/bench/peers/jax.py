"""JAX: a jitted function, called until its result is ready. XLA chooses layouts inside, not those of arguments.

Images are tried with channels first and last, attention in both orders of its axes, and everything with the result of
the call before donated, which the next result then overwrites, as preallocated outputs do elsewhere. Arguments stay
arguments, since XLA packs no constants for a CPU. It takes as many threads as its process may use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flashsched.bench.computations import EPSILON, Array
from flashsched.bench.peers.peer import Peer, Way, Work

__all__ = ["JAX"]


def _ways(work: Work) -> Iterator[Way]:
    import jax  # type: ignore[import-not-found,unused-ignore]

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", work.case.dtype == "float64")
    make = _MAKERS.get(work.case.op)
    if make is not None:
        for name, function, arrays, back in make(jax, work):
            yield _way(jax, name, function, arrays, back)
            yield _donating(jax, f"{name}, donated", function, arrays, back)


Made = Iterator[tuple[str, Callable[..., Any], list[Array], Callable[[Array], Array]]]
"""For each way its name, the function, its arguments, and how its result is brought into the layout of the case."""


def _same(array: Array) -> Array:
    return array


def _way(jax: Any, name: str, function: Callable[..., Any], arrays: list[Array], back: Callable[[Array], Array]) -> Way:
    given = [jax.device_put(array) for array in arrays]
    jitted = jax.jit(function)
    last: list[Any] = [None]

    def call() -> None:
        last[0] = jitted(*given).block_until_ready()

    return Way(name, call, lambda: np.array(back(np.asarray(last[0])), order="C"))


def _donating(
    jax: Any, name: str, function: Callable[..., Any], arrays: list[Array], back: Callable[[Array], Array]
) -> Way:
    given = [jax.device_put(array) for array in arrays]
    jitted = jax.jit(lambda old, *x: function(*x), donate_argnums=0, keep_unused=True)
    last = [jax.jit(function)(*given)]

    def call() -> None:
        last[0] = jitted(last[0], *given).block_until_ready()

    return Way(name, call, lambda: np.array(back(np.asarray(last[0])), order="C"))


def _product(jax: Any, work: Work) -> Made:
    transposed = work.case.transposed
    activate = {None: lambda x: x, "relu": jax.nn.relu, "gelu": jax.nn.gelu}[work.activation]

    def product(a: Any, b: Any, *bias: Any) -> Any:
        a, b = (x.swapaxes(-1, -2) if i in transposed else x for i, x in enumerate((a, b)))
        y = a @ b
        return activate(y + bias[0] if bias else y)

    yield "jit", product, [work.contiguous(i) for i in range(len(work.inputs))], _same


def _conv2d(jax: Any, work: Work) -> Made:
    *_, stride, padding = work.case.shape
    options = {
        "window_strides": [stride] * 2,
        "padding": [(padding, padding)] * 2,
        "rhs_dilation": [work.case.options.get("dilation", 1)] * 2,
        "feature_group_count": work.case.options.get("groups", 1),
    }

    def convolution(layouts: tuple[str, str, str]) -> Callable[..., Any]:
        def conv2d(x: Any, w: Any, *bias: Any) -> Any:
            y = jax.lax.conv_general_dilated(x, w, dimension_numbers=layouts, **options)
            channels_last = layouts[0] == "NHWC"
            return y + (bias[0] if channels_last else bias[0].reshape(-1, 1, 1)) if bias else y

        return conv2d

    x, w, *bias = work.inputs
    yield "channels first", convolution(("NCHW", "OIHW", "NCHW")), [x, w, *bias], _same
    last = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)), np.ascontiguousarray(w.transpose(2, 3, 1, 0)), *bias]
    yield "channels last", convolution(("NHWC", "HWIO", "NHWC")), last, lambda y: y.transpose(0, 3, 1, 2)


def _attention(jax: Any, work: Work) -> Made:
    numpy = jax.numpy
    causal, width = bool(work.case.options.get("causal")), work.case.shape[-1]

    def plain(q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(width)
        if causal:
            scores = numpy.where(numpy.tri(q.shape[2], dtype=bool), scores, -numpy.inf)
        return jax.nn.softmax(scores, axis=-1) @ v

    def attend(q: Any, k: Any, v: Any) -> Any:
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal)

    yield "two products", plain, work.inputs, _same
    exchanged = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in work.inputs]
    yield "dot_product_attention", attend, exchanged, lambda y: y.swapaxes(1, 2)


def _rows(function: Callable[..., Any]) -> Callable[[Any, Work], Made]:
    def make(jax: Any, work: Work) -> Made:
        yield "jit", lambda *x: function(jax, *x), work.inputs, _same

    return make


def _layernorm(jax: Any, x: Any, gamma: Any, beta: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + EPSILON) * gamma + beta


def _rmsnorm(jax: Any, x: Any, gamma: Any) -> Any:
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + EPSILON) * gamma


_MAKERS = {
    "matmul": _product,
    "batch_matmul": _product,
    "conv2d": _conv2d,
    "attention": _attention,
    "softmax": _rows(lambda jax, x: jax.nn.softmax(x, axis=-1)),
    "layernorm": _rows(_layernorm),
    "rmsnorm": _rows(_rmsnorm),
    "add": _rows(lambda jax, x, y: x + y),
    "relu": _rows(lambda jax, x: jax.numpy.maximum(x, 0)),
}

JAX = Peer("jax", "JAX", "jax", "jax", _ways)
