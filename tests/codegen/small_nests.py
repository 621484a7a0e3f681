"""Nests written by hand, for the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from flashsched.codegen.interpreter import InterpreterError, interpret_nest
from flashsched.schedule.ir import Block, Buffer, For, Iter, Load, LoopKind, Stmt, Store
from flashsched.te.expr import Expr, Var, const
from flashsched.te.tensor import AxisKind

S, R = AxisKind.SPATIAL, AxisKind.REDUCE
SERIAL, PARALLEL, VECTORIZE = LoopKind.SERIAL, LoopKind.PARALLEL, LoopKind.VECTORIZE
THREAD, BLOCK = LoopKind.THREAD_X, LoopKind.BLOCK_X


def index(value: int) -> Expr:
    return const(value, "int64")


def loops(spec: Sequence[tuple[Var, int] | tuple[Var, int, LoopKind]], body: Stmt) -> Stmt:
    for var, extent, *kind in reversed(spec):
        body = For(var, index(extent), body, *kind)
    return body


def variables(names: str) -> list[Var]:
    return [Var(name) for name in names.split()]


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class Matmul:
    """C = A @ B as a block over loops that a test may arrange as it likes."""

    def __init__(self, m: int, n: int, k: int) -> None:
        self.a, self.b = Buffer("A", (m, k), "float32"), Buffer("B", (k, n), "float32")
        self.c = Buffer("C", (m, n), "float32")
        self.extents = (m, n, k)
        self.loops = variables("i j k")

    def block(self, values: Sequence[Expr] | None = None, where: tuple[Expr, ...] = ()) -> Block:
        i, j, k = variables("bi bj bk")
        update = Load(self.c, (i, j)) + Load(self.a, (i, k)) * Load(self.b, (k, j))
        iters = zip((i, j, k), self.extents, (S, S, R), values or self.loops, strict=True)
        return Block(
            "C",
            tuple(Iter(var, 0, extent, kind, value) for var, extent, kind, value in iters),
            (Store(self.c, (i, j), update),),
            (Store(self.c, (i, j), const(0.0)),),
            where,
        )

    def nest(self, order: str = "ijk", **kinds: LoopKind) -> Stmt:
        by_name = dict(zip("ijk", zip(self.loops, self.extents, strict=True), strict=True))
        return loops([(*by_name[name], kinds.get(name, SERIAL)) for name in order], self.block())

    def inputs(self) -> dict[Buffer, np.ndarray]:
        return {self.a: floats(*self.a.shape), self.b: floats(*self.b.shape, seed=1)}

    def run(self, nest: Stmt, **options: bool) -> np.ndarray:
        return interpret_nest(nest, self.inputs(), [self.c], **options)[0]

    def expected(self) -> np.ndarray:
        a, b = self.inputs().values()
        out = np.zeros(self.c.shape, "float32")
        for k in range(self.extents[2]):
            out = (out + a[:, k : k + 1] * b[k : k + 1, :]).astype("float32")
        return out


def faulty(nest: Stmt, says: str, arrays: dict[Buffer, np.ndarray] | None = None, *outputs: Buffer) -> InterpreterError:
    """The error that a nest with a planted fault runs into."""
    with pytest.raises(InterpreterError, match=says) as caught:
        interpret_nest(nest, arrays or {}, outputs)
    return caught.value
