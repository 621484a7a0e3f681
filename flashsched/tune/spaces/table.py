"""A space as a table: the options of its knobs, what each point took, and on which device; and its file.

A file is JSON, compressed: names and options once, then a row of indices and a time for each point. A point that a
template rules out has no row. ``spec`` is the device as it was when the table was made, so that a replay sees the same
prior everywhere.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flashsched.errors import Infeasible, TuneError, did_you_mean
from flashsched.hw import DeviceSpec
from flashsched.hw.spec_file import parse_spec

__all__ = ["FORMAT", "Point", "Space", "load_space", "rounded", "shipped_spaces"]

FORMAT = "flashsched.space/1"
_FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Point:
    """What one point took: seconds, or None and a status of the log."""

    time_s: float | None
    status: str = "correct"


@dataclass(frozen=True)
class Space:
    """A space that was measured point by point.

    Attributes:
        name, title: what it is called.
        device: where it was measured, or the device that it was simulated for.
        source: ``"measured"`` or ``"simulated"``.
        spec: the device as TOML text.
        knobs: the options of each knob, in order.
        points: by the indices of the options taken, -1 for a knob that was not asked.
        about: the machine, the date, versions: whatever is worth knowing.
        problem: the name of the computation and template in ``problems.py``; None for a table from elsewhere.
    """

    name: str
    title: str
    device: str
    source: str
    spec: str
    knobs: Mapping[str, Sequence[Any]]
    points: Mapping[tuple[int, ...], Point]
    about: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    def __post_init__(self) -> None:
        if not any(point.time_s is not None for point in self.points.values()):
            raise TuneError(f"space {self.name!r} has no point with a time")

    def __repr__(self) -> str:
        return f"<space {self.name}: {len(self.points)} points, {len(self.knobs)} knobs, {self.device}>"

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def best_s(self) -> float:
        """The optimum."""
        return min(point.time_s for point in self.points.values() if point.time_s is not None)

    @cached_property
    def device_spec(self) -> DeviceSpec:
        """The device."""
        return parse_spec(self.spec, f"the spec of space {self.name}")

    def point(self, decisions: Mapping[str, int]) -> Point:
        """What the point of these *decisions* took.

        Raises:
            Infeasible: the space has no such point.
        """
        key = tuple(decisions.get(name, -1) for name in self.knobs)
        if key not in self.points or set(decisions) - set(self.knobs):
            raise Infeasible(f"space {self.name!r} has no point {dict(decisions)}")
        return self.points[key]

    def configurations(self) -> Iterator[tuple[dict[str, Any], Point]]:
        """Every point with the options that it stands for."""
        for key, point in self.points.items():
            chosen = {name: options[n] for (name, options), n in zip(self.knobs.items(), key, strict=True) if n >= 0}
            yield chosen, point

    def to_json(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "device": self.device,
            "source": self.source,
            "problem": self.problem,
            "about": dict(self.about),
            "knobs": {name: list(options) for name, options in self.knobs.items()},
            "points": [list(key) for key in self.points],
            "times_s": [point.time_s for point in self.points.values()],
            "failed": {str(n): p.status for n, p in enumerate(self.points.values()) if p.status != "correct"},
            "spec": self.spec,
        }

    def save(self, path: str | Path) -> None:
        """Write the table to *path*, compressed; the same table gives the same bytes."""
        text = json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False)
        Path(path).write_bytes(gzip.compress(text.encode(), 9, mtime=0))

    @classmethod
    def from_json(cls, data: Any, origin: str = "the JSON") -> Space:
        """The table that `to_json` gave.

        Raises:
            TuneError: *data* is none.
        """
        try:
            if data["format"] != FORMAT:
                raise TuneError(f"{origin} has format {data['format']!r}, and this flashsched reads {FORMAT!r}")
            failed = data["failed"]
            rows = zip(data["points"], data["times_s"], strict=True)
            points = {
                tuple(map(int, key)): Point(None if time is None else float(time), failed.get(str(n), "correct"))
                for n, (key, time) in enumerate(rows)
            }
            return cls(
                data["name"], data["title"], data["device"], data["source"], data["spec"], data["knobs"], points,
                data["about"], data["problem"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise TuneError(f"{origin} is no table of a space: {error!r}") from None


def shipped_spaces() -> list[str]:
    """The names of the spaces that come with flashsched."""
    return sorted(path.name.removesuffix(".json.gz") for path in _FOLDER.glob("*.json.gz"))


def load_space(name: str | Path) -> Space:
    """A space that ships, by its name, or one of a file: our own, T4, or a cache of Kernel Tuner's.

    Raises:
        TuneError: there is no such space or file, or the file is none.
    """
    path = Path(name)
    if not path.exists():
        path = _FOLDER / f"{name}.json.gz"
        if not path.exists():
            raise TuneError(f"there is no space {str(name)!r}", hint=did_you_mean(str(name), shipped_spaces()))
    try:
        raw = path.read_bytes()
        data = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (OSError, EOFError, ValueError) as error:
        raise TuneError(f"{path} is no table of a space: {error}") from None
    if isinstance(data, dict) and "format" not in data:
        from flashsched.tune.spaces.t4 import from_t4

        return from_t4(data, path.name.split(".")[0])
    return Space.from_json(data, str(path))


def rounded(time_s: float) -> float:
    """Five digits: more than a measurement has, and less to store."""
    return float(f"{time_s:.4e}") if math.isfinite(time_s) else time_s
