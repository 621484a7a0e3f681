"""What a run has tried: its records, the best of them, what it will not try again, and the log that keeps them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flashsched.errors import FlashschedError, LogError, ScheduleError
from flashsched.hw import DeviceSpec, roofline_s
from flashsched.schedule import Trace
from flashsched.tune.logs.log import TuningLog, placed
from flashsched.tune.logs.record import Record
from flashsched.tune.logs.trials import Trials
from flashsched.tune.result import VALID
from flashsched.tune.runner import Runner, Trial
from flashsched.tune.search.candidates import Ranked, key_of
from flashsched.tune.task import Candidate, Task
from flashsched.tune.versions import versions

__all__ = ["Entry", "History", "decisions_of", "record_key"]

_TAUGHT = 100  # records of a resumed log that are replayed, for the cost model to learn from
_KEPT = 16  # the best so far
_ALIKE = 4096  # steps that records share, before it is begun anew


@dataclass(frozen=True)
class Entry:
    """One of the best so far: its time in seconds, its record and its schedule."""

    time_s: float
    record: Record
    candidate: Candidate


class History:
    """The trials of one task on one device.

    Args:
        task: what is tuned.
        runner: what runs it.
        seed: written into the records.
        log: the tuning log that every trial is appended to; None keeps them in memory.
        objectives: what is searched for; written into the records where it is more than the time.

    Attributes:
        records: all trials, in order; those of long ago are read from the log.
        seen: schedules, by their key, that were run or ruled out, with their seconds; None where they failed.
        best: the best so far, the fastest first.
        resumed: trials of earlier runs.
        roofline_s: what no schedule can be faster than, if the device's peaks are right.
    """

    def __init__(
        self, task: Task, runner: Runner, seed: int, log: str | Path | None, objectives: Sequence[str] = ("time",)
    ) -> None:
        self.task, self.runner, self.seed = task, runner, seed
        self._wanted = {"objectives": list(objectives)} if len(objectives) > 1 else {}
        self.device = runner.spec.name
        self.path = None if log is None else Path(log)
        self._task, self._target = task.to_json(), runner.target()  # one for all records
        self._log = None if log is None else TuningLog(log)
        self.records = Trials(self.path)
        self._shared: dict[str, dict[str, Any]] = {}  # steps and sizes of knobs, which many trials have alike
        self.seen: dict[str, float | None] = {}
        self.best: list[Entry] = []
        self.resumed = 0
        self.roofline_s = self._roofline_s(runner.spec)

    @property
    def best_s(self) -> float | None:
        """Seconds of the best so far; None while nothing was valid."""
        return self.best[0].time_s if self.best else None

    @property
    def failed(self) -> dict[str, int]:
        """How many trials ended with which status, of those that are not valid."""
        return {status: count for status, count in self.records.statuses.items() if count and status not in VALID}

    def add(self, item: Ranked, trial: Trial) -> Record:
        """Remember what became of a candidate, and write it to the log."""
        self.roofline_s = trial.extra.get("roofline_s", self.roofline_s)
        beside = {"code": round(item.code)} if self.runner.source == "simulated" else {}
        extra = {"sizes": self._one(item.sizes), **beside}
        record = self.new_record(item.candidate, trial, len(self.records), extra)
        place = self.write(record)
        value = record.median_s if trial.status in VALID else None
        self.seen[item.key] = value
        self.records.append(record, place)
        if value is not None:
            self.rank(record, item.candidate)
        return record

    def new_record(self, candidate: Candidate, trial: Trial, number: int, extra: dict[str, Any]) -> Record:
        """The record of *trial*; neither written nor counted."""
        return Record(
            task=self._task,
            trace=self._trace(candidate),
            device=self.device,
            source=self.runner.source,
            status=trial.status,
            trial=number,
            error=trial.error,
            times_s=list(trial.times_s),
            verified=trial.verified,
            target=self._target,
            versions=versions(),
            seed=self.seed,
            extra={"roofline_s": self.roofline_s, **self._wanted, **trial.extra, **extra},
        )

    def _trace(self, candidate: Candidate) -> dict[str, Any]:
        """The trace of *candidate* and its decisions, as a record keeps them."""
        found = candidate.trace.to_json()
        steps = [self._one(step) for step in found["steps"]]
        return {**found, "steps": steps, "decisions": dict(candidate.decisions)}

    def _one(self, value: dict[str, Any]) -> dict[str, Any]:
        """*value*, as the one of its like that all records share: where there is no log, all are kept."""
        if len(self._shared) >= _ALIKE:
            self._shared.clear()
        return self._shared.setdefault(repr(value), value)

    def measure_again(self) -> str:
        """Measure the machine's peaks again, since the best beats the roofline; what came of it, in words."""
        from flashsched.tune.measuring.peaks import measured_again

        before, best = self.roofline_s, self.best[0].time_s
        self.roofline_s = self._roofline_s(measured_again())
        said = f"the best reached {before / best:.0%} of the roofline, so the machine's peaks were measured again: "
        now = self.roofline_s / best
        if now > 1.04:
            said += f"now it is {now:.0%}, still over 100 %; the peaks are too low, as on a machine that is busy"
        else:
            said += f"now it is {now:.0%}"
        return said.replace("%", " %").replace("  %", " %")

    def _roofline_s(self, spec: DeviceSpec) -> float:
        task = self.task
        return roofline_s(spec, {task.dtype: float(task.flops)}, float(task.bytes), warm=True)

    def write(self, record: Record) -> int | None:
        """Append *record* to the log, if there is one; where it stands there."""
        return None if self._log is None else self._log.append(record)

    def rank(self, record: Record, candidate: Candidate) -> None:
        """Put *record* among the best, if it is."""
        self.best.append(Entry(record.median_s, record, candidate))
        self.best.sort(key=lambda entry: (entry.time_s, entry.record.trial))
        del self.best[_KEPT:]

    def resume(self) -> Iterator[tuple[Record, float | None, Candidate | None]]:
        """Take in the trials of the log that are of this task, device and target.

        Yields each with its seconds, None where it failed or was disproved, and for the best and the latest of those
        that worked the schedule, replayed.
        """
        assert self.path is not None
        if not self.path.exists():
            return
        wanted = self._target
        disproved = set()  # records that were correct until their final check
        times: dict[str, float] = {}  # of those that worked, by id
        for place, record in placed(self.path):
            if record.task["hash"] != self.task.hash or record.device != self.device:
                continue
            if any(record.target.get(key) != wanted.get(key) for key in ("cpu", "vector_bits", "spec")):
                continue
            if "retimes" not in record.extra:
                self.records.append(record, place)
                if record.status in VALID:
                    times[record.record_id] = record.median_s
            elif record.status not in VALID:
                disproved.add(record.extra["retimes"])
        self.resumed = len(self.records)
        for name in disproved & times.keys():
            del times[name]
        replayed = {*heapq.nsmallest(_KEPT, times, key=times.__getitem__), *list(times)[-_TAUGHT:]}
        for record in self.records:
            value = times.get(record.record_id)
            self.seen[record_key(record)] = value
            candidate = self._replayed(record) if record.record_id in replayed else None
            if candidate is not None:
                self.rank(record, candidate)
            yield record, value, candidate

    def heard(self, record: Record) -> tuple[Record, float | None, Candidate | None] | None:
        """Take in a trial of another coordinator, as `resume` does one of an earlier run; None if it does not fit.

        It is no trial of this run: it counts for nothing, is not written, and is no finalist here.
        """
        wanted = self.runner.target()
        if record.task["hash"] != self.task.hash or record.device != self.device or "retimes" in record.extra:
            return None
        if any(record.target.get(key) != wanted.get(key) for key in ("cpu", "vector_bits", "spec")):
            return None
        value = record.median_s if record.status in VALID else None
        self.seen[record_key(record)] = value
        return record, value, None if value is None else self._replayed(record)

    def _replayed(self, record: Record) -> Candidate | None:
        """The schedule of *record*; None where an older version made it: it stays known, and is not tried again."""
        try:
            return replace(self.task.replay(Trace.from_json(record.trace)), decisions=decisions_of(record))
        except ScheduleError:
            return None


def decisions_of(record: Record) -> dict[str, int]:
    """Index of the option taken, by knob, as *record* says."""
    return {str(name): int(index) for name, index in dict(record.trace.get("decisions") or {}).items()}


def record_key(record: Record) -> str:
    """What tells the schedule of *record* from others.

    Raises:
        LogError: the record holds no trace.
    """
    try:
        return key_of(Trace.from_json(record.trace))
    except FlashschedError as error:
        raise LogError(f"a record of the log holds no trace: {error}") from None
