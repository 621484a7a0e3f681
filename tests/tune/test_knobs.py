from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import Infeasible, TuneError
from flashsched.tune.search.knobs import FirstKnobs, FixedKnobs, MutatedKnobs, PathKnobs, RandomKnobs, every, replay

seeds = st.integers(0, 2**32)


def template(knobs):
    """A space whose later questions depend on earlier answers, with a constraint."""
    outer = knobs.choice("outer", [1, 2, 4, 8], default=4)
    inner = knobs.choice("inner", [size for size in (1, 2, 4, 8) if size <= outer], default=3)
    knobs.require(outer * inner <= 32, f"outer * inner is {outer * inner}, and 32 is the most")
    cache = knobs.choice("cache", [False, True])
    depth = knobs.choice("depth", [1, 2, 3]) if cache else 0
    return outer, inner, cache, depth


EVERYTHING = [
    (outer, inner, cache, depth)
    for outer in (1, 2, 4, 8)
    for inner in (1, 2, 4, 8)
    if inner <= outer and outer * inner <= 32
    for cache, depth in ((False, 0), (True, 1), (True, 2), (True, 3))
]


def test_every_candidate_is_visited_once_in_order():
    assert [value for _, value in every(template)] == EVERYTHING


def test_every_stops_at_its_limit_and_yields_nothing_of_an_impossible_space():
    assert len(list(every(template, limit=7))) == 7

    def impossible(knobs):
        knobs.choice("a", [1, 2])
        knobs.require(False, "never")

    assert list(every(impossible)) == []
    assert [value for _, value in every(lambda knobs: "alone")] == ["alone"]


def test_decisions_of_every_candidate_replay_to_it():
    for knobs, value in every(template):
        assert replay(template, knobs.decisions) == value
        assert list(knobs.decisions) == list(knobs.sizes)
        assert all(0 <= knobs.decisions[name] < knobs.sizes[name] for name in knobs.sizes)


@given(seeds)
def test_random_candidates_are_candidates(seed):
    knobs = RandomKnobs(random.Random(seed))
    try:
        assert template(knobs) in EVERYTHING
    except Infeasible:
        return
    again = RandomKnobs(random.Random(seed))
    template(again)
    assert again.decisions == knobs.decisions


def test_random_draws_reach_every_option():
    drawn = [RandomKnobs(random.Random(seed)).choice("x", "abc") for seed in range(60)]
    assert set(drawn) == set("abc")


def test_first_knobs_take_the_defaults_or_the_nearest_or_the_first():
    assert template(FirstKnobs()) == (4, 2, False, 0)
    knobs = FirstKnobs()
    assert knobs.choice("a", [1, 509], default=400) == 509
    assert knobs.choice("b", ["x", "y"], default="y") == "y"
    assert knobs.choice("c", [(1, 2), (3, 4)]) == (1, 2)
    with pytest.raises(TuneError, match=r"default 'z' is not among the options \['x', 'y'\]"):
        knobs.choice("d", ["x", "y"], default="z")


@given(seeds, st.sampled_from([dict(knobs.decisions) for knobs, _ in every(template)]))
def test_a_mutation_is_a_near_neighbour(seed, decisions):
    knobs = MutatedKnobs(decisions, random.Random(seed))
    try:
        assert template(knobs) in EVERYTHING
    except Infeasible:
        return


def test_a_mutation_mostly_takes_one_step_of_few_knobs():
    names = [f"k{n}" for n in range(10)]
    start = dict.fromkeys(names, 5)
    moved = []
    for seed in range(300):
        knobs = MutatedKnobs(start, random.Random(seed))
        values = {name: knobs.choice(name, list(range(11))) for name in names}
        moved.append([value - 5 for value in values.values() if value != 5])
    steps = [step for row in moved for step in row]
    assert 1 <= sum(map(len, moved)) / len(moved) <= 2.5
    assert sum(abs(step) == 1 for step in steps) / len(steps) > 0.7


def test_a_mutation_at_the_end_of_its_options_steps_back_and_a_stale_one_is_clipped():
    for seed in range(50):
        assert MutatedKnobs({"x": 0}, random.Random(seed)).choice("x", [0, 1]) in (0, 1)
        assert MutatedKnobs({"x": 99}, random.Random(seed)).choice("x", [0, 1, 2]) in (0, 1, 2)
        assert MutatedKnobs({"x": 0}, random.Random(seed)).choice("x", [7]) == 7


def test_a_cross_takes_from_both_and_draws_what_neither_knows():
    seen = set()
    for seed in range(100):
        knobs = MutatedKnobs({"a": 0, "b": 0}, random.Random(seed), other={"a": 9, "b": 9})
        seen.add((knobs.choice("a", list(range(10))), knobs.choice("b", list(range(10)))))
        assert knobs.choice("c", [1, 2]) in (1, 2)
    assert {(0, 9), (9, 0)} & seen or {(0, 8), (1, 9), (8, 0), (9, 1)} & seen


@pytest.mark.parametrize("knobs", [FirstKnobs(), RandomKnobs(random.Random(0)), FixedKnobs({"x": 1}), PathKnobs([1])])
def test_the_same_question_gets_the_same_answer(knobs):
    first = knobs.choice("x", [1, 2, 3])
    assert knobs.choice("x", [1, 2, 3]) == first
    with pytest.raises(TuneError, match=r"(?s)knob 'x' was asked with 3 options and now with 2.*name of its own"):
        knobs.choice("x", [1, 2])


def test_no_options_and_broken_constraints_are_infeasible():
    with pytest.raises(Infeasible, match="knob 'tile' has no options left"):
        FirstKnobs().choice("tile", [])
    with pytest.raises(Infeasible, match="48 KiB of 32"):
        FirstKnobs().require(0, "48 KiB of 32")
    FirstKnobs().require([1], "")


@pytest.mark.parametrize(
    ("decisions", "says"),
    [
        ({"outer": 1}, r"no decision for knob 'inner' with options \[1, 2\]"),
        ({"outer": 4}, r"decision 4 for knob 'outer' is no index into its 4 options \[1, 2, 4, 8\]"),
        ({"outer": -1}, "decision -1 for knob 'outer'"),
        ({"outer": 1.0}, "decision 1.0 for knob 'outer'"),
        ({"outer": True}, "decision True for knob 'outer'"),
        ({"outer": 0, "inner": 0, "cache": 0, "depth": 1}, r"(?s)does not ask for 'depth'.*tune again"),
    ],
)
def test_stale_decisions_fail_loudly(decisions, says):
    with pytest.raises(TuneError, match=says):
        replay(template, decisions)
