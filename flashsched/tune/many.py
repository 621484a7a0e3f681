"""Whole models: many tasks at once, and the trials go where the model's total time gains most.

Tasks of one hash are one task, with their counts added. Then, batch by batch, the task is chosen whose next trials are
expected to take most off the total, ``sum of count × best time``, for each second that they cost. What a batch is
expected to gain is the greater of two guesses, in the manner of Ansor's task scheduler (L. Zheng et al., "Ansor",
OSDI 2020, section 6):

- *backward*: what the latest trials gained, a share of the best time for each trial; what was gained fades, by half
  every 32 trials;
- *forward*: that the rest to the roofline is made up like ``1 / trials``, a tenth of it counted, as few reach it.

A task that was not tried has its turn first, and both guesses fade for one at its end. One in twenty batches goes to
the task that was left alone longest: a guess can be wrong for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import TuneError
from flashsched.tune.garbage import seldom_collected
from flashsched.tune.result import VALID, Progress, Result
from flashsched.tune.runner import runner_for
from flashsched.tune.settings import Settings, require_path, require_seconds
from flashsched.tune.task import Task, require_task
from flashsched.tune.tuner import Search

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ManyResult", "merged", "tune_many"]

_HALF = 32.0  # trials in which the weight of what was gained halves
_REACHED = 0.1  # of what is left to the roofline
_ANYWAY = 20  # of that many batches one goes to the task that was left alone longest
_RESERVE = 0.1  # of a time budget, for the finals of all tasks

Counted = Iterable["Task | tuple[Task, float]"] | Mapping[Task, float]


@dataclass
class ManyResult:
    """What a run of many tasks found.

    Attributes:
        results: by task hash, in the order in which the tasks were first given.
        counts: how often the model runs each task, by hash.
    """

    results: dict[str, Result]
    counts: dict[str, float]

    @property
    def total_s(self) -> float:
        """Seconds of the whole model with the best schedules; NaN where a task has none."""
        return sum(
            self.counts[name] * (result.best.median_s if result.best is not None else float("nan"))
            for name, result in self.results.items()
        )

    def to_frame(self) -> pd.DataFrame:
        """A row for each task: how often it runs, its trials, the first valid and the best time, its share of all."""
        from flashsched.tune.logs.report import table

        total = self.total_s
        rows = []
        for name, result in self.results.items():
            valid = (record.median_s for record in result.records if record.status in VALID)
            best = result.best.median_s if result.best is not None else float("nan")
            rows.append(
                {
                    "op": result.task.op,
                    "shape": result.task.shape,
                    "dtype": result.task.dtype,
                    "count": self.counts[name],
                    "trials": len(result.records),
                    "first_s": next(valid, float("nan")),
                    "time_s": best,
                    "share_of_total": self.counts[name] * best / total if total else float("nan"),
                    "stopped": result.stopped,
                    "task": name,
                }
            )
        return table(rows)


def tune_many(
    tasks: Counted,
    device: str = "cpu",
    trials: int = 256,
    log: str | Path | None = None,
    seed: int = 0,
    *,
    jobs: int | None = None,
    resume: bool = False,
    time_budget: float | None = None,
    progress: Callable[[Task, Progress], None] | None = None,
    **options: Any,
) -> ManyResult:
    """Search the schedules of many tasks for one device, to the least total time.

    Args:
        tasks: tasks, or pairs of a task and how often the model runs it; what computes the same is searched once.
        trials: how many schedules are run at most, of all tasks together.
        time_budget: seconds for all of them; a tenth is kept for the finals.
        progress: called after each trial with the task and where its search stands.
        options: ``sampler``, ``patience``, ``regret`` (of each task), ``warm_start``, ``pretrained``, as of `tune`.

    Raises:
        TuneError: there is no task, a count is not positive, or there are fewer trials than tasks.
        DeviceError, LogError: as `tune`.
    """
    given = merged(tasks)
    settings = Settings(trials=trials, seed=seed, **options)
    if trials < len(given):
        raise TuneError(f"{len(given)} tasks need at least a trial each, got trials={trials}")
    require_path("log", log)
    require_seconds("time_budget", time_budget)
    if resume and log is None:
        raise TuneError("resume goes on from a log, and none was given", hint="name it: log='...jsonl'")
    begun = time.perf_counter()
    deadline = None if time_budget is None else begun + (1 - _RESERVE) * time_budget
    with seldom_collected(), runner_for(device, seed, jobs) as runner:
        entries = [
            _Entry(task, count, Search(task, runner, settings, log, resume=resume, progress=_told(progress, task)))
            for task, count in given
        ]
        turn = 0
        while True:
            done = sum(len(entry.search.history.records) for entry in entries)
            open_ = [entry for entry in entries if not entry.over]
            if not open_ or done >= trials or (deadline is not None and time.perf_counter() >= deadline):
                break
            turn += 1
            chosen = _next(open_, turn)
            left = trials - done - sum(not entry.search.history.records for entry in open_ if entry is not chosen)
            chosen.step(max(1, left), turn)
        results = {entry.task.hash: entry.search.finish() for entry in entries}
    return ManyResult(results, {entry.task.hash: entry.count for entry in entries})


def merged(tasks: Counted) -> list[tuple[Task, float]]:
    """*tasks* with how often each is run, those of one hash once.

    Raises:
        TuneError: there is none, something is no task, or a count is not positive.
    """
    if isinstance(tasks, Task):
        raise TuneError("tune_many takes several tasks, got one", hint="a list of them: [task], or fs.tune(task)")
    pairs: Sequence[Any] = list(tasks.items() if isinstance(tasks, Mapping) else tasks)
    found: dict[str, tuple[Task, float]] = {}
    for pair in pairs:
        task, count = (pair, 1.0) if isinstance(pair, Task) else pair
        require_task(task)
        if not count > 0:
            raise TuneError(f"{task!r} is run {count} times, and must be run more often than never")
        known = found.get(task.hash, (task, 0.0))
        found[task.hash] = (known[0], known[1] + count)
    if not found:
        raise TuneError("there is no task to tune", hint="for example [fs.Task('matmul', (512, 512, 512))]")
    return list(found.values())


@dataclass
class _Entry:
    """One task of many.

    Attributes:
        gained: the share of the best time that a trial gained lately, fading.
        cost_s: seconds that a trial takes, lately.
        turn: when it was last chosen.
        over: whether its search has come to an end.
    """

    task: Task
    count: float
    search: Search
    gained: float = 0.0
    cost_s: float = 0.0
    turn: int = 0
    over: bool = False

    def step(self, most: int, turn: int) -> None:
        """Run a batch of at most *most* trials, and see what it gained."""
        history = self.search.history
        before, done, begun = history.best_s, len(history.records), time.perf_counter()
        self.search.settings = replace(self.search.settings, trials=done + most)
        self.turn = turn
        if not self.search.step():
            self.over = True
            return
        ran = max(1, len(history.records) - done)
        cost = (time.perf_counter() - begun) / ran
        self.cost_s = cost if not self.cost_s else 0.5 * (self.cost_s + cost)
        after = history.best_s
        share = 0.0 if before is None or after is None else max(0.0, 1 - after / before) / ran
        fading = 0.5 ** (ran / _HALF)
        self.gained = fading * self.gained + (1 - fading) * share

    @property
    def hope(self) -> float:
        """Seconds of the total that its next trial is expected to take off, for each second that it costs."""
        history = self.search.history
        best, trials = history.best_s, len(history.records)
        if best is None:
            return float("inf") if trials == 0 else 1e-3 / trials  # nothing valid so far: some hope, less each time
        forward = _REACHED * max(0.0, best - history.roofline_s) / (trials + 1)
        return self.count * max(best * self.gained, forward) / max(self.cost_s, 1e-4)


def _next(entries: list[_Entry], turn: int) -> _Entry:
    """Whose turn it is: the first batches go round, then to the most hopeful; see the module for the exception."""
    if turn % _ANYWAY == 0:
        return min(entries, key=lambda entry: entry.turn)
    return max(entries, key=lambda entry: entry.hope)


def _told(progress: Callable[[Task, Progress], None] | None, task: Task) -> Callable[[Progress], None] | None:
    return None if progress is None else lambda now: progress(task, now)
