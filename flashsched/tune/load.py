"""Loading a tuned kernel from a log: which record fits a task on this machine, and why the others do not.

What may be reused, in order:

1. a record of the same task, measured on this CPU with these vector units: silently;
2. one measured on another CPU of this architecture: with a warning, since it is right here but perhaps not the fastest;
3. nothing else: a simulated record is no measurement, and a record of another task computes something else.

A record holds a trace, never code: it is replayed by the checked primitives and compiled here. In which ways a record
can miss, and how far, is ``tune/logs/nearest.py``.
"""

from __future__ import annotations

import heapq
import os
import warnings
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flashsched.errors import LogError, NoRecordError, ScheduleError, TuneError
from flashsched.schedule import Trace
from flashsched.tune.logs.glance import Glance, is_sound
from flashsched.tune.logs.log import LogWarning, glances, glances_at, records_at
from flashsched.tune.logs.nearest import Difference, Misfit, Overruled, differences, nearest, settled_first
from flashsched.tune.logs.record import Record
from flashsched.tune.task import Task, require_task

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = ["best_record", "load", "near_misses"]

_AT_ONCE = 64  # records that are held as candidates

_Order: TypeAlias = tuple[bool, bool, bool, bool, float, int, int, int]
"""Foreign or not, what `settled_first` says, and where it stands: which log, at which offset."""


def load(log: str | Path | Iterable[str | Path], task: Task, *, target: str = "cpu") -> Kernel:
    """The kernel of the best correct record of *task* in *log* (or in several), compiled for this machine.

    Another *target*, as `flashsched.build` takes it, gives the same schedule to save for another machine; ``"cuda"``
    takes the best record that was measured on a CUDA device.

    Raises:
        NoRecordError: no record fits; the message names the nearest and why it does not fit.
        LogError: the log can't be read, or is of a newer version.
        TuneError: *log* is no path, or *task* no task.
        DeviceError: there is no such target.
    """
    from flashsched.codegen.build import build

    record, candidate = _best(_paths(log), task, "cuda" if target.split(":")[0] == "cuda" else "cpu")
    del record
    return build(candidate.schedule, candidate.args, target, task.op)


def best_record(log: str | Path | Iterable[str | Path], task: Task, device: str = "cpu") -> Record:
    """The record that `load` would compile; for a simulated *device*, its best valid one.

    Raises:
        NoRecordError, LogError: as `load`.
    """
    return _best(_paths(log), task, device)[0]


def near_misses(log: str | Path | Iterable[str | Path], task: Task, device: str = "cpu", most: int = 3) -> list[Misfit]:
    """The records of *log* that come nearest to serving *task* on *device*, with all that keeps them from it.

    Raises:
        LogError: as `load`.
    """
    paths = _paths(log)
    return _nearest(paths, _search(paths, task, device), most)


def _paths(log: str | Path | Iterable[str | Path]) -> list[Path]:
    """The log, or the logs, that were named.

    Raises:
        TuneError: what was given is no path, nor several.
    """
    given = list(log) if isinstance(log, Iterable) and not isinstance(log, str) else [log]
    for one in given:
        if not isinstance(one, str | os.PathLike):
            raise TuneError(
                f"a log is named by its path, got a {type(one).__name__}",
                hint='the log comes first, then the task: fs.load("tuned.jsonl", task)',
            )
    return [Path(one) for one in given]


def _search(paths: list[Path], task: Task, device: str) -> _Found:
    """The records of *task* in the logs."""
    from flashsched.codegen.target import host_target

    require_task(task)
    found = _Found(task, host_target().to_json() if device == "cpu" else {}, device)
    mark = f'"hash":"{task.hash}"'.encode()
    for path in paths:
        for offset, seen in glances(path, lambda line: mark not in line and is_sound(line)):
            if seen.task["hash"] == task.hash:
                found.add(path, offset, seen)
    return found


def _best(paths: list[Path], task: Task, device: str = "cpu") -> tuple[Record, Any]:
    found = _search(paths, task, device)
    host = found.host
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
    """The records of *task*, in memory that hardly grows: where they stand, and what rules some of them out.

    *host* is this machine as records tell it; empty for a simulated *device*.
    """

    def __init__(self, task: Task, host: dict[str, Any], device: str) -> None:
        self.task, self.host, self.device = task, host, device
        self.stale: set[str] = set()  # records that no longer replay
        self._offsets: dict[Path, array[int]] = {}
        self._overruled = Overruled()

    def add(self, path: Path, offset: int, seen: Glance) -> None:
        """Take in a record of the task."""
        self._offsets.setdefault(path, array("q")).append(offset)
        self._overruled.see(seen)

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
                if not self.flaws(seen):
                    yield _is_foreign(seen, self.host), *settled_first(seen), number, offset

    def flaws(self, seen: Glance) -> list[Difference]:
        """Why a record can't serve; nothing if it can."""
        why = differences(seen, self.task, self.host, self.device)
        reason = "no longer replays" if seen.record_id in self.stale else self._overruled.why(seen) if not why else None
        return why if reason is None else [Difference("later", None, None, 1.0, reason)]


def _is_foreign(record: Glance | Record, host: dict[str, Any]) -> bool:
    """Whether it was measured on another CPU, or with other vector units."""
    there = {"vector_bits": host.get("vector_bits"), **record.target}
    return any(there.get(key) != host[key] for key in ("cpu", "vector_bits") if key in host)


def _nearest(paths: list[Path], found: _Found, most: int) -> list[Misfit]:
    def all_of_them() -> Iterator[Misfit]:
        for path in paths:
            for _, seen in glances(path):
                yield Misfit(seen, tuple(found.flaws(seen)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LogWarning)  # damaged lines were told when the logs were first read
        return nearest((misfit for misfit in all_of_them() if misfit.differences), most)


def _none(paths: list[Path], found: _Found) -> LogError:
    task = found.task
    named = ", ".join(map(str, paths)) or "no log"
    asked = f"{task.op} {','.join(map(str, task.shape))} {task.dtype}"
    on = "" if found.device == "cpu" else f" --device {found.device}"
    near = _nearest(paths, found, 1)
    if not near:
        return NoRecordError(f"{named} holds no record", hint=f"tune it: flashsched tune {task.op}{on} --log {named}")
    shape = ",".join(map(str, task.shape))
    return NoRecordError(
        f"no record of {asked} in {named}; the nearest, {near[0].record.record_id}, {near[0].text}",
        hint=f"tune it: flashsched tune {task.op} --shape {shape} --dtype {task.dtype}{on} --log {paths[0]}",
    )
