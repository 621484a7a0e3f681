"""What several tests of the tuner share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashsched.tune import tuner
from flashsched.tune.runner import SimulatedRunner
from flashsched.tune.search import pool

from .scripted import Scripted


@pytest.fixture
def quick_finals(monkeypatch):
    """The finalists of a simulated device pass without being run: what is tested is how they were found."""

    def finals(self, task, candidates):
        proof = {"max_error": 0.0, "tolerance": 1.0}
        return [replace(trial, status="correct", verified=proof) for _, trial in self.run(task, candidates, None)]

    monkeypatch.setattr(SimulatedRunner, "finals", finals)


@pytest.fixture
def small_pools(monkeypatch):
    """Few candidates for each batch, for the sake of time; what is tested does not depend on how many."""
    monkeypatch.setattr(pool, "_FIRST", 12)
    monkeypatch.setattr(pool, "_FRESH", 8)
    monkeypatch.setattr(pool, "_FRUITLESS", 16)


@pytest.fixture
def scripted(monkeypatch):
    """``scripted(script, settle)``: the tuner runs on such a device from now on; returns it."""

    def use(script=None, settle=None):
        runner = Scripted(script, settle)
        monkeypatch.setattr(tuner, "runner_for", lambda device, seed=0, jobs=None: runner)
        return runner

    return use
