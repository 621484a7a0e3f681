"""Checkers: processes that run schedules for a device that is not here on smaller shapes, against the oracles.

What a check says hangs on the schedule and the seed alone, so it does not matter when it is made. While a search goes
on, a process that would stand idle checks what is best so far; at the end few of the finalists are left to be checked.
"""

from __future__ import annotations

import bisect
import pickle
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from flashsched.hw.host_probe import probe_host
from flashsched.tune.measuring.workers import Job, Outcome, WorkerPool
from flashsched.tune.task import Candidate, Task

__all__ = ["Checkers"]

_MEMORY = 4 << 30  # bytes that a worker may grow by
_TIMEOUT_S = 60.0  # for a schedule, interpreted and compiled
_LEADERS = 4  # as many as there are finalists


@dataclass(order=True)
class _Leader:
    """One of the best so far of a task; of two that take the same time the earlier."""

    time_s: float
    candidate: Candidate = field(compare=False)


class Checkers:
    """A pool of checkers, and what they found.

    Args:
        jobs: how many there are.
        seed: of the inputs.
    """

    def __init__(self, jobs: int, seed: int) -> None:
        self._pool = WorkerPool(jobs, "flashsched.tune.measuring.jobs:warm_up", _MEMORY, at_once=True)
        self._seed = seed
        self._found: dict[tuple[str, str], Future[Outcome]] = {}
        self._best: dict[str, list[_Leader]] = {}  # by the task's hash
        self._latest: Future[Outcome] | None = None

    def close(self) -> None:
        """End the processes, checks under way included."""
        self._pool.close()

    def note(self, task: Task, candidate: Candidate, time_s: float) -> None:
        """A search of *task* found *candidate*; if it is among the best so far, it is checked when a core is free."""
        best = self._best.setdefault(task.hash, [])
        bisect.insort_right(best, _Leader(time_s, candidate))
        del best[_LEADERS:]

    def go_on(self, task: Task) -> None:
        """Check one more of the best so far, unless that would take the search's own core."""
        if probe_host().cores < 2 or (self._latest is not None and not self._latest.done()):
            return
        best = (leader.candidate for leader in self._best.get(task.hash, ()))
        unchecked = next((one for one in best if _key(task, one) not in self._found), None)
        if unchecked is not None:
            self._latest = self._begun(task, unchecked)

    def outcomes(self, task: Task, candidates: Sequence[Candidate]) -> list[Outcome]:
        """What became of the check of each of *candidates*."""
        begun = [self._begun(task, candidate) for candidate in candidates]
        return [check.result() for check in begun]

    def _begun(self, task: Task, candidate: Candidate) -> Future[Outcome]:
        """The check of *candidate*, which is made once."""
        key = _key(task, candidate)
        if key not in self._found:
            payload = {"task": pickle.dumps(task), "trace": candidate.trace.to_json(), "seed": self._seed}
            job = Job("flashsched.tune.measuring.jobs:check_simulated", payload, _TIMEOUT_S)
            self._found[key] = self._pool.begin(job)
        return self._found[key]


def _key(task: Task, candidate: Candidate) -> tuple[str, str]:
    return task.hash, candidate.trace.canonical()
