from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from flashsched.hw import devices
from flashsched.tune.measuring import checkers
from flashsched.tune.measuring.checkers import Checkers
from flashsched.tune.measuring.workers import Outcome
from flashsched.tune.runner import SimulatedRunner
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

MATMUL = Task("matmul", (64, 48, 40))


class Pool:
    """Takes jobs and does them when it is told to."""

    def __init__(self, *_: object, at_once: bool) -> None:
        self.begun: list[tuple[str, Future[Outcome]]] = []

    def begin(self, job):
        self.begun.append((job.payload["trace"], Future()))
        return self.begun[-1][1]

    def end(self, value):
        self.begun[-1][1].set_result(Outcome("ok", value))

    def close(self):
        pass


@pytest.fixture
def made(monkeypatch):
    """Checkers on a machine of two cores, and their pool."""
    monkeypatch.setattr(checkers, "WorkerPool", Pool)
    monkeypatch.setattr(checkers, "probe_host", lambda: SimpleNamespace(cores=2))
    found = Checkers(2, 0)
    return found, found._pool


def named(name):
    return SimpleNamespace(trace=SimpleNamespace(to_json=lambda: name, canonical=lambda: name))


def test_the_best_so_far_are_checked_one_at_a_time(made):
    found, pool = made
    for name, time_s in (("slow", 3.0), ("fast", 1.0), ("middling", 2.0)):
        found.note(MATMUL, named(name), time_s)
    found.go_on(MATMUL)
    found.go_on(MATMUL)
    assert [name for name, _ in pool.begun] == ["fast"]
    pool.end("right")
    found.note(MATMUL, named("faster"), 0.5)
    found.go_on(MATMUL)
    assert [name for name, _ in pool.begun] == ["fast", "faster"]


def test_only_what_may_be_a_finalist_is_checked(made):
    found, pool = made
    for number in range(6):
        found.note(MATMUL, named(str(number)), float(number))
    for _ in range(4):
        found.go_on(MATMUL)
        pool.end("right")
    found.go_on(MATMUL)
    assert [name for name, _ in pool.begun] == ["0", "1", "2", "3"]


def test_what_was_checked_ahead_is_not_checked_again(made):
    found, pool = made
    found.note(MATMUL, named("fast"), 1.0)
    found.go_on(MATMUL)
    pool.end("right")
    assert [outcome.value for outcome in found.outcomes(MATMUL, [named("fast")])] == ["right"]
    assert len(pool.begun) == 1


def test_a_machine_of_one_core_checks_nothing_ahead(made, monkeypatch):
    found, pool = made
    monkeypatch.setattr(checkers, "probe_host", lambda: SimpleNamespace(cores=1))
    found.note(MATMUL, named("fast"), 1.0)
    found.go_on(MATMUL)
    assert not pool.begun


def test_a_long_simulated_run_checks_ahead_what_its_finals_ask_for(made, monkeypatch):
    found, pool = made
    monkeypatch.setattr("flashsched.tune.runner.Checkers", lambda jobs, seed: found)
    with SimulatedRunner(devices.for_simulation("a100-sim")) as runner:
        candidate = MATMUL.candidate(FirstKnobs(), runner.spec)
        runner.prepare(MATMUL)
        list(runner.run(MATMUL, [candidate] * (2 * runner.batch), None))
        assert not pool.begun  # it may be a short one
        list(runner.run(MATMUL, [candidate], None))
        pool.end(None)
        (trial,) = runner.finals(MATMUL, [candidate])
    assert len(pool.begun) == 1
    assert trial.status == "unverified"
    assert trial.error == "no smaller shape to check the schedule on"
