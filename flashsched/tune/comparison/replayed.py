"""One log on many devices: would another device like the same schedules, and which would it like best?

The times of a log's trials are held against what each device's model predicts for the same schedules: Spearman's and
Kendall's rank correlation. Near 1, the device would have chosen as the log did. *regret* is what it costs to take the
log's winner there instead of the schedule that the device's model likes best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.errors import ScheduleError, TuneError
from flashsched.hw.validation.scores import score
from flashsched.schedule import Schedule, Trace
from flashsched.tune.comparison.compare import devices_named, hourly_prices, pareto
from flashsched.tune.comparison.estimates import columns_of, estimate_schedule
from flashsched.tune.logs.durable import FilePath
from flashsched.tune.logs.log import read
from flashsched.tune.logs.nearest import Overruled
from flashsched.tune.logs.record import Record
from flashsched.tune.task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "compare_log", "kendall"]

COLUMNS = (
    "device", "kind", "records", "fits", "spearman", "kendall", "winner_s", "best_s", "regret", "best_record",
    "energy_j", "cost", "bound", "pareto", "note",
)  # fmt: skip
"""Columns of `compare_log`. *fits*: schedules that the device can hold; *winner_s*, *best_s*: what the log's winner and
the device's own favourite are predicted to take there; energy, cost and bound are the favourite's."""


def compare_log(
    log: FilePath,
    devices: str | Iterable[str],
    task: Task | None = None,
    *,
    prices: Mapping[str, float] | None = None,
    most: int = 200,
) -> pd.DataFrame:
    """The schedules of *log* on each of *devices*, one row a device.

    Args:
        log: a tuning log.
        devices: names of devices, as of `compare_devices`.
        task: whose records; may be left out where the log is about one registered task.
        prices: what an hour of a device costs, by any of its names.
        most: records to replay at most: the fastest, and an even choice of the others.

    Raises:
        LogError: the log can't be read.
        DeviceError: there is no such device.
        TuneError: the log has no two valid trials of the task, or is about several; a price is of no device compared.
    """
    from flashsched.tune.logs.report import table

    specs = devices_named(devices)
    hourly = hourly_prices(prices, specs)
    task, records = _records(log, task, most)
    schedules = []
    for record in records:
        try:
            schedules.append((record, task.replay(Trace.from_json(record.trace)).schedule))
        except ScheduleError:
            continue  # of an older version
    rows = []
    for spec in specs:
        row = _row(schedules, task, spec)
        row["cost"] = row["best_s"] / 3600 * hourly.get(spec.name, math.nan)
        rows.append(row)
    for row, best in zip(rows, pareto(rows, ("best_s", "energy_j", "cost")), strict=True):
        row["pareto"] = best
    return table(rows, COLUMNS)


def _records(log: FilePath, task: Task | None, most: int) -> tuple[Task, list[Record]]:
    out = Overruled()
    valid: list[Record] = []
    for record in read(log):
        out.see(record)
        if record.times_s and record.status in ("correct", "unverified"):
            valid.append(record)
    valid = [record for record in valid if out.why(record) is None]
    hashes = {record.task["hash"] for record in valid} if task is None else {task.hash}
    if len(hashes) > 1:
        raise TuneError(f"{log} is about {len(hashes)} tasks", hint="say which: compare_log(log, devices, task)")
    mine = [record for record in valid if record.task["hash"] in hashes]
    one_kind = {(record.device, record.source) for record in mine}
    if len(one_kind) > 1:
        raise TuneError(f"{log} has times of several devices: {', '.join(sorted(d for d, _ in one_kind))}")
    if len(mine) < 2:
        raise TuneError(f"{log} has {len(mine)} valid trials of the task, and ranks need two")
    there = mine[0].task
    if task is None:
        task = Task(str(there["op"]), there["shape"], str(there["dtype"]), **dict(there.get("options") or {}))
        if task.hash != there["hash"]:
            raise TuneError(f"{there['op']} of {log} is not the operator of this name that is known here")
    mine.sort(key=lambda record: record.median_s)
    best, rest = mine[: most // 4], mine[most // 4 :]
    step = max(1, -(-len(rest) // max(1, most - len(best))))
    return task, [*best, *rest[::step]]


def _row(schedules: Sequence[tuple[Record, Schedule]], task: Task, spec: Any) -> dict[str, Any]:
    found = [estimate_schedule(schedule, spec, float(task.bytes)) for _, schedule in schedules]
    fits = [n for n, one in enumerate(found) if not math.isnan(one.time_s)]
    row: dict[str, Any] = dict.fromkeys(COLUMNS, math.nan)
    row |= {"device": spec.name, "kind": spec.kind, "records": len(schedules), "fits": len(fits)}
    row |= {"best_record": "", "bound": "", "note": next((one.note for one in found if one.note), "")}
    if not fits:
        return row
    times = np.array([schedules[n][0].median_s for n in fits])
    predicted = np.array([found[n].time_s for n in fits])
    favourite = fits[int(predicted.argmin())]
    best = columns_of(found[favourite])
    row |= {
        "spearman": score(predicted, times).spearman,
        "kendall": kendall(predicted, times),
        "winner_s": found[0].time_s,
        "best_s": found[favourite].time_s,
        "regret": found[0].time_s / found[favourite].time_s - 1,
        "best_record": schedules[favourite][0].record_id,
        "energy_j": best["energy_j"],
        "bound": best["bound"],
    }
    return row


def kendall(one: Sequence[float] | np.ndarray[Any, Any], other: Sequence[float] | np.ndarray[Any, Any]) -> float:
    """Kendall's tau-b of two rankings: pairs in the same order less those in the other, ties counted for neither.

    >>> kendall([1, 2, 3, 4], [1, 2, 4, 3]), kendall([1, 2, 3], [3, 2, 1])
    (0.6666666666666666, -1.0)
    """
    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    left, right = (np.sign(x[:, None] - x[None, :])[np.triu_indices(len(x), 1)] for x in (a, b))
    scale = math.sqrt(float((left != 0).sum()) * float((right != 0).sum()))
    return float((left * right).sum()) / scale if scale else math.nan
