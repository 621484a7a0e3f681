"""A workload, or several, on many devices: one row for each device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from flashsched.errors import DeviceError, TuneError
from flashsched.hw import DeviceSpec, has_model
from flashsched.hw import devices as known
from flashsched.schedule import Schedule
from flashsched.te import dtypes
from flashsched.tune.comparison.estimates import Estimate, columns_of, estimate_schedule, estimates, total
from flashsched.tune.comparison.simulate import check_workload
from flashsched.tune.result import Result
from flashsched.tune.task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Workload", "compare_devices", "devices_named", "hourly_prices", "pareto"]

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
        devices: names of devices (or one name), simulated ones; ``"cpu"`` is a model of this machine, ``"all"`` stands
            for every one that is not here.
        prices: what an hour of a device costs, by any of its names; fills the column ``cost``.
        each: one row for each workload and device, with a column ``workload``, instead of their sum.

    Raises:
        DeviceError: there is no such device.
        TuneError: there is nothing to compare, or a workload, a count or a price is none, or of no device compared.
    """
    from flashsched.tune.logs.report import table

    given = list(what.items()) if isinstance(what, Mapping) else [(one, 1) for one in _several(what)]
    _check(given)
    specs = devices_named(devices)
    hourly = hourly_prices(prices, specs)
    rows: list[dict[str, Any]] = []
    for spec in specs:
        parts = _estimated([one for one, _ in given], spec)
        counted = [(one, float(count)) for one, (_, count) in zip(parts, given, strict=True)]
        shown = [(f"{_name(w)}", one, _flops(w)) for one, (w, _) in zip(parts, given, strict=True)] if each else [
            ("", total(counted), math.fsum(_flops(w) * n for w, n in given))
        ]  # fmt: skip
        for workload, one, flops in shown:
            row: dict[str, Any] = {"device": spec.name, "title": spec.title, "kind": spec.kind, **columns_of(one)}
            row["gflops"] = flops / one.time_s / 1e9 if one.time_s > 0 else math.nan
            row["cost"] = one.time_s / 3600 * hourly.get(spec.name, math.nan)
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


def devices_named(devices: str | Iterable[str]) -> list[DeviceSpec]:
    """The devices to compare, each once: of one name or several, or ``"all"`` that are not here.

    Raises:
        DeviceError: there is no such device.
        TuneError: there is none, or *devices* are no names.
    """
    if devices == "all":
        devices = [name for name in known if name != "cpu" and has_model(known[name])]
    if not isinstance(devices, Iterable):
        raise TuneError(
            f"names of devices are needed, got a {type(devices).__name__}", hint="e.g. ['a100-sim', 't4-sim']"
        )
    names = [devices] if isinstance(devices, str) else list(devices)
    specs = [known["cpu"] if name == "cpu" else known.for_simulation(name) for name in names]
    if not specs:
        raise _nothing()
    return list({spec.name: spec for spec in specs}.values())


def hourly_prices(prices: Mapping[str, float] | None, specs: Sequence[DeviceSpec]) -> dict[str, float]:
    """What an hour of each of *specs* costs, by the device's own name.

    Raises:
        TuneError: a price is no number from 0 up, or of a device that is not among them.
    """
    if prices is None:
        return {}
    if not isinstance(prices, Mapping):
        raise TuneError(f"prices are given by device, got a {type(prices).__name__}", hint="e.g. {'a100-sim': 1.6}")
    names, found = {spec.name for spec in specs}, {}
    for name, price in prices.items():
        try:
            own = known[name].name
        except DeviceError:
            own = name
        if own not in names:
            hint = f"compared are {', '.join(sorted(names))}"
            raise TuneError(f"a price is given for {name}, which is not compared", hint=hint)
        if not (_is_number(price) and 0 <= price < math.inf):
            raise TuneError(f"an hour of {name} is said to cost {price!r}; a price is a number from 0 up")
        found[own] = float(price)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _nothing() -> TuneError:
    return TuneError(
        "there is nothing to compare: a workload and a device are needed at least",
        hint="devices such as a100-sim, h100-sim and t4-sim; `flashsched devices` lists them",
    )


def _check(given: Sequence[tuple[Workload, int]]) -> None:
    if not given:
        raise _nothing()
    for workload, count in given:
        check_workload(workload)
        if not (_is_number(count) and 0 < count < math.inf):
            raise TuneError(f"{_name(workload)} is said to run {count} times; a count is above 0")


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
