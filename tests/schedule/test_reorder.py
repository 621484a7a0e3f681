"""reorder: loops change places, and what is computed at them goes along."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul, pointwise


@settings(max_examples=40, deadline=None)
@given(data=st.data(), m=st.integers(0, 5), n=st.integers(0, 5), k=st.integers(0, 5), factor=st.integers(1, 3))
def test_any_order_computes_the_same(data: st.DataObject, m: int, n: int, k: int, factor: int) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    s[C].split(s[C].op.axis[0], factor)
    s[C].split(s[C].op.reduce_axis[0], factor)
    order = data.draw(st.permutations(s[C].loops))
    s[C].reorder(*order[: data.draw(st.integers(1, len(order)))])
    check_meaning(s)
    check_round_trip(s)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_computed_at_a_loop_goes_with_it(data: st.DataObject) -> None:
    _, P, C = chain(3, 4, 2)
    s = te.create_schedule(C)
    s[C].split(s[C].op.axis[1], 3)
    at = data.draw(st.sampled_from(s[C].loops))
    s[P].compute_at(s[C], at)
    order = data.draw(st.permutations(s[C].loops))
    s[C].reorder(*order)
    assert s.state.stages["P"].attach == ("C", at.name)
    after = str(s)
    s[P].compute_at(s[C], at)  # where it is already
    assert str(s) == after
    check_meaning(s)
    check_round_trip(s)


def test_the_named_loops_share_the_places_that_they_had() -> None:
    _, C = pointwise(2, 3, 4, 5)
    s = te.create_schedule(C)
    s[C].reorder("i3", "i0")
    assert [line.split()[1] for line in str(s).split("\n") if "for" in line] == ["i3", "i1", "i2", "i0"]


def test_a_reduction_outside_is_initialised_by_a_nest_of_its_own() -> None:
    *_, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    s[C].reorder("k", "i", "j")
    assert str(lower(s)).split("\n")[1:] == [
        "  for i in range(2):",
        "    for j in range(3):",
        "      C[i, j] = 0.0",
        "  for k in range(4):",
        "    for i in range(2):",
        "      for j in range(3):",
        "        C[i, j] = C[i, j] + A[i, k] * B[k, j]",
    ]


def test_the_innermost_loop_may_change_under_a_stage() -> None:
    _, P, C = chain(2, 3)
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    s[P].compute_at(s[C], j)
    s[C].reorder(j, i)
    assert [line.strip() for line in str(s).split("\n")][:3] == [
        "for i1 in range(3):",
        "for i0 in range(2):",
        "for i1_1 in range(1):",
    ]
    check_meaning(s)


def test_reorder_refuses() -> None:
    _, C = pointwise(4, 4)
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    with pytest.raises(ScheduleError, match="loop 'i0' is named twice"):
        s[C].reorder(i, j, i)
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].reorder(i, "q")
    s[C].vectorize(j)
    with pytest.raises(ScheduleError, match="loop 'i1' is vectorized and must stay innermost"):
        s[C].reorder(j, i)
    s[C].reorder(i, j)
