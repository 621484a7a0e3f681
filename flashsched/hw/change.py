"""A device with some figures changed: what ``DeviceSpec.replace`` does.

It stands apart from ``spec.py`` because a change is more than a field's new value: units and clock carry the peaks and
the on-chip bandwidths with them, sources say so, and the name tells the change.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.check import KINDS
from flashsched.hw.spec import DeviceSpec, MemoryLevel, Source

__all__ = ["changed"]

_TEXTS = {"name", "title", "vendor", "architecture", "aliases", "calibration", "sources"}


def changed(spec: DeviceSpec, changes: Mapping[str, object]) -> DeviceSpec:
    """*spec* with *changes* made; see ``DeviceSpec.replace``."""
    changes = {key: value.item() if isinstance(value, np.generic) else value for key, value in changes.items()}
    known = [f.name for f in dataclasses.fields(spec)]
    for key in changes:
        if key not in known:
            raise DeviceError(f"a device has no field '{key}'", step=_step(changes), hint=did_you_mean(key, known))
    units = changes.get("units")
    if isinstance(units, float) and units.is_integer():
        changes["units"] = int(units)  # 1e3
    new: dict[str, Any] = {key: changes[key] for key in changes if key in known}
    _number(changes, "units", int)
    _number(changes, "clock_hz", float)

    many, clock = new.get("units", spec.units), new.get("clock_hz", spec.clock_hz)
    scale, faster = many * clock / (spec.units * spec.clock_hz), clock / spec.clock_hz
    peaks = {dtype: peak * scale for dtype, peak in spec.peaks.items()}
    levels = [_clocked(level, faster) if level is not spec.dram else level for level in spec.memory]
    new["peaks"] = peaks | _table(changes, "peaks")
    new["memory"] = _memory(spec, levels, changes)
    for table in KINDS.values():
        if isinstance(new.get(table), Mapping):
            new[table] = _part(spec, table, getattr(spec, table), _table(changes, table))

    given = sorted(set(changes) - _TEXTS)
    sources = dict(new.get("sources", spec.sources))
    sources |= {field: Source("changed from " + spec.name, "estimated") for field in _paths(given, changes)}
    if scale != 1.0:
        sources = {key: value for key, value in sources.items() if not key.startswith("peaks")}
        sources["peaks"] = Source(f"scaled from {spec.name} with units and clock", "derived")
    new["sources"] = sources
    made = dataclasses.replace(spec, **new)
    another = made.fingerprint != spec.fingerprint or made.name != spec.name
    if another and "calibration" not in changes:  # which is of the device that was measured
        made = dataclasses.replace(made, calibration=None)
    if made.fingerprint == spec.fingerprint:
        return dataclasses.replace(made, sources=spec.sources) if "sources" not in changes else made
    if "name" in changes:
        return made
    named = _told(spec.name, {key: changes[key] for key in given})
    return dataclasses.replace(made, name=named, aliases=())


def _clocked(level: MemoryLevel, faster: float) -> MemoryLevel:
    return dataclasses.replace(
        level,
        bandwidth_bytes_per_s=level.bandwidth_bytes_per_s * faster,
        latency_s=level.latency_s / faster,
        per_unit_bytes_per_s=None if level.per_unit_bytes_per_s is None else level.per_unit_bytes_per_s * faster,
    )


def _memory(spec: DeviceSpec, levels: list[MemoryLevel], changes: Mapping[str, object]) -> tuple[MemoryLevel, ...]:
    given = changes.get("memory")
    if given is None:
        return tuple(levels)
    if isinstance(given, tuple):
        return given
    parts = _table(changes, "memory")
    for name in parts:
        spec.level(name)
    return tuple(
        _part(spec, f"memory.{level.name}", level, parts[level.name]) if level.name in parts else level
        for level in levels
    )


def _table(changes: Mapping[str, object], key: str) -> dict[str, Any]:
    given = changes.get(key, {})
    if not isinstance(given, Mapping):
        raise DeviceError(f"{key} must be a dict of the figures to change, got {given!r}", step=_step(changes))
    return dict(given)


def _part(spec: DeviceSpec, where: str, part: Any, given: object) -> Any:
    if not isinstance(given, Mapping):
        raise DeviceError(f"[{where}] must be a dict of the figures to change, got {given!r}")
    if part is None:
        raise DeviceError(f"device '{spec.name}' has no table [{where}]; its kind is '{spec.kind}'")
    known = [f.name for f in dataclasses.fields(part)]
    for key in given:
        if key not in known:
            raise DeviceError(f"[{where}] has no field '{key}'", hint=did_you_mean(key, known))
    return dataclasses.replace(part, **given)


def _number(changes: Mapping[str, object], key: str, kind: type) -> None:
    value = changes.get(key, 1)
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or value <= 0:
        what = "a whole number, at least 1" if kind is int else "a positive number"
        raise DeviceError(f"{key} must be {what}, got {value!r}", step=_step(changes))


def _paths(given: list[str], changes: Mapping[str, object]) -> list[str]:
    paths: list[str] = []
    for key in given:
        value = changes[key]
        paths += [f"{key}.{part}" for part in value] if isinstance(value, Mapping) else [key]
    return paths


def _told(name: str, given: Mapping[str, object]) -> str:
    """The name with its change in brackets: spelled out where it is numbers, as a digest where it is tables."""
    base, _, before = name.partition("[")
    parts = before.removesuffix("]").split(",") if before else []
    for key, value in given.items():
        if isinstance(value, int | float):
            parts = [part for part in parts if not part.startswith(f"{key}=")] + [f"{key}={value!r}"]
        else:
            parts.append(f"{key}-{hashlib.sha256(repr(value).encode()).hexdigest()[:8]}")
    return f"{base}[{','.join(sorted(parts))}]"


def _step(changes: Mapping[str, object]) -> str:
    return f"replace({', '.join(f'{key}={value!r}' for key, value in changes.items())})"
