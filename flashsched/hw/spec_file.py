"""Device specs as TOML text: reading one with errors that name the field, and writing one that reads back equal.

The format is the dataclasses of ``spec.py`` spelled out; what a file may leave to another, and what it may state per
clock, is in ``spec_base.py``.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.check import KINDS, STATUSES
from flashsched.hw.spec import AsicUnit, CpuUnit, DeviceSpec, GpuUnit, MemoryLevel, Source, Status, SystolicUnit
from flashsched.hw.spec_base import based, per_second

__all__ = ["parse_spec", "read_spec", "write_spec"]

_UNITS: dict[str, type[AsicUnit | CpuUnit | GpuUnit | SystolicUnit]] = {
    "gpu": GpuUnit, "cpu": CpuUnit, "systolic": SystolicUnit, "asic": AsicUnit,
}  # fmt: skip

_START = 'start from a device that ships: base = "a100" and what differs, or `flashsched devices a100 --toml`'


def read_spec(path: Path) -> DeviceSpec:
    """The device in the TOML file at *path*.

    Raises:
        DeviceError: the file cannot be read or is not TOML, a field is unknown, missing or of the wrong type, or the
            figures contradict each other.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        hint = "a shipped device goes by its name, e.g. a100-sim; `flashsched devices` lists them"
        raise DeviceError(f"cannot read device file {path}: {reason}", hint=hint) from problem
    return parse_spec(text, str(path))


def parse_spec(text: str, origin: str = "the TOML text") -> DeviceSpec:
    """The device that *text* describes; *origin* names it in errors, which are those of ``read_spec``."""
    own = _tables(text, origin)
    data = based(own, origin, _tables)
    kind = data.get("kind")
    if kind is None:
        raise DeviceError(f"{origin} does not say what the device is", hint=f'{_START}, or kind = "gpu"')
    if not isinstance(kind, str):
        raise DeviceError(f'{origin}: kind is {kind!r}; it must be text in quotes, e.g. kind = "gpu"')
    if kind not in KINDS:
        raise DeviceError(f"{origin}: there is no kind {kind!r}", hint=did_you_mean(kind, KINDS))
    made: dict[str, Any] = dict(data)
    for table, unit in _UNITS.items():
        if table in data:
            if table != KINDS[kind]:
                hint = f"a device of kind '{kind}' is described by [{KINDS[kind]}]"
                raise DeviceError(f"{origin}: the table [{table}] does not belong to kind '{kind}'", hint=hint)
            made[table] = _record(unit, data[table], origin, table)
    memory = data.get("memory", [])
    if not isinstance(memory, list) or not all(isinstance(level, dict) for level in memory):
        raise DeviceError(f"{origin}: memory must be a list of tables, each begun by [[memory]]")
    clock = data.get("clock_hz")
    clock = float(clock) if isinstance(clock, int | float) and clock > 0 else 1.0  # a wrong one is refused below
    made["memory"] = tuple(
        _record(
            MemoryLevel,
            per_second(level, clock, origin),
            origin,
            f"memory.{level['name']}",
            f"a level of the base is changed by its name: {', '.join(str(o['name']) for o in memory if o is not level)}"
            if "base" in own
            else _START,
        )
        for level in memory
    )
    made["sources"] = _sources(data.get("sources", {}), origin)
    calibration = data.get("calibration")
    if isinstance(calibration, str):
        made["calibration"] = str(Path(origin).absolute().parent / Path(calibration).expanduser())
    hint = 'e.g. name = "my-board-sim"' if "base" in own else _START
    spec = typing.cast(DeviceSpec, _record(DeviceSpec, made, origin, "", hint))
    _check_sources(spec, own.get("sources", {}), origin)
    return spec


def _tables(text: str, origin: str) -> dict[str, Any]:
    import tomllib  # here, so that importing flashsched does not pay for it

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        line = re.search(r"line (\d+)", str(problem))
        shown = text.splitlines()[int(line[1]) - 1] if line else None
        hint = 'text stands in quotes, numbers do not: name = "my-board-sim", power_w = 250'
        raise DeviceError(f"{origin} is not valid TOML: {problem}", shown=shown, hint=hint) from problem


def _sources(given: object, origin: str) -> dict[str, Source]:
    if not isinstance(given, dict):
        raise DeviceError(f"{origin}: sources must be a table, begun by [sources]")
    sources: dict[str, Source] = {}
    for key, text in given.items():
        status, colon, said = str(text).partition(":")
        if not isinstance(text, str) or not colon or status not in STATUSES:
            raise DeviceError(
                f"{origin}: sources.{key} is {text!r}; it must begin with how far the figure is trusted",
                hint=f'e.g. {key} = "verified: the vendor\'s data sheet"; one of {", ".join(STATUSES)}',
            )
        sources[key] = Source(said.strip(), typing.cast(Status, status))
    return sources


def _check_sources(spec: DeviceSpec, own: Mapping[str, object], origin: str) -> None:
    """Refuse a source of the file itself that belongs to no figure: a slip there would leave the figure without one."""
    known = {f.name for f in dataclasses.fields(spec)}
    for table in ("peaks", "accumulate"):
        known |= {f"{table}.{dtype}" for dtype in getattr(spec, table)}
    for level in spec.memory:
        known |= {f"memory.{level.name}", *(f"memory.{level.name}.{f.name}" for f in dataclasses.fields(level))}
    unit = getattr(spec, KINDS[spec.kind])
    known |= {f"{KINDS[spec.kind]}.{f.name}" for f in dataclasses.fields(unit)}
    for key in own:
        if key not in known:
            raise DeviceError(f"{origin}: sources.{key} belongs to no figure of it", hint=did_you_mean(key, known))


def _record(cls: type, given: object, origin: str, where: str, hint: str | None = None) -> Any:
    """*cls* made of the table *given*, whose fields must be known, complete (*hint* says what to do) and of the right
    type."""
    if not isinstance(given, dict):
        raise DeviceError(f"{origin}: {where} must be a table, begun by [{where}]")
    prefix = f"{where}." if where else ""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in given:
        if key not in fields:
            raise DeviceError(f"{origin}: unknown field {prefix}{key}", hint=did_you_mean(key, fields))
    missing = [
        f.name
        for f in fields.values()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in given
    ]
    if missing:
        raise DeviceError(f"{origin}: missing {', '.join(prefix + name for name in missing)}", hint=hint)
    return cls(**{key: _value(hints[key], value, f"{origin}: {prefix}{key}") for key, value in given.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """*value* as the type that *hint* asks for; whole numbers may be written 80e9, real ones 80."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in args if arg is not types.NoneType)
        return _value(hint, value, where)
    if hint is bool:
        right, fits = "true or false", isinstance(value, bool)
    elif hint is int:
        right, fits = "a whole number", _is_number(value) and float(value).is_integer()
        value = int(value) if fits else value
    elif hint is float:
        right, fits = "a number", _is_number(value)
        value = float(value) if fits else value
    elif hint is str or origin is typing.Literal:
        right, fits = "text in quotes", isinstance(value, str)
    elif hint == tuple[str, ...]:
        right, fits = "a list of texts", isinstance(value, list) and all(isinstance(item, str) for item in value)
        value = tuple(value) if fits else value
    elif hint == tuple[int, ...]:
        right, fits = "a list of whole numbers", isinstance(value, list) and all(isinstance(n, int) for n in value)
        value = tuple(value) if fits else value
    elif hint == Mapping[str, str]:
        right, fits = "a table", isinstance(value, dict)
        value = {key: _value(str, item, f"{where}.{key}") for key, item in value.items()} if fits else value
    elif hint == Mapping[str, float]:
        right, fits = "a table", isinstance(value, dict)
        value = {key: _value(float, item, f"{where}.{key}") for key, item in value.items()} if fits else value
    else:  # a table that is a record already
        return value
    if not fits:
        raise DeviceError(f"{where} must be {right}, got {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_spec(spec: DeviceSpec) -> str:
    """*spec* as TOML; ``parse_spec`` reads it back to an equal spec."""
    lines: list[str] = []
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if (
            f.name not in ("peaks", "accumulate", "memory", "sources", *_UNITS)
            and value is not None
            and value != f.default
        ):
            lines.append(f"{f.name} = {_toml(value)}")
    lines += ["", "[peaks]", *(f"{dtype} = {_toml(peak)}" for dtype, peak in spec.peaks.items())]
    if spec.accumulate:
        lines += ["", "[accumulate]", *(f"{dtype} = {_toml(wide)}" for dtype, wide in spec.accumulate.items())]
    for table in _UNITS:
        unit = getattr(spec, table)
        if unit is not None:
            lines += ["", f"[{table}]", *_fields(unit)]
    for level in spec.memory:
        lines += ["", "[[memory]]", *_fields(level)]
    if spec.sources:
        lines += ["", "[sources]", *(f"{_toml(key)} = {_toml(str(said))}" for key, said in spec.sources.items())]
    return "\n".join(lines) + "\n"


def _fields(record: Any) -> list[str]:
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
