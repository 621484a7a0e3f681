from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched.hw import devices
from flashsched.testing.checks import check_meaning
from flashsched.tune.explaining.ablate import Group, groups_of, keep, orders_of, shapley
from flashsched.tune.search.knobs import FirstKnobs

TASK = fs.Task("matmul", (10, 36, 5))
TRACE = TASK.candidate(FirstKnobs(), devices["cpu-xeon"]).trace.flat()
ALL = frozenset(range(len(TRACE)))


def text(number):
    return TRACE.steps[number].lines()[0]


# -- leaving steps out -----------------------------------------------------------------------------------------------


def test_all_steps_make_the_schedule_and_none_the_default_nest():
    whole = keep(TASK, TRACE, ALL)
    assert (whole.candidate.trace, whole.fallen) == (TRACE, ())
    assert len(keep(TASK, TRACE, ()).candidate.trace) == 0


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(sorted(ALL))))
def test_what_is_left_computes_the_same_and_what_fell_is_told(wanted):
    reduced = keep(TASK, TRACE, wanted)
    assert len(reduced.candidate.trace) + len(reduced.fallen) == len(wanted)
    assert {fallen.number for fallen in reduced.fallen} <= wanted
    check_meaning(reduced.candidate.schedule)


def test_a_step_takes_those_that_build_on_it_with_it():
    split = next(n for n in ALL if TRACE.steps[n].primitive == "split")
    made = TRACE.steps[split].out
    fallen = {each.number: each.reason for each in keep(TASK, TRACE, ALL - {split}).fallen}
    assert fallen
    for number in ALL - {split}:
        if any(name in TRACE.steps[number].args.values() for name in made) and TRACE.steps[number].stage == "C":
            assert number in fallen
    assert any("no loop named" in reason for reason in fallen.values())


def test_a_step_that_gives_other_names_falls():
    task = fs.Task("relu", (8, 64))
    s = task.replay(fs.Trace()).schedule
    a = s.cache_read(s.inputs[0], "global")
    s.cache_read(s.inputs[0], "local", [a])
    second = keep(task, s.trace, {1})
    assert [fallen.number for fallen in second.fallen] == [1]


# -- groups ----------------------------------------------------------------------------------------------------------


def test_every_step_is_in_one_group():
    found = groups_of(TRACE)
    assert sorted(n for group in found for n in group.steps) == sorted(ALL)
    assert len({group.name for group in found}) == len(found)


def test_groups_by_purpose_and_copies_with_all_their_steps():
    task = fs.Task("relu", (8, 64))
    s = task.replay(fs.Trace()).schedule
    stage = s.stages[0]
    _, inner = stage.split(stage.loops[1], factor=8)
    stage.vectorize(inner)
    copy = s.cache_read(s.inputs[0], "global")
    s[copy].unroll(s[copy].split(s[copy].loops[1], factor=4)[1])
    stage.parallel(stage.loops[0])
    names = [(group.name, group.steps) for group in groups_of(s.trace)]
    assert names == [("tiling", (0,)), ("vectors", (1,)), ("copy X", (2, 3, 4)), ("threads", (5,))]


# -- shares ----------------------------------------------------------------------------------------------------------


def test_orders_are_all_of_few_and_a_seeded_sample_of_many():
    assert orders_of(3, 6, 0)[1]
    assert len(set(orders_of(3, 6, 0)[0])) == 6
    sample, every = orders_of(6, 8, 1)
    assert (len(sample), every) == (8, False)
    assert sample == orders_of(6, 8, 1)[0] != orders_of(6, 8, 2)[0]
    assert all(sorted(order) == list(range(6)) for order in sample)
    assert sample[1] == tuple(reversed(sample[0]))


@given(st.lists(st.floats(0.01, 100.0), min_size=8, max_size=8), st.integers(1, 6), st.integers(0, 5))
def test_the_factors_multiply_to_the_whole_speedup(times, most, seed):
    groups = [Group(name, (n,)) for n, name in enumerate("abc")]
    orders, exact = orders_of(3, most, seed)
    worths = shapley(groups, orders, exact, lambda steps: times[sum(1 << n for n in steps)])
    assert math.prod(worth.factor for worth in worths) == pytest.approx(times[0] / times[7], rel=1e-6)


def test_a_group_that_never_helps_is_worth_nothing_and_equal_ones_share_alike():
    groups = [Group("lanes", (0,)), Group("idle", (1,)), Group("tiles", (2,))]
    orders, exact = orders_of(3, 6, 0)

    def seconds(steps):
        return 1.0 if steps >= {0, 2} else 16.0

    lanes, idle, tiles = shapley(groups, orders, exact, seconds)
    assert (lanes.factor, idle.factor, tiles.factor) == pytest.approx((4.0, 1.0, 4.0))
    assert (lanes.share, idle.share, lanes.spread) == pytest.approx((0.5, 0.0, 0.0))


def test_no_speedup_has_no_shares():
    (worth,) = shapley([Group("a", (0,))], [(0,)], True, lambda steps: 2.0)
    assert (worth.factor, worth.share) == (1.0, 0.0)
