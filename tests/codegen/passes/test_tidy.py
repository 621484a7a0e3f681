"""tidy: nothing certain is tested, nothing empty is run."""

from __future__ import annotations

import pytest

from flashsched.codegen.passes.tidy import EMPTY, tidy, tidy_under
from flashsched.schedule.ir import Alloc, Buffer, For, If, Let, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Expr, Var, const, logical_and

A = Buffer("A", (64,), "float32")
i, j = Var("i"), Var("j")


def loop(var: Var, turns: int, body: Stmt, kind: LoopKind = LoopKind.SERIAL) -> For:
    return For(var, const(turns, "int64"), body, kind)


def store(at: Expr, value: float = 1.0) -> Store:
    return Store(A, (at,), const(value))


@pytest.mark.parametrize(
    ("nest", "text"),
    [
        (loop(i, 1, store(i * 4 + 2)), "A[2] = 1.0"),
        (loop(i, 0, store(i)), "pass"),
        (loop(i, 4, loop(j, 0, store(i))), "pass"),
        (loop(i, 4, If(i < 4, store(i))), "for i in range(4):\n  A[i] = 1.0"),
        (loop(i, 4, If(i >= 4, store(i))), "pass"),
        (loop(i, 4, If(i >= 4, store(i), store(i, 2.0))), "for i in range(4):\n  A[i] = 2.0"),
        (loop(i, 4, If(i < 3, store(i))), "for i in range(3):\n  A[i] = 1.0"),
        (loop(i, 8, If(i * 2 < 7, store(i))), "for i in range(4):\n  A[i] = 1.0"),
        (loop(i, 8, If(i * 2 <= 6, store(i))), "for i in range(4):\n  A[i] = 1.0"),
        (If(i < 3, If(i < 5, store(i))), "if i < 3:\n  A[i] = 1.0"),
        (If(logical_and(i < 3, i < 5), store(i)), "if i < 3:\n  A[i] = 1.0"),
        (If(i < 3, EMPTY), "pass"),
        (If(i < 3, store(i), EMPTY), "if i < 3:\n  A[i] = 1.0"),
        (Alloc(Buffer("B", (2,), "int8"), EMPTY), "pass"),
        (Seq((loop(i, 0, store(i)), store(j))), "A[j] = 1.0"),
        (loop(i, 8, store(i // 8 + i % 8)), "for i in range(8):\n  A[i] = 1.0"),
    ],
)
def test_what_is_certain_goes(nest: Stmt, text: str) -> None:
    assert nest_text(tidy(nest)) == text


@pytest.mark.parametrize("kind", [LoopKind.VECTORIZE, LoopKind.PARALLEL, LoopKind.THREAD_X])
def test_only_serial_loops_are_shortened(kind: LoopKind) -> None:
    nest = loop(i, 4, If(i < 3, store(i)), kind)
    assert nest_text(tidy(nest)) == nest_text(nest)


def test_blocks_and_threads_of_one_stay() -> None:
    assert "threadIdx.x" in nest_text(tidy(loop(i, 1, store(i), LoopKind.THREAD_X)))
    assert nest_text(tidy(loop(i, 1, store(i), LoopKind.PARALLEL))) == "A[0] = 1.0"


def test_facts_from_outside() -> None:
    nest = loop(j, 4, If(i + j < 12, store(i + j)))
    assert nest_text(tidy_under(nest, {i: (0, 20)}, (i < 9,))) == "for j in range(4):\n  A[i + j] = 1.0"
    assert "if" in nest_text(tidy_under(nest, {i: (0, 20)}, ()))


def test_values_keep_their_order_and_names_their_values() -> None:
    t = Var("t", "float32")
    value = (Load(A, (i * 1 + 0,)) + 1.0) + 2.0
    assert nest_text(tidy(Let(t, value, Store(A, (i,), t)))) == "t = A[i] + 1.0 + 2.0\nA[i] = t"
