from __future__ import annotations

import math
import random

import numpy as np
import pytest

from flashsched.errors import TuneError
from flashsched.tune.costmodel.learners import forest
from flashsched.tune.search.stopping import Patience, Regret, chance_below, student_below
from flashsched.tune.settings import Settings


def test_patience_counts_trials_since_a_gain_that_shows():
    patience = Patience(5)
    for value in (3.0, 2.0, None, 2.1, 1.999):
        patience.note(value)
    assert patience.why is None
    patience.note(1.5)  # better
    for value in (None, 1.6, 1.6, 1.499):
        patience.note(value)
        assert patience.why is None
    patience.note(9.0)
    assert patience.why == "nothing better in 5 trials"


@pytest.mark.parametrize(
    ("freedom", "z", "area"),
    [(1, 1.0, 0.75), (2, -math.sqrt(2), 0.1464466), (5, 2.015048, 0.95), (12, -2.178813, 0.025)],
)
def test_student(freedom, z, area):
    """Values of tables."""
    assert student_below(np.array([z]), freedom)[0] == pytest.approx(area, abs=1e-6)


def test_wide_errors_make_unlikely_times_likelier():
    rng = random.Random(0)
    narrow, wide = ([rng.gauss(0, scale) for _ in range(40)] for scale in (0.01, 0.1))
    needed = np.array([-0.05])
    assert chance_below(needed, narrow)[0] < 1e-3 < 0.1 < chance_below(needed, wide)[0] < 0.5


def test_regret_claims_nothing_of_what_it_has_hardly_seen():
    regret = Regret(0.02)
    for _ in range(10):
        regret.note(1.0, 1.0)
        regret.consider([5.0] * 100, 1.0)
    assert regret.why is None
    for _ in range(20):
        regret.note(1.0, 1.01)
        regret.consider([0.9] * 100, 1.0)  # promising ones are left
    assert (regret.why, regret.chance) == (None, 1.0)
    for _ in range(3):
        regret.consider([5.0] * 100, 1.0)
    assert regret.why == "95 % sure that less than 2.0 % is left"


def space(seed, size=1500):
    """A whole space: rows of four decisions, and the times, with a little that no model can learn."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 10, size=(size, 4)).astype(np.float64)
    weight, best = rng.uniform(0.02, 0.12, size=4), rng.integers(0, 10, size=4)
    logs = (np.abs(rows - best) * weight).sum(axis=1) + 0.1 * (rows[:, 0] > rows[:, 1])
    return rows, np.exp(logs + rng.normal(0, 0.01, size))


def search(seed, share, most=600):
    """A search of such a space by a forest; how many it looked at, and what really was left when it stopped."""
    rows, times = space(seed)
    rng = np.random.default_rng(seed)
    regret, seen = Regret(share), list(rng.permutation(len(rows))[:16])
    while len(seen) < most and regret.why is None:
        predict = forest(rows[seen], np.log(times[seen]), seed, trees=12)
        left = np.setdiff1d(np.arange(len(rows)), seen)
        said = np.exp(predict(rows[left])[0])
        regret.consider(said, times[seen].min())
        order = np.argsort(said)
        for n in [*order[:6], *rng.choice(order[6:], 2, replace=False)]:
            regret.note(said[n], times[left[n]])
            seen.append(left[n])
    return len(seen), times[seen].min() / times.min() - 1


def test_regret_is_right_as_often_as_it_says_on_spaces_known_as_a_whole():
    """Of runs that stop being 95 % sure, at most a twentieth may have left more; here one of 14."""
    found = [search(seed, 0.05) for seed in range(14)]
    stopped = [left for count, left in found if count < 600]
    assert len(stopped) >= 11  # it comes to an end, long before the space does
    assert sum(left > 0.05 for left in stopped) <= 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": "5"}, r"trials must be a whole number, got '5'(.|\n)*for example trials=8"),
        ({"trials": 2.5}, "trials must be a whole number, got 2.5"),
        ({"trials": True}, "trials must be a whole number, got True"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"time_budget": "3"}, r"time_budget must be a number of seconds, got '3'(.|\n)*for example time_budget=30"),
        ({"time_budget": math.nan}, "time_budget must be a number of seconds from 0 up, got nan"),
        ({"sampler": 3}, "sampler must be a sampler's name, got 3"),
        ({"warm_start": 3}, "warm_start must be True, False or logs, got 3"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"regret": "2 %"}, "regret must be a share, got '2 %'"),
        ({"regret": 0.0}, r"regret must be a share between 0 and 1, got 0.0(.|\n)*0.02 stops where 2 % is left"),
        ({"objectives": ("time", "enrgy")}, r"unknown objective 'enrgy'(.|\n)*energy"),
        ({"objectives": ("energy",)}, "with time among them"),
        ({"objectives": ("time", "energy"), "regret": 0.1}, "regret is about one objective"),
    ],
)
def test_settings_are_checked(options, says):
    with pytest.raises(TuneError, match=says):
        Settings(**options)
