"""Stores that mask off the same elements write whole vectors; any other keeps what is masked off as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen import llvm
from flashsched.codegen.emit import emit
from flashsched.codegen.emit_spare import has_spare_lanes
from flashsched.codegen.target import host_target
from flashsched.schedule.ir import Alloc, Buffer, For, If, Load, LoopKind, Seq, Stmt, Store
from flashsched.schedule.program import Program
from flashsched.te.expr import Compare, Const, Expr, Var, const

WIDE = 40  # elements, some vectors and a part of one


def index(value: int) -> Const:
    return Const(value, "int64")


def lanes(name: str, limit: int | Expr | None, body) -> Stmt:
    """``for name in range(WIDE)``, vectorized, where it is below *limit*."""
    var = Var(name)
    store = body(var)
    inner = store if limit is None else If(Compare("<", var, index(limit) if isinstance(limit, int) else limit), store)
    return For(var, index(WIDE), inner, LoopKind.VECTORIZE)


def summing(
    first: int | None, then: int | None, last: int, turns: int, by_turn: bool = False, shift: int = 0
) -> Program:
    """P = 0 below *first*, *turns* times P += X below *then* (or below the turn), out = P below *last*."""
    x, p, out = (
        Buffer("X", (WIDE,), "float32"),
        Buffer("P", (WIDE + shift,), "float32"),
        Buffer("out", (WIDE,), "float32"),
    )
    t = Var("t")
    zero = lanes("i", first, lambda i: Store(p, (i + shift if shift else i,), const(0, "float32")))
    add = lanes("j", t if by_turn else then, lambda j: Store(p, (j,), Load(p, (j,)) + Load(x, (j,))))
    copy = lanes("k", last, lambda k: Store(out, (k,), Load(p, (k,))))
    return Program("sums", (x,), (out,), Alloc(p, Seq((zero, For(t, index(turns), add), copy))))


limits = st.one_of(st.none(), st.integers(0, WIDE))


@settings(max_examples=60)
@given(first=limits, then=limits, last=st.integers(0, WIDE), turns=st.integers(0, 4), by_turn=st.booleans())
@example(first=36, then=36, last=36, turns=3, by_turn=False)
@example(first=None, then=36, last=WIDE, turns=3, by_turn=False)
def test_what_counts_stays(run_nest, first, then, last: int, turns: int, by_turn: bool) -> None:
    last = last if first is None else min(first, last)  # what was never written is not read
    program = summing(first, then, last, turns, by_turn)
    assert has_spare_lanes(program.body) == (first is not None and first == then and not by_turn)
    data = np.arange(1, WIDE + 1, dtype=np.float32)
    (got,) = run_nest(program, data)
    at = np.arange(WIDE)
    times = (
        sum((at < t).astype(int) for t in range(turns)) if by_turn else turns * (at < (WIDE if then is None else then))
    )
    np.testing.assert_array_equal(got, np.where(at < last, times * data, 7))


def test_elements_that_another_index_reaches_are_not_spare() -> None:
    assert not has_spare_lanes(summing(36, 36, 36, 2, shift=1).body)


@pytest.mark.skipif(host_target().vector_bits < 512, reason="counts the instructions of AVX-512")
def test_a_sum_that_sticks_out_is_no_more_work_in_a_turn() -> None:
    texts = [str(llvm.optimize(emit(summing(first, 36, 36, 50), host_target()), host_target())) for first in (36, None)]
    assert ["shufflevector" in text or "select" in text for text in texts] == [False, True]


def test_memory_is_zeroed_only_where_a_store_keeps_lanes() -> None:
    texts = [emit(summing(None, then, WIDE, 1), host_target()) for then in (None, 36)]
    assert ["memset" in text for text in texts] == [False, True]
