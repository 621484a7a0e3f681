"""compute_inline: a stage's expression stands where it was read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, diamond, matmul


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 7), data=st.data())
def test_any_of_a_chain_inlined_in_any_order(n: int, data: st.DataObject) -> None:
    A = te.placeholder((n, 3), name="A")
    T = te.compute((3, n), lambda i, j: A[j, i] * 2, name="T")
    U = te.compute((n, 3), lambda i, j: T[j, i] + A[i, j], name="U")
    k = te.reduce_axis((0, 3), name="k")
    V = te.compute((n,), lambda i: te.sum(U[i, k], axis=k), name="V")
    W = te.compute((n,), lambda i: V[n - 1 - i] + U[i, 0], name="W")
    s = te.create_schedule(W)
    for stage in data.draw(st.permutations([T, U])):
        if data.draw(st.booleans()):
            s[stage].compute_inline()
    s[V].compute_at(s[W], s[W].split("i", 3)[0])
    check_meaning(s, compiled=n == 7)
    check_round_trip(s)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 9), reach=st.integers(1, 2))
def test_a_select_still_guards_what_it_guarded(n: int, reach: int) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    s[P].compute_inline()
    check_meaning(s, compiled=True)


def test_the_expression_takes_the_place_of_the_read() -> None:
    _, P, C = chain(4)
    s = te.create_schedule(C)
    s[P].compute_inline()
    assert str(s) == "for i in range(4):\n  C(i=i):\n    C[i] = (A[i] + 1.0) * 2.0"
    assert [stage.name for stage in s.stages] == ["C"]


def test_one_of_several_outputs_of_a_stage() -> None:
    A = te.placeholder((5,), name="A")
    P, Q = te.compute((5,), lambda i: (A[i] + 1, A[i] * 2), name="T")
    C = te.compute((5,), lambda i: P[i] - Q[4 - i], name="C")
    s = te.create_schedule(C)
    s[P].compute_inline()
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_stage_is_inlined_where_it_was_moved_to() -> None:
    _, P, L, R, C = diamond(5)
    s = te.create_schedule(C)
    s[L].compute_at(s[C], "i")
    s[P].compute_inline()
    s[R].compute_inline()
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_compute_inline_refuses() -> None:
    *_, P = matmul(3, 3, 3)
    Q = te.compute((3, 3), lambda i, j: P[i, j] + 1, name="Q")
    C = te.compute((3, 3), lambda i, j: Q[i, j] * 2, name="D")
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="'C' is a reduction, and has no expression to put in its place"):
        s[P].compute_inline()
    with pytest.raises(ScheduleError, match="'D' is an output, and the caller wants it in memory"):
        s[C].compute_inline()
    s[P].compute_at(s[Q], "i")
    with pytest.raises(ScheduleError, match=r"(?s)stage 'C' is computed at a loop of 'Q'.*move 'C' first"):
        s[Q].compute_inline()
    s[P].compute_root()
    s[Q].compute_inline()
    for step in (lambda: s[Q].compute_inline(), lambda: s[Q].split("i", 2), lambda: s[P].compute_at(s[Q], "i")):
        with pytest.raises(ScheduleError, match="stage 'Q' was inlined into its readers, so it has no loops any more"):
            step()
    assert "inlined" not in repr(s.stages)
