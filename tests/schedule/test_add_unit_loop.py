"""add_unit_loop: one more loop, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import StructureError, UnknownNameError
from flashsched.schedule.primitives.tails import TAILS
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import matmul, pointwise


@settings(max_examples=40, deadline=None)
@given(
    loop=st.sampled_from(["i", "j", "k", None]), factor=st.integers(1, 4), tail=st.sampled_from(TAILS[:4]),
    what=st.sampled_from(["nothing", "split", "fuse", "parallel", "unroll", "reorder"]), k=st.integers(0, 3),
)  # fmt: skip
def test_a_loop_of_one_turn_anywhere(loop: str | None, factor: int, tail: str, what: str, k: int) -> None:
    *_, C = matmul(3, 2, k)
    s = te.create_schedule(C)
    unit = s[C].add_unit_loop(loop)
    if what == "split":
        s[C].split(unit, factor, tail=tail)
    elif what == "fuse" and loop is not None:
        s[C].fuse(unit, loop)
    elif what == "reorder":
        s[C].reorder("k", "i", "j", unit)
    elif what in ("parallel", "unroll"):
        getattr(s[C], what)(unit)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_total_is_bound_to_a_gpu() -> None:
    A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
    C = te.compute((), lambda: te.sum(A[k], axis=k), name="C")
    s = te.create_schedule(C)
    s[C].bind(s[C].add_unit_loop(k), "blockIdx.x")
    assert str(s).split("\n")[:3] == [
        "for unit in range(1):  # blockIdx.x",
        "  for k in range(8):",
        "    C(k=k):  # reduces k",
    ]
    check_meaning(s)


def test_what_has_no_loops_gets_one_and_a_second_has_a_name_of_its_own() -> None:
    _, C = pointwise()
    s = te.create_schedule(C)
    assert [s[C].add_unit_loop().name for _ in range(2)] == ["unit", "unit2"]
    assert str(s).split("\n")[:2] == ["for unit in range(1):", "  for unit2 in range(1):"]
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_stage_is_computed_at_it_wherever_its_own_steps_replay() -> None:
    A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
    P = te.compute((8,), lambda i: A[i] * 2, name="P")
    C = te.compute((), lambda: te.sum(P[k], axis=k), name="C")
    s = te.create_schedule(C)
    s[P].add_unit_loop("i")
    s[P].compute_at(s[C], s[C].add_unit_loop(k))
    assert s[P].loops[0].name == "unit"
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_what_is_refused() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    with pytest.raises(UnknownNameError, match="no loop named 'z'"):
        s[C].add_unit_loop("z")
    s[C].vectorize("i")
    with pytest.raises(StructureError, match="loop 'i' is vectorized, and must stay innermost"):
        s[C].add_unit_loop()
    s[C].add_unit_loop("i")
    check_meaning(s, compiled=True)
