"""A workload, or several, on many devices: one row for each device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from flashsched.errors import TuneError
from flashsched.hw import devices as known
from flashsched.schedule import Schedule
from flashsched.te import dtypes
from flashsched.tune.comparison.estimates import Estimate, columns_of, estimate_schedule, estimates, total
from flashsched.tune.comparison.simulate import check_workload
from flashsched.tune.result import Result
from flashsched.tune.task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Workload", "compare_devices", "pareto"]

Workload: TypeAlias = Task | Schedule | Result

COLUMNS = (
    "device", "title", "kind", "time_s", "gflops", "utilization", "bound", "energy_j", "transfer_s", "cost", "tier",
    "error_pct", "how", "roofline_s", "pareto", "note",
)  # fmt: skip
"""Columns of `compare_devices`; times in seconds, energies in joules, NaN where a figure is not known."""


def compare_devices(
    what: Workload | Sequence[Workload] | Mapping[Workload, int],
    devices: str | Iterable[str],
    *,
    prices: Mapping[str, float] | None = None,
    each: bool = False,
) -> pd.DataFrame:
    """How *what* does on each of *devices*, the fastest first.

    A schedule is simulated as it stands, a tuning result at its best schedule; a task takes what the vendor's library
    would take, as far as there is a model of it (`flashsched.tune.comparison.estimates` says what stands in).

    Args:
        what: a task, a schedule or a result; several, run one after another; or several with how often each is run.
        devices: names of devices (or one name), simulated ones; ``"cpu"`` is a model of this machine.
        prices: what an hour of a device costs, by the name that stands in *devices*; fills the column ``cost``.
        each: one row for each workload and device, with a column ``workload``, instead of their sum.

    Raises:
        DeviceError: there is no such device.
        TuneError: there is nothing to compare, or a workload, a count or a price is none.
    """
    from flashsched.tune.logs.report import table

    given = list(what.items()) if isinstance(what, Mapping) else [(one, 1) for one in _several(what)]
    names = [devices] if isinstance(devices, str) else list(dict.fromkeys(devices))
    _check(given, names, prices or {})
    rows: list[dict[str, Any]] = []
    for name in names:
        spec = known["cpu"] if name == "cpu" else known.for_simulation(name)
        parts = _estimated([one for one, _ in given], spec)
        counted = [(one, float(count)) for one, (_, count) in zip(parts, given, strict=True)]
        shown = [(f"{_name(w)}", one, _flops(w)) for one, (w, _) in zip(parts, given, strict=True)] if each else [
            ("", total(counted), math.fsum(_flops(w) * n for w, n in given))
        ]  # fmt: skip
        for workload, one, flops in shown:
            row: dict[str, Any] = {"device": spec.name, "title": spec.title, "kind": spec.kind, **columns_of(one)}
            row["gflops"] = flops / one.time_s / 1e9 if one.time_s > 0 else math.nan
            row["cost"] = one.time_s / 3600 * prices[name] if prices and name in prices else math.nan
            rows.append({"workload": workload, **row} if each else row)
    if each:
        return table(rows, ("workload", *(name for name in COLUMNS if name != "pareto")))
    for row, best in zip(rows, pareto(rows), strict=True):
        row["pareto"] = best
    rows.sort(key=lambda row: (math.isnan(row["time_s"]), row["time_s"]))
    return table(rows, COLUMNS)


def pareto(rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = ("time_s", "energy_j", "cost")) -> list[bool]:
    """Which of *rows* no other one is at least as good as in all of *keys*, and better in one.

    A key that is known of no row does not count; an unknown figure of one row is as bad as can be.
    """
    used = [key for key in keys if any(not math.isnan(row[key]) for row in rows)]
    points = [tuple(math.inf if math.isnan(row[key]) else row[key] for key in used) for row in rows]

    def beaten(one: tuple[float, ...]) -> bool:
        return any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in points)

    return [not math.isinf(point[0]) and not beaten(point) if point else False for point in points]


def _check(given: Sequence[tuple[Workload, int]], names: Sequence[str], prices: Mapping[str, float]) -> None:
    if not given or not names:
        raise TuneError(
            "there is nothing to compare: a workload and a device are needed at least",
            hint="devices such as a100-sim, h100-sim and t4-sim; `flashsched devices` lists them",
        )
    for workload, count in given:
        check_workload(workload)
        if not count > 0:
            raise TuneError(f"{_name(workload)} is said to run {count} times; a count is above 0")
    unknown = sorted(set(prices) - set(names))
    if unknown:
        raise TuneError(
            f"a price is given for {', '.join(unknown)}, which is not compared",
            hint=f"compared are {', '.join(names)}",
        )
    for name, price in prices.items():
        if not 0 <= price < math.inf:
            raise TuneError(f"an hour of {name} is said to cost {price}; a price is a number from 0 up")


def _several(what: Any) -> list[Workload]:
    one = isinstance(what, Task | Schedule | Result | str) or not isinstance(what, Iterable)
    return [what] if one else list(what)


def _estimated(what: Sequence[Workload], spec: Any) -> list[Estimate]:
    """Tasks are judged together, schedules one by one."""
    tasks = [one for one in what if isinstance(one, Task)]
    found = iter(estimates(tasks, spec))
    return [
        next(found) if isinstance(one, Task) else estimate_schedule(_schedule(one), spec, _bytes(_schedule(one)))
        for one in what
    ]


def _schedule(what: Schedule | Result) -> Schedule:
    return what.schedule().schedule if isinstance(what, Result) else what


def _bytes(schedule: Schedule) -> float:
    tensors = [*schedule.inputs, *schedule.outputs]
    return math.fsum(math.prod(t.known_shape) * dtypes.bits(t.dtype) / 8 for t in tensors)


def _flops(what: Workload) -> float:
    if isinstance(what, Schedule):
        return float(Task.from_te([*what.inputs, what.outputs[-1]]).flops) if len(what.outputs) == 1 else math.nan
    return float(what.flops if isinstance(what, Task) else what.task.flops)


def _name(what: Workload) -> str:
    if isinstance(what, Schedule):
        return ", ".join(tensor.name for tensor in what.outputs)
    task = what if isinstance(what, Task) else what.task
    return f"{task.op} {','.join(map(str, task.shape))} {task.dtype}"
