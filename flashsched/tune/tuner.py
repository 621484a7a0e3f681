"""The tuner: proposes schedules, ranks them by the cost model, runs the promising ones, and remembers every trial.

One round: many candidates are proposed; the cost model ranks them and those that wait from earlier rounds
(``tune/search/pool.py``); a batch of the best, and a few that it is unsure of, is run; what they took is remembered
(``tune/search/history.py``) and told to all who propose. The first trial is the one that the device's roofline model
likes best, so that a single trial is good already. At the end the best few are timed side by side
(``tune/measuring/finals.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import TuneError
from flashsched.tune.garbage import seldom_collected
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.finals import settle
from flashsched.tune.measuring.peaks import too_good
from flashsched.tune.result import VALID, Progress, Result
from flashsched.tune.runner import Runner, runner_for
from flashsched.tune.search.history import History
from flashsched.tune.search.pareto import front_of
from flashsched.tune.search.pool import Pool
from flashsched.tune.search.stopping import Patience, Regret
from flashsched.tune.search.transfer import seeds
from flashsched.tune.settings import Settings, require_path
from flashsched.tune.task import Task, require_task
from flashsched.tune.trial import NOTHING

if TYPE_CHECKING:
    from flashsched.tune.search.shared import SharedSearch

__all__ = ["Progress", "Result", "Search", "tune"]

_OBJECTIVES: dict[str, Callable[[Record], float]] = {
    "time": lambda record: record.median_s,
    "energy": lambda record: float(record.extra["energy_j"]),
    "code": lambda record: float(record.extra["code"]),
}


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
    patience: int | None = None,
    regret: float | None = None,
    warm_start: bool | str | Path | Sequence[str | Path] = True,
    pretrained: bool = True,
    objectives: Sequence[str] = ("time",),
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
        seed: of everything random; the same seed proposes the same schedules where times and logs are the same.
        time_budget: seconds after which no trial is begun.
        jobs: compilations at once; by default one a core.
        resume: go on where the log ends: its trials of this task and device count, and are not repeated.
        sampler: who proposes beside the screen: ``"tpe"``, ``"random"`` (then nothing but chance does), ``"cmaes"``,
            ``"gp"`` or ``"evolutionary"``.
        patience: end when so many trials in a row found nothing better.
        regret: end when it is 95 % sure that less than this share is left to be gained; 0.02 is 2 %.
        warm_start: begin with the best of the nearest tasks in the logs of the usual places, or in those named.
        pretrained: let the cost model start from the measurements that ship with the package.
        objectives: what to search for; a simulated device also tells ``"energy"`` and ``"code"``. The best is still
            the fastest; ``result.front`` holds what no other beats in all of them.
        progress: called after each trial.
        fleet: address of a Dask scheduler, ``"tcp://host:8786"``, on whose workers candidates are measured.
        observers: what is watched beside the time: ``"perf"``, ``"rapl"``, or ``"module:Class"`` of your own.
        storage: a database, ``"postgresql://user@host/name"``, through which several such runs search together.

    Raises:
        DeviceError: there is no such device, or no model of its kind.
        TuneError: the operator has no template for the device, or the arguments contradict each other.
        LogError: the log can't be written, or can't be read for ``resume``.
    """
    require_task(task)
    wanted = (objectives,) if isinstance(objectives, str) else tuple(objectives)
    settings = Settings(
        trials=trials, seed=seed, time_budget=time_budget, sampler=sampler, patience=patience, regret=regret,
        warm_start=warm_start, pretrained=pretrained, objectives=wanted,
    )  # fmt: skip
    require_path("log", log)
    if resume and log is None:
        raise TuneError("resume goes on from a log, and none was given", hint="name it: log='...jsonl'")
    how: dict[str, Any] = {"fleet": fleet, "observers": observers}
    given = {name: value for name, value in how.items() if value}
    with seldom_collected(), runner_for(device, seed, jobs, **given) as runner:
        search = Search(task, runner, settings, log, resume=resume, progress=progress, storage=storage)
        with contextlib.closing(search):
            while search.step():
                pass
            return search.finish()


class Search:
    """A run that goes on step by step, each a batch of trials.

    Args:
        task: what to tune.
        runner: what runs it.
        settings: how, and until when.
        log, resume, progress, storage: as of `tune`.

    Attributes:
        history: what was tried.
        pool: what may be tried next.
        stopped: why the search is at its end; empty while it is not.
        notes: what is worth knowing of the run.
    """

    def __init__(
        self,
        task: Task,
        runner: Runner,
        settings: Settings,
        log: str | Path | None = None,
        *,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
        storage: str | None = None,
    ) -> None:
        task.template(runner.spec.kind)
        _check_objectives(runner, settings)
        self.task, self.runner, self.settings = task, runner, settings
        self.stopped = ""
        self.notes: list[str] = []
        self._started = time.perf_counter()
        self._deadline = None if settings.time_budget is None else self._started + settings.time_budget
        self._progress = progress
        self._prepared = self._peaks_checked = False
        self._patience = None if settings.patience is None else Patience(settings.patience)
        self._regret = None if settings.regret is None else Regret(settings.regret)
        self.history = History(task, runner, settings.seed, log, settings.objectives)
        carried = [] if settings.sampler == "random" else seeds(task, runner.spec, settings.logs(), self.history.path)
        if carried:
            self.notes.append("starts from " + "; ".join(seed.text for seed in carried))
        self.pool = Pool(self.history, settings, self._deadline, carried, self._regret)
        if resume:
            for earlier in self.history.resume():
                self.pool.learn_earlier(*earlier)
        self._shared: SharedSearch | None = None
        if storage is not None:
            from flashsched.tune.search.shared import SharedSearch, study_name

            self._shared = SharedSearch(storage, study_name(task, runner.spec.name, runner.target()))

    def step(self) -> bool:
        """Propose, rank and run one batch; False, and nothing is run, once there is an end to the search."""
        history = self.history
        self.stopped = self._reason()
        if self.stopped:
            return False
        if not self._prepared:
            self._prepared = True
            self.runner.prepare(self.task)
        self._hear()
        batch = self.pool.next_batch(min(self._want(len(history.records)), self.settings.trials - len(history.records)))
        if not batch:
            self.stopped = "nothing new is left to try"
            return False
        chosen = [item.candidate for item in batch]
        beside = self._ahead(len(batch))
        for index, trial in self.runner.run(self.task, chosen, history.best_s, beside):
            record = history.add(batch[index], trial)
            if self._shared is not None:
                self._shared.tell(record)
            value = record.median_s if trial.status in VALID else None
            self.pool.learn(batch[index], value)
            if self._patience is not None:
                self._patience.note(value)
            self._tell("search")
            if self._late():
                break
        self._check_peaks()
        return True

    def finish(self) -> Result:
        """Settle among the finalists; the result."""
        best, ties = settle(self.history, lambda: self._tell("finals"))
        history, names = self.history, self.settings.objectives
        chosen: list[Record] = []
        if len(names) > 1:
            valid = (record for record in history.records if record.status in VALID)
            chosen = front_of(valid, lambda record: [_OBJECTIVES[name](record) for name in names])
        return Result(
            self.task, history.device, history.records, best, ties, history.path, self.pool.refused, self.stopped,
            tuple(self.notes), names, sorted(chosen, key=lambda record: record.median_s),
        )  # fmt: skip

    def _want(self, done: int) -> int:
        """Trials of the batch after so many. The first batches are small, as the ones after are chosen by them."""
        whole = self.runner.batch
        return 1 if not done else max(1, whole // 2) if done < 2 * whole else whole

    def _ahead(self, running: int) -> Iterator[object]:
        """Proposals for the batch after that of so many *running* trials, for the time in which they are compiled.

        They know nothing of those that are run, which costs little once much is known, and much at first.
        """
        done = len(self.history.records)
        left = self.settings.trials - done - running
        if left <= 0 or done < 2 * self.runner.batch or self.runner.source != "measured":
            return NOTHING
        return self.pool.ahead(min(self.runner.batch, left))

    def _reason(self) -> str:
        """Why to stop; empty while there is no reason to."""
        if len(self.history.records) >= self.settings.trials:
            return f"{self.settings.trials} trials were run" if self.settings.trials > 1 else "1 trial was run"
        if self._late():
            return f"the {self.settings.time_budget:g} s are used up"
        rules = (self._patience, self._regret)
        return next((rule.why for rule in rules if rule is not None and rule.why is not None), "")

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

    def _check_peaks(self) -> None:
        """Once, where the best beats the roofline: the machine was measured wrongly, and is measured again."""
        best = self.history.best_s
        if self._peaks_checked or best is None or not too_good(self.runner, self.history.roofline_s, best):
            return
        self._peaks_checked = True
        self.notes.append(self.history.measure_again())

    def _tell(self, stage: str) -> None:
        if self._progress is None:
            return
        history, trials = self.history, self.settings.trials
        elapsed = time.perf_counter() - self._started
        done = len(history.records)
        left = elapsed / max(done - history.resumed, 1) * max(0, trials - done)
        if self._deadline is not None:
            left = min(left, max(0.0, self._deadline - time.perf_counter()))
        best = history.best_s
        share = None if best is None else history.roofline_s / best
        failed = dict(history.failed)
        self._progress(Progress(done, trials, best, share, elapsed, left, failed, stage, tuple(self.notes)))


def _check_objectives(runner: Runner, settings: Settings) -> None:
    """Raise TuneError where the device does not tell what is searched for."""
    if len(settings.objectives) == 1:
        return
    if runner.source == "measured":
        raise TuneError(
            f"{runner.spec.name} is measured, which tells the time only, not {' and '.join(settings.objectives)}",
            hint="several objectives are for simulated devices: device='a100-sim'",
        )
    if "energy" in settings.objectives and runner.spec.power_w is None:
        raise TuneError(f"the model of {runner.spec.name} states no power, so it tells no energy")
