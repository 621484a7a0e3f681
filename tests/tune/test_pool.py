"""What is run next, and what it is chosen from: on a table, so that each search is the same again."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from flashsched.tune.search import pool
from flashsched.tune.search.candidates import Maker
from flashsched.tune.settings import Settings
from flashsched.tune.spaces.runner import TableRunner, task_of
from flashsched.tune.spaces.table import load_space
from flashsched.tune.trial import NOTHING
from flashsched.tune.tuner import Search

SPACE = load_space("columns")
TASK = task_of(SPACE)


class Noting(TableRunner):
    """Remembers how many it was given at a time, and whether there was anything to be done meanwhile."""

    def __init__(self, batch):
        super().__init__(SPACE, batch)
        self.sizes, self.busy = [], []

    def run(self, task, candidates, best_s, beside=NOTHING):
        self.sizes.append(len(candidates))
        self.busy.append(beside is not NOTHING)
        yield from super().run(task, candidates, best_s, beside)


def search(trials, batch=4):
    return Search(TASK, Noting(batch), Settings(trials=trials, warm_start=False, pretrained=False))


def test_the_first_batches_are_small_and_nothing_is_proposed_ahead_of_them():
    running = search(trials=14)
    while running.step():
        pass
    assert running.runner.sizes == [1, 2, 2, 2, 2, 4, 1]
    assert running.runner.busy == [False] * 5 + [True, False]  # and nothing for a batch that will not be


def test_candidates_for_the_first_trial_come_from_where_the_model_likes_them():
    running = search(trials=9)
    running.pool.next_batch(1)
    priors = [item.prior_s for item in running.pool._screen._made]
    assert len(priors) > 48
    assert np.median(priors[24:]) < np.median(priors[:24])


@pytest.mark.parametrize(("trials", "last"), [(9, True), (10, False)])
def test_the_last_batch_is_what_is_predicted_best_and_no_other_is(trials, last):
    running = search(trials, batch=8)
    for _ in range(2):
        running.step()
    assert len(running.history.records) == 5
    seen = {}
    values = running.pool._goal.values

    def noting(items, model):
        found = values(items, model)
        seen.clear()  # what was asked about last is what is chosen from
        seen.update(zip((item.key for item in items), found[0], strict=True))
        return found

    running.pool._goal.values = noting
    chosen = [item.key for item in running.pool.next_batch(4)]
    best = sorted(seen, key=seen.get)[:4]
    assert (sorted(seen[key] for key in chosen) == [seen[key] for key in best]) is last


def test_a_search_is_freed_though_it_imports_optuna():
    """Which keeps errors of its own imports, and with them the frames that were above them."""
    code = """
import gc, weakref
from flashsched.tune.search.pool import _import_optuna
class Held: pass
def search():
    held = Held()
    _import_optuna()
    return weakref.ref(held)
ref = search()
gc.collect()
print(ref())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_nothing_is_made_twice_and_the_sampler_has_its_share(monkeypatch):
    monkeypatch.setattr(pool, "_FIRST", 24)
    running, lines, asked = search(trials=20), [], []
    made, ask = Maker._made, running.pool._proposer.ask

    def noting(maker, knobs):
        try:
            return made(maker, knobs)
        finally:
            lines.append(frozenset(knobs.decisions.items()))

    monkeypatch.setattr(Maker, "_made", noting)
    monkeypatch.setattr(running.pool._proposer, "ask", lambda make: asked.append(make) or ask(make))
    while running.step():
        pass
    assert len(lines) == len(set(lines)) > 20
    rounds = len(running.runner.sizes) - 1
    assert rounds <= len(asked) <= 2 * rounds  # a draw of it takes longer than all else that is made in a round
