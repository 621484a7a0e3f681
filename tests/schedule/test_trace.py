"""Traces: JSON there and back, what tells duplicates apart, and what is refused of a stranger's."""

from __future__ import annotations

import json
import pickle
import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import LimitError, ScheduleError, TraceError
from flashsched.schedule import Step, Trace
from flashsched.testing.checks import check_meaning, check_round_trip
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
        ({"version": "1", "steps": []}, "version 1, and this flashsched reads version 1"),
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
        (
            {"do": "split", "stage": "C", "loop": "i", "factor": 4, "out": ["a", "b"]},
            r"it gave 'a', 'b' when it was recorded, and gives 'i.o', 'i.i'",
        ),
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


def test_a_trace_on_another_shape_keeps_its_factors() -> None:
    *_, C = matmul(64, 64, 64)
    s = te.create_schedule(C)
    near = s.cache_write(C, "local")
    io, jo, *_ = s[C].tile(*s[C].op.axis, 8, 16)
    s[near].compute_at(s[C], jo)
    s[C].parallel(io)
    for sizes in ((1, 1, 1), (7, 13, 5), (100, 3, 0)):
        *_, D = matmul(*sizes)
        again = s.trace.replay_on(D)
        assert again.trace == s.trace
        check_meaning(again)


def test_a_step_that_does_not_fit_is_named_and_nothing_is_done() -> None:
    _, C = pointwise(4096)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", nparts=8)
    s[C].vectorize(inner)
    s[C].parallel(outer)
    _, D = pointwise(100_000)
    t = te.create_schedule(D)
    with pytest.raises(TraceError) as caught:
        t.replay(s.trace)
    assert str(caught.value).startswith(
        "step 2 of 3, C: vectorize('i.i'): loop 'i.i' has 12500 turns, and a vector loop at most 1024\n"
    )
    assert str(caught.value).endswith(
        "hint: split it first: split('i.i', factor=16); replay(..., strict=False) leaves out the steps that do not fit"
    )
    assert isinstance(caught.value.__cause__, LimitError)
    assert len(t.trace) == 0
    with pytest.warns(
        UserWarning, match=r"(?s)^1 step does not fit here, and left out:\n  C: vectorize\('i.i'\), since"
    ):
        t.replay(s.trace, strict=False)
    assert [step.primitive for step in t.trace] == ["split", "parallel"]
    check_meaning(t)


@settings(max_examples=30, deadline=None)
@given(graphs(), graphs(), st.data())
def test_a_trace_from_any_program_is_refused_or_fits(drawn: Graph, other: Graph, data: st.DataObject) -> None:
    trace = data.draw(schedules(drawn.outputs)).trace
    s = te.create_schedule(list(other.outputs))
    before = s.state, s.trace
    try:
        s.replay(trace)
    except TraceError:
        assert (s.state, s.trace) == before
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            s.replay(trace, strict=False)
        assert told
    if other.exact:
        check_meaning(s)


def test_what_stands_beside_the_steps_is_left_alone() -> None:
    data = {"version": 1, "steps": [], "decisions": {"tile": 3}, "made by": "a later flashsched"}
    assert Trace.from_json(data) == Trace()


def test_difference_in_steps_and_arguments() -> None:
    _, C = pointwise(8, 8)
    s, t = te.create_schedule(C), te.create_schedule(C)
    s[C].unroll(s[C].split("i0", 4)[1])
    s[C].parallel("i1")
    t[C].split("i0", 2, tail="cut")
    t[C].parallel("i1")
    t[C].unroll("i0.o")
    found = s.trace.diff(t.trace)
    assert str(found) == (
        "! C: split('i0', factor=4): factor 4 -> 2, tail None -> 'cut'\n"
        "- C: unroll('i0.i')\n"
        "  C: parallel('i1')\n"
        "+ C: unroll('i0.o')"
    )
    assert found
    assert [str(change)[0] for change in found] == ["!", "-", "+"]
    assert json.loads(json.dumps(found.to_json()))["changed"][0]["arguments"] == {
        "factor": [4, 2],
        "tail": [None, "cut"],
    }
    assert not s.trace.diff(s.trace)
    assert str(s.trace.diff(s.trace)) == "(no difference)"


def test_difference_of_programs_with_other_names() -> None:
    *_, C = matmul(8, 8, 8)
    X, r = te.placeholder((8, 8), name="X"), te.reduce_axis((0, 8), name="r")
    Y = te.compute((8, 8), lambda a, b: te.sum(X[a, r] * X[r, b], axis=r), name="Y")
    s, t = te.create_schedule(C), te.create_schedule(Y)
    for schedule, out, row, deep in ((s, C, "i", "k"), (t, Y, "a", "r")):
        near = schedule.cache_write(out, "local")
        outer, _ = schedule[out].split(row, 4)
        schedule[near].compute_at(schedule[out], outer)
        schedule[near].unroll(deep)
    t[Y].parallel("a.o")
    assert str(s.trace.diff(t.trace)).split("\n")[:3] == ["= Y is C", "= a is i", "= r is k"]
    assert [str(change) for change in s.trace.diff(t.trace)] == ["+ C: parallel('i.o')"]


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_a_difference_is_nothing_or_tells_all(drawn: Graph, data: st.DataObject) -> None:
    a, b = (data.draw(schedules(drawn.outputs)).trace for _ in range(2))
    assert not a.diff(a)
    found = a.diff(b)
    if not found.names:
        old = [c.old.to_json() for c in found.changes if c.old is not None]
        new = [c.new.to_json() for c in found.changes if c.new is not None]
        assert (old, new) == (a.to_json()["steps"], b.to_json()["steps"])
        assert bool(found) == (a != b)
