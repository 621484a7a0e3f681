"""A fleet's worker: what runs on the machines that measure, once for each piece of work.

Apart from the coordinator (`flashsched.tune.measuring.fleet`) because it knows no Dask and no log: it gets candidates
as traces and returns trials, by the same runner as on this machine.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.tune.measuring.cpu_runner import CpuRunner, JsonTrace
from flashsched.tune.trial import Trial
from flashsched.tune.versions import versions

__all__ = ["FleetSettings", "FleetWork", "introduce", "work_on"]


@dataclass(frozen=True)
class FleetSettings:
    """What makes a worker's runner; a run has one for all."""

    run: str
    seed: int
    timeout_s: float
    observers: tuple[str, ...]
    jobs: int | None


@dataclass(frozen=True)
class FleetWork:
    """Candidates to run, or finalists to settle among."""

    settings: FleetSettings
    task: bytes
    traces: Sequence[JsonTrace]
    best_s: float | None
    final: bool
    expected: Any = None  # what a user's reference says, where it is needed and this worker was not told yet
    told: bool = True  # whether it need not be told


_RUNNERS = 4  # runs whose worker processes a worker keeps
_runners: OrderedDict[FleetSettings, CpuRunner] = OrderedDict()


def _runner(settings: FleetSettings) -> CpuRunner:
    if settings not in _runners:
        observers = settings.observers
        _runners[settings] = CpuRunner(settings.jobs, settings.seed, settings.timeout_s, observers=observers)
        while len(_runners) > _RUNNERS:
            _runners.popitem(last=False)[1].__exit__(None, None, None)
    _runners.move_to_end(settings)
    return _runners[settings]


def introduce(settings: FleetSettings) -> dict[str, Any]:
    """What the coordinator has to know of a worker's machine."""
    import socket

    runner = _runner(settings)
    return {
        "spec": runner.spec,
        "target": runner.target(),
        "versions": versions(),
        "host": socket.gethostname(),
    }


def work_on(work: FleetWork) -> list[tuple[int, Trial]] | None:
    """Do a piece of work; None if the result that a user's reference gives is needed first."""
    runner, task = _runner(work.settings), pickle.loads(work.task)
    seed = work.settings.seed + work.final
    if work.expected is not None:
        runner.expect(task, seed, work.expected)
    elif not work.told and not runner.is_expecting(task, seed):
        return None
    if work.final:
        return list(enumerate(runner.final_traces(task, work.traces)))
    return list(runner.run_traces(task, work.traces, work.best_s))
