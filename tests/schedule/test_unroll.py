"""unroll: the turns of a loop are written out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import LoweringError, ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul, pointwise


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 9), k=st.integers(0, 5), factor=st.integers(1, 4), tail=st.sampled_from(["guard", "cut"]),
    which=st.sets(st.integers(0, 4)),
)  # fmt: skip
def test_unrolled_loops_compute_the_same(n: int, k: int, factor: int, tail: str, which: set[int]) -> None:
    *_, C = matmul(n, 3, k)
    s = te.create_schedule(C)
    s[C].split("i", factor, tail=tail)
    s[C].split("k", factor, tail=tail)
    for number in which:
        s[C].unroll(s[C].loops[number])
    check_meaning(s, compiled=n == 7)
    check_round_trip(s)


def test_unrolled_code() -> None:
    _, C = pointwise(3)
    s = te.create_schedule(C)
    s[C].unroll("i")
    assert str(s).split("\n")[0] == "for i in range(3):  # unroll"
    assert str(lower(s)).split("\n")[1:] == [f"  C[{n}] = A[{n}] * 2.0 + 1.0" for n in range(3)]


def test_the_last_tile_of_a_cut_loop_has_only_its_own_turns() -> None:
    _, C = pointwise(7)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", 4, tail="cut")
    s[C].unroll(inner)
    s[C].unroll(outer)
    assert [line.split()[0] for line in str(lower(s)).split("\n")[1:]] == [f"C[{n}]" for n in range(7)]


def test_a_stage_computed_in_an_unrolled_loop_gets_memory_in_each_turn() -> None:
    _, P, C = chain(2, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    s[C].unroll("i0")
    assert str(lower(s)).count("alloc") == 2
    check_meaning(s, compiled=True)


def test_unroll_refuses() -> None:
    _, C = pointwise(2000, 4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="loop 'i0' has 2000 turns, and at most 1024 can be written out"):
        s[C].unroll("i0")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].unroll("q")
    s[C].unroll("i1")
    with pytest.raises(ScheduleError, match="loop 'i1' is unrolled, and only a serial loop can be unrolled"):
        s[C].unroll("i1")


def test_lowering_refuses_code_that_no_cache_holds() -> None:
    _, C = pointwise(100, 100)
    s = te.create_schedule(C)
    s[C].unroll("i0")
    s[C].unroll("i1")
    with pytest.raises(LoweringError, match="unrolling loop 'i0' gives 10000 stores, and a kernel may have 8192"):
        lower(s)
