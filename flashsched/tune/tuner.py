"""The tuner: proposes schedules, ranks them by the cost model, runs the promising ones, and remembers every trial.

One round: Optuna and neighbours of the best propose many candidates; the cost model ranks them and those that wait
from earlier rounds; a batch of the best, and a few that it is unsure of, is run; what they took is told to both. The
first trial is the one that the device's roofline model likes best, so that a single trial is good already. At the end
the best few are timed side by side.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flashsched.errors import FlashschedError, Infeasible, LogError, ScheduleError, TuneError
from flashsched.hw import roofline_s
from flashsched.schedule import Trace
from flashsched.tune.cost_model import CostModel
from flashsched.tune.knobs import Answers, FirstKnobs, MutatedKnobs, RandomKnobs
from flashsched.tune.log import TuningLog, read
from flashsched.tune.measure import choose, tie_band
from flashsched.tune.record import Record
from flashsched.tune.result import VALID, Progress, Result
from flashsched.tune.runner import Runner, Trial, runner_for
from flashsched.tune.task import Candidate, Task
from flashsched.tune.versions import versions

__all__ = ["Progress", "Result", "tune"]

_FIRST_POOL = 96  # candidates that the prior ranks before the first trial
_POOL = 40  # new candidates that the cost model ranks for each batch, beside those that wait
_WAITING = 400  # candidates that are kept for later batches; one takes some 100 KB
_FRUITLESS = 64  # draws in a row that may give nothing new
_TAUGHT = 100  # records of a resumed log that the cost model learns from
_KEPT = 16  # the best so far
_THINKING = 0.2  # share of a time budget's rest that making candidates for one batch may take
_FINALISTS = 4
_TRUST = 0.5  # what the prior's time for the template's own choice is multiplied by, for the first trial
_TIE = 0.02  # times that differ by less are called a tie


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
        run = _Run(task, runner.spec.name, runner, trials, seed, time_budget, sampler, progress, log)
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
        self.seen: dict[str, float | None] = {}  # traces that were run or ruled out: seconds, None if they failed
        self.refused: dict[str, int] = {}  # why candidates were ruled out before they were run, and how often
        self.exhausted = False  # whether nothing new is left to be proposed
        self.resumed = 0  # trials of earlier runs
        self.waiting: dict[str, _Ranked] = {}  # what was made and may be run yet
        self.best: list[tuple[float, Record, Candidate]] = []
        self.roofline = roofline_s(runner.spec, {task.dtype: float(task.flops)}, float(task.bytes), warm=True)
        task.template(runner.spec.kind)

    # -- what was done before ------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take in the trials of the log that are of this task, device and target."""
        assert self.path is not None
        if not self.path.exists():
            return
        wanted = self.runner.target()
        disproved = set()  # records that were correct until their final check
        for record in read(self.path):
            if record.task["hash"] != self.task.hash or record.device != self.device:
                continue
            if any(record.target.get(key) != wanted.get(key) for key in ("cpu", "vector_bits", "spec")):
                continue
            if "retimes" not in record.extra:
                self.records.append(record)
            elif record.status not in VALID:
                disproved.add(record.extra["retimes"])
        valid = [record for record in self.records if record.status in VALID and record.record_id not in disproved]
        times = {record.record_id: record.median_s for record in valid}
        for record in self.records:
            value = times.get(record.record_id)
            self.seen[_canonical(record.trace)] = value
            self.proposer.add_known(_decisions(record), value, record.extra.get("sizes"))
        best = sorted(valid, key=lambda record: record.median_s)[:_KEPT]
        for record in {record.record_id: record for record in (*best, *valid[-_TAUGHT:])}.values():
            try:
                candidate = replace(self.task.replay(Trace.from_json(record.trace)), decisions=_decisions(record))
            except ScheduleError:
                continue  # of an older version; it stays known, so that it is not tried again
            self._rank(record, candidate)
            self._teach(candidate, record.median_s)
        self.resumed = len(self.records)

    def _teach(self, candidate: Candidate, measured_s: float) -> None:
        """Let the cost model learn what a candidate of an earlier run took."""
        from flashsched.codegen.analysis import simulate
        from flashsched.tune.features import features

        spec = self.runner.spec
        with contextlib.suppress(Infeasible):  # the model has changed since
            self.model.learn(features(candidate.schedule, spec), simulate(candidate.schedule, spec).time_s, measured_s)

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
        measured = self.runner.source == "measured"  # a simulated trial costs as much as its prediction: run them all
        self._fill(_FIRST_POOL if first else max(_POOL, 2 * want) if measured else want)
        pool = list(self.waiting.values())
        if not pool:
            return []
        priors = [item.prior_s for item in pool]
        predicted, unsure = self.model.predict([item.features for item in pool], priors)
        if first and measured:  # the template's own choice comes first in the pool; it is trusted against the prior
            predicted[0] *= _TRUST
        order = sorted(range(len(pool)), key=lambda n: float(predicted[n]))
        # some slots go to what might be better than it looks, some to draws that no prediction chose: a prior that is
        # wrong about one decision would else never be told so
        bold = max(1, want // 8) if want > 2 else 0
        blind = max(1, want // (4 if len(self.model) > 2 * want else 2)) if want > 2 else 0
        chosen = order[: want - bold - blind]
        left = order[want - bold - blind :]
        hopeful = sorted(left, key=lambda n: float(predicted[n]) / (1 + 2 * float(unsure[n])))[:bold]
        drawn = self.rng.sample([n for n in left if n not in hopeful], min(blind, max(0, len(left) - bold)))
        batch = [pool[n] for n in (*chosen, *hopeful, *drawn)]
        taken = {item.canonical for item in batch}
        kept = [pool[n] for n in order if pool[n].canonical not in taken]
        self.waiting = {item.canonical: item for item in kept[:_WAITING]}
        return batch

    def _fill(self, fresh: int) -> None:
        """Make up to *fresh* new candidates, each with its features and the prior's prediction."""
        aim = len(self.waiting) + fresh
        now = time.perf_counter()
        enough = None if self.deadline is None else now + _THINKING * max(0.0, self.deadline - now)
        fruitless = 0  # turns in a row that gave nothing new: the space may be small, and be used up
        for turn in range(6 * fresh):
            if len(self.waiting) >= aim or fruitless >= _FRUITLESS or self.exhausted:
                break
            if self.waiting and enough is not None and time.perf_counter() >= enough:
                break
            item = self._propose(turn)
            fruitless = 0 if item is not None else fruitless + 1
            if item is not None:
                self.waiting[item.canonical] = item

    def _propose(self, turn: int) -> _Ranked | None:
        """A candidate that was not seen before; None if this draw gave none."""
        from flashsched.tune.search import SpaceExhausted

        knobs: Answers
        if not self.records and turn == 0:
            knobs = FirstKnobs()
        elif self.records and turn % 4 == 0:
            try:
                proposal = self.proposer.ask(self._make)
            except SpaceExhausted:
                self.exhausted = True
                return None
            return self._ranked(proposal.value, proposal.decisions, proposal.sizes, proposal)
        elif self.best and turn % 4 != 1:
            one = self.rng.choice(self.best[:8])[2].decisions
            other = self.rng.choice(self.best[:8])[2].decisions if turn % 4 == 3 else None
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
        except (Infeasible, ScheduleError) as error:  # a template may run into a refusal: such a one is not to be had
            refusal = f"refused: {error.step}: {error.reason}" if isinstance(error, ScheduleError) else error.reason
            self.refused[refusal] = self.refused.get(refusal, 0) + 1
            raise Infeasible(refusal) from None

    def _ranked(
        self, candidate: Candidate, decisions: dict[str, int], sizes: dict[str, int], proposal: Any
    ) -> _Ranked | None:
        from flashsched.codegen.analysis import simulate
        from flashsched.tune.features import features

        canonical = candidate.trace.canonical()
        if canonical in self.seen:
            if proposal is not None:
                self.proposer.tell(proposal, self.seen[canonical])
            return None
        if canonical in self.waiting:
            if proposal is not None:
                self.waiting[canonical] = replace(self.waiting[canonical], proposal=proposal)
            return None
        try:
            prior = simulate(candidate.schedule, self.runner.spec).time_s
        except Infeasible:
            self.seen[canonical] = None
            if proposal is not None:
                self.proposer.tell(proposal, None)
            return None
        made = replace(candidate, decisions=decisions)
        numbers = features(candidate.schedule, self.runner.spec)
        numbers |= {f"knob {name}": float(index) for name, index in decisions.items()}
        return _Ranked(made, canonical, decisions, sizes, numbers, prior, proposal)

    # -- remembering ---------------------------------------------------------------------------------------------

    def _record(self, item: _Ranked, trial: Trial) -> None:
        record = self._new_record(item.candidate, trial, len(self.records), {"sizes": item.sizes})
        self._write(record)
        self.records.append(record)
        value = record.median_s if trial.status in VALID else None
        self.seen[item.canonical] = value
        if item.proposal is not None:
            self.proposer.tell(item.proposal, value)
        else:
            self.proposer.add_known(item.decisions, value, item.sizes)
        if value is not None:
            self.model.learn(item.features, item.prior_s, value)
            self._rank(record, item.candidate)
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

    def _rank(self, record: Record, candidate: Candidate) -> None:
        self.best.append((record.median_s, record, candidate))
        self.best.sort(key=lambda entry: (entry[0], entry[1].trial))
        del self.best[_KEPT:]

    def _tell(self, stage: str) -> None:
        if self.progress is None:
            return
        elapsed = time.perf_counter() - self.started
        done = len(self.records)
        left = elapsed / max(done - self.resumed, 1) * max(0, self.trials - done)
        if self.deadline is not None:
            left = min(left, max(0.0, self.deadline - time.perf_counter()))
        failed: dict[str, int] = {}
        for record in self.records:
            if record.status not in VALID:
                failed[record.status] = failed.get(record.status, 0) + 1
        best = self.best[0][0] if self.best else None
        share = None if best is None else self.roofline / best
        self.progress(Progress(done, self.trials, best, share, elapsed, left, failed, stage))

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> Result:
        """Settle among the finalists; the result. Where all of them fail, the next best are tried."""
        settled: list[Record] = []
        for start in range(0, len(self.best), _FINALISTS):
            self._tell("finals")
            settled += self._settle(self.best[start : start + _FINALISTS])
            if any(record.status in VALID for record in settled):
                break
        good = [n for n, record in enumerate(settled) if record.status == "correct"]
        good = good or [n for n, record in enumerate(settled) if record.status in VALID]
        best: Record | None = None
        ties: list[Record] = []
        if good:
            samples = [settled[n].times_s for n in good]
            chosen = good[choose(samples, _TIE)]
            best = settled[chosen] = replace(settled[chosen], extra={**settled[chosen].extra, "best": True})
            ties = [settled[good[n]] for n in tie_band(samples, _TIE) if good[n] != chosen]
        places = {record.record_id: n for n, record in enumerate(self.records)}
        for record in settled:
            self._write(record)
            self.records[places[record.extra["retimes"]]] = record
        if not good:
            _raise_if_all_wrong(self.task, settled)
        return Result(self.task, self.device, self.records, best, ties, self.path, self.refused)

    def _settle(self, entries: Sequence[tuple[float, Record, Candidate]]) -> list[Record]:
        """The final records of finalists, not yet written."""
        trials = self.runner.finals(self.task, [candidate for _, _, candidate in entries])
        return [
            self._new_record(candidate, trial, record.trial, {"retimes": record.record_id})
            for (_, record, candidate), trial in zip(entries, trials, strict=True)
        ]


@dataclass(frozen=True)
class _Ranked:
    """A candidate with what the cost model needs to know of it."""

    candidate: Candidate
    canonical: str
    decisions: dict[str, int]
    sizes: dict[str, int]
    features: dict[str, float]
    prior_s: float
    proposal: Any


def _raise_if_all_wrong(task: Task, finalists: Sequence[Record]) -> None:
    """A search whose every finalist computed something wrong has a fault in it, and is not to be passed over.

    Raises:
        TuneError: all of *finalists* are wrong.
    """
    if finalists and all(record.status == "wrong" for record in finalists):
        raise TuneError(f"every finalist of {task!r} is wrong: {finalists[0].error}")


def _decisions(record: Record) -> dict[str, int]:
    return {str(name): int(index) for name, index in dict(record.trace.get("decisions") or {}).items()}


def _canonical(trace: dict[str, Any]) -> str:
    try:
        return Trace.from_json(trace).canonical()
    except FlashschedError as error:
        raise LogError(f"a record of the log holds no trace: {error}") from None
