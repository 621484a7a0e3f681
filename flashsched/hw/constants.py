"""The few constants of an operator model: what each means, its fitted values, and how far a prediction made with them
is to be trusted.

A device model has figures of the device (its spec) and constants of the *way* that libraries use such devices: how well
transfers overlap with arithmetic, how long a kernel takes to start. Those are fitted to measurements and stand in
``fitted/*.toml``, one file per architecture family, each number with the error of rows that the fit did not see.
`constants_for` finds the best ones there are for a device and says which tier they are of.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.residual import Residual
from flashsched.hw.spec import DeviceSpec

__all__ = [
    "Constant",
    "Fitted",
    "Section",
    "Tier",
    "calibration_of",
    "constants_file",
    "constants_for",
    "family_of",
    "fitted_in",
    "fitted_toml",
    "own_constants",
    "parse_fitted",
    "residual_file",
    "shared_by",
    "shipped_residual",
    "users_constants",
]

Tier = Literal["calibrated", "family", "specs"]
"""Whose measurements the constants were fitted to: this very device's | other devices' of its architecture family |
other families' alone, so that of this device nothing but its spec was known."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One number of an operator model that no data sheet states.

    *default* is used where nothing was ever fitted; a fit stays between *low* and *high*, outside of which the number
    would mean nothing. *unit* is a unit or "share", *doc* says in a sentence what is physically meant.
    """

    default: float
    low: float
    high: float
    unit: str
    doc: str

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high:
            raise DeviceError(f"a constant's default is {self.default!r}, outside of {self.low!r} … {self.high!r}")


@dataclass(frozen=True, slots=True)
class Fitted:
    """Values of an operator's constants, and where they are from.

    *error_pct* is the mean absolute error, in percent, over *rows* measurements that the fit did not see (None: never
    checked against any); *origin* says what it was fitted to ("": to nothing, they are the model's defaults).
    *residual* is what was learned beyond the constants, where a device has rows enough.
    """

    values: Mapping[str, float]
    tier: Tier = "specs"
    error_pct: float | None = None
    rows: int = 0
    origin: str = ""
    residual: Residual | None = None

    @property
    def band(self) -> str:
        """Tier and error as people read them.

        >>> Fitted({}, "family", 8.25, 1200).band
        '±8 % (family: mean error of 1,200 held-out rows)'
        """
        if self.error_pct is None:
            return f"error unknown ({self.tier}: no measurement to check it against)"
        digits = 0 if self.error_pct >= 2 else 1
        return f"±{self.error_pct:.{digits}f} % ({self.tier}: mean error of {self.rows:,} held-out rows)"


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a file of fitted values: those of the whole family, and of single devices.

    ``devices`` holds the values fitted to one device's own rows; ``without`` those fitted to all others of the family.
    In ``defaults.toml`` the same two tables hold, by family, nothing and the values fitted to all other families.
    """

    values: Fitted | None = None
    devices: Mapping[str, Fitted] = field(default_factory=dict)
    without: Mapping[str, Fitted] = field(default_factory=dict)


def family_of(spec: DeviceSpec) -> str:
    """The architecture family whose fitted values serve *spec*; "" where its file names no architecture.

    >>> from flashsched.hw.registry import devices
    >>> family_of(devices["a100-sim"]), family_of(devices["tpu-v4-sim"]), family_of(devices["apple-m1-sim"])
    ('ampere', 'tpu', 'apple')
    """
    plain = re.sub(r"[^a-z0-9]+", "", spec.architecture.lower())
    for family in ("apple", "tpu"):  # one family over all their generations
        if plain.startswith(family):
            return family
    return plain


def constants_for(
    spec: DeviceSpec,
    section: str,
    constants: Mapping[str, Constant],
    *,
    tier: Tier | None = None,
    own: Mapping[str, Section] | None = None,
) -> Fitted:
    """The best values known of *constants* for *spec*, every one of them within its range.

    *section* is the operation, e.g. "gemm", or "gemm.tensor" for a variant of it. A user's own calibration comes first:
    *own*, or what `calibration_of` finds. With *tier*, the values that this tier would have: "family" never those
    fitted to the device's own rows, "specs" never those of its family.

    A device with figures changed (``a100-sim[units=54]``) is a device of the family, not the one that was measured, and
    has constants alone: what a change does is for the model to say, not for the habits of a library.
    What a family has taught gives way to what others have where its own devices, each left out, were predicted worse by
    it. Where no device of the family was ever held out, the error is the one of constants from other families alone,
    which knew less. What a section's only family has taught is no other's: without its rows the model's defaults are
    left.

    Raises:
        DeviceError: the device names a calibration, and that cannot be read or is of another device.
    """
    family = family_of(spec)
    name = spec.name
    shipped = fitted_in(family).get(section, Section())
    if own is None:
        own = calibration_of(spec) if tier in (None, "calibrated") else {}
    general = fitted_in("defaults").get(section, Section())
    sister, other = name in shipped.without, family in general.without
    of_sisters = shipped.without.get(name) or (None if name in shipped.devices else shipped.values)
    untaught = shipped.values is None and not shipped.devices
    of_others = general.without.get(family) or (general.values if untaught else None)
    chain: list[tuple[Tier, Fitted | None, str]] = [
        ("calibrated", own.get(section, Section()).devices.get(name), ""),
        ("calibrated", shipped.devices.get(name), name),
        ("family", of_sisters, shared_by(family, name if sister else "")),
        ("specs", of_others, shared_by("defaults", family if other else "")),
    ]
    wanted = [(found, owner) for of, found, owner in chain if found is not None and tier in (None, of)]
    if tier is None and len(wanted) > 1 and _is_worse(wanted[0][0], wanted[1][0]):
        del wanted[0]
    if tier == "family" and not wanted:  # no other device of its family was ever measured
        wanted = [(found, owner) for of, found, owner in chain if found is not None and of == "specs"]
    if not wanted:
        return _complete(Fitted({}), constants)
    best, owner = wanted[0]
    checked = next((found for found, _ in wanted if found.error_pct is not None), best)
    best = replace(best, error_pct=checked.error_pct, rows=checked.rows)
    if owner and "[" not in name:
        best = replace(best, residual=shipped_residual(owner, section))
    return _complete(best, constants)


def _is_worse(family: Fitted, specs: Fitted) -> bool:
    """Whether sister devices are predicted worse by what the *family* has taught than by what others have."""
    known = family.tier == "family" and family.error_pct is not None and specs.error_pct is not None
    return known and (family.error_pct or 0.0) > (specs.error_pct or 0.0)


def _complete(found: Fitted, constants: Mapping[str, Constant]) -> Fitted:
    """*found* with exactly the names of *constants*: a new one gets its default, one that is gone is dropped."""
    values = {
        name: min(max(float(found.values.get(name, one.default)), one.low), one.high) for name, one in constants.items()
    }
    return replace(found, values=values)


def shared_by(file: str, without: str = "") -> str:
    """Whose residual it is that the devices of a *file* of fitted values share, all of them or all *without* one.

    >>> shared_by("ampere"), shared_by("defaults", without="hopper")
    ('shared/ampere', 'shared/defaults-without-hopper')
    """
    return f"shared/{file}-without-{without}" if without else f"shared/{file}"


@functools.cache
def shipped_residual(owner: str, section: str) -> Residual | None:
    """The residual that ships for a section of the device *owner*, or of what `shared_by` names, from
    ``fitted/residuals``."""
    from importlib import resources

    file = resources.files("flashsched.hw").joinpath("fitted", "residuals", *residual_file(owner, section).split("/"))
    return Residual.from_json(file.read_text(encoding="utf-8"), file.name) if file.is_file() else None


def residual_file(owner: str, section: str) -> str:
    """The name of a file with a residual; a user's own stands beside the constants.

    >>> residual_file("a100-sim", "gemm.tensor")
    'a100-sim.gemm.tensor.json'
    """
    return f"{owner}.{section}.json"


@functools.cache
def fitted_in(family: str) -> Mapping[str, Section]:
    """The sections of ``fitted/FAMILY.toml``; none where no device of the family was measured."""
    from importlib import resources

    file = resources.files("flashsched.hw").joinpath("fitted", f"{family}.toml")
    if not family or not file.is_file():
        return {}
    return parse_fitted(file.read_text(encoding="utf-8"), f"fitted/{family}.toml")


def parse_fitted(text: str, origin: str) -> Mapping[str, Section]:
    """Sections by name, from TOML such as::

        ["gemm.tensor"]
        tier = "family"
        error_pct = 9.1
        rows = 3665
        origin = "ai-dynamo/aiconfigurator (Apache-2.0)"
        values = { overlap = 4.0, start_us = 2.1 }
        ["gemm.tensor".devices."a100-sim"]
        …
        ["gemm.tensor".without."a100-sim"]
        …

    Raises:
        DeviceError: it is not TOML, or a table has other fields; *origin* names it.
    """
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise DeviceError(f"{origin} is not valid TOML: {problem}") from problem
    sections: dict[str, Section] = {}
    for name, table in data.items():
        if not isinstance(table, dict):
            continue  # a note at the top of the file
        inner = {
            key: {each: _fitted(one, f"{origin}: {name}.{key}.{each}") for each, one in table.get(key, {}).items()}
            for key in ("devices", "without")
        }
        rest = {key: value for key, value in table.items() if key not in inner}
        whole = _fitted(rest, f"{origin}: {name}") if rest else None
        sections[name] = Section(whole, inner["devices"], inner["without"])
    return sections


_FIELDS = ("tier", "error_pct", "rows", "origin", "values")


def _fitted(table: Any, where: str) -> Fitted:
    if not isinstance(table, dict) or not isinstance(table.get("values"), dict):
        raise DeviceError(f"{where}: a table with 'values' is needed", hint="e.g. values = { start_us = 2.1 }")
    for key in table:
        if key not in _FIELDS:
            raise DeviceError(f"{where}: unknown field {key}", hint=did_you_mean(key, _FIELDS))
    for key, value in table["values"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DeviceError(f"{where}: values.{key} is {value!r}; it must be a number")
    if table.get("tier", "specs") not in ("calibrated", "family", "specs"):
        raise DeviceError(f"{where}: tier is {table['tier']!r}; it must be calibrated, family or specs")
    return Fitted(**table)


def constants_file(device: str) -> Path:
    """Where a user's own calibration of *device* is kept: in ``$FLASHSCHED_CONSTANTS``, or the user's data folder."""
    given = os.environ.get("FLASHSCHED_CONSTANTS", "").strip()
    if given:
        return Path(given).expanduser() / f"{device}.toml"
    import platformdirs

    return Path(platformdirs.user_data_dir("flashsched", appauthor=False)) / "constants" / f"{device}.toml"


def calibration_of(spec: DeviceSpec) -> Mapping[str, Section]:
    """The calibration that *spec* names, or else the one in the user's data folder; empty where there is none.

    Raises:
        DeviceError: the file cannot be read, is no calibration, or is one of other devices.
    """
    if spec.calibration is None:
        return users_constants(spec.name)
    path = Path(spec.calibration)
    again = "flashsched calibrate --device FILE.toml --data MEASUREMENTS writes it"
    try:
        found = _read_constants(path, path.stat().st_mtime_ns)
    except OSError as problem:
        reason = f"{spec.name} names a calibration that cannot be read: {path}: {problem.strerror}"
        raise DeviceError(reason, hint=again) from problem
    devices = sorted({name for section in found.values() for name in section.devices})
    if spec.name not in devices:
        told = ", ".join(devices) or "no device"
        raise DeviceError(f"{path} is a calibration of {told}, and {spec.name} names it as its own", hint=again)
    return found


def users_constants(device: str) -> Mapping[str, Section]:
    """The user's own calibration of *device*; empty where there is none. Read anew where the file has changed.

    Raises:
        DeviceError: the file is no calibration.
    """
    path = constants_file(device)
    try:
        return _read_constants(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _read_constants(path: Path, changed_at: int) -> Mapping[str, Section]:
    del changed_at
    return own_constants(path)


def fitted_toml(sections: Mapping[str, Section], note: str) -> str:
    """*sections* as a file that `parse_fitted` reads back; *note* stands at its head as a comment."""
    lines = [f"# {line}".rstrip() for line in note.splitlines()]
    for name, section in sorted(sections.items()):
        if section.values is not None:
            lines += ["", f'["{name}"]', *_fitted_lines(section.values)]
        for table in ("devices", "without"):
            for key, fitted in sorted(getattr(section, table).items()):
                lines += ["", f'["{name}".{table}."{key}"]', *_fitted_lines(fitted)]
    return "\n".join(lines) + "\n"


def _fitted_lines(fitted: Fitted) -> list[str]:
    values = ", ".join(f"{name} = {value:.4g}" for name, value in fitted.values.items())
    lines = [f'tier = "{fitted.tier}"']
    if fitted.error_pct is not None:
        lines.append(f"error_pct = {fitted.error_pct:.2f}")
    origin = fitted.origin.replace("\\", "/").replace('"', "'")
    return [*lines, f"rows = {fitted.rows}", f'origin = "{origin}"', f"values = {{ {values} }}"]


def own_constants(path: str | Path) -> Mapping[str, Section]:
    """The sections of a file that ``flashsched calibrate`` wrote, with the residuals that stand beside it.

    Raises:
        DeviceError: a file cannot be read, or is not such a file.
    """
    path = Path(path)
    sections = parse_fitted(_text(path), str(path))
    return {
        name: replace(section, devices={
            device: replace(fitted, residual=_residual_at(path.with_name(residual_file(device, name))))
            for device, fitted in section.devices.items()
        })
        for name, section in sections.items()
    }  # fmt: skip


def _residual_at(path: Path) -> Residual | None:
    return Residual.from_json(_text(path), str(path)) if path.is_file() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise DeviceError(f"cannot read {path}: {problem}") from problem
