"""A layer of a transformer from the functions for arrays, with its weights packed once, checked against NumPy.

    y = x + attention(layernorm(x)), and then y + mlp(layernorm(y)), mlp(z) = gelu(z @ up + bias) @ down + bias

Each function call in `Block.__call__` is one kernel: biases and the GELU are no passes of their own, and the scores of
the attention are never all in memory.

    python examples/transformer_block.py [--tokens 128] [--width 256] [--heads 4]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import flashsched as fs

Array = np.ndarray[Any, np.dtype[np.float32]]


class Block:
    """Causal self-attention and an MLP of four times the width, each behind a layernorm."""

    def __init__(self, width: int, heads: int, rng: np.random.Generator) -> None:
        def matrix(rows: int, columns: int) -> Array:
            return rng.standard_normal((rows, columns), dtype=np.float32) / np.float32(np.sqrt(rows))

        def vector(columns: int) -> Array:
            return rng.standard_normal(columns, dtype=np.float32) / np.float32(10)

        self.heads = heads
        self.weights = {
            "qkv": (matrix(width, 3 * width), vector(3 * width)),
            "out": (matrix(width, width), vector(width)),
            "up": (matrix(width, 4 * width), vector(4 * width)),
            "down": (matrix(4 * width, width), vector(width)),
        }
        self.norms = [(1 + vector(width), vector(width)) for _ in range(2)]  # gamma and beta
        self.packed = {name: fs.prepack(w) for name, (w, _) in self.weights.items()}

    def linear(self, name: str, x: Array, activation: str | None = None) -> Array:
        """``activation(x @ w + bias)``, one kernel that reads the packed weights."""
        return fs.matmul(x, self.packed[name], self.weights[name][1], activation)

    def __call__(self, x: Array) -> Array:
        """The layer's output for *x*, shape (tokens, width)."""
        q, k, v = self.split(self.linear("qkv", fs.layernorm(x, *self.norms[0])))
        mixed = self.merge(fs.attention(q, k, v, causal=True))
        x = fs.add(x, self.linear("out", mixed))
        hidden = self.linear("up", fs.layernorm(x, *self.norms[1]), "gelu")
        return fs.add(x, self.linear("down", hidden))

    def split(self, qkv: Array) -> Array:
        """Queries, keys and values, each of shape (heads, tokens, width / heads)."""
        tokens, width = qkv.shape[0], qkv.shape[1] // 3
        return np.ascontiguousarray(qkv.reshape(tokens, 3, self.heads, width // self.heads).transpose(1, 2, 0, 3))

    def merge(self, heads: Array) -> Array:
        """What the heads found, side by side again: shape (tokens, width)."""
        return heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)


def in_numpy(block: Block, x: Any) -> Any:
    """The same layer in NumPy, in the dtype of *x*."""

    def linear(name: str, z: Any) -> Any:
        w, bias = block.weights[name]
        return z @ w.astype(x.dtype) + bias

    def layernorm(z: Any, gamma: Array, beta: Array) -> Any:
        return (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5) * gamma + beta

    def gelu(z: Any) -> Any:
        return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))

    q, k, v = block.split(linear("qkv", layernorm(x, *block.norms[0])))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    power = np.exp(scores - scores.max(-1, keepdims=True))
    x = x + linear("out", block.merge(power / power.sum(-1, keepdims=True) @ v))
    return x + linear("down", gelu(linear("up", layernorm(x, *block.norms[1]))))


def milliseconds(call: Callable[[], object], rounds: int = 10) -> float:
    """The median time of *call*."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128, help="length of the sequence")
    parser.add_argument("--width", type=int, default=256, help="numbers that describe a token")
    parser.add_argument("--heads", type=int, default=4, help="heads of the attention, which divide the width")
    arguments = parser.parse_args()
    if arguments.width % arguments.heads:
        parser.error(f"--heads {arguments.heads} must divide --width {arguments.width}")

    rng = np.random.default_rng(0)
    block = Block(arguments.width, arguments.heads, rng)
    x = rng.standard_normal((arguments.tokens, arguments.width), dtype=np.float32)

    exact = in_numpy(block, x.astype(np.float64))
    ours, theirs = (float(np.abs(y - exact).max()) for y in (block(x), in_numpy(block, x)))
    print(f"largest error: {ours:.1e}, NumPy's in float32: {theirs:.1e}, largest result: {np.abs(exact).max():.1f}")
    print(f"a call: {milliseconds(lambda: block(x)):.2f} ms, NumPy's: {milliseconds(lambda: in_numpy(block, x)):.2f}")
    if ours > 1e-5 * np.abs(exact).max():
        print("that is more than rounding")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
