"""Halide: the algorithm of each operator, scheduled by its own autoschedulers for this CPU, compiled in this process.

Both are tried, Adams2019 and Mullapudi2016, and for products a schedule by hand as well: tiles of registers, computed
under each tile of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flashsched.bench.computations import EPSILON
from flashsched.bench.peers.peer import Peer, Way, Work, empty

__all__ = ["HALIDE"]

_ROWS = 14
_AUTOSCHEDULERS = ("Adams2019", "Mullapudi2016")

Maker: TypeAlias = Callable[..., list[Any]]
"""``make(hl, work, kind, *inputs)`` writes the algorithm and returns the functions that a schedule may name, the output
last. All of them are called innermost index first: the last axis of an array is the first dimension of Halide's."""
Scheduler: TypeAlias = Callable[[Any, list[Any]], None]


def _ways(work: Work) -> Iterator[Way]:
    import halide as hl  # type: ignore[import-not-found,unused-ignore]

    make = _MAKERS.get(work.case.op)
    if make is None:
        return
    for name in _AUTOSCHEDULERS:
        hl.load_plugin(str(Path(hl.__file__).parent / "lib64" / f"libautoschedule_{name.lower()}.so"))
        yield _way(hl, work, name, make, partial(_automatic, hl, work, name))
    vector = _vector(hl, work)
    if work.case.op == "matmul" and work.case.shape[0] >= _ROWS and work.case.shape[1] >= 2 * vector:
        yield _way(hl, work, "tiles by hand", make, partial(_by_hand, hl, vector))


def _way(hl: Any, work: Work, name: str, make: Maker, schedule: Scheduler) -> Way:
    arrays = [work.contiguous(index) for index in range(len(work.inputs))]
    kind = _kind(hl, work)
    params = [hl.ImageParam(kind, array.ndim, f"i{index}") for index, array in enumerate(arrays)]
    for param, array in zip(params, arrays, strict=True):
        param.set_estimates([(0, extent) for extent in reversed(array.shape)])
        param.set(hl.Buffer(array))
    functions = make(hl, work, kind, *(_reader(param, i in work.case.transposed) for i, param in enumerate(params)))
    functions[-1].set_estimates([(0, extent) for extent in reversed(work.case.out_shape)])
    pipeline = hl.Pipeline(functions[-1])
    schedule(pipeline, functions)
    pipeline.compile_jit(hl.get_host_target())
    out = empty(work.case.out_shape, work.case.dtype)
    target = hl.Buffer(out)
    return Way(name, lambda: pipeline.realize(target), lambda: out)


def _reader(param: Any, transposed: bool) -> Callable[..., Any]:
    return (lambda x, y: param[y, x]) if transposed else (lambda *at: param[at])


def _kind(hl: Any, work: Work) -> Any:
    return hl.Float(np.dtype(work.case.dtype).itemsize * 8)


def _vector(hl: Any, work: Work) -> int:
    size: int = hl.get_host_target().natural_vector_size(_kind(hl, work))
    return size


def _automatic(hl: Any, work: Work, name: str, pipeline: Any, functions: list[Any]) -> None:
    pipeline.apply_autoscheduler(hl.get_host_target(), hl.AutoschedulerParams(name, {"parallelism": str(work.threads)}))


def _by_hand(hl: Any, vector: int, pipeline: Any, functions: list[Any]) -> None:
    """Tiles of 14 rows by two vectors, the last ones moved inwards, their sums in registers over all of K."""
    product, out = functions[0], functions[-1]
    x, y = out.args()
    xo, yo, xi, yi = (hl.Var(name) for name in ("xo", "yo", "xi", "yi"))
    out.tile(x, y, xo, yo, xi, yi, 2 * vector, _ROWS, hl.TailStrategy.ShiftInwards)
    out.vectorize(xi, vector).reorder(xi, yi, yo, xo).parallel(xo)
    product.compute_at(out, yo).vectorize(product.args()[0], vector).unroll(product.args()[0]).unroll(product.args()[1])
    x, y = product.args()
    update = product.update()
    k = product.rvars(0)[0]
    update.reorder(x, y, k).vectorize(x, vector).unroll(x).unroll(y)


def _product(hl: Any, work: Work, kind: Any, a: Any, b: Any, *bias: Any) -> list[Any]:
    x, y = hl.Var("x"), hl.Var("y")
    outer = [hl.Var("z")] if work.case.op == "batch_matmul" else []
    k = hl.RDom([(0, work.case.shape[-1])], "k")
    product, out = hl.Func("product"), hl.Func("out")
    at = (x, y, *outer)
    product[at] = hl.cast(kind, 0)
    product[at] += a(k.x, y, *outer) * b(x, k.x, *outer)
    value = product[at] + bias[0](x) if bias else product[at]
    if work.activation == "relu":
        value = hl.max(value, hl.cast(kind, 0))
    if work.activation == "gelu":
        inner = math.sqrt(2 / math.pi) * (value + 0.044715 * value * value * value)
        value = 0.5 * value * (1 + hl.tanh(inner))
    out[at] = value
    return [product, out]


def _conv2d(hl: Any, work: Work, kind: Any, image: Any, weight: Any, *bias: Any) -> list[Any]:
    _, c, height, width, o, window, stride, padding = work.case.shape
    groups, dilation = work.case.options.get("groups", 1), work.case.options.get("dilation", 1)
    x, y, z, n = (hl.Var(name) for name in "xyzn")
    padded, sums, out = hl.Func("padded"), hl.Func("sums"), hl.Func("out")
    inside = (x >= padding) & (x < width + padding) & (y >= padding) & (y < height + padding)
    pixel = image(hl.clamp(x - padding, 0, width - 1), hl.clamp(y - padding, 0, height - 1), z, n)
    padded[x, y, z, n] = hl.select(inside, pixel, hl.cast(kind, 0))
    r = hl.RDom([(0, window), (0, window), (0, c // groups)], "r")
    channel = r.z if groups == 1 else z / (o // groups) * (c // groups) + r.z
    sums[x, y, z, n] = bias[0](z) if bias else hl.cast(kind, 0)
    column, row = x * stride + r.x * dilation, y * stride + r.y * dilation
    sums[x, y, z, n] += weight(r.x, r.y, r.z, z) * padded[column, row, channel, n]
    out[x, y, z, n] = sums[x, y, z, n]
    return [sums, out]


def _row_softmax(hl: Any, kind: Any, value: Callable[..., Any], length: int, outer: tuple[Any, ...]) -> Any:
    """A function of (position, *outer*) whose rows are the softmax of those of *value*."""
    x = hl.Var("x")
    r, q = hl.RDom([(0, length)], "r"), hl.RDom([(0, length)], "q")
    top, powers, total, share = (hl.Func(name) for name in ("top", "powers", "total", "share"))
    top[outer] = hl.cast(kind, -math.inf)
    top[outer] = hl.max(top[outer], value(r.x, *outer))
    powers[(x, *outer)] = hl.exp(value(x, *outer) - top[outer])
    total[outer] = hl.cast(kind, 0)
    total[outer] += powers[(q.x, *outer)]
    share[(x, *outer)] = powers[(x, *outer)] / total[outer]
    return share


def _softmax(hl: Any, work: Work, kind: Any, x: Any) -> list[Any]:
    return [_row_softmax(hl, kind, x, work.case.shape[1], (hl.Var("y"),))]


def _attention(hl: Any, work: Work, kind: Any, q: Any, k: Any, v: Any) -> list[Any]:
    _, _, length, width = work.case.shape
    x, s, h, b = (hl.Var(name) for name in ("x", "s", "h", "b"))
    d, t = hl.RDom([(0, width)], "d"), hl.RDom([(0, length)], "t")
    scores, out, sums = hl.Func("scores"), hl.Func("out"), hl.Func("sums")
    scores[x, s, h, b] = hl.cast(kind, 0)
    scores[x, s, h, b] += q(d.x, s, h, b) * k(d.x, x, h, b)
    scale = hl.cast(kind, 1 / math.sqrt(width))

    def seen(position: Any, row: Any, *outer: Any) -> Any:
        score = scores[(position, row, *outer)] * scale
        return hl.select(position <= row, score, hl.cast(kind, -math.inf)) if work.case.options.get("causal") else score

    share = _row_softmax(hl, kind, seen, length, (s, h, b))
    sums[x, s, h, b] = hl.cast(kind, 0)
    sums[x, s, h, b] += share[t.x, s, h, b] * v(x, t.x, h, b)
    out[x, s, h, b] = sums[x, s, h, b]
    return [scores, share, sums, out]


def _norm(hl: Any, work: Work, kind: Any, source: Any, gamma: Any, *beta: Any) -> list[Any]:
    count = work.case.shape[1]
    x, y = hl.Var("x"), hl.Var("y")
    r, q = hl.RDom([(0, count)], "r"), hl.RDom([(0, count)], "q")
    total, squares, root, out = (hl.Func(name) for name in ("total", "squares", "root", "out"))
    total[y] = hl.cast(kind, 0)
    if beta:
        total[y] += source(r.x, y)

    def centred(at: Any) -> Any:
        return source(at, y) - total[y] / count if beta else source(at, y)

    squares[y] = hl.cast(kind, 0)
    squares[y] += centred(q.x) * centred(q.x)
    root[y] = 1 / hl.sqrt(squares[y] / count + hl.cast(kind, EPSILON))
    value = centred(x) * root[y] * gamma(x)
    out[x, y] = value + beta[0](x) if beta else value
    return [out]


def _add(hl: Any, work: Work, kind: Any, a: Any, b: Any) -> list[Any]:
    x, y, out = hl.Var("x"), hl.Var("y"), hl.Func("out")
    out[x, y] = a(x, y) + b(x, y)
    return [out]


def _relu(hl: Any, work: Work, kind: Any, a: Any) -> list[Any]:
    x, y, out = hl.Var("x"), hl.Var("y"), hl.Func("out")
    out[x, y] = hl.max(a(x, y), hl.cast(kind, 0))
    return [out]


_MAKERS: dict[str, Maker] = {
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

HALIDE = Peer("halide", "Halide", "halide", "halide", _ways)
