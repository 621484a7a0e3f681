"""unroll_loops: turns written out, innermost first, up to a limit."""

from __future__ import annotations

import pytest

from flashsched.codegen.passes.unroll_loops import MOST_STORES, unroll_loops
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Buffer, For, If, LoopKind, Seq, Stmt, Store
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Var, const

A = Buffer("A", (64,), "float32")
i, j = Var("i"), Var("j")


def loop(var: Var, turns: int, body: Stmt, kind: LoopKind = LoopKind.UNROLL) -> For:
    return For(var, const(turns, "int64"), body, kind)


def test_nested() -> None:
    nest = loop(i, 2, Seq((loop(j, 2, Store(A, (i * 2 + j,), const(1.0))), Store(A, (i,), const(2.0)))))
    assert nest_text(unroll_loops(nest)) == "A[0] = 1.0\nA[1] = 1.0\nA[0] = 2.0\nA[2] = 1.0\nA[3] = 1.0\nA[1] = 2.0"


def test_conditions_are_decided() -> None:
    nest = loop(i, 4, If(i < 2, Store(A, (i,), const(1.0)), Store(A, (i,), const(2.0))))
    assert nest_text(unroll_loops(nest)) == "A[0] = 1.0\nA[1] = 1.0\nA[2] = 2.0\nA[3] = 2.0"


def test_other_loops_stay() -> None:
    nest = loop(i, 2, loop(j, 3, Store(A, (i + j,), const(1.0)), LoopKind.VECTORIZE))
    assert nest_text(unroll_loops(nest)) == (
        "for j in range(3):  # vectorize\n  A[j] = 1.0\nfor j in range(3):  # vectorize\n  A[j + 1] = 1.0"
    )


def test_the_limit_is_on_what_is_written_in_all() -> None:
    body = Store(A, (i % 64,), const(1.0))
    unroll_loops(loop(i, MOST_STORES, body))
    with pytest.raises(LoweringError, match=r"(?s)unrolling loop 'j' gives 8194 stores, .*unroll fewer loops"):
        unroll_loops(loop(j, 2, loop(i, MOST_STORES // 2 + 1, body)))
