from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import Infeasible
from flashsched.hw import devices
from flashsched.tune.search import questions as module
from flashsched.tune.search.candidates import Maker
from flashsched.tune.search.knobs import FixedKnobs, MutatedKnobs, PathKnobs, RandomKnobs, every
from flashsched.tune.search.questions import Key, Questions, Refusal
from flashsched.tune.task import Task

seeds = st.integers(0, 2**32)
SPEC = devices.for_simulation("a100-sim")


def template(knobs):
    """Questions that hang on answers, a constraint in the midst of them, and two lines that make the same."""
    outer = knobs.choice("outer", [1, 2, 4, 8], default=4)
    inner = knobs.choice("inner", [size for size in (1, 2, 4, 8) if size <= outer], default=3)
    knobs.require(outer * inner <= 32, f"{outer} * {inner} is over 32")
    cache = knobs.choice("cache", [False, True])
    depth = knobs.choice("depth", [1, 2, 3]) if cache else 1
    return f"{outer} {inner} {depth}"


def end_of(knobs):
    """What the template says itself."""
    try:
        return Key(template(knobs))
    except Infeasible as error:
        return Refusal(error.reason)


def asked(questions, knobs):
    """Where *knobs* lead; the template is asked, and noted, only where that is not known."""
    end = questions.end_of(knobs)
    if end is None:
        end = end_of(knobs)
        questions.note(knobs, end)
        return end, True
    return end, False


@given(seeds)
def test_what_is_known_is_what_the_template_says(seed):
    questions, rng = Questions(), random.Random(seed)
    for _ in range(60):
        knobs = RandomKnobs(rng)
        end, _ = asked(questions, knobs)
        assert end == end_of(FixedKnobs(knobs.decisions))


@given(seeds)
def test_answers_are_the_same_whether_the_questions_were_known_or_not(seed):
    """So that a search proposes the same, only sooner."""
    questions, with_it, without = Questions(), random.Random(seed), random.Random(seed)
    known = {"outer": 2, "inner": 1, "cache": 0}
    for turn in range(40):
        one, other = ((RandomKnobs(rng) if turn % 2 else MutatedKnobs(known, rng)) for rng in (with_it, without))
        asked(questions, one)
        end_of(other)
        assert one.decisions == other.decisions
        assert one.sizes == other.sizes


def test_each_line_of_answers_is_asked_once_and_then_all_is_known():
    questions, lines = Questions(), [knobs.decisions for knobs, _ in every(template)]
    assert not questions.knows({})
    new = [asked(questions, FixedKnobs(line))[1] for line in [*lines, *lines]]
    assert new == [True] * len(lines) + [False] * len(lines)
    assert all(questions.knows(line) for line in lines)
    assert not questions.knows({})  # outer 8 by inner 8 is ruled out, and was not asked
    assert asked(questions, FixedKnobs({"outer": 3, "inner": 3}))[0] == Refusal("8 * 8 is over 32")
    assert questions.knows({})
    assert questions.knows({"outer": 99, "inner": 99, "cache": 1, "depth": 2})  # the last options, as they are taken


def test_what_is_missing_is_known_when_every_answer_to_it_is():
    questions = Questions()
    for depth in range(3):
        assert not questions.knows({"outer": 0, "inner": 0, "cache": 1})
        asked(questions, FixedKnobs({"outer": 0, "inner": 0, "cache": 1, "depth": depth}))
    assert questions.knows({"outer": 0, "inner": 0, "cache": 1})
    assert not questions.knows({"outer": 0, "inner": 0})


def test_a_template_that_asks_nothing():
    questions = Questions()
    assert not questions.knows({})
    questions.note(PathKnobs([]), Key("alone"))
    assert questions.end_of(PathKnobs([])) == Key("alone")
    assert questions.knows({"anything": 1})


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 4)
    questions, lines = Questions(), [knobs.decisions for knobs, _ in every(template)]
    for line in lines[:6]:
        asked(questions, FixedKnobs(line))
    assert [questions.knows(line) for line in lines[:6]] == [False] * 4 + [True] * 2


def test_a_maker_makes_no_schedule_twice(monkeypatch):
    maker, made = Maker(Task("matmul", (64, 96, 32)), SPEC), []
    candidate = Task.candidate
    monkeypatch.setattr(Task, "candidate", lambda *given: made.append(given) or candidate(*given))
    drawn = RandomKnobs(random.Random(3))
    first = maker.make(drawn)
    again = maker.make(FixedKnobs(drawn.decisions))
    assert (len(made), again.key) == (1, first.key)
    assert again.candidate.trace == first.candidate.trace  # it can be had all the same
    assert again.candidate.decisions == drawn.decisions
    assert maker.knows(drawn.decisions)


def test_a_refusal_is_counted_each_time_and_found_out_once():
    calls = []

    def never(s, args, knobs, spec):
        calls.append(knobs.choice("a", [1, 2]))
        knobs.require(False, "never")

    task = Task.from_te(Task("matmul", (8, 8, 8)).args(), template={"gpu": never})
    maker = Maker(task, SPEC)
    for _ in range(3):
        with pytest.raises(Infeasible, match="never"):
            maker.make(FixedKnobs({"a": 1}))
    assert maker.refused == {"never": 3}
    assert calls == [2]
