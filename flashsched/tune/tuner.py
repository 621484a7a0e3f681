"""The tuner: proposes schedules, ranks them by the cost model, runs the promising ones, and remembers every trial.

One round: many candidates are proposed; the cost model ranks them and those that wait from earlier rounds
(``tune/pool.py``); a batch of the best, and a few that it is unsure of, is run; what they took is remembered
(``tune/history.py``) and told to all who propose. The first trial is the one that the device's roofline model likes
best, so that a single trial is good already. At the end the best few are timed side by side (``tune/finals.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import TuneError
from flashsched.tune.finals import settle
from flashsched.tune.history import History
from flashsched.tune.pool import Pool
from flashsched.tune.result import VALID, Progress, Result
from flashsched.tune.runner import Runner, runner_for
from flashsched.tune.task import Task

if TYPE_CHECKING:
    from flashsched.tune.shared import SharedSearch

__all__ = ["Progress", "Result", "Search", "tune"]


def tune(
    task: Task,
    device: str = "cpu",
    trials: int = 64,
    log: str | Path | None = None,
    seed: int = 0,
    *,
    time_budget: float | None = None,
    jobs: int | None = None,
    resume: bool = False,
    sampler: str = "tpe",
    progress: Callable[[Progress], None] | None = None,
    fleet: str | None = None,
    observers: Sequence[str] = (),
    storage: str | None = None,
) -> Result:
    """Search the schedules of *task* for *device*.

    Args:
        task: what to tune.
        device: ``"cpu"``, this machine, or a simulated device.
        trials: how many schedules are run at most.
        log: the tuning log that every trial is appended to; None keeps them in memory.
        seed: of everything random; the same seed proposes the same schedules where times are the same.
        time_budget: seconds after which no trial is begun.
        jobs: compilations at once; by default one a core.
        resume: go on where the log ends: its trials of this task and device count, and are not repeated.
        sampler: how Optuna proposes, ``"tpe"`` or ``"random"``.
        progress: called after each trial.
        fleet: address of a Dask scheduler, ``"tcp://host:8786"``, on whose workers candidates are measured.
        observers: what is watched beside the time: ``"perf"``, ``"rapl"``, or ``"module:Class"`` of your own.
        storage: a database, ``"postgresql://user@host/name"``, through which several such runs search together.

    Raises:
        DeviceError: there is no such device, or no model of its kind.
        TuneError: the operator has no template for the device, or the arguments contradict each other.
        LogError: the log can't be written, or can't be read for ``resume``.
    """
    if trials < 1:
        raise TuneError(f"trials must be at least 1, got {trials}")
    if resume and log is None:
        raise TuneError("resume goes on from a log, and none was given", hint="name it: log='...jsonl'")
    how: dict[str, Any] = {"fleet": fleet, "observers": observers}
    with runner_for(device, seed, jobs, **{name: value for name, value in how.items() if value}) as runner:
        search = Search(
            task, runner, trials, log, seed, time_budget=time_budget, sampler=sampler, progress=progress, resume=resume,
            storage=storage,
        )  # fmt: skip
        with contextlib.closing(search):
            while search.step():
                pass
            return search.finish()


class Search:
    """A run that goes on step by step, each a batch of trials.

    Args: as of `tune`, with *runner* in place of the device.
    """

    def __init__(
        self,
        task: Task,
        runner: Runner,
        trials: int,
        log: str | Path | None = None,
        seed: int = 0,
        *,
        time_budget: float | None = None,
        sampler: str = "tpe",
        progress: Callable[[Progress], None] | None = None,
        resume: bool = False,
        storage: str | None = None,
    ) -> None:
        task.template(runner.spec.kind)
        self.task, self.runner, self.trials = task, runner, trials
        self._started = time.perf_counter()
        self._deadline = None if time_budget is None else self._started + time_budget
        self._progress = progress
        self.history = History(task, runner, seed, log)
        self.pool = Pool(self.history, seed, sampler, self._deadline)
        if resume:
            for earlier in self.history.resume():
                self.pool.learn_earlier(*earlier)
        self._shared: SharedSearch | None = None
        if storage is not None:
            from flashsched.tune.shared import SharedSearch, study_name

            self._shared = SharedSearch(storage, study_name(task, runner.spec.name, runner.target()))

    def step(self) -> bool:
        """Propose, rank and run one batch; False, and nothing is run, once there is an end to the search."""
        history = self.history
        if len(history.records) >= self.trials or self._late():
            return False
        self._hear()
        want = self.runner.batch if history.records else 1
        batch = self.pool.next_batch(min(want, self.trials - len(history.records)))
        if not batch:
            return False
        for index, trial in self.runner.run(self.task, [item.candidate for item in batch], history.best_s):
            record = history.add(batch[index], trial)
            if self._shared is not None:
                self._shared.tell(record)
            self.pool.learn(batch[index], record.median_s if trial.status in VALID else None)
            self._tell("search")
            if self._late():
                break
        return True

    def finish(self) -> Result:
        """Settle among the finalists; the result."""
        best, ties = settle(self.history, lambda: self._tell("finals"))
        history = self.history
        return Result(self.task, history.device, history.records, best, ties, history.path, self.pool.refused)

    def close(self) -> None:
        """End the exchange with other coordinators, if there is one."""
        if self._shared is not None:
            self._shared.close()

    def _hear(self) -> None:
        """Learn what other coordinators found."""
        for record in self._shared.news() if self._shared is not None else ():
            found = self.history.heard(record)
            if found is not None:
                self.pool.learn_earlier(*found)

    def _late(self) -> bool:
        return self._deadline is not None and time.perf_counter() >= self._deadline

    def _tell(self, stage: str) -> None:
        if self._progress is None:
            return
        history = self.history
        elapsed = time.perf_counter() - self._started
        done = len(history.records)
        left = elapsed / max(done - history.resumed, 1) * max(0, self.trials - done)
        if self._deadline is not None:
            left = min(left, max(0.0, self._deadline - time.perf_counter()))
        best = history.best_s
        share = None if best is None else history.roofline_s / best
        self._progress(Progress(done, self.trials, best, share, elapsed, left, dict(history.failed), stage))
