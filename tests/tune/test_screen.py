from __future__ import annotations

import random

import numpy as np

from flashsched.errors import Infeasible
from flashsched.hw import devices
from flashsched.tune.search.candidates import Maker
from flashsched.tune.search.knobs import HintedKnobs, RandomKnobs
from flashsched.tune.search.screen import Screen
from flashsched.tune.task import Task

SPEC = devices.for_simulation("a100-sim")


def filled(count=60, seed=0):
    """A screen that knows some schedules of a product on a GPU, and its maker."""
    maker, rng = Maker(Task("matmul", (64, 96, 32)), SPEC), random.Random(seed)
    screen = Screen(seed, maker.knows)
    while len(screen._made) < count:
        knobs = RandomKnobs(rng)
        try:
            screen.note(maker.ranked(maker.make(knobs).candidate, knobs.decisions, knobs.sizes))
        except Infeasible:
            screen.note_refused(knobs.decisions, knobs.sizes)
    return screen, maker


def test_what_it_thinks_most_of_is_better_than_chance_and_new():
    screen, maker = filled()
    times = np.array([item.prior_s for item in screen.made])
    proposed = screen.propose(times, 3000, 24)
    assert len(proposed) == 24
    known = [item.decisions for item in screen.made]
    assert all(decisions not in known for decisions in proposed)
    made, rng = [], random.Random(1)
    for decisions in proposed:
        knobs = HintedKnobs(decisions, rng)
        try:
            made.append(maker.ranked(maker.make(knobs).candidate, knobs.decisions, knobs.sizes).prior_s)
        except Infeasible:
            continue
    assert len(made) >= 12  # it has learned what is infeasible, too
    assert np.median(made) < np.quantile(times, 0.25)
    assert len(screen.left_s) > 500
    assert screen.left_s.min() > 0


def test_too_few_are_known():
    screen, _ = filled(10)
    assert screen.made == []
    assert screen.propose(None, 100, 5) == []
    assert len(screen.left_s) == 0
