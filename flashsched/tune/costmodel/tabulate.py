"""From tuning logs to a table of features: each record's schedule is replayed and read anew, with today's features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flashsched.errors import FlashschedError
from flashsched.hw import DeviceSpec
from flashsched.schedule import Trace
from flashsched.tune.costmodel.features import FEATURES, features_of, times_repeated_calls
from flashsched.tune.costmodel.table import Table
from flashsched.tune.logs.log import read
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.timing import median_interval
from flashsched.tune.task import Task

__all__ = ["tabulate"]


def tabulate(
    paths: Iterable[str | Path], spec: DeviceSpec, tasks: Mapping[str, Task], about: Mapping[str, Any] | None = None
) -> tuple[Table, dict[str, int]]:
    """The correct, measured records of *paths* as a table, and why others were left out, with how often.

    Args:
        spec: the device they were measured on.
        tasks: by hash, those that are no operator of ours with a shape.
        about: what the table says of itself.

    Raises:
        LogError: a log can't be read.
    """
    left_out: dict[str, int] = {}
    known = dict(tasks)
    entries = list(_entries(paths, spec, known, left_out))
    return Table.of(entries, FEATURES, about or {}), left_out


def _entries(
    paths: Iterable[str | Path], spec: DeviceSpec, known: dict[str, Task], left_out: dict[str, int]
) -> Iterator[tuple[dict[str, Any], dict[str, float], float, float, float]]:
    from flashsched.codegen.analysis import analyse

    warm = times_repeated_calls(spec)
    for path in paths:
        for record in read(path):
            if record.source != "measured" or record.status != "correct" or "retimes" in record.extra:
                continue
            try:
                task = _task_of(record, known)
                found = analyse(task.replay(Trace.from_json(record.trace)).schedule, spec, warm=warm)
            except FlashschedError as error:
                left_out[error.reason] = left_out.get(error.reason, 0) + 1
                continue
            about = {name: record.task[name] for name in ("op", "shape", "dtype", "hash")}
            about |= {"options": record.task.get("options") or {}, "roofline_s": record.extra.get("roofline_s", 0.0)}
            row = features_of(found.nests, found.works, spec)
            yield about, row, found.prediction.time_s, record.median_s, _noise(record)


def _noise(record: Record) -> float:
    """How far the timings of *record* were apart: as it says, where it was timed more than once, or by its samples."""
    if isinstance(said := record.extra.get("noise"), int | float):
        return float(said)
    interval = median_interval(record.times_s)
    return math.log(interval.high / interval.low) if interval.low > 0 else 0.0


def _task_of(record: Record, known: dict[str, Task]) -> Task:
    """The task of *record*, made anew; it computes something else where the definition has changed since.

    Raises:
        FlashschedError: no such operator, or the trace will not replay.
    """
    name = str(record.task["hash"])
    if name not in known:
        there = record.task
        known[name] = Task(there["op"], there["shape"], there["dtype"], **(there.get("options") or {}))
    return known[name]
