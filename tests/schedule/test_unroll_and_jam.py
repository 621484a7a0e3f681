"""unroll_and_jam: some turns of an outer loop share what the inner loop loads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, ScheduleError, StructureError
from flashsched.schedule.primitives.tails import TAILS
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import matmul, pointwise


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(0, 13), n=st.integers(1, 9), k=st.integers(0, 7), loop=st.sampled_from("ijk"),
    factor=st.integers(1, 5), tail=st.sampled_from(TAILS[:3]), vector=st.booleans(), compiled=st.booleans(),
)  # fmt: skip
def test_any_loop_of_a_matmul(
    m: int, n: int, k: int, loop: str, factor: int, tail: str, vector: bool, compiled: bool
) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    s[C].reorder("i", "k", "j")
    if vector and loop != "j":
        s[C].vectorize("j")
    s[C].unroll_and_jam(loop, factor, tail=tail)
    check_meaning(s, compiled=compiled)
    check_round_trip(s)


def test_two_rows_in_one_inner_loop() -> None:
    *_, C = matmul(4, 3, 5)
    s = te.create_schedule(C)
    s[C].reorder("i", "k", "j")
    s[C].unroll_and_jam("i", 2)
    assert str(lower(s)).split("\n")[-4:] == [
        "    for k in range(5):",
        "      for j in range(3):",
        "        C[i.o * 2, j] = C[i.o * 2, j] + A[i.o * 2, k] * B[k, j]",
        "        C[i.o * 2 + 1, j] = C[i.o * 2 + 1, j] + A[i.o * 2 + 1, k] * B[k, j]",
    ]


def test_what_is_refused() -> None:
    _, C = pointwise(4, 8)
    s = te.create_schedule(C)
    with pytest.raises(ArgumentError, match="factor must be at least 1, got 0"):
        s[C].unroll_and_jam("i0", 0)
    s[C].parallel("i0")
    with pytest.raises(StructureError, match="loop 'i0' is parallel, and only a serial loop can be split"):
        s[C].unroll_and_jam("i0", 2)
    with pytest.raises(ScheduleError, match="no loop named 'z'"):
        s[C].unroll_and_jam("z", 2)
    assert len(s.trace) == 1
