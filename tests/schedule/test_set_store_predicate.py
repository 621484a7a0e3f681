"""set_store_predicate: the first thread of an axis stores for all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.errors import ArgumentError, DependenceError, StructureError, UnknownNameError
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import row_sum, running_sum


def scaled(n: int, m: int) -> tuple[Schedule, Tensor, Tensor]:
    """C: the rows of A times the sum of a row; the sums T are in shared memory, computed at a row of threads of C."""
    A, T = row_sum(n, 0, m)
    C = te.compute((n, m), lambda i, j: A[i, j] * T[i], name="D")
    s = te.create_schedule(C)
    s[C].bind("i", "blockIdx.x")
    s[C].bind("j", "threadIdx.x")
    s[T].set_scope("shared")
    s[T].compute_at(s[C], "j")
    return s, T, C


@settings(max_examples=20, deadline=None)
@given(
    n=st.sampled_from([0, 1, 5]), m=st.sampled_from([1, 3, 8]), outer=st.booleans(), split=st.integers(0, 3),
    before=st.booleans(),
)  # fmt: skip
def test_one_thread_sums_up_a_row(n: int, m: int, outer: bool, split: int, before: bool) -> None:
    s, T, C = scaled(n, m)
    steps = [lambda: s[T].set_store_predicate("threadIdx.x == 0")]
    if split:
        steps.append(lambda: s[T].split("k", split))
    for step in steps if before else reversed(steps):
        step()
    if outer and s.state.loop("D", "j").turns != 1:
        s[T].reorder("unit", *[name for name in s.state.stages[T.name].loops if name != "unit"])
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[T].compute_at(s[C], "j")
    check_meaning(s)


def test_the_nest_says_whose_turn_it_is() -> None:
    s, T, _ = scaled(4, 8)
    s[T].set_store_predicate(te.thread_axis("threadIdx.x").var == 0)
    assert str(s).split("\n")[2:6] == [
        "    for i_1 in range(1):",
        "      for k in range(8):",
        "        for unit in range(1):  # threadIdx.x, store_predicate=threadIdx.x == 0",
        "          C(i=i, k=k):  # reduces k",
    ]
    assert s.trace.steps[-1].text() == "set_store_predicate('threadIdx.x == 0')"


def test_the_state_of_a_scan_that_all_threads_go_through() -> None:
    """An output is memory that they share, as is what a later nest reads."""
    _, S, C = running_sum(4, 5)
    for outputs in ([C], [S]):
        s = te.create_schedule(outputs)
        s[S].bind("i", "threadIdx.x")
        s[S].env_threads(["threadIdx.x", "threadIdx.y"], [5, 3])
        check_meaning(s, compiled=True)
        t = te.create_schedule(outputs)
        t[S].bind(t[S].add_unit_loop("i"), "threadIdx.x")
        t[S].env_threads(["threadIdx.y", "threadIdx.x"], [3, 1])
        t[S].set_store_predicate("threadIdx.x == 0 and threadIdx.y == 0")
        check_meaning(t, compiled=True)
        check_round_trip(t)


def test_threads_that_combine_store_once() -> None:
    """The tutorial's reduction across threads: it is said, and there is nothing to do."""
    _, B = row_sum(6, 0, 12)
    s = te.create_schedule(B)
    _, ki = s[B].split("k", 4)
    part = s.rfactor(B, ki)
    s[B].bind(s[B].op.axis[0], "threadIdx.y")
    tx = te.thread_axis("threadIdx.x")
    s[B].bind(s[B].op.reduce_axis[0], tx)
    before = str(s)
    s[B].set_store_predicate(tx.var == 0)
    assert str(s) == before
    s[part].compute_at(s[B], s[B].op.reduce_axis[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_threads_of_other_axes_may_be_bound_later() -> None:
    s, T, C = scaled(4, 6)
    s[T].set_store_predicate("threadIdx.x == 0")
    s[T].set_store_predicate("threadIdx.x == 0")  # said twice, done once
    assert str(s).count("store_predicate") == 1
    s[C].bind(s[C].add_unit_loop("j"), "threadIdx.y")
    check_meaning(s, compiled=True)
    check_round_trip(s)
    with pytest.raises(DependenceError, match="each turn of 'k' needs another part of 'C'"):
        s[T].bind("k", "threadIdx.z")
    with pytest.raises(StructureError, match=r"loop 'j' is bound to threadIdx.x with 6 turns, and 'i' has 1"):
        s[T].bind("i", "threadIdx.x")


def test_one_thread_is_at_work() -> None:
    def stored(alone: bool) -> float:
        s, T, _ = scaled(4, 64)
        if alone:
            s[T].set_store_predicate("threadIdx.x == 0")
        (work,) = nest_works(s, devices["a100-sim"])
        assert work.threads_per_block == 64
        return work.shared_store_bytes

    assert stored(True) < stored(False)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("", r"'' is no condition on a thread"),
        ("threadIdx.x", r"'threadIdx.x' is no condition on a thread"),
        ("threadIdx.x < 1", r"(?s)no condition on a thread.*hint: write it like 'threadIdx.x == 0'"),
        ("threadIdx.x == 0 and True", r"'True' is no condition on a thread"),
        ("threadIdx.x == 0 or threadIdx.y == 0", "is no condition on a thread"),
        ("threadIdx.x == 3", r"(?s)threadIdx.x == 3 asks for another thread than the first.*'threadIdx.x == 0'"),
    ],
)
def test_what_is_no_condition_is_refused(condition: str, says: str) -> None:
    s, T, _ = scaled(4, 6)
    with pytest.raises(ArgumentError, match=says):
        s[T].set_store_predicate(condition)


def test_what_is_refused() -> None:
    s, T, C = scaled(4, 6)
    with pytest.raises(UnknownNameError, match=r"no axis of threads 'blockIdx.x'"):
        s[T].set_store_predicate("blockIdx.x == 0")
    with pytest.raises(StructureError, match=r"(?s)no loop around 'C' is bound to threadIdx.y.*hint: bind one first"):
        s[T].set_store_predicate("threadIdx.y == 0")
    with pytest.raises(
        DependenceError, match=r"(?s)each turn of loop 'j' \(threadIdx.x\) has another part of 'D' to s"
    ):
        s[C].set_store_predicate("threadIdx.x == 0")
    s[T].set_store_predicate("threadIdx.x == 0")
    with pytest.raises(DependenceError, match="'C' writes memory that they do not share"):
        s[T].set_scope("local")
    with pytest.raises(StructureError, match=r"can't be repeated at the new place: no loop around 'C' is bound to thr"):
        s[T].compute_at(s[C], "i")
    t, T, _ = scaled(4, 6)
    t[T].set_scope("local")
    with pytest.raises(DependenceError, match=r"(?s)'C' writes memory that they do not share.*set_scope\('shared'\)"):
        t[T].set_store_predicate("threadIdx.x == 0")
    E = te.extern((4,), [T], lambda c, e: e.__setitem__(slice(None), c), dtype="float32", name="E")
    u = te.create_schedule(E)
    with pytest.raises(
        StructureError, match="'E' is an extern stage: its function fills whole arrays, so it can't be s"
    ):
        u[E].set_store_predicate("threadIdx.x == 0")


def test_it_stays_inside_the_threads() -> None:
    A = te.placeholder((6,), name="A")
    C = te.compute((6,), lambda i: A[i] + 1, name="C")
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.y")
    s[C].env_threads(["threadIdx.x", "threadIdx.y"], [3, 6])
    with pytest.raises(DependenceError, match=r"each turn of loop 'i' \(threadIdx.y\) has another part"):
        s[C].set_store_predicate("threadIdx.y == 0")
    t = te.create_schedule(C)
    t[C].bind(t[C].add_unit_loop("i"), "threadIdx.y")
    t[C].env_threads(["threadIdx.x", "threadIdx.y"], [3, 1])
    t[C].set_store_predicate("threadIdx.x == 0")
    check_meaning(t, compiled=True)
    with pytest.raises(
        StructureError, match=r"is the first thread's turn, and no loop around it is bound to threadIdx.x"
    ):
        t[C].reorder("unit2", "threadIdx.x")
