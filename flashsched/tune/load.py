"""Loading a tuned kernel from a log: which record fits a task on this machine, and why the others do not.

What may be reused, in order:

1. a record of the same task, measured on this CPU with these vector units: silently;
2. one measured on another CPU of this architecture: with a warning, since it is right here but perhaps not the fastest;
3. nothing else: a simulated record is no measurement, and a record of another task computes something else.

A record holds a trace, never code: it is replayed by the checked primitives and compiled here.
"""

from __future__ import annotations

import heapq
import json
import warnings
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flashsched.errors import LogError, NoRecordError, ScheduleError
from flashsched.schedule import Trace
from flashsched.tune.glance import Glance, is_sound
from flashsched.tune.log import LogWarning, glances, glances_at, records_at
from flashsched.tune.record import Record
from flashsched.tune.task import Task

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = ["best_record", "load"]

_AT_ONCE = 64  # records that are held as candidates

_Order: TypeAlias = tuple[bool, bool, bool, float, int, int, int]
"""Foreign or not, what `_order` says, and where it stands: which log, at which offset."""


def load(log: str | Path | Iterable[str | Path], task: Task, *, target: str = "cpu") -> Kernel:
    """The kernel of the best correct record of *task* in *log* (or in several), compiled for this machine.

    Another *target*, as `flashsched.build` takes it, gives the same schedule to save for another machine.

    Raises:
        NoRecordError: no record fits; the message names the nearest and why it does not fit.
        LogError: the log can't be read, or is of a newer version.
        DeviceError: there is no such target.
    """
    from flashsched.codegen.build import build

    record, candidate = _best(_paths(log), task)
    del record
    return build(candidate.schedule, candidate.args, target, task.op)


def best_record(log: str | Path | Iterable[str | Path], task: Task) -> Record:
    """The record that `load` would compile.

    Raises:
        NoRecordError, LogError: as `load`.
    """
    return _best(_paths(log), task)[0]


def _paths(log: str | Path | Iterable[str | Path]) -> list[Path]:
    return [Path(log)] if isinstance(log, str | Path) else [Path(item) for item in log]


def _best(paths: list[Path], task: Task) -> tuple[Record, Any]:
    from flashsched.codegen.target import host_target

    host = host_target().to_json()
    found = _Found(task, host)
    mark = f'"hash":"{task.hash}"'.encode()
    for path in paths:
        for offset, seen in glances(path, lambda line: mark not in line and is_sound(line)):
            if seen.task["hash"] == task.hash:
                found.add(path, offset, seen)
    for record in found.fitting():
        try:
            candidate = task.replay(Trace.from_json(record.trace))
        except ScheduleError as error:
            warnings.warn(
                f"record {record.record_id} no longer replays, and is passed over: {error.reason}",
                LogWarning,
                stacklevel=3,
            )
            found.stale.add(record.record_id)
            continue
        if _is_foreign(record, host):
            warnings.warn(
                f"{task.op} {task.shape} was tuned on {record.target.get('cpu')}, and this CPU is {host['cpu']}: the "
                "kernel is right, and may not be the fastest here; tune it again to be sure",
                LogWarning,
                stacklevel=3,
            )
        return record, candidate
    raise _none(paths, found)


class _Found:
    """The records of *task*, in memory that hardly grows: where they stand, and what rules some of them out."""

    def __init__(self, task: Task, host: dict[str, Any]) -> None:
        self.task, self.host = task, host
        self.stale: set[str] = set()  # records that no longer replay
        self._offsets: dict[Path, array[int]] = {}
        self._retimed: set[str] = set()
        self._wrong: dict[str, str] = {}  # when a schedule was last found wrong, by its steps

    def add(self, path: Path, offset: int, seen: Glance) -> None:
        """Take in a record of the task."""
        self._offsets.setdefault(path, array("q")).append(offset)
        if "retimes" in seen.extra:
            self._retimed.add(seen.extra["retimes"])
        if seen.status == "wrong":
            steps = _steps(seen)
            self._wrong[steps] = max(seen.started_at, self._wrong.get(steps, ""))

    def fitting(self) -> Iterator[Record]:
        """The records that can serve, the best first."""
        after: _Order | None = None
        while True:  # a few at a time: nearly always the first is taken
            some = heapq.nsmallest(_AT_ONCE, (key for key in self._keys() if after is None or key > after))
            for *_, number, offset in some:
                yield from records_at(list(self._offsets)[number], [offset])
            if len(some) < _AT_ONCE:
                return
            after = some[-1]

    def _keys(self) -> Iterator[_Order]:
        for number, (path, offsets) in enumerate(self._offsets.items()):
            for offset, seen in zip(offsets, glances_at(path, offsets), strict=True):
                if self.flaw(seen) is None:
                    yield _is_foreign(seen, self.host), *_order(seen), number, offset

    def flaw(self, seen: Glance) -> str | None:
        """Why a record can't serve; None if it can."""
        if seen.record_id in self.stale:
            return "no longer replays"
        reason = _misfit(seen, self.task, self.host)
        if reason is None and seen.record_id in self._retimed:
            return "was timed again, and what came of that counts"
        if reason is None and self._wrong and seen.started_at <= self._wrong.get(_steps(seen), ""):
            return "was found wrong later"
        return reason


def _steps(record: Glance) -> str:
    return json.dumps(record.trace.get("steps"), sort_keys=True)


def _order(record: Glance) -> tuple[bool, bool, float, int]:
    """What a run settled on comes first, then its other finalists, then the rest; each by time."""
    return not record.extra.get("best"), "retimes" not in record.extra, record.median_s, record.trial


def _is_foreign(record: Glance | Record, host: dict[str, Any]) -> bool:
    """Whether it was measured on another CPU, or with other vector units."""
    there = {"vector_bits": host["vector_bits"], **record.target}
    return any(there.get(key) != host[key] for key in ("cpu", "vector_bits"))


def _misfit(record: Glance, task: Task, host: dict[str, Any]) -> str | None:
    """Why *record* can't serve *task* on this machine; None if it can."""
    if record.task["op"] != task.op:
        return f"is for {record.task['op']}"
    if list(record.task["shape"]) != list(task.shape):
        return f"is for shape {','.join(map(str, record.task['shape']))}"
    if record.task["dtype"] != task.dtype:
        return f"is for {record.task['dtype']}"
    if record.task["hash"] != task.hash:
        options = record.task.get("options") or {}
        return f"computes something else (options {options}, or another definition)"
    if record.source != "measured":
        return f"is a simulation of {record.device}, and was never run"
    if record.status != "correct":
        return f"has status {record.status!r}, not 'correct'"
    there, here = str(record.target.get("triple", "")).split("-")[0], str(host["triple"]).split("-")[0]
    if there != here:
        return f"was tuned on {there}, and this machine is {here}"
    return None


def _none(paths: list[Path], found: _Found) -> LogError:
    task = found.task
    named = ", ".join(map(str, paths)) or "no log"
    asked = f"{task.op} {','.join(map(str, task.shape))} {task.dtype}"

    def distance(record: Glance) -> tuple[float, ...]:
        there = record.task["shape"]
        apart = sum(abs(a - b) / max(a, b, 1) for a, b in zip(there, task.shape, strict=False))
        other = record.task["dtype"] != task.dtype, record.task["hash"] != task.hash
        unfit = record.source != "measured", record.status != "correct"
        return record.task["op"] != task.op, apart + abs(len(there) - len(task.shape)), *other, *unfit

    nearest: Glance | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LogWarning)  # damaged lines were told when the logs were first read
        for path in paths:
            for _, seen in glances(path):
                if nearest is None or distance(seen) < distance(nearest):
                    nearest = seen
    if nearest is None:
        return NoRecordError(f"{named} holds no record", hint=f"tune it: flashsched tune {task.op} --log {named}")

    shape = ",".join(map(str, task.shape))
    return NoRecordError(
        f"no record of {asked} in {named}; the nearest, {nearest.record_id}, {found.flaw(nearest)}",
        hint=f"tune it: flashsched tune {task.op} --shape {shape} --dtype {task.dtype} --log {paths[0]}",
    )
