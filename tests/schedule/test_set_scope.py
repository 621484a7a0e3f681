"""set_scope: where a stage's result lives."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain


@pytest.mark.parametrize("scope", ["global", "shared", "local"])
@pytest.mark.parametrize("moved", [False, True])
def test_the_scope_changes_nothing_that_is_computed(scope: str, moved: bool) -> None:
    _, P, C = chain(4, 5)
    s = te.create_schedule(C)
    s[P].set_scope(scope)
    if moved:
        s[P].compute_at(s[C], "i0")
    assert f"'{scope}')" in str(lower(s))
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_all_outputs_of_a_stage_go_together() -> None:
    _, at, value = argmax(3, 4)
    C = te.compute((3,), lambda i: at[i] + value[i], name="C")
    s = te.create_schedule(C)
    s[at].set_scope("local")
    assert {buffer.scope for buffer in s.state.stages["M"].buffers} == {"local"}
    check_meaning(s, compiled=True)


def test_shared_memory_at_a_loop_of_threads_serves_all_of_them() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[C].bind("i0", "threadIdx.x")
    s[P].compute_at(s[C], "i0")
    assert "for i0_1 in range(1):" in str(s)
    s[P].set_scope("shared")
    assert "for i0_1 in range(4):" in str(s)
    s[P].set_scope("local")
    assert "for i0_1 in range(1):" in str(s)
    check_round_trip(s)


def test_set_scope_refuses() -> None:
    _, P, C = chain(4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)'C' is an output, and lives where.*cache_write\('C', 'local'\)"):
        s[C].set_scope("local")
    with pytest.raises(ScheduleError, match="no memory scope 'texture'"):
        s[P].set_scope("texture")
    s[P].compute_inline()
    with pytest.raises(ScheduleError, match="stage 'P' was inlined"):
        s[P].set_scope("local")
