"""attention: ``softmax(q @ k.T / sqrt(D)) @ v`` for each head, online: the scores are never all there.

Keys are taken in blocks. A block gives, for each query, its largest score, the sum of its powers, and its powers times
the values; two such triples combine into that of both blocks (M. Milakov and N. Gimelshein, "Online normalizer
calculation for softmax", 2018; T. Dao et al., "FlashAttention", 2022). That is a reducer like any other, so it is all
one te graph, and its schedule holds the scores of one tile of queries and one block of keys at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched import te
from flashsched.ops.attention_cpu import attention_cpu
from flashsched.ops.operator import Operator, register
from flashsched.ops.rows import wide_float
from flashsched.te.tensor import Tensor

__all__ = ["attention"]

_MOST_KEYS = 512
"""Keys of a block at most: with 32 queries their scores and powers are 128 KiB, which a second-level cache holds."""

_MOST_CAUSAL_KEYS = 64
"""The same where later keys do not count, since half of the block at the diagonal is computed for nothing."""

_WHOLE_TILES = 16  # a block is a multiple of this, and so of the rows of a register tile

_Triple = tuple[te.Expr, te.Expr, te.Expr]


def _lowest(dtype: str) -> float:
    return float(np.finfo(dtype).min)


def _join(a: _Triple, b: _Triple) -> _Triple:
    """What two blocks of keys give together: largest score, sum of powers, sum of powers times values."""
    later = b[0] > a[0]
    factor = te.exp(te.select(later, a[0] - b[0], b[0] - a[0]))
    of_a, of_b = te.select(later, factor, 1.0), te.select(later, 1.0, factor)
    return te.select(later, b[0], a[0]), a[1] * of_a + b[1] * of_b, a[2] * of_a + b[2] * of_b


# The identity of a maximum is the lowest number, and not minus infinity: a difference of two infinities is no number.
_online = te.comm_reducer(
    _join, lambda m, s, o: (te.const(_lowest(m), m), te.const(0, s), te.const(0, o)), name="online"
)
_largest = te.comm_reducer(lambda x, y: te.select(y > x, y, x), lambda t: te.const(_lowest(t), t), name="largest")


def _blocks(keys: int, most: int) -> tuple[int, int]:
    """How many blocks of keys there are, and how many keys a block has; the last one may be padded."""
    count = max(1, -(-keys // most))
    each = -(-keys // count)
    return count, each if count == 1 else -(-each // _WHOLE_TILES) * _WHOLE_TILES


def _define(B: int, H: int, S: int, D: int, dtype: str = "float32", causal: bool = False) -> list[Tensor]:
    """Y[b, h, i] = sum over j of softmax(Q[b, h, i] . K[b, h, j] / sqrt(D)) * V[b, h, j]; *causal*: only j <= i.

    Narrow floats are computed in float32. Shapes are (B, H, S, D): batch, heads, sequence, depth.
    """
    wide = wide_float(dtype)
    q, k, v = (te.placeholder((B, H, S, D), dtype, name=name) for name in ("Q", "K", "V"))
    count, block = _blocks(S, _MOST_CAUSAL_KEYS if causal else _MOST_KEYS)
    padded = count * block > S
    scale = max(D, 1) ** -0.5
    scaled = te.compute((B, H, D, S), lambda b, h, d, i: q[b, h, i, d].astype(wide) * scale, name="scaled")
    d = te.reduce_axis((0, D), name="d")

    def product(b: te.Expr, h: te.Expr, c: te.Expr, j: te.Expr, i: te.Expr) -> te.Expr:
        key = te.minimum(c * block + j, S - 1) if padded else c * block + j
        found: te.Expr = te.sum(k[b, h, key, d].astype(wide) * scaled[b, h, d, i], axis=d)
        return found

    dot = te.compute((B, H, count, block, S), product, name="dot")

    def counted(b: te.Expr, h: te.Expr, c: te.Expr, j: te.Expr, i: te.Expr) -> te.Expr:
        seen = c * block + j <= i if causal else c * block + j < S
        return te.select(seen, dot[b, h, c, j, i], te.min_value(wide)) if causal or padded else dot[b, h, c, j, i]

    score = te.compute(dot.shape, counted, name="score")
    j, m, n = (te.reduce_axis((0, block), name="j") for _ in range(3))
    most = te.compute((B, H, count, S), lambda b, h, c, i: _largest(score[b, h, c, j, i], axis=j), name="most")
    power = te.compute(dot.shape, lambda b, h, c, j, i: te.exp(score[b, h, c, j, i] - most[b, h, c, i]), name="power")
    total = te.compute((B, H, count, S), lambda b, h, c, i: te.sum(power[b, h, c, m, i], axis=m), name="total")

    def weighted(b: te.Expr, h: te.Expr, c: te.Expr, d: te.Expr, i: te.Expr) -> te.Expr:
        value = v[b, h, c * block + n, d].astype(wide)
        found: te.Expr = te.sum(power[b, h, c, n, i] * value, axis=n, where=c * block + n < S if padded else None)
        return found

    part = te.compute((B, H, count, D, S), weighted, name="part")
    if count == 1 and not causal:  # nothing to join
        share = te.compute((B, H, S), lambda b, h, i: 1 / total[b, h, 0, i], name="share")
        state = te.compute((B, H, D, S), lambda b, h, d, i: part[b, h, 0, d, i] * share[b, h, i], name="state")
        return [q, k, v, te.compute((B, H, S, D), lambda b, h, i, d: state[b, h, d, i].astype(dtype), name="Y")]
    c = te.reduce_axis((0, count), name="c")

    def joined(b: te.Expr, h: te.Expr, d: te.Expr, i: te.Expr) -> Any:
        triple = most[b, h, c, i], total[b, h, c, i], part[b, h, c, d, i]
        return _online(triple, axis=c, where=c * block <= i if causal else None)

    _, weight, mixed = te.compute((B, H, D, S), joined, name="state")
    y = te.compute((B, H, S, D), lambda b, h, i, d: (mixed[b, h, d, i] / weight[b, h, d, i]).astype(dtype), name="Y")
    return [q, k, v, y]


def _reference(q: NDArray[Any], k: NDArray[Any], v: NDArray[Any], causal: bool = False) -> NDArray[Any]:
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    with np.errstate(all="ignore"):
        score = q @ k.swapaxes(-1, -2) / np.sqrt(max(q.shape[-1], 1))
        if causal:
            score = np.where(np.tril(np.ones(score.shape[-2:], bool)), score, -np.inf)
        power = np.exp(score - score.max(axis=-1, keepdims=True, initial=-np.inf))
        return np.asarray((power / power.sum(axis=-1, keepdims=True)) @ v)


attention: Operator = register(
    Operator("attention", _define, (1, 8, 512, 64), ("float32", "float64", "float16", "bfloat16"), _reference)
)
attention.template("cpu")(attention_cpu)
