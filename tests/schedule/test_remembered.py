"""Steps that are remembered: the same nests as without, made once."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.schedule import Schedule
from flashsched.schedule.remembered import RememberedSteps


def product() -> Schedule:
    a, b = te.placeholder((64, 48), name="A"), te.placeholder((48, 32), name="B")
    k = te.reduce_axis((0, 48), name="k")
    return te.create_schedule(te.compute((64, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C"))


def tiled(s: Schedule, lanes: int) -> Schedule:
    c = s["C"]
    _, inner = c.split("i", factor=8)
    c.reorder("k", inner)
    c.unroll(c.split("j", factor=lanes)[1])
    return s


def test_a_remembered_nest_is_the_one_that_is_made() -> None:
    start = product().remembering()
    for lanes in (4, 8, 4):
        made, anew = tiled(start.copy(), lanes), tiled(product(), lanes)
        assert str(made) == str(anew)
        assert made.trace.to_json() == anew.trace.to_json()
    assert str(start) == str(product()), "copies do not show in what they were copied from"


def test_what_begins_alike_is_made_once() -> None:
    start = product().remembering()
    one, other, again = (tiled(start.copy(), lanes) for lanes in (4, 8, 4))
    assert one.state is again.state
    assert one.state is not other.state


def test_what_is_refused_is_refused_each_time() -> None:
    start = product().remembering()
    for _ in range(2):
        with pytest.raises(ScheduleError, match="no loop named 'q'"):
            start.copy()["C"].unroll("q")


def test_no_more_is_kept_than_was_asked_for() -> None:
    steps = RememberedSteps(most=3)
    state = product().state
    for factor in (2, 4, 8, 16, 2):
        made, names = steps.apply(state, "split", "C", {"loop": "i", "factor": factor})
        assert names == ("i.o", "i.i")
        assert made.loop("C", "i.i").turns == factor
    assert len(steps) == 3
    assert steps.apply(state, "split", "C", {"loop": "i", "factor": 16})[0] is not made
    assert steps.apply(state, "split", "C", {"loop": "i", "factor": 2})[0] is made
