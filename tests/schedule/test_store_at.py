"""store_at: memory is made at one loop, and filled at a loop inside."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import DependenceError, OutputError, ScheduleError, StructureError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, running_sum

TAIL = st.sampled_from(["guard", "cut"])


@settings(max_examples=30, deadline=None)
@given(data=st.data(), n=st.integers(0, 14), reach=st.integers(0, 2), factor=st.integers(1, 5), tail=TAIL)
def test_a_stencil_is_kept_at_an_outer_loop(data: st.DataObject, n: int, reach: int, factor: int, tail: str) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor, tail=tail)
    middle, last = s[C].split(inner, 2, tail=tail)
    loops = [outer, middle, last]
    at = data.draw(st.integers(0, 2))
    s[P].compute_at(s[C], loops[at])
    s[P].store_at(s[C], loops[data.draw(st.integers(0, at))])
    s[C].split(outer, 2) if data.draw(st.booleans()) else None
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_where_the_memory_is() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    jo, _ = s[C].split("i1", 4)
    s[P].compute_at(s[C], jo)
    assert "P = alloc(float32[1, 4], 'global')" in str(lower(s))
    s[P].store_at(s[C], "i0")
    assert str(s).startswith("for i0 in range(4):  # stores=('P',)")
    text = str(lower(s)).split("\n")
    assert text[2] == "    P = alloc(float32[1, 8], 'global')"
    s[C].split("i0", 2)
    assert s.state.stages["P"].store == ("C", "i0.i")
    check_meaning(s, compiled=True)
    s[P].compute_root()
    assert s.state.stages["P"].store is None
    check_meaning(s)


def test_each_turn_of_a_parallel_loop_may_have_its_part_of_one_buffer() -> None:
    _, P, C = chain(6, 8)
    s = te.create_schedule(C)
    jo, _ = s[C].split("i1", 4)
    s[P].compute_at(s[C], jo)
    s[P].store_at(s[C], "i0")
    s[C].parallel(jo)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[P].set_scope("global")
    with pytest.raises(StructureError, match="local memory is not shared"):
        s[P].set_scope("local")
    with pytest.raises(StructureError, match="its place is fixed"):
        s[P].set_scope("shared")


def test_turns_that_run_at_once_must_not_meet() -> None:
    """Storage outside a parallel loop, compute inside, overlapping regions: a race (Halide's issue 296)."""
    _, P, C = blur(16, 1)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", 8)
    middle, _ = s[C].split(inner, 4)
    s[P].compute_at(s[C], middle)
    s[P].store_at(s[C], outer)
    before = str(s)
    with pytest.raises(DependenceError, match=r"(?s)turns run at once \(parallel\) and may write.*a race.*store it at"):
        s[C].parallel(middle)
    assert str(s) == before
    s[C].parallel(outer)
    check_meaning(s, compiled=True)
    t = te.create_schedule(C)
    outer, inner = t[C].split("i", 8)
    t[P].compute_at(t[C], inner)
    t[C].parallel(inner)
    with pytest.raises(DependenceError, match="a race"):
        t[P].store_at(t[C], outer)
    t[P].store_at(t[C], inner)
    check_meaning(t, compiled=True)


def test_inlined_there_is_nothing_to_store() -> None:
    _, P, C = chain(6, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i1")
    s[P].store_at(s[C], "i0")
    s[P].compute_inline()
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_store_at_refuses() -> None:
    *_, P = matmul(4, 6, 5)
    C = te.compute((4, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    with pytest.raises(StructureError, match=r"(?s)'C' is not computed at a loop.*compute_at"):
        s[P].store_at(s[C], "i")
    with pytest.raises(OutputError, match="'R' is an output, and lives where the caller put it"):
        s[C].store_at(s[P], "i")
    s[P].compute_at(s[C], "i")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[P].store_at(s[C], "q")
    with pytest.raises(StructureError, match="'C' is stored at loop 'j' of 'R', and is not computed inside it"):
        s[P].store_at(s[C], "j")
    s[P].compute_at(s[C], "j")
    s[P].store_at(s[C], "i")
    with pytest.raises(StructureError, match="its place is fixed"):
        s[P].double_buffer()
    check_meaning(s, compiled=True)


def test_a_state_of_a_scan_stays_where_its_time_is() -> None:
    _, S, C = running_sum()
    s = te.create_schedule(C)
    with pytest.raises(DependenceError, match=r"'S' writes a state of a scan.*can't be stored at a loop"):
        s[S].store_at(s[C], "t")
