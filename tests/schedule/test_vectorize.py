"""vectorize: the turns of an innermost loop become lanes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, pointwise


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 70), factor=st.integers(1, 40), tail=st.sampled_from(["guard", "cut"]), unrolled=st.booleans())
def test_lanes_compute_the_same_whatever_divides(n: int, factor: int, tail: str, unrolled: bool) -> None:
    _, C = pointwise(3, n)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i1", factor, tail=tail)
    s[C].vectorize(inner)
    if unrolled:
        s[C].unroll(outer)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), reach=st.integers(1, 3), factor=st.integers(2, 20))
def test_lanes_read_neighbours_behind_a_select(n: int, reach: int, factor: int) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor)
    s[C].vectorize(inner)
    s[P].compute_at(s[C], outer)
    s[P].vectorize("i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_any_dimension_may_be_lanes() -> None:
    *_, C = matmul(17, 3, 5)
    s = te.create_schedule(C)
    s[C].reorder("j", "k", "i")
    s[C].vectorize("i")
    assert "for i in range(17):  # vectorize" in str(s)
    check_meaning(s, compiled=True)


def test_vectorize_gives_vector_instructions() -> None:
    A, C = pointwise(64)
    s = te.create_schedule(C)
    s[C].vectorize("i")
    assert " x float>" in build(s, [A, C]).llvm_ir()


def test_a_single_value_may_be_computed_in_a_vector_loop() -> None:
    A = te.placeholder((), name="A")
    P = te.compute((), lambda: A() + 1, name="P")
    C = te.compute((9,), lambda i: P() * 2, name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[C].vectorize("i")
    check_meaning(s, compiled=True)


def test_vectorize_refuses() -> None:
    *_, C = matmul(4, 2000, 4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)loop 'k' runs over a reduction.*rfactor"):
        s[C].vectorize("k")
    with pytest.raises(ScheduleError, match=r"(?s)loop 'j' is not innermost: loop 'k' is inside it.*'j' comes last"):
        s[C].vectorize("j")
    with pytest.raises(ScheduleError, match="loops 'j', 'k' are inside it"):
        s[C].vectorize("i")
    s[C].reorder("k", "j")
    with pytest.raises(ScheduleError, match="loop 'j' has 2000 turns, and a vector loop at most 1024"):
        s[C].vectorize("j")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].vectorize("q")
    s[C].parallel("i")
    with pytest.raises(ScheduleError, match="loop 'i' is parallel, and only a serial loop can be vectorized"):
        s[C].vectorize("i")


def test_nothing_is_computed_inside_a_vector_loop() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[C].vectorize("i1")
    with pytest.raises(ScheduleError, match="loop 'i1' is vectorized, and nothing can be computed inside"):
        s[P].compute_at(s[C], "i1")
    s[P].compute_at(s[C], "i0")
