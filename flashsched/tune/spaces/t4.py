"""Tables in the T4 format of auto-tuners, and caches of Kernel Tuner: read, and written.

T4 is what tuners agreed on to exchange results (Open Autotuning Results Schema 1.0.0): ``results`` is a list, each
with a ``configuration`` of named values, an ``invalidity`` (``correct``, or what went wrong), ``measurements`` of named
values with a unit, ``times`` with the raw runs, and the names of the ``objectives``. It says neither the task nor the
options that a parameter may take: those are the values that occur. Kernel Tuner's own caches hold the same, by another
layout; they are told apart by ``tune_params_keys``.

A table from elsewhere has no program, so that a search over it knows only its parameters, and has no prior.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.tune.spaces.table import Point, Space

__all__ = ["from_t4", "to_t4"]

_UNITS = {"s": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_INVALID = {"compile": "compile", "runtime": "runtime", "timeout": "timeout", "correctness": "wrong"}
_TOLD = {status: told for told, status in _INVALID.items()}
_NEVER = "2000-01-01T00:00:00+00:00"


def to_t4(space: Space) -> dict[str, Any]:
    """*space* as a T4 document; times are in milliseconds, as the format's users write them."""
    date = str(space.about.get("date") or _NEVER)
    results = []
    for configuration, point in space.configurations():
        correct = point.time_s is not None
        time_ms = None if point.time_s is None else point.time_s * 1e3
        results.append(
            {
                "timestamp": date,
                "configuration": {name: _plain(value) for name, value in configuration.items()},
                "objectives": ["time"],
                "times": {"compilation_time": 0, "runtimes": [time_ms] if correct else []},
                "invalidity": "correct" if correct else _TOLD.get(point.status, "constraints"),
                "correctness": 1 if point.status != "wrong" else 0,
                "measurements": [{"name": "time", "value": time_ms, "unit": "ms"}] if correct else [],
            }
        )
    about = {
        "name": space.name,
        "title": space.title,
        "device": space.device,
        "source": space.source,
        "tune_params": {name: [_plain(value) for value in options] for name, options in space.knobs.items()},
        **space.about,
    }
    written = datetime.now(UTC).isoformat(timespec="seconds")
    return {"schema_version": "1.0.0", "metadata": {**about, "written": written}, "results": results}


def from_t4(document: Any, name: str = "imported") -> Space:
    """The space of a T4 document, or of a cache of Kernel Tuner's.

    Raises:
        TuneError: it is neither, or holds no valid time.
    """
    if isinstance(document, Mapping) and isinstance(document.get("cache"), Mapping):
        return _of_cache(document, name)
    results = document.get("results") if isinstance(document, Mapping) else None
    if not isinstance(results, Sequence) or not results:
        raise TuneError(
            "neither a T4 document ('results') nor a cache of Kernel Tuner's ('cache')",
            hint="T4: https://github.com/odgaard/TuningSchema",
        )
    version = str(document.get("schema_version", "1.0.0"))
    if not version.startswith("1."):
        raise TuneError(f"the document has T4 schema {version}, and this flashsched reads 1.x")
    rows = []
    for number, entry in enumerate(results):
        try:
            rows.append((dict(entry["configuration"]), _t4_point(entry)))
        except (KeyError, TypeError, ValueError) as error:
            raise TuneError(f"result {number} of the T4 document is none: {error!r}") from None
    about = dict(document.get("metadata") or {})
    return _space(str(about.get("name") or name), rows, about, about.get("tune_params"))


def _t4_point(entry: Mapping[str, Any]) -> Point:
    if entry["invalidity"] != "correct":
        return Point(None, _INVALID.get(entry["invalidity"], "constraints"))
    objective = next(iter(entry.get("objectives") or ["time"]))
    for measured in entry.get("measurements") or ():
        if measured["name"] == objective and isinstance(measured["value"], int | float):
            return Point(float(measured["value"]) * _UNITS.get(str(measured.get("unit") or "ms"), 1e-3))
    runs = [float(run) for run in entry["times"]["runtimes"]]
    return Point(sum(runs) / len(runs) * 1e-3)


def _of_cache(document: Mapping[str, Any], name: str) -> Space:
    """Kernel Tuner's cache: a configuration's own values beside what was measured; times in milliseconds."""
    try:
        names = list(document["tune_params_keys"])
        objective = document.get("objective") or "time"
        rows = []
        for entry in document["cache"].values():
            value = entry.get(objective, entry.get("time"))
            valid = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e19
            failed = (
                "compile" if "Compilation" in str(value) else "runtime" if "Runtime" in str(value) else "constraints"
            )
            point = Point(float(value) * 1e-3) if valid else Point(None, failed)
            rows.append(({key: entry[key] for key in names}, point))
        title = str(document.get("kernel_name") or name)
    except (KeyError, TypeError, AttributeError) as error:
        raise TuneError(f"not a cache of Kernel Tuner's: {error!r}") from None
    about = {"device": str(document.get("device_name") or "unknown"), "title": title}
    return _space(name, rows, about, document.get("tune_params"))


def _space(name: str, rows: Iterable[tuple[dict[str, Any], Point]], about: dict[str, Any], params: Any) -> Space:
    """The table of *rows*; options are those of *params* that occur, and else the values in order."""
    rows = list(rows)
    known: dict[str, list[Any]] = {}
    for configuration, _ in rows:
        for key, value in configuration.items():
            options = known.setdefault(key, [])
            if _plain(value) not in options:
                options.append(_plain(value))
    for key, options in known.items():
        given = [_plain(value) for value in (params or {}).get(key, ())] if isinstance(params, Mapping) else []
        options.sort(key=lambda value: (given.index(value) if value in given else len(given), _rank(value)))
    points: dict[tuple[int, ...], Point] = {}
    for configuration, point in rows:
        where = tuple(known[k].index(_plain(configuration[k])) if k in configuration else -1 for k in known)
        earlier = points.get(where)
        if earlier is None or earlier.time_s is None or (point.time_s is not None and point.time_s < earlier.time_s):
            points[where] = point
    device = str(about.get("device") or "unknown")
    title = str(about.get("title") or name)
    return Space(name, title, device, "measured", devices["a100-sim"].to_toml(), known, points, about)


def _rank(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    return (0, float(value), "") if number else (1, 0.0, str(value))


def _plain(value: Any) -> Any:
    """A value that JSON has; booleans stay what they are."""
    return value if isinstance(value, int | float | str) else str(value)
