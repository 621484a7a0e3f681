"""Why a tuned schedule is as fast as it is, or why a look-up found none: `explain`.

The best record's trace is taken apart (``ablate.py``), and every schedule that comes of it is run as a tuning run
would: compiled, checked and timed in worker processes, or, for a simulated device, predicted. Beside that stands what
the device's model reads off the nest. How it is said is ``explain_text.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import Infeasible, NoRecordError, TuneError
from flashsched.hw import Prediction
from flashsched.schedule import Step, Trace
from flashsched.tune.explaining.ablate import Fallen, Reduced, Worth, groups_of, keep, orders_of, shapley
from flashsched.tune.load import best_record, near_misses
from flashsched.tune.logs.nearest import Misfit
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.timing import median_interval
from flashsched.tune.runner import CpuRunner, Runner, Trial, runner_for
from flashsched.tune.task import Candidate, Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ablation", "Explanation", "Timed", "explain"]

_TIMEOUT_S = 10.0
_SHORT_S = 0.2  # of what takes less than that, a second look costs nothing
_CLOSE = 1.25  # schedules that take up to so many times the whole one's time are timed side by side with it
_TIMING = {"min_time_s": 0.02, "max_repeats": 15, "min_repeats": 6, "min_sample_s": 1e-3}


@dataclass(frozen=True)
class Timed:
    """What one schedule took: its samples in seconds; *least* where it was stopped, and takes that long at least."""

    times_s: tuple[float, ...]
    status: str = "correct"
    error: str | None = None
    least: bool = False

    @property
    def time_s(self) -> float:
        """The median; NaN where it could not be run."""
        return sorted(self.times_s)[len(self.times_s) // 2] if self.times_s else math.nan

    @property
    def interval_s(self) -> tuple[float, float]:
        """Where the median lies, with 95 % of certainty where there are six samples or more."""
        if not self.times_s:
            return math.nan, math.nan
        found = median_interval(self.times_s)
        return found.low, found.high


@dataclass(frozen=True)
class Ablation:
    """The schedule without one step.

    Attributes:
        number, step: the step's place in the trace, and the step.
        fallen: steps that do not fit without it, and why.
        timed: what is left took.
        slower: its time over that of the whole schedule; NaN where it could not be run.
        interval: where ``slower`` lies.
    """

    number: int
    step: Step
    fallen: tuple[Fallen, ...]
    timed: Timed
    slower: float
    interval: tuple[float, float]


@dataclass
class Explanation:
    """What is known of a task's best record, or, where none fits, of the nearest. Print it, or take it apart.

    Attributes:
        task, device: what was asked for.
        record: the best record; None where none fits.
        missed: where none fits, the records that come nearest, and why they do not apply.
        prediction: what the device's model says of the schedule: bytes per level, limiters, utilization, bound.
        peak: the device's arithmetic peak, operations a second; None where the spec has none for the dtype.
        whole, default: what the whole schedule and the default nest took here and now.
        drift: the whole schedule's time at the end over that at the beginning.
        steps: the trace, primitives of one's own taken apart.
        ablations: the schedule without each of its steps, in order.
        worths: what each group of steps is worth; empty where the default nest could not be run.
        exact: whether all orders of the groups were taken, and not a sample of *orders*.
        failed: schedules with some groups in place that could not be run; they count as no faster than the default.
    """

    task: Task
    device: str
    record: Record | None = None
    missed: list[Misfit] = field(default_factory=list)
    prediction: Prediction | None = None
    peak: float | None = None
    whole: Timed | None = None
    default: Timed | None = None
    drift: float = 1.0
    steps: tuple[Step, ...] = ()
    ablations: list[Ablation] = field(default_factory=list)
    worths: list[Worth] = field(default_factory=list)
    orders: int = 0
    exact: bool = False
    failed: int = 0
    seed: int = 0

    @property
    def time_s(self) -> float:
        """The schedule's time: the record's."""
        return self.record.median_s if self.record is not None else math.nan

    @property
    def fma_use(self) -> float:
        """Share of the arithmetic peak that the task's own operations reach in the record's time; NaN if unknown."""
        return self.task.flops / self.time_s / self.peak if self.peak and self.time_s > 0 else math.nan

    @property
    def share_of_roofline(self) -> float:
        """The roofline's time over the record's."""
        return self.prediction.roofline_s / self.time_s if self.prediction and self.time_s > 0 else math.nan

    @property
    def speedup(self) -> float:
        """The default nest's time over the schedule's, both taken here and now; NaN where either is missing."""
        return self.default.time_s / self.whole.time_s if self.default and self.whole else math.nan

    def __str__(self) -> str:
        from flashsched.tune.explaining.explain_text import explanation_text

        return explanation_text(self)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        from flashsched.tune.explaining.explain_text import explanation_json

        return explanation_json(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a step: ``step``, ``group``, ``falls`` (steps that fall with it), ``time_s``, ``slower``, ``low``,
        ``high`` (the interval of ``slower``), ``status``; where no record fits, one row for each way in which the
        nearest records differ.
        """
        from flashsched.tune.explaining.explain_text import explanation_rows
        from flashsched.tune.logs.report import table

        return table(explanation_rows(self))


def explain(
    log: str | Path | Iterable[str | Path],
    task: Task,
    device: str = "cpu",
    *,
    orders: int = 8,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Take the best record of *task* for *device* apart, or say why *log* has none that fits.

    Args:
        log: a tuning log, or several.
        task: what was tuned.
        device: ``"cpu"``, this machine, or a simulated device.
        orders: how many orders of the groups of steps are tried for their shares, at most.
        seed: of the orders and of the inputs.
        jobs: compilations at once; by default one a core.
        progress: ``progress(done, of)``, called after each schedule.

    Raises:
        LogError: the log can't be read.
        DeviceError: there is no such device, or no model of its kind.
    """
    if orders < 1:
        raise TuneError(f"orders must be at least 1, got {orders}")
    paths = [Path(log)] if isinstance(log, str | Path) else [Path(each) for each in log]
    try:
        record = best_record(paths, task, device)
    except NoRecordError:
        return Explanation(task, device, missed=near_misses(paths, task, device))
    with _runner(device, seed, jobs) as runner:
        return _taken_apart(Explanation(task, device, record, seed=seed), record, runner, orders, progress)


def _runner(device: str, seed: int, jobs: int | None) -> Runner:
    """As for tuning, but with less patience: what is far slower needs no third digit."""
    return CpuRunner(jobs, seed, _TIMEOUT_S, timing=_TIMING) if device == "cpu" else runner_for(device, seed, jobs)


def _taken_apart(
    found: Explanation, record: Record, runner: Runner, most: int, progress: Callable[[int, int], None] | None
) -> Explanation:
    """*found*, with all that running the schedule's parts tells."""
    from flashsched.codegen.analysis import simulate
    from flashsched.tune.costmodel.features import times_repeated_calls

    task, trace = found.task, Trace.from_json(record.trace).flat()
    everything = frozenset(range(len(trace)))
    whole = keep(task, trace, everything)
    found.steps = trace.steps
    found.prediction = simulate(whole.candidate.schedule, runner.spec, warm=times_repeated_calls(runner.spec))
    found.peak = runner.spec.peaks.get(task.dtype)
    groups = groups_of(trace)
    orders, found.exact = orders_of(len(groups), most, found.seed)
    found.orders = len(orders)
    without = [keep(task, trace, everything - {number}) for number in range(len(trace))]
    placed: dict[frozenset[int], Reduced] = {everything: whole}
    for order in orders:
        for count in range(len(groups)):
            steps = frozenset(step for which in order[:count] for step in groups[which].steps)
            placed.setdefault(steps, keep(task, trace, steps))
    times, found.drift = _timed(runner, task, whole, [*without, *placed.values()], progress)
    found.whole, found.default = times[_key(whole)], times[_key(placed[frozenset()])]
    ratios = _side_by_side(runner, task, whole, without, times)
    for number, reduced in enumerate(without):
        timed = times[_key(reduced)]
        slower, low, high = ratios.get(_key(reduced)) or _ratio(timed, found.whole)
        found.ablations.append(Ablation(number, trace.steps[number], reduced.fallen, timed, slower, (low, high)))
    if groups and found.default.times_s:
        default_s = found.default.time_s

        def seconds(steps: frozenset[int]) -> float:
            """What failed is worth no more than the default nest."""
            took = times[_key(placed[steps])].time_s
            return default_s if math.isnan(took) else took

        found.failed = len({_key(each) for each in placed.values() if not times[_key(each)].times_s})
        found.worths = sorted(shapley(groups, orders, found.exact, seconds), key=lambda worth: -worth.share)
    return found


def _timed(
    runner: Runner,
    task: Task,
    whole: Reduced,
    others: Sequence[Reduced],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Timed], float]:
    """What each schedule takes, equal ones once; the whole one first and last, and how far its time drifted."""
    wanted = {_key(whole): whole.candidate}
    wanted.update({_key(reduced): reduced.candidate for reduced in others})
    names, candidates = list(wanted), [*wanted.values(), whole.candidate]
    trials: dict[int, Trial] = {}
    for index, trial in _run(runner, task, candidates):
        trials[index] = trial
        if progress is not None:
            progress(len(trials), len(candidates))
    for index, trial in trials.items():
        if trial.extra.get("stopped_early") and trial.times_s[0] < _SHORT_S:
            # a search gives up on what was slow once; here it is worth a second look, without the first's cold caches
            trials[index] = next(iter(runner.run(task, [candidates[index]], None)))[1]
    timed = [_of_trial(trials[index]) for index in range(len(candidates))]
    found = dict(zip(names, timed, strict=False))
    first, last = timed[0], timed[-1]
    if not first.times_s:
        raise TuneError(f"the record's schedule does not run here any more: {first.status}: {first.error}")
    found[names[0]] = last if last.time_s < first.time_s else first
    return found, last.time_s / first.time_s


def _side_by_side(
    runner: Runner, task: Task, whole: Reduced, others: Sequence[Reduced], times: dict[str, Timed]
) -> dict[str, tuple[float, float, float]]:
    """What is nearly as fast as the whole schedule, timed again in rounds with it: the ratio, and where it lies."""
    limit = _CLOSE * times[_key(whole)].time_s
    close = {_key(each): each.candidate for each in others if times[_key(each)].time_s < limit}
    close.pop(_key(whole), None)
    if runner.source != "measured" or not close:
        return {}
    first, *trials = runner.finals(task, [whole.candidate, *close.values()])
    found = {}
    for key, trial in zip(close, trials, strict=True):
        if len(first.times_s) != len(trial.times_s) or not trial.times_s:
            continue  # one of the two was found wrong on other inputs, or was timed apart
        pairs = zip(trial.times_s, first.times_s, strict=True)
        ratio = Timed(tuple(mine / its for mine, its in pairs))
        found[key] = (ratio.time_s, *ratio.interval_s)
    return found


def _ratio(timed: Timed, whole: Timed) -> tuple[float, float, float]:
    """The ratio of two times that were not taken side by side, and the widest interval that it may have."""
    (low, high), (least, most) = timed.interval_s, whole.interval_s
    return timed.time_s / whole.time_s, low / most, high / least


def _run(runner: Runner, task: Task, candidates: Sequence[Candidate]) -> Iterable[tuple[int, Trial]]:
    """The runner's trials; what a simulated device cannot even be asked is a trial that failed."""
    if runner.source == "measured":
        yield from runner.run(task, candidates, None)
        return
    for index, candidate in enumerate(candidates):
        try:
            for _, trial in runner.run(task, [candidate], None):
                yield index, trial
        except Infeasible as error:
            yield index, Trial("constraints", [], error.reason)


def _of_trial(trial: Trial) -> Timed:
    if trial.status == "timeout":
        return Timed((_TIMEOUT_S,), "timeout", trial.error, least=True)
    return Timed(tuple(trial.times_s), trial.status, trial.error)


def _key(reduced: Reduced) -> str:
    """What tells equal schedules."""
    return reduced.candidate.trace.canonical()
