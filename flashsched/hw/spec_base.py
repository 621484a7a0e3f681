"""What a device file may leave to others: figures of a device that it is built on, and rates given per clock.

It stands apart from ``spec_file.py`` because both are about tables as they are written, before anything is a spec: with
them a variant of a chip is the few lines in which it differs, and a clock is stated once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.check import PEAK_SLACK

__all__ = ["based", "per_second", "shipped_stems", "shipped_text"]

Table = dict[str, Any]

PER_CLOCK = {
    "bytes_per_clock": "bandwidth_bytes_per_s",
    "per_unit_bytes_per_clock": "per_unit_bytes_per_s",
    "latency_cycles": "latency_s",
}
"""What a memory level may state by the device's clock -> the field that it stands for."""

_TWIN = PER_CLOCK | {field: twin for twin, field in PER_CLOCK.items()}
_OWN = ("name", "title", "aliases", "base", "calibration")  # what no device takes from another
_NO_FIGURE = (*_OWN, "kind", "vendor", "architecture", "sources")


def shipped_stems() -> list[str]:
    """The devices that come with the package, by their files' names, in order."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def shipped_text(stem: str) -> str | None:
    """The file of a shipped device; None where there is no such device."""
    file = _folder().joinpath(f"{stem}.toml")
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _folder() -> Any:
    from importlib import resources  # here, so that importing flashsched does not pay for it

    return resources.files("flashsched.hw").joinpath("specs")


def based(data: Table, origin: str, parse: Callable[[str, str], Table], seen: tuple[str, ...] = ()) -> Table:
    """*data* with the figures of the device that its ``base`` names put in where it states none of its own.

    ``base`` is a shipped device, or another file (``base = "./other.toml"``), found from where *origin* lies. A table
    is merged figure by figure, a memory level with the one of its name, and ``false`` takes a figure away. Sources go
    along with the figures: one that is stated anew loses the source it had.

    Raises:
        DeviceError: no such device, a file that cannot be read, or devices that are based on each other.
    """
    name = data.get("base")
    _check_levels(data.get("memory"), origin)
    if not isinstance(data.get("sources", {}), dict):
        raise DeviceError(f"{origin}: sources must be a table, begun by [sources]")
    if name is None:
        return data
    if not isinstance(name, str):
        raise DeviceError(f'{origin}: base is {name!r}; it names a device or a file, e.g. base = "a100"')
    if name in seen:
        raise DeviceError(f"{origin}: base = {name!r} leads back to itself: {' -> '.join((*seen, name))}")
    if name.endswith(".toml"):
        path = Path(origin).parent / name
        try:
            text, found = path.read_text(encoding="utf-8-sig"), str(path)
        except (OSError, UnicodeDecodeError) as problem:
            raise DeviceError(f"{origin}: cannot read its base {path}: {problem}") from problem
    else:
        found = f"{name.removesuffix('-sim')}.toml"
        text = shipped_text(name.removesuffix("-sim")) or ""
        if not text:
            near = did_you_mean(name, shipped_stems())
            hint = f'{near} (`flashsched devices` lists them; a file is named by its path: base = "./other.toml")'
            raise DeviceError(f"{origin}: base = {name!r} is no shipped device", hint=hint)
    base = based(parse(text, found), found, parse, (*seen, name))
    _check_peaks(base, data, origin)
    return _merged(base, data)


def _check_levels(memory: object, origin: str) -> None:
    """Refuse levels without a name, and two of one name, the second of which would count in silence."""
    if not isinstance(memory, list) or not all(isinstance(level, dict) for level in memory):
        return  # which is refused where tables become records
    names = [level.get("name") for level in memory]
    for name in names:
        if not isinstance(name, str):
            said = "has no name" if name is None else f"has the name {name!r}, which is no text in quotes"
            raise DeviceError(f"{origin}: a [[memory]] {said}", hint='e.g. name = "l2"')
        if names.count(name) > 1:
            raise DeviceError(f"{origin}: memory level '{name}' is stated {names.count(name)} times; keep one")


def _check_peaks(base: Table, own: Table, origin: str) -> None:
    """Refuse peaks of the *base*, which are the whole device's at its clock, beside other units or another clock than
    rounding explains."""
    other = [key for key in ("units", "clock_hz") if key in own and own[key] != base.get(key)]
    peaks, stated = base.get("peaks", {}), own.get("peaks", {})
    figures = [table.get(key) for table in (own, base) for key in other]
    known = all(isinstance(figure, int | float) and figure > 0 for figure in figures)
    if not other or not known or not isinstance(peaks, dict) or not isinstance(stated, dict):
        return  # what is none is refused where tables become records
    if abs(math.log(math.prod(own[key] / base[key] for key in other))) <= math.log(PEAK_SLACK):
        return
    left = [f"peaks.{dtype}" for dtype in peaks if dtype not in stated]
    if left:
        told = " and ".join(f"{key} is {own[key]!r}, not {base.get(key)!r}" for key in other)
        raise DeviceError(
            f"{origin}: {told}, and {', '.join(left)} would stay that of the base; peaks are the whole device's",
            hint="state each of them under [peaks], or false where there is none; "
            f'"{base.get("name")}[{other[0]}={own[other[0]]!r}]" is a device whose peaks are scaled',
        )


def _merged(base: Table, own: Table) -> Table:
    made = {key: value for key, value in base.items() if key not in _OWN} | own
    made.pop("base", None)
    for key, value in own.items():
        if key == "memory" and isinstance(value, list):
            made[key] = _levels(base.get(key, []), value)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            made[key] = {**base[key], **value}
    made = {key: value for key, value in made.items() if value is not False}
    for key, value in made.items():
        if isinstance(value, dict):
            made[key] = {name: figure for name, figure in value.items() if figure is not False}
    other = made.get("architecture") != base.get("architecture")
    told = {key: _from(base.get("name"), text, other) for key, text in base.get("sources", {}).items()}
    made["sources"] = _sources(told, own)
    return made


def _from(name: object, text: object, other_architecture: bool) -> object:
    """A source with the device that it was stated for, which "the same" in it refers to. What was measured there is an
    estimate here, and so is what was verified for another architecture."""
    told = text
    for word in ("measured", "verified") if other_architecture else ("measured",):
        if str(told).startswith(f"{word}:"):
            told = str(told).replace(f"{word}:", f"estimated: {word},", 1)
    return told if str(told).endswith("]") else f"{told} [{name}]"


def _levels(base: list[Table], own: list[Table]) -> list[Table]:
    """The levels of *base* with what *own* says of them; one that only *own* has comes before the main memory, and one
    whose size it says is ``false`` goes."""
    stated = {level.get("name"): level for level in own}
    made = []
    for level in base:
        change = stated.pop(level.get("name"), {})
        kept = {key: value for key, value in level.items() if _TWIN.get(key) not in change} | change
        if kept.get("size_bytes") is not False:
            made.append({key: value for key, value in kept.items() if value is not False})
    made[-1:-1] = stated.values()
    return made


def _sources(base: Table, own: Table) -> Table:
    told: Table = own.get("sources", {})
    made: Table = {key: text for key, text in base.items() if key not in _OWN}
    for path, value in _stated(own):
        made = {key: text for key, text in made.items() if key != path and not key.startswith(f"{path}.")}
        if value is not False and not _covered(path, told) and _covered(path, made):
            made[path] = "unverified: no source is stated"
    return made | told


def _stated(own: Table) -> Iterator[tuple[str, object]]:
    """The figures that *own* gives, by the names that sources use."""
    for key, value in own.items():
        if key in _NO_FIGURE:
            continue
        if key == "memory":
            for level in value if isinstance(value, list) else ():
                where = f"memory.{level.get('name')}"
                if level.get("size_bytes") is False:
                    yield where, False
                else:
                    yield from ((f"{where}.{PER_CLOCK.get(k, k)}", v) for k, v in level.items() if k != "name")
        elif isinstance(value, dict):
            yield from ((f"{key}.{name}", figure) for name, figure in value.items())
        else:
            yield key, value


def _covered(path: str, sources: Table) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in sources)


def per_second(level: Table, clock_hz: float, origin: str) -> Table:
    """*level* with what it states per clock turned into bytes and seconds.

    Raises:
        DeviceError: a figure is stated both ways.

    >>> per_second({"name": "shared", "bytes_per_clock": 128, "latency_cycles": 30}, 2e9, "x.toml")
    {'name': 'shared', 'bandwidth_bytes_per_s': 256000000000.0, 'latency_s': 1.5e-08}
    """
    made: Table = {}
    for key, value in level.items():
        field = PER_CLOCK.get(key, key)
        if field in level and field != key:
            raise DeviceError(f"{origin}: memory.{level.get('name')} states both {key} and {field}; keep one")
        if field != key and isinstance(value, int | float):
            value = value / clock_hz if key == "latency_cycles" else value * clock_hz
            value = float(f"{value:.6g}")  # a product of decimal figures reads as a decimal figure again
        made[field] = value
    return made
