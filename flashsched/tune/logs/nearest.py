"""Why a record does not serve a task here, and which record comes nearest to serving it.

A record may miss in several ways at once. Each is a :class:`Difference` with a distance, a documented number, so that
"nearest" means something that a person can follow: it is the record with the least sum, and of equals the one that a
run settled on.

=============  ======================================================================================================
what differs   distance
=============  ======================================================================================================
``op``         100: another operator's schedule is of no use
``options``    10 for each option that differs; 10 for another definition under one name
``dtype``      8
``shape``      the sum over its parts of ``|log2(there / here)|``: 1 for each doubling; 20 for another number of parts
``device``     6 for a simulation, or for another device
``target``     4 for another architecture of CPU
``status``     3: it was not found correct, or not yet
``later``      1: it was timed again, found wrong later, or no longer replays
=============  ======================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flashsched.tune.logs.glance import Glance
from flashsched.tune.logs.record import Record
from flashsched.tune.task import Task

__all__ = ["Difference", "Misfit", "Overruled", "Seen", "differences", "nearest", "settled_first"]

Seen: TypeAlias = Glance | Record
"""A record, or a glance at one."""


@dataclass(frozen=True)
class Difference:
    """One way in which a record does not fit.

    Attributes:
        what: which part differs, as the table of this module names it.
        there, here: what the record says, and what is asked for.
        distance: how much it counts.
        reason: the words for it, with the record as the subject: ``is for shape 4,4,4``.
    """

    what: str
    there: Any
    here: Any
    distance: float
    reason: str


@dataclass(frozen=True)
class Misfit:
    """A record with all that keeps it from serving; ``distance`` is the sum."""

    record: Seen
    differences: tuple[Difference, ...]

    @property
    def distance(self) -> float:
        return math.fsum(each.distance for each in self.differences)

    @property
    def text(self) -> str:
        """All reasons in a line."""
        return "; ".join(each.reason for each in self.differences)


def differences(record: Seen, task: Task, host: Mapping[str, Any], device: str = "cpu") -> list[Difference]:
    """All that keeps *record* from serving *task* on *device*; none where it may be used.

    Args:
        host: this machine, as `flashsched.codegen.target.host_target` tells it; for ``device="cpu"`` only.
        device: ``"cpu"``, or the name of a simulated device, whose records need be valid only.
    """
    there = record.task
    found = []
    if there["op"] != task.op:
        found.append(Difference("op", there["op"], task.op, 100.0, f"is for {there['op']}"))
    shape = [int(n) for n in there["shape"]]
    if shape != list(task.shape):
        apart = _apart(shape, task.shape)
        found.append(Difference("shape", shape, list(task.shape), apart, f"is for shape {_list(shape)}"))
    if there["dtype"] != task.dtype:
        found.append(Difference("dtype", there["dtype"], task.dtype, 8.0, f"is for {there['dtype']}"))
    if there["hash"] != task.hash:
        found += _options(there, task, other=bool(found))
    found += _machine(record, host) if device == "cpu" else _other_device(record, device)
    wanted = ("correct",) if device == "cpu" else ("correct", "unverified")
    if record.status not in wanted:
        found.append(
            Difference("status", record.status, wanted[0], 3.0, f"has status {record.status!r}, not {wanted[0]!r}")
        )
    return found


class Overruled:
    """What later records say against earlier ones: `see` them all, then ask `why`."""

    def __init__(self) -> None:
        self._retimed: set[str] = set()
        self._wrong: dict[tuple[str, str], str] = {}  # when a schedule was last found wrong, by its task and steps

    def see(self, record: Seen) -> None:
        """Take in a record."""
        if "retimes" in record.extra:
            self._retimed.add(record.extra["retimes"])
        if record.status == "wrong":
            steps = _steps(record)
            self._wrong[steps] = max(record.started_at, self._wrong.get(steps, ""))

    def why(self, record: Seen) -> str | None:
        """Why *record* no longer counts; None if it does."""
        if record.record_id in self._retimed:
            return "was timed again, and what came of that counts"
        if self._wrong and record.started_at <= self._wrong.get(_steps(record), ""):
            return "was found wrong later"
        return None


def _steps(record: Seen) -> tuple[str, str]:
    """The schedule: what it computes, and its steps."""
    return str(record.task["hash"]), json.dumps(record.trace.get("steps"), sort_keys=True)


def nearest(misfits: Iterable[Misfit], most: int = 3) -> list[Misfit]:
    """Those that come nearest, the nearest first; of equals of one task and device the best only."""
    found: dict[tuple[str, str, float], Misfit] = {}
    for misfit in misfits:
        key = str(misfit.record.task["hash"]), misfit.record.device, misfit.distance
        if key not in found or settled_first(misfit.record) < settled_first(found[key].record):
            found[key] = misfit
    return sorted(found.values(), key=lambda m: (m.distance, settled_first(m.record)))[:most]


def settled_first(record: Seen) -> tuple[bool, bool, bool, float, int]:
    """The order of valid records: what a run settled on, then its other finalists, then the rest; each by time."""
    return (
        record.status != "correct",
        not record.extra.get("best"),
        "retimes" not in record.extra,
        record.median_s if record.times_s else math.inf,
        record.trial,
    )


def _apart(there: Sequence[int], here: Sequence[int]) -> float:
    if len(there) != len(here):
        return 20.0
    return math.fsum(abs(math.log2(max(a, 0.5) / max(b, 0.5))) for a, b in zip(there, here, strict=True))


def _options(there: Mapping[str, Any], task: Task, other: bool) -> list[Difference]:
    """The options that differ; where none does, and nothing else explains it (*other*), the definition itself."""
    theirs, mine = dict(there.get("options") or {}), dict(task.options)
    defaults = task.operator.options
    keys = [key for key in {**theirs, **mine} if theirs.get(key, defaults.get(key)) != mine.get(key, defaults.get(key))]
    if not keys and not other:
        return [Difference("options", there["hash"], task.hash, 10.0, "computes something else under the same name")]
    found = []
    for key in keys:
        was, asked = theirs.get(key, defaults.get(key)), mine.get(key, defaults.get(key))
        found.append(Difference("options", {key: was}, {key: asked}, 10.0, f"has {key}={was!r}, not {asked!r}"))
    return found


def _machine(record: Seen, host: Mapping[str, Any]) -> list[Difference]:
    if record.source != "measured":
        reason = f"is a simulation of {record.device}, and was never run"
        return [Difference("device", record.device, "cpu", 6.0, reason)]
    there, here = str(record.target.get("triple", "")).split("-")[0], str(host["triple"]).split("-")[0]
    if there != here:
        return [Difference("target", there, here, 4.0, f"was tuned on {there}, and this machine is {here}")]
    return []


def _other_device(record: Seen, device: str) -> list[Difference]:
    if record.device == device:
        return []
    return [Difference("device", record.device, device, 6.0, f"is for {record.device}")]


def _list(shape: Iterable[int]) -> str:
    return ",".join(map(str, shape))
