"""fuse: adjacent loops of one sort become one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul, pointwise, row_sum


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), factor=st.integers(1, 7), count=st.integers(1, 4))
def test_a_fused_nest_visits_each_point_once(shape: list[int], factor: int, count: int) -> None:
    _, C = pointwise(*shape)
    s = te.create_schedule(C)
    fused = s[C].fuse(*s[C].op.axis[:count])
    s[C].split(fused, factor)
    check_meaning(s, compiled=len(shape) == 4)
    check_round_trip(s)


@settings(max_examples=30, deadline=None)
@given(a=st.integers(0, 4), b=st.integers(0, 4), first=st.integers(1, 5), second=st.integers(1, 5))
def test_fused_reductions_are_complete_and_initialised(a: int, b: int, first: int, second: int) -> None:
    A = te.placeholder((3, a, b), name="A")
    x, y = te.reduce_axis((0, a), name="x"), te.reduce_axis((0, b), name="y")
    C = te.compute((3,), lambda i: te.sum(A[i, x, y], axis=[x, y]), name="C")
    s = te.create_schedule(C)
    io, _ = s[C].split(s[C].op.axis[0], first)
    both = s[C].fuse(*s[C].op.reduce_axis)
    ko, _ = s[C].split(both, second)
    s[C].reorder(ko, io)
    check_meaning(s)
    check_round_trip(s)


def test_one_loop_of_an_empty_one_and_one_of_one_turn_still_initialises() -> None:
    _, C = row_sum(2, 0, 0)
    s = te.create_schedule(C)
    _, inner = s[C].split("i", factor=1)
    s[C].fuse(inner, "k")  # the first has one turn, so it drives nothing
    check_meaning(s)


def test_what_is_fused_is_a_quotient_and_a_remainder() -> None:
    _, C = pointwise(4, 6)
    s = te.create_schedule(C)
    assert s[C].fuse("i0", "i1").name == "i0.i1"
    assert str(s).split("\n")[:2] == ["for i0.i1 in range(24):", "  C(i0=i0.i1 // 6, i1=i0.i1 % 6):"]


def test_fusing_what_split_cut_gives_the_loop_again() -> None:
    _, C = pointwise(12)
    s = te.create_schedule(C)
    s[C].fuse(*s[C].split("i", 4))
    assert str(s).split("\n")[1] == "  C(i=i.o.i.i):"


def test_fuse_refuses() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    i, j, k = *s[C].op.axis, *s[C].op.reduce_axis
    with pytest.raises(ScheduleError, match="no loop is named"):
        s[C].fuse()
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].fuse("q")
    with pytest.raises(ScheduleError, match="'k' is not directly inside 'i', and only adjacent loops"):
        s[C].fuse(i, k)
    with pytest.raises(ScheduleError, match=r"(?s)'i' is not directly inside 'j'.*fuse\('i', 'j'\)"):
        s[C].fuse(j, i)
    with pytest.raises(ScheduleError, match="one of 'j' and 'k' runs over the output and the other over a reduction"):
        s[C].fuse(j, k)
    s[C].unroll(j)
    with pytest.raises(ScheduleError, match="loop 'j' is unrolled, and only a serial loop can be fused"):
        s[C].fuse(i, j)


def test_fuse_refuses_loops_with_a_stage_between() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    s[P].compute_at(s[C], i)
    with pytest.raises(ScheduleError, match="stage 'P' is computed at loop 'i0', between 'i0' and 'i1'"):
        s[C].fuse(i, j)


def test_a_stage_at_the_inner_loop_goes_with_the_fused_one() -> None:
    _, P, C = chain(3, 5)
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    s[P].compute_at(s[C], j)
    fused = s[C].fuse(i, j)
    assert s.state.stages["P"].attach == ("C", fused.name)
    s[C].parallel(fused)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_three_fused_loops_are_fused_again_where_the_stage_is_moved_to() -> None:
    A = te.placeholder((4, 6, 8), name="A")
    B = te.compute((4, 6, 8), lambda i, j, k: A[i, j, k] + 1, name="B")
    C = te.compute((4, 6, 8), lambda i, j, k: B[i, j, k] * 2, name="C")
    s = te.create_schedule(C)
    fused = s[B].fuse(*s[B].op.axis)
    s[B].compute_at(s[C], s[C].op.axis[0])
    assert [loop.name for loop in s[B].loops] == [fused.name] == ["i.j.k"]
    assert s[B].split(fused, factor=4)[0].name == "i.j.k.o"
    check_meaning(s, compiled=True)
    check_round_trip(s)
