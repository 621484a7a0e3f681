"""What differs between two records, or between two logs: their schedules, and their times with how sure they are.

Times of two records were seldom taken side by side. So a ratio comes with the widest interval that the two medians'
intervals allow, and one that holds 1 is called a tie; times of different devices, or measured and simulated ones, are
set beside each other and not judged.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from flashsched.errors import LogError, NoRecordError, TraceError
from flashsched.schedule import Trace, TraceDiff
from flashsched.tune.explaining.explain_text import finite
from flashsched.tune.figures import figure_text, seconds_text
from flashsched.tune.logs.durable import FilePath
from flashsched.tune.logs.log import LogWarning, glances, records_at
from flashsched.tune.logs.nearest import Overruled, settled_first
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.timing import Interval, median_interval

__all__ = ["LogDiff", "RecordDiff", "bests", "diff_logs", "diff_records", "record_in"]

Key = tuple[str, str, str]


@dataclass(frozen=True)
class RecordDiff:
    """Two records side by side.

    Attributes:
        old, new: the records.
        trace: what the second's schedule does otherwise; None where one of the two holds no trace that is known.
    """

    old: Record
    new: Record
    trace: TraceDiff | None

    @property
    def comparable(self) -> bool:
        """Whether their times may be held against each other: one task, one device, one kind of time."""
        one, other = ((r.task["hash"], r.device, r.source) for r in (self.old, self.new))
        return bool(one == other and self.old.times_s and self.new.times_s)

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """The second's time over the first's, and the least and the most that it may be."""
        if not self.comparable or self.old.median_s <= 0:
            return None
        old, new = _interval(self.old), _interval(self.new)
        return self.new.median_s / self.old.median_s, new.low / old.high, new.high / max(old.low, 1e-12)

    @property
    def verdict(self) -> str:
        """``"faster"``, ``"slower"`` or ``"tie"``: the second against the first; ``"not comparable"``."""
        found = self.ratio
        if found is None:
            return "not comparable"
        _, low, high = found
        return "faster" if high < 1 else "slower" if low > 1 else "tie"

    def __str__(self) -> str:
        lines = [f"{_title(self.old)}"]
        if _title(self.new) != _title(self.old):
            lines = [f"- {_title(self.old)}", f"+ {_title(self.new)}"]
        lines += [f"  - {_told(self.old)}", f"  + {_told(self.new)}"]
        found = self.ratio
        if found is None:
            lines.append("  their times are of different things, and are not compared")
        else:
            least = min(_interval(record).coverage for record in (self.old, self.new))
            sure = "" if least >= 0.95 else f"; too few samples for 95 %: {least * 100:.0f} %"
            verdict = {"tie": "too close to tell apart"}.get(self.verdict, self.verdict)
            ratio, low, high = map(figure_text, found)
            lines.append(f"  {verdict}: {ratio}× the time ({low} to {high}{sure})")
        if self.trace is None:
            return "\n".join([*lines, "  a trace of another version is not compared"])
        shown = str(self.trace).splitlines() if self.trace else ["the schedules are the same"]
        return "\n".join([*lines, *(f"    {line}" for line in shown)])

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        found = self.ratio
        return {
            "old": _json(self.old),
            "new": _json(self.new),
            "verdict": self.verdict,
            "ratio": None if found is None else finite(found[0]),
            "interval": None if found is None else [finite(found[1]), finite(found[2])],
            "same_schedule": None if self.trace is None else not self.trace,
            "trace": None if self.trace is None else self.trace.to_json(),
        }


@dataclass(frozen=True)
class LogDiff:
    """Two logs: the best records of what both know, and what one of them alone knows."""

    pairs: list[RecordDiff]
    only_old: list[Record]
    only_new: list[Record]

    def __str__(self) -> str:
        parts = [str(pair) for pair in self.pairs]
        for sign, records in (("-", self.only_old), ("+", self.only_new)):
            parts += [f"{sign} {_title(record)}\n  {sign} {_told(record)}" for record in records]
        return "\n\n".join(parts) or "neither log has a valid record"

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "pairs": [pair.to_json() for pair in self.pairs],
            "only_old": [_json(record) for record in self.only_old],
            "only_new": [_json(record) for record in self.only_new],
        }


def diff_records(old: Record, new: Record) -> RecordDiff:
    """How *new* differs from *old*: schedule and time."""
    try:
        changes = Trace.from_json(old.trace).diff(Trace.from_json(new.trace))
    except TraceError:
        return RecordDiff(old, new, None)
    return RecordDiff(old, new, changes)


def diff_logs(old: FilePath, new: FilePath) -> LogDiff:
    """The best records of two logs held against each other, task by task and device by device.

    Raises:
        LogError: a log can't be read, or is of a newer version.
    """
    first, second = bests(old), bests(new)
    return LogDiff(
        [diff_records(first[key], second[key]) for key in first if key in second],
        [record for key, record in first.items() if key not in second],
        [record for key, record in second.items() if key not in first],
    )


def bests(log: FilePath) -> dict[Key, Record]:
    """The best valid record of each task, device and source in *log*, in the order of their first ones.

    Raises:
        LogError: the log can't be read, or is of a newer version.
    """
    out = Overruled()
    for _, seen in glances(log):
        out.see(seen)
    found: dict[Key, tuple[tuple[Any, ...], int]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LogWarning)  # damaged lines were told the first time
        for offset, seen in glances(log):
            valid = seen.status == "correct" or (seen.status == "unverified" and seen.source == "simulated")
            if not valid or out.why(seen) is not None:
                continue
            key, order = (str(seen.task["hash"]), seen.device, seen.source), settled_first(seen)
            if key not in found or order < found[key][0]:
                found[key] = order, offset
    records = records_at(log, [offset for _, offset in found.values()])
    return dict(zip(found, records, strict=True))


def record_in(log: FilePath, name: str) -> Record:
    """The record of *log* whose id begins with *name*.

    Raises:
        NoRecordError: there is none.
        LogError: there are several, or the log can't be read.
    """
    found = {seen.record_id: offset for offset, seen in glances(log) if seen.record_id.startswith(name)}
    if not found:
        raise NoRecordError(f"{log} has no record {name!r}", hint="`flashsched report LOG --json` lists the ids")
    if len(found) > 1:
        ids = ", ".join(list(found)[:4])
        raise LogError(f"{log} has {len(found)} records whose id begins with {name!r}: {ids}", hint="give more of it")
    return next(records_at(log, found.values()))


def _interval(record: Record) -> Interval:
    """Where the median lies; a simulated time is what it is."""
    if record.source == "simulated":
        return Interval(record.median_s, record.median_s, 1.0)
    return median_interval(record.times_s)


def _title(record: Record) -> str:
    task = record.task
    options = "".join(f" {key}={value}" for key, value in dict(task.get("options") or {}).items())
    return f"{task['op']} {','.join(map(str, task['shape']))} {task['dtype']}{options} on {record.device}"


def _told(record: Record) -> str:
    if not record.times_s:
        return f"{record.record_id}  trial {record.trial}: {record.status}"
    where = _interval(record)
    within = f" ({seconds_text(where.low)} to {seconds_text(where.high)})" if where.low < where.high else ""
    kind = "" if record.status == "correct" else f", {record.status}"
    simulated = ", simulated" if record.source == "simulated" else ""
    return f"{record.record_id}  trial {record.trial}: {seconds_text(record.median_s)}{within}{simulated}{kind}"


def _json(record: Record) -> dict[str, Any]:
    return {
        "record": record.record_id,
        "trial": record.trial,
        "task": {key: record.task[key] for key in ("op", "shape", "dtype", "hash")},
        "device": record.device,
        "source": record.source,
        "status": record.status,
        "time_s": finite(record.median_s),
        "interval_s": [_interval(record).low, _interval(record).high] if record.times_s else None,
    }
