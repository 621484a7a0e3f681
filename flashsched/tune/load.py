"""Loading a tuned kernel from a log: which record fits a task on this machine, and why the others do not.

What may be reused, in order:

1. a record of the same task, measured on this CPU with these vector units: silently;
2. one measured on another CPU of this architecture: with a warning, since it is right here but perhaps not the fastest;
3. nothing else: a simulated record is no measurement, and a record of another task computes something else.

A record holds a trace, never code: it is replayed by the checked primitives and compiled here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import LogError, NoRecordError, ScheduleError
from flashsched.schedule import Trace
from flashsched.tune.log import LogWarning, read
from flashsched.tune.record import Record
from flashsched.tune.task import Task

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = ["best_record", "load"]


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
    records = [record for path in paths for record in read(path)]
    flaws = _flaws(records, task, host)
    fitting = [record for record in records if flaws[record.record_id] is None]
    for record in sorted(fitting, key=lambda r: (_is_foreign(r, host), *_order(r))):
        try:
            candidate = task.replay(Trace.from_json(record.trace))
        except ScheduleError as error:
            warnings.warn(
                f"record {record.record_id} no longer replays, and is passed over: {error.reason}",
                LogWarning,
                stacklevel=3,
            )
            flaws[record.record_id] = "no longer replays"
            continue
        if _is_foreign(record, host):
            warnings.warn(
                f"{task.op} {task.shape} was tuned on {record.target.get('cpu')}, and this CPU is {host['cpu']}: the "
                "kernel is right, and may not be the fastest here; tune it again to be sure",
                LogWarning,
                stacklevel=3,
            )
        return record, candidate
    raise _none(paths, records, task, flaws)


def _flaws(records: list[Record], task: Task, host: dict[str, Any]) -> dict[str, str | None]:
    """Why each record, by its id, can't serve *task* on this machine; None where it can."""
    mine = [record for record in records if record.task["hash"] == task.hash]
    retimed = {record.extra["retimes"] for record in mine if "retimes" in record.extra}
    wrong: dict[str, str] = {}  # when a schedule was last found wrong, by its steps
    for record in mine:
        if record.status == "wrong":
            wrong[_steps(record)] = max(record.started_at, wrong.get(_steps(record), ""))
    flaws = {record.record_id: _misfit(record, task, host) for record in records}
    for record in mine:
        if flaws[record.record_id] is None:
            if record.record_id in retimed:
                flaws[record.record_id] = "was timed again, and what came of that counts"
            elif record.started_at <= wrong.get(_steps(record), ""):
                flaws[record.record_id] = "was found wrong later"
    return flaws


def _steps(record: Record) -> str:
    return json.dumps(record.trace.get("steps"), sort_keys=True)


def _order(record: Record) -> tuple[bool, bool, float, int]:
    """What a run settled on comes first, then its other finalists, then the rest; each by time."""
    return not record.extra.get("best"), "retimes" not in record.extra, record.median_s, record.trial


def _is_foreign(record: Record, host: dict[str, Any]) -> bool:
    """Whether it was measured on another CPU, or with other vector units."""
    there = {"vector_bits": host["vector_bits"], **record.target}
    return any(there.get(key) != host[key] for key in ("cpu", "vector_bits"))


def _misfit(record: Record, task: Task, host: dict[str, Any]) -> str | None:
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


def _none(paths: list[Path], records: list[Record], task: Task, flaws: dict[str, str | None]) -> LogError:
    named = ", ".join(map(str, paths)) or "no log"
    asked = f"{task.op} {','.join(map(str, task.shape))} {task.dtype}"
    if not records:
        return NoRecordError(f"{named} holds no record", hint=f"tune it: flashsched tune {task.op} --log {named}")

    def distance(record: Record) -> tuple[float, ...]:
        there = record.task["shape"]
        apart = sum(abs(a - b) / max(a, b, 1) for a, b in zip(there, task.shape, strict=False))
        other = record.task["dtype"] != task.dtype, record.task["hash"] != task.hash
        unfit = record.source != "measured", record.status != "correct"
        return record.task["op"] != task.op, apart + abs(len(there) - len(task.shape)), *other, *unfit

    nearest = min(records, key=distance)
    shape = ",".join(map(str, task.shape))
    return NoRecordError(
        f"no record of {asked} in {named}; the nearest, {nearest.record_id}, {flaws[nearest.record_id]}",
        hint=f"tune it: flashsched tune {task.op} --shape {shape} --dtype {task.dtype} --log {paths[0]}",
    )
