"""parallel: the turns of a loop are shared among threads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(0, 9), m=st.integers(0, 9), factor=st.integers(1, 4), at=st.integers(0, 2), fused=st.booleans(),
    tail=st.sampled_from(["guard", "cut"]),
)  # fmt: skip
def test_parallel_turns_compute_the_same_with_memory_of_their_own(
    n: int, m: int, factor: int, at: int, fused: bool, tail: str
) -> None:
    _, P, C = chain(n, m)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i0", factor, tail=tail)
    if fused:
        outer = s[C].fuse(outer, inner)
    s[C].parallel(outer)
    s[P].compute_at(s[C], s[C].loops[min(at, len(s[C].loops) - 1)])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_parallel_loop_inside_a_reduction_waits_for_all_in_each_turn() -> None:
    *_, C = matmul(5, 4, 3)
    s = te.create_schedule(C)
    s[C].reorder("k", "i", "j")
    s[C].parallel("i")
    assert str(s).split("\n")[:2] == ["for k in range(3):", "  for i in range(5):  # parallel"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_parallel_refuses() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)loop 'k' runs over a reduction: .*lose some.*rfactor"):
        s[C].parallel("k")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].parallel("q")
    s[C].parallel("i")
    with pytest.raises(ScheduleError, match="loop 'i' is parallel, and only a serial loop can be made parallel"):
        s[C].parallel("i")
    with pytest.raises(ScheduleError, match=r"(?s)loop 'i' around or inside 'j' is parallel already.*fuse the two"):
        s[C].parallel("j")


def test_one_level_holds_across_stages() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[P].parallel("i1")
    s[C].parallel("i0")
    with pytest.raises(ScheduleError, match=r"the stage's own parallel\('i1'\) can't be repeated at the new place"):
        s[P].compute_at(s[C], "i0")
    t = te.create_schedule(C)
    t[P].compute_at(t[C], "i0")
    t[P].parallel("i1")
    with pytest.raises(ScheduleError, match="loop 'i1' around or inside 'i0' is parallel already"):
        t[C].parallel("i0")
    check_meaning(t, compiled=True)


def test_a_fused_reduction_is_still_a_reduction() -> None:
    A = te.placeholder((2, 3, 4), name="A")
    x, y = te.reduce_axis((0, 3), name="x"), te.reduce_axis((0, 4), name="y")
    C = te.compute((2,), lambda i: te.sum(A[i, x, y], axis=[x, y]), name="C")
    s = te.create_schedule(C)
    both = s[C].fuse(x, y)
    for loop in (*s[C].split(both, 5), s[C].op.axis[0]):
        if loop is s[C].op.axis[0]:
            s[C].parallel(loop)
        else:
            with pytest.raises(ScheduleError, match="runs over a reduction"):
                s[C].parallel(loop)


def test_parts_of_an_empty_reduction_are_still_a_reduction() -> None:
    *_, C = matmul(2, 2, 0)
    s = te.create_schedule(C)
    for loop in s[C].split("k", nparts=2):
        with pytest.raises(ScheduleError, match="runs over a reduction"):
            s[C].parallel(loop)
    check_meaning(s, compiled=True)
