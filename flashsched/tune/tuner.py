"""The tuner: proposes schedules, ranks them by the cost model, runs the promising ones, and remembers every trial.

One round: Optuna and neighbours of the best propose many candidates; the cost model ranks them; a batch of the best, and
a few that it is unsure of, is run; what they took is told to both. The first trial is the one that the device's
roofline model likes best, so that a single trial is good already. At the end the best few are timed side by side.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import FlashschedError, Infeasible, LogError, ScheduleError, TuneError
from flashsched.hw import roofline_s
from flashsched.schedule import Trace
from flashsched.tune.cost_model import CostModel
from flashsched.tune.knobs import Answers, FirstKnobs, MutatedKnobs, RandomKnobs
from flashsched.tune.log import TuningLog, read
from flashsched.tune.measure import choose, tie_band
from flashsched.tune.record import Record
from flashsched.tune.runner import Runner, Trial, runner_for
from flashsched.tune.task import Candidate, Task
from flashsched.tune.versions import versions

if TYPE_CHECKING:
    import pandas as pd

    from flashsched.codegen.kernel import Kernel

__all__ = ["Progress", "Result", "tune"]

_FIRST_POOL = 96  # candidates that the prior ranks before the first trial
_POOL = 40  # candidates that the cost model ranks for each batch
_FINALISTS = 4
_TIE = 0.02  # times that differ by less are called a tie


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told after each trial.

    Attributes:
        done: trials so far, those of a resumed run included.
        trials: how many there will be at most.
        best_s: the best time so far in seconds; None while there is none.
        share: the roofline's time over the best: 1 is the device's limit.
        elapsed_s: seconds since the run began.
        left_s: seconds left, as far as can be told.
        failed: trials by status, those that failed.
        stage: what is being done: ``"search"`` or ``"finals"``.
    """

    done: int
    trials: int
    best_s: float | None
    share: float | None
    elapsed_s: float
    left_s: float
    failed: dict[str, int]
    stage: str = "search"


@dataclass
class Result:
    """What a tuning run found.

    Attributes:
        task: what was tuned.
        device: on which device.
        records: all trials, in order; finalists carry their final times.
        best: the best record; None where no schedule was valid.
        ties: records whose times can't be told from the best's.
        log: the log they were written to.
    """

    task: Task
    device: str
    records: list[Record]
    best: Record | None
    ties: list[Record] = field(default_factory=list)
    log: Path | None = None

    def to_frame(self) -> pd.DataFrame:
        """The trials as a pandas DataFrame, one row each."""
        from flashsched.tune.report import frame

        return frame(self.records)

    @property
    def kernel(self) -> Kernel:
        """The best schedule, compiled for this machine.

        Raises:
            TuneError: no schedule was valid, or the run was for a simulated device.
        """
        from flashsched.codegen.build import build

        if self.best is None:
            raise TuneError(f"no valid schedule of {self.task!r} was found", hint=self.why_nothing())
        if self.best.source != "measured":
            raise TuneError(
                f"this schedule is for {self.device}, which is simulated here and runs no kernels",
                hint="tune for device='cpu' to run it on this machine",
            )
        found = self.task.replay(Trace.from_json(self.best.trace))
        return build(found.schedule, found.args, name=self.task.op)

    def schedule(self) -> Candidate:
        """The best schedule, replayed.

        Raises:
            TuneError: no schedule was valid.
        """
        if self.best is None:
            raise TuneError(f"no valid schedule of {self.task!r} was found", hint=self.why_nothing())
        return self.task.replay(Trace.from_json(self.best.trace))

    def why_nothing(self) -> str:
        """What the trials failed of, most frequent first."""
        reasons: dict[str, int] = {}
        for record in self.records:
            if record.status not in ("correct", "unverified"):
                text = f"{record.status}: {(record.error or '').splitlines()[0] if record.error else ''}"
                reasons[text] = reasons.get(text, 0) + 1
        ordered = sorted(reasons.items(), key=lambda item: -item[1])
        return "; ".join(f"{count} x {text}" for text, count in ordered[:5]) or "nothing was tried"


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

    Raises:
        DeviceError: there is no such device, or no model of its kind.
        TuneError: the operator has no template for the device, or the arguments contradict each other.
        LogError: the log can't be written, or can't be read for ``resume``.
    """
    if trials < 1:
        raise TuneError(f"trials must be at least 1, got {trials}")
    if resume and log is None:
        raise TuneError("resume goes on from a log, and none was given", hint="name it: log='...jsonl'")
    with runner_for(device, seed, jobs) as runner:
        run = _Run(task, device, runner, trials, seed, time_budget, sampler, progress, log)
        if resume:
            run.resume()
        run.search()
        return run.finish()


class _Run:
    """One tuning run."""

    def __init__(
        self,
        task: Task,
        device: str,
        runner: Runner,
        trials: int,
        seed: int,
        time_budget: float | None,
        sampler: str,
        progress: Callable[[Progress], None] | None,
        log: str | Path | None,
    ) -> None:
        from flashsched.tune.search import Proposer

        self.task, self.device, self.runner, self.trials, self.seed = task, device, runner, trials, seed
        self.started = time.perf_counter()
        self.deadline = None if time_budget is None else self.started + time_budget
        self.progress = progress
        self.path = None if log is None else Path(log)
        self.log = None if log is None else TuningLog(log)
        self.proposer = Proposer(seed, sampler)
        self.model = CostModel(seed)
        self.rng = random.Random(seed)
        self.records: list[Record] = []
        self.seen: dict[str, float | None] = {}
        self.best: list[tuple[float, Record, dict[str, int]]] = []
        self.roofline = roofline_s(runner.spec, {task.dtype: float(task.flops)}, float(task.bytes))
        task.template(runner.spec.kind)

    # -- what was done before ------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take in the trials of the log that are of this task, device and target."""
        assert self.path is not None
        if not self.path.exists():
            return
        wanted = self.runner.target()
        for record in read(self.path):
            if record.task["hash"] != self.task.hash or record.device != self.device or "retimes" in record.extra:
                continue
            if record.target.get("cpu") != wanted.get("cpu") or record.target.get("spec") != wanted.get("spec"):
                continue
            decisions = {str(k): int(v) for k, v in dict(record.trace.get("decisions") or {}).items()}
            valid = record.status in ("correct", "unverified")
            value = record.median_s if valid else None
            self.seen[_canonical(record.trace)] = value
            self.proposer.add_known(decisions, value, record.extra.get("sizes"))
            self.records.append(record)
            if valid:
                self._rank(record, decisions)

    # -- searching -----------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Propose, rank, run, until the trials or the time are used up or nothing new is left."""
        while len(self.records) < self.trials and not self._late():
            want = min(self.runner.batch if self.records else 1, self.trials - len(self.records))
            batch = self._next_batch(want)
            if not batch:
                break
            best_s = self.best[0][0] if self.best else None
            candidates = [item.candidate for item in batch]
            for index, trial in self.runner.run(self.task, candidates, best_s):
                self._record(batch[index], trial)
                if self._late():
                    break

    def _late(self) -> bool:
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def _next_batch(self, want: int) -> list[_Ranked]:
        """The *want* candidates that are worth running most."""
        first = not self.records
        pool = self._pool(_FIRST_POOL if first else max(_POOL, 2 * want))
        if not pool:
            return []
        priors = [item.prior_s for item in pool]
        predicted, unsure = self.model.predict([item.features for item in pool], priors)
        order = sorted(range(len(pool)), key=lambda n: float(predicted[n]))
        bold = max(1, want // 4) if want > 2 else 0  # some slots go to what might be better than it looks
        chosen = order[: want - bold]
        hopeful = sorted(order[want - bold :], key=lambda n: float(predicted[n]) / (1 + 2 * float(unsure[n])))
        return [pool[n] for n in (*chosen, *hopeful[:bold])]

    def _pool(self, size: int) -> list[_Ranked]:
        """New candidates, each with its features and the prior's prediction."""
        found: list[_Ranked] = []
        tried = 0
        while len(found) < size and tried < 6 * size:
            if self._late() and found:
                break
            item = self._propose(tried, size)
            tried += 1
            if item is not None:
                found.append(item)
            elif tried > size and not found:
                break
        return found

    def _propose(self, turn: int, size: int) -> _Ranked | None:
        """A candidate that was not seen before; None if this draw gave none."""
        from flashsched.tune.search import SpaceExhausted

        knobs: Answers
        if not self.records and turn == 0:
            knobs = FirstKnobs()
        elif self.records and turn % 4 == 0:
            try:
                proposal = self.proposer.ask(self._make)
            except SpaceExhausted:
                return None
            return self._ranked(proposal.value, proposal.decisions, proposal.sizes, proposal)
        elif self.best and turn % 4 != 1:
            _, _, one = self.rng.choice(self.best[:8])
            other = self.rng.choice(self.best[:8])[2] if turn % 4 == 3 else None
            knobs = MutatedKnobs(one, self.rng, other)
        else:
            knobs = RandomKnobs(self.rng)
        try:
            candidate = self._make(knobs)
        except Infeasible:
            return None
        return self._ranked(candidate, knobs.decisions, knobs.sizes, None)

    def _make(self, knobs: Any) -> Candidate:
        try:
            return self.task.candidate(knobs, self.runner.spec)
        except ScheduleError as error:  # a template may run into a refusal: that candidate is not to be had
            raise Infeasible(f"refused: {error.step}: {error.reason}") from None

    def _ranked(self, candidate: Candidate, decisions: dict[str, int], sizes: dict[str, int], proposal: Any) -> _Ranked | None:
        from flashsched.codegen.analysis import simulate
        from flashsched.tune.features import features

        canonical = candidate.trace.canonical()
        if canonical in self.seen:
            if proposal is not None:
                self.proposer.tell(proposal, self.seen[canonical])
            return None
        self.seen[canonical] = None
        try:
            prior = simulate(candidate.schedule, self.runner.spec).time_s
        except Infeasible:
            if proposal is not None:
                self.proposer.tell(proposal, None)
            return None
        made = replace(candidate, decisions=decisions)
        return _Ranked(made, decisions, sizes, features(candidate.schedule, self.runner.spec), prior, proposal)

    # -- remembering ---------------------------------------------------------------------------------------------

    def _record(self, item: _Ranked, trial: Trial) -> None:
        record = self._new_record(item.candidate, trial, len(self.records), {"sizes": item.sizes})
        self._write(record)
        self.records.append(record)
        value = record.median_s if trial.status in ("correct", "unverified") else None
        self.seen[item.candidate.trace.canonical()] = value
        if item.proposal is not None:
            self.proposer.tell(item.proposal, value)
        else:
            self.proposer.add_known(item.decisions, value, item.sizes)
        if value is not None:
            self.model.learn(item.features, item.prior_s, value)
            self._rank(record, item.decisions)
        self._tell("search")

    def _new_record(self, candidate: Candidate, trial: Trial, number: int, extra: dict[str, Any]) -> Record:
        return Record(
            task=self.task.to_json(),
            trace={**candidate.trace.to_json(), "decisions": dict(candidate.decisions)},
            device=self.device,
            source=self.runner.source,
            status=trial.status,
            trial=number,
            error=trial.error,
            times_s=list(trial.times_s),
            verified=trial.verified,
            target=self.runner.target(),
            versions=versions(),
            seed=self.seed,
            extra={"roofline_s": self.roofline, **trial.extra, **extra},
        )

    def _write(self, record: Record) -> None:
        if self.log is not None:
            self.log.append(record)

    def _rank(self, record: Record, decisions: dict[str, int]) -> None:
        self.best.append((record.median_s, record, decisions))
        self.best.sort(key=lambda entry: (entry[0], entry[1].trial))
        del self.best[16:]

    def _tell(self, stage: str) -> None:
        if self.progress is None:
            return
        elapsed = time.perf_counter() - self.started
        done = len(self.records)
        left = elapsed / max(done, 1) * (self.trials - done)
        if self.deadline is not None:
            left = min(left, max(0.0, self.deadline - time.perf_counter()))
        failed: dict[str, int] = {}
        for record in self.records:
            if record.status not in ("correct", "unverified"):
                failed[record.status] = failed.get(record.status, 0) + 1
        best = self.best[0][0] if self.best else None
        share = None if best is None else self.roofline / best
        self.progress(Progress(done, self.trials, best, share, elapsed, left, failed, stage))

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> Result:
        """Settle among the finalists; the result."""
        finalists = [record for _, record, _ in self.best[:_FINALISTS]]
        if not finalists:
            return Result(self.task, self.device, self.records, None, [], self.path)
        self._tell("finals")
        candidates = [self._candidate_of(record) for record in finalists]
        settled: list[Record] = []
        for record, candidate, trial in zip(
            finalists, candidates, self.runner.finals(self.task, candidates), strict=True
        ):
            final = self._new_record(candidate, trial, record.trial, {"retimes": record.record_id})
            self._write(final)
            self.records[self.records.index(record)] = final
            settled.append(final)
        good = [record for record in settled if record.status == "correct"]
        if not good:
            raise_if_all_wrong(self.task, settled)
            return Result(self.task, self.device, self.records, None, [], self.path)
        samples = [record.times_s for record in good]
        best = good[choose(samples, _TIE)]
        ties = [good[n] for n in tie_band(samples, _TIE) if good[n] is not best]
        return Result(self.task, self.device, self.records, best, ties, self.path)

    def _candidate_of(self, record: Record) -> Candidate:
        decisions = {str(k): int(v) for k, v in dict(record.trace.get("decisions") or {}).items()}
        return replace(self.task.replay(Trace.from_json(record.trace)), decisions=decisions)


@dataclass(frozen=True)
class _Ranked:
    """A candidate with what the cost model needs to know of it."""

    candidate: Candidate
    decisions: dict[str, int]
    sizes: dict[str, int]
    features: dict[str, float]
    prior_s: float
    proposal: Any


def raise_if_all_wrong(task: Task, finalists: Sequence[Record]) -> None:
    """A search whose every finalist computed something wrong has a fault in it, and is not to be passed over.

    Raises:
        TuneError: all of *finalists* are wrong.
    """
    if finalists and all(record.status == "wrong" for record in finalists):
        raise TuneError(f"every finalist of {task!r} is wrong: {finalists[0].error}")


def _canonical(trace: dict[str, Any]) -> str:
    try:
        return Trace.from_json(trace).canonical()
    except FlashschedError as error:
        raise LogError(f"a record of the log holds no trace: {error}") from None
