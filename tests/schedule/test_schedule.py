"""`Schedule` and its stages: handles, copies, names, and what is refused before any primitive runs."""

from __future__ import annotations

import pickle
import time

import pytest

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError
from flashsched.schedule import Loop, create_schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, matmul, pointwise


def test_a_copy_goes_its_own_way() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    s[C].split("i", 4)
    twin = s.copy()
    twin[C].unroll("i.i")
    assert (len(s.trace), len(twin.trace)) == (1, 2)
    assert "unroll" not in str(s)
    assert "unroll" in str(twin)
    assert s.state is not twin.state


def test_what_can_be_scheduled() -> None:
    _, P, C = chain(4)
    for given in (C, C.op, [C], [C.op], (C,), [P, C]):
        assert create_schedule(given).outputs[-1] is C
    _, at, value = argmax(3, 4)
    assert create_schedule(at.op).outputs == (at, value)


@pytest.mark.parametrize("given", [[], [3], 3, "C", None])
def test_what_can_not_be_scheduled(given: object) -> None:
    with pytest.raises(ScheduleError, match="create_schedule needs the tensors to compute"):
        create_schedule(given)  # type: ignore[arg-type]


def test_outputs_are_computed_and_named_once() -> None:
    A, C = pointwise(4)
    with pytest.raises(ScheduleError, match="A is a placeholder, and there is nothing to schedule in it"):
        create_schedule([C, A])
    with pytest.raises(ScheduleError, match="output C is named twice"):
        create_schedule([C, C])


def test_stages_and_loops_are_found_by_tensor_operation_or_name() -> None:
    _, P, C = chain(4, 5)
    s = te.create_schedule(C)
    assert s[P].loops == s[P.op].loops == s["P"].loops == (Loop("P", "i0"), Loop("P", "i1"))
    assert [stage.name for stage in s.stages] == ["P", "C"]
    assert repr(s[P]) == "<stage P: loops i0, i1>"
    assert repr(s[P].loops) == "(P.i0, P.i1)"
    assert repr(s) == "<Schedule of C, 0 steps>"
    s[P].unroll(P.op.axis[0])
    s[P].unroll(s[P].loops[1])
    assert str(s).count("# unroll") == 2


def test_handles_of_others_are_refused() -> None:
    A, P, C = chain(4)
    _, other = pointwise(4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)loop P.i belongs to stage 'P', not to 'C'.*loops of C: i"):
        s[C].unroll(s[P].loops[0])
    with pytest.raises(ScheduleError, match=r"(?s)axis 'i' is not one of stage 'C'.*s\[C\].op: i"):
        s[C].unroll(P.op.axis[0])
    with pytest.raises(ScheduleError, match="3 is no loop"):
        s[C].unroll(3)  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="A is an input: it is not computed here, so it has no loops"):
        s[A]
    with pytest.raises(ScheduleError, match="C is no stage of this schedule"):
        s[other]
    with pytest.raises(ScheduleError, match="no stage named 'Q'"):
        s["Q"]
    with pytest.raises(ScheduleError, match=r"(?s)no loop named 'ii'; stage 'C' has i\n.*did you mean i"):
        s[C].unroll("ii")


def test_names_that_are_taken_are_numbered() -> None:
    A, B = te.placeholder((3,), name="T"), te.placeholder((3,), name="T")
    P = te.compute((3,), lambda i: A[i] - B[i], name="T")
    x, y = te.reduce_axis((0, 3), name="i"), te.reduce_axis((0, 2), name="i")
    C = te.compute((3,), lambda i: te.sum(P[x] * P[y] + P[i], axis=[x, y]), name="T")
    s = te.create_schedule(C)
    assert [stage.name for stage in s.stages] == ["T_2", "T_3"]
    assert [loop.name for loop in s[C].loops] == ["i", "i2", "i3"]
    s[C].split(y, 2)
    s[P].compute_at(s[C], s[C].op.axis[0])
    check_meaning(s, compiled=True)
    again = te.create_schedule(C).replay(s.trace)
    assert str(again) == str(s)
    assert "s[T_2].compute_at(s[T_3], i)" in s.to_python()


def test_inputs_come_in_the_order_in_which_they_are_read() -> None:
    A, B, C = matmul(2, 2, 2)
    s = te.create_schedule(C)
    assert s.inputs == (A, B)
    s.cache_read(B, "local")
    assert s.inputs == (A, B)


def test_an_error_says_step_reason_nest_line_and_hint_and_pickles() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    s[C].reorder("k", "i", "j")
    s[C].vectorize("j")
    with pytest.raises(ScheduleError) as caught:
        s[C].split("j", 2)
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert str(error).split("\n")[:6] == [
        "split('j', factor=2): loop 'j' is vectorized, and only a serial loop can be split",
        "  | for k in range(4):",
        "  |   for i in range(4):",
        "  |     for j in range(4):  # vectorize  <--",
        "  |       C(i=i, j=j, k=k):  # reduces k",
        "  |         init C[i, j] = 0.0",
    ]
    assert "tests/schedule/test_schedule.py:" in str(error)
    assert str(error).endswith("hint: split first, then mark 'j.i'")


def test_rank_zero_and_empty_programs() -> None:
    A = te.placeholder((), name="A")
    C = te.compute((), lambda: A() + 1, name="C")
    s = te.create_schedule(C)
    assert s[C].loops == ()
    check_meaning(s, compiled=True)
    for shape in ((0,), (3, 0), (0, 0, 2)):
        _, D = pointwise(*shape)
        t = te.create_schedule(D)
        check_meaning(t, compiled=True)
        assert str(lower(t)).split("\n")[1:] == ["  pass"]


def test_one_output_of_several_may_be_asked_for() -> None:
    _, at, value = argmax(3, 4)
    for wanted in (at, value):
        s = te.create_schedule(wanted)
        s[wanted].split("i", 2)
        check_meaning(s, compiled=True)
        check_round_trip(s)


def test_long_schedules_stay_quick() -> None:
    *_, C = matmul(64, 64, 64)
    s = te.create_schedule(C)
    start = time.perf_counter()
    for _ in range(12):
        outer, inner = s[C].split(s[C].loops[0], 2)
        s[C].reorder(inner, outer)
    assert time.perf_counter() - start < 5
