"""Traces: JSON there and back, what tells duplicates apart, and what is refused of a stranger's."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.schedule import Step, Trace
from flashsched.testing.checks import check_round_trip
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.programs import matmul, pointwise
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["do", "stage", "out", "loop", "loops", "at", "factor", "scope", "tail", "axis", "layout", "readers", "other"]
VALUES = JSON | st.sampled_from(["C", "i", "j", "k", ["i", "j"], "split", "reorder", "compute_at", "local", 4])


@settings(max_examples=60, deadline=None)
@given(graphs().flatmap(lambda drawn: schedules(drawn.outputs, primitives=GPU_PRIMITIVES)))
def test_any_trace_makes_its_schedule_again(schedule: Any) -> None:
    check_round_trip(schedule)


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES), max_size=4), data=JSON)
def test_a_strangers_trace_is_refused_or_legal(steps: list[dict[str, Any]], data: Any) -> None:
    *_, C = matmul(4, 4, 4)
    for form in ({"version": 1, "steps": steps}, {"steps": data}, data):
        with suppress(ScheduleError):
            te.create_schedule(C).replay(Trace.from_json(form))


def test_steps_as_text_and_as_json() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    assert str(s.trace) == "(no steps)"
    outer, inner = s[C].split("i", 4, tail="cut")
    s[C].vectorize(inner)
    s[C].parallel(outer)
    assert str(s.trace).split("\n") == [
        "C: split('i', factor=4, tail='cut')",
        "C: vectorize('i.i')",
        "C: parallel('i.o')",
    ]
    assert s.trace.to_json() == {
        "version": 1,
        "steps": [
            {"do": "split", "stage": "C", "loop": "i", "factor": 4, "tail": "cut", "out": ["i.o", "i.i"]},
            {"do": "vectorize", "stage": "C", "loop": "i.i", "out": []},
            {"do": "parallel", "stage": "C", "loop": "i.o", "out": []},
        ],
    }
    assert [step.primitive for step in s.trace] == ["split", "vectorize", "parallel"]
    assert pickle.loads(pickle.dumps(s.trace)) == s.trace


def test_equal_traces_have_one_canonical_text() -> None:
    step = Step("split", "C", {"loop": "i", "factor": 4}, ("i.o", "i.i"))
    other = Step("split", "C", {"factor": 4, "loop": "i"}, ("i.o", "i.i"))
    assert Trace((step,)) == Trace((other,))
    assert hash(Trace((step,))) == hash(Trace((other,)))
    assert Trace((step,)).canonical() == Trace((other,)).canonical()
    assert Trace((step,)) != Trace((step, step))
    assert Trace() != "no trace"
    assert json.loads(Trace((step,)).canonical()) == Trace((step,)).to_json()


def test_a_trace_only_grows() -> None:
    short = Trace()
    longer = short.then(Step("unroll", "C", {"loop": "i"}))
    assert (len(short), len(longer)) == (0, 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "not a trace: None"),
        ({"steps": 3}, "not a trace"),
        ({"version": 2, "steps": []}, r"(?s)version 2, and this flashsched reads version 1.*upgrade"),
        ({"steps": [{"stage": "C"}]}, "is no step of a trace: 'do'"),
        ({"steps": [{"do": "split"}]}, "is no step of a trace: 'stage'"),
        ({"steps": ["split"]}, "is no step of a trace"),
        ({"steps": [{"do": "split", "stage": "C", "out": 3}]}, "is no step of a trace"),
    ],
)
def test_what_is_no_trace(data: Any, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        Trace.from_json(data)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"do": "splitt", "stage": "C"}, r"(?s)no primitive named 'splitt'.*did you mean split"),
        ({"do": "split", "stage": "C", "loop": "i", "factr": 4}, r"(?s)no argument named 'factr'.*did you mean factor"),
        ({"do": "split", "stage": "C", "factor": 4}, "loop must be given"),
        ({"do": "split", "stage": "C", "loop": ["i"], "factor": 4}, r"loop must be the name of a loop, got \['i'\]"),
        ({"do": "reorder", "stage": "C", "loops": "ij"}, "loops must be a list of names of loops, got 'ij'"),
        ({"do": "split", "stage": "Q", "loop": "i", "factor": 4}, "no stage named 'Q'"),
        ({"do": "split", "stage": "C", "loop": "i", "factor": 4, "out": ["a", "b"]}, r"gave \['a', 'b'\], and it gave"),
    ],
)
def test_a_step_that_cannot_be_replayed(step: dict[str, Any], says: str) -> None:
    *_, C = matmul(8, 8, 8)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=says):
        s.replay(Trace.from_json({"steps": [step]}))


def test_a_trace_is_replayed_on_another_size() -> None:
    *_, C = matmul(8, 8, 8)
    s = te.create_schedule(C)
    s[C].tile(*s[C].op.axis, 4, 4)
    *_, D = matmul(5, 7, 3)
    again = te.create_schedule(D).replay(s.trace)
    check_round_trip(again)
    assert again.trace == s.trace


@settings(max_examples=20, deadline=None)
@given(graphs(), st.data())
def test_replaying_on_top_is_replaying_all(drawn: Graph, data: st.DataObject) -> None:
    schedule = data.draw(schedules(drawn.outputs))
    cut = data.draw(st.integers(0, len(schedule.trace)))
    steps = tuple(schedule.trace)
    again = te.create_schedule(list(drawn.outputs)).replay(Trace(steps[:cut])).replay(Trace(steps[cut:]))
    assert str(again) == str(schedule)


def test_a_step_with_arguments_of_any_type_can_be_told() -> None:
    assert Step("fuse", "C", {"loops": False}).text() == "fuse(False)"
