"""A start from what the logs know: the best schedules of the nearest tasks, carried over to this one.

A record of another shape or another device is no measurement of this task, but its decisions are a good place to begin.
A decision is an index into options that may differ here, so the record's own template is asked once more what the
options were worth; each then becomes the option nearest to it here: the same one, else for numbers the one with the
least ratio. What results is a candidate like any other, is checked like any other, and is run in the first batch.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashsched.errors import FlashschedError
from flashsched.hw import DeviceSpec, devices
from flashsched.tune.logs.glance import Glance
from flashsched.tune.logs.log import glances
from flashsched.tune.logs.nearest import Misfit, differences, nearest
from flashsched.tune.result import VALID
from flashsched.tune.search.knobs import Answers, FixedKnobs
from flashsched.tune.task import Task

__all__ = ["Seed", "ValueKnobs", "seeds"]

_MOST = 4  # records that are carried over
_FARTHEST = 60.0  # distance, as `flashsched.tune.logs.nearest` counts it: another operator is 100
_LARGEST = 64 << 20  # bytes of logs that are looked through; beyond that they are a matter of `compact`


@dataclass(frozen=True)
class Seed:
    """Decisions of a record, as the options that they stood for.

    Attributes:
        values: the option taken, by knob.
        decisions: its index there.
        text: where it comes from, in words.
    """

    values: dict[str, Any]
    decisions: dict[str, int]
    text: str


class ValueKnobs(Answers):
    """Answers with the option nearest to a value of an earlier task; the default where it had no such knob."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        if name not in self._values:
            return default
        value = self._values[name]
        for index, option in enumerate(options):
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return index
        if _is_number(value) and all(map(_is_number, options)):
            return min(range(len(options)), key=lambda index: _apart(options[index], value))
        return default


class _Told(FixedKnobs):
    """Fixed knobs that remember what the options were worth."""

    def __init__(self, decisions: Mapping[str, int]) -> None:
        super().__init__(decisions)
        self.values: dict[str, Any] = {}

    def choice(self, name: str, options: Sequence[Any], default: Any = None) -> Any:
        self.values[name] = super().choice(name, options, default)
        return self.values[name]


def seeds(task: Task, spec: DeviceSpec, paths: Iterable[Path], own: Path | None = None) -> list[Seed]:
    """The decisions of the nearest records in *paths*, nearest first; *own* is the log that is being written.

    Logs that can't be read are passed over: this is a matter of speed, not of truth.
    """
    from flashsched.codegen.target import host_target

    host = host_target().to_json() if spec.name == "cpu" else {}
    found: list[tuple[Misfit, Path]] = []
    left = _LARGEST
    for path in paths:
        with contextlib.suppress(FlashschedError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            left -= os.path.getsize(path)
            if left < 0 or (own is not None and path.exists() and own.exists() and path.samefile(own)):
                continue
            for _, record in glances(path):
                if record.task["op"] == task.op and record.status in VALID and record.decisions:
                    misfit = Misfit(record, tuple(differences(record, task, host, spec.name)))
                    if misfit.distance < _FARTHEST:
                        found.append((misfit, path))
    where = {id(misfit): path for misfit, path in found}
    carried: list[Seed] = []
    for misfit in nearest((misfit for misfit, _ in found), 2 * _MOST):
        with contextlib.suppress(FlashschedError):
            carried.append(_seed(misfit.record, task, spec, where[id(misfit)]))
        if len(carried) == _MOST:
            break
    return carried


def _seed(record: Any, task: Task, spec: DeviceSpec, path: Path) -> Seed:
    """Ask the record's own template what its decisions meant.

    Raises:
        FlashschedError: the record's task, device or decisions are no longer known here.
    """
    there = record.task
    known = Task(task.operator, there["shape"], there["dtype"], **(there.get("options") or {})) if (
        there["hash"] != task.hash and task.resized(task.shape) is not None
    ) else task  # fmt: skip
    device = spec if record.device == spec.name else devices.for_simulation(record.device) if (
        record.device != "cpu"
    ) else devices["cpu"]  # fmt: skip
    decisions = dict(record.decisions if isinstance(record, Glance) else record.trace["decisions"])
    knobs = _Told({str(name): int(index) for name, index in decisions.items()})
    known.candidate(knobs, device if device.kind == spec.kind else spec)
    shape = ",".join(map(str, there["shape"]))
    text = f"{there['op']} {shape} {there['dtype']} on {record.device} ({path})"
    return Seed(knobs.values, knobs.decisions, text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(option: float, value: float) -> float:
    if option > 0 and value > 0:
        return abs(math.log(option / value))
    return abs(option - value)
