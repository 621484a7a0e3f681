"""Constants for a user's own device, and those that ship: fits to all rows there are, with the error of held-out rows.

`calibrated` fits one device's constants to its measurements, as ``flashsched calibrate`` does. `fit_families` makes the
files in ``hw/fitted`` from the measurements of many devices: for each its own constants, for each family those of all
its devices and of all but one, and over everything the defaults, with and without each family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flashsched.errors import DeviceError
from flashsched.hw.constants import Fitted, Section, Tier, constants_for, family_of, fitted_toml, residual_file
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.boost import learned_residual
from flashsched.hw.validation.fit import fitted_values, predicted
from flashsched.hw.validation.rows import Rows, read_rows, thinned
from flashsched.hw.validation.run import held_out

__all__ = ["calibrated", "fit_families", "write_calibration", "write_residuals"]

_FEWEST = 10
_ROWS_OF_A_FIT = 800
_ROWS_OF_A_DEVICE = 150  # in a fit over several devices, so that none outweighs the others


def calibrated(data: Path, device: str | DeviceSpec, folds: int = 5) -> tuple[dict[str, Section], list[str]]:
    """The constants of *device*, a known one by name or any other, fitted to its rows in *data*, by section, and notes
    on what was left out.

    Raises:
        DeviceError: no row of the device has a model, or no operation has as many as ten rows.
    """
    groups, notes = read_rows(data, device)
    specs = {group.spec.name for group in groups}
    name = device if isinstance(device, str) else device.name
    if len(specs) > 1:
        raise DeviceError(f"{name} means several devices here: {', '.join(sorted(specs))}", hint="give one of them")
    found: dict[str, Section] = {}
    for section in dict.fromkeys(group.section for group in groups):
        members = [group for group in groups if group.section == section]
        if (count := _count(members)) < _FEWEST:
            notes.tell(f"{section}: {count} rows are too few to fit constants to; {_FEWEST} are needed")
            continue
        fitted = _of_device(members, folds)
        found[section] = Section(devices={members[0].spec.name: fitted})
    if not found:
        raise DeviceError(f"no operation of {name} in {data} has {_FEWEST} rows", shown="\n".join(notes.lines))
    return found, notes.lines


def write_calibration(sections: dict[str, Section], path: Path, device: str) -> None:
    """Write *sections* as TOML to *path*, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    note = f"Constants of operator models for {device}, fitted by `flashsched calibrate` to measurements of it."
    path.write_text(fitted_toml(sections, note), encoding="utf-8")
    write_residuals(sections, path.parent)


def write_residuals(sections: Mapping[str, Section], folder: Path) -> None:
    """Write the residuals of *sections*, one file each, and take those away that a device no longer has."""
    for name, section in sections.items():
        for device, fitted in section.devices.items():
            file = folder / residual_file(device, name)
            if fitted.residual is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(fitted.residual.to_json(), encoding="utf-8")


def fit_families(
    groups: list[Rows], folds: int = 5, progress: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Section]]:
    """Sections of fitted constants by file: one for each family, and ``defaults``."""
    files: dict[str, dict[str, Section]] = {}
    for section in sorted({group.section for group in groups}):
        members = [group for group in groups if group.section == section and "[" not in group.spec.name]
        families = sorted({family_of(group.spec) for group in members})
        for family in families:
            progress(f"{section}: {family}")
            own = [group for group in members if family_of(group.spec) == family]
            files.setdefault(family, {})[section] = _of_family(own, folds)
        progress(f"{section}: all")
        without, errors, rows = _leaving_out(members, families, lambda group: family_of(group.spec), "specs")
        files.setdefault("defaults", {})[section] = Section(_over(members, "specs", errors, rows), without=without)
    return files


def _of_family(members: list[Rows], folds: int) -> Section:
    names = sorted({group.spec.name for group in members})
    devices = {
        name: _of_device(own, folds)
        for name in names
        if _count(own := [group for group in members if group.spec.name == name]) >= _FEWEST
    }
    without, errors, rows = _leaving_out(members, names, lambda group: group.spec.name, "family")
    return Section(_over(members, "family", errors, rows), devices, without)


def _of_device(members: list[Rows], folds: int) -> Fitted:
    """The fit to all rows of a device, with the error of the rows held out in turn."""
    first = members[0]
    known = constants_for(first.spec, first.section, first.model.CONSTANTS, tier="family", own={}).values
    found = fitted_values(first.model, thinned(members, _ROWS_OF_A_FIT), known)
    values = {name: float(f"{value:.4g}") for name, value in found.items()}  # as the file will hold them
    residual = learned_residual(members, values)
    times = np.concatenate(held_out(members, folds))
    return Fitted(values, "calibrated", _mape(times, members), _count(members), _origin(members), residual)


def _leaving_out(
    members: list[Rows], names: list[str], name_of: Callable[[Rows], str], tier: Tier
) -> tuple[dict[str, Fitted], list[float], int]:
    """For each name, the fit to all other rows and its error on that name's; the errors times
    the rows, and the rows."""
    found: dict[str, Fitted] = {}
    errors: list[float] = []
    rows = 0
    for name in names:
        seen, tested = ([g for g in members if (name_of(g) == name) == own] for own in (False, True))
        if not seen:
            continue
        fitted = _over(seen, tier, [], 0)
        times = np.concatenate([predicted(group.model, group, fitted.values) for group in tested])
        error = _mape(times, tested)
        errors.append(error * _count(tested))
        rows += _count(tested)
        found[name] = replace(fitted, error_pct=error, rows=_count(tested))
    return found, errors, rows


def _over(members: list[Rows], tier: Tier, errors: list[float], rows: int) -> Fitted:
    """One fit to the rows of several devices, each counting the same; *errors*, of the devices left out, are
    added up over *rows*."""
    kept = []
    for name in dict.fromkeys(group.spec.name for group in members):
        kept += thinned([group for group in members if group.spec.name == name], _ROWS_OF_A_DEVICE)
    first = members[0]
    defaults = {name: one.default for name, one in first.model.CONSTANTS.items()}
    values = fitted_values(first.model, kept, defaults)
    return Fitted(values, tier, sum(errors) / rows if rows else None, rows, _origin(members))


def _count(members: Iterable[Rows]) -> int:
    return sum(len(group.measured_s) for group in members)


def _mape(times: np.ndarray, members: list[Rows]) -> float:
    measured = np.concatenate([group.measured_s for group in members])
    return float(np.mean(np.abs(times / measured - 1)) * 100)


def _origin(members: Iterable[Rows]) -> str:
    return "measurements of " + ", ".join(sorted({group.source or "an unnamed source" for group in members}))
