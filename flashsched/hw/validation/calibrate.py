"""Constants for a user's own device, and those that ship: fits to all rows there are, with the error of held-out rows.

`calibrated` fits one device's constants to its measurements, as ``flashsched calibrate`` does. The files in
``hw/fitted`` are made from the measurements of many devices: `fit_families` fits over everything the defaults, with and
without each family, and for each family those of all its devices and of all but one; `fit_devices` each device's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flashsched.errors import DeviceError
from flashsched.hw.constants import (
    Fitted,
    Section,
    Tier,
    constants_for,
    family_of,
    fitted_in,
    fitted_toml,
    residual_file,
    shared_by,
)
from flashsched.hw.operators.times import column
from flashsched.hw.residual import Residual
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.boost import learned_residual, shared_residual
from flashsched.hw.validation.fit import fitted_values, predicted
from flashsched.hw.validation.rows import Rows, read_rows, thinned
from flashsched.hw.validation.run import held_out

__all__ = ["calibrated", "fit_devices", "fit_families", "write_calibration", "write_residual", "write_shared"]

_FEWEST = 10
_ROWS_OF_A_FIT = 600
_DEFAULTS = "the model's defaults"  # the origin of values than which no fit to others was better
_EFFORT_OVER_MANY = 3  # such a fit begins far from its end, and what it finds stands for devices never seen
_ROWS_OF_A_DEVICE = 60  # in a fit over several devices, so that none outweighs the others
_ROWS_OF_A_RESIDUAL = 4800  # that devices share, as many of each of them


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
        fitted, before_pct = _of_device(members, folds)
        if not _teaches(fitted, before_pct):
            notes.tell(
                f"{section}: constants fitted to some of its {count} rows predict the others worse than what was known "
                f"before ({fitted.error_pct:.0f} % off, and {before_pct:.0f} %), and are left out"
            )
            continue
        found[section] = Section(devices={members[0].spec.name: fitted})
    if not found:
        raise DeviceError(
            f"no operation of {name} in {data} has {_FEWEST} rows that teach something", shown="\n".join(notes.lines)
        )
    return found, notes.lines


def write_calibration(sections: dict[str, Section], path: Path, device: str) -> None:
    """Write *sections* as TOML to *path*, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    note = f"Constants of operator models for {device}, fitted by `flashsched calibrate` to measurements of it."
    path.write_text(fitted_toml(sections, note), encoding="utf-8")
    for name, section in sections.items():
        for owner, fitted in section.devices.items():
            write_residual(owner, name, fitted.residual, path.parent)


def write_residual(owner: str, section: str, residual: Residual | None, folder: Path) -> None:
    """Write the *residual* of its *owner*'s fit; None takes the file away that it had."""
    file = folder / residual_file(owner, section)
    if residual is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text(residual.to_json(), encoding="utf-8")


def write_shared(file: str, name: str, section: Section, folder: Path) -> None:
    """Write the residuals that devices share by the section *name* of a *file* of fitted values; others of its go."""
    for stale in folder.glob(residual_file(shared_by(file, without="*"), name)):
        stale.unlink()
    write_residual(shared_by(file), name, None, folder)
    if section.values is not None:
        write_residual(shared_by(file), name, section.values.residual, folder)
    for without, fitted in section.without.items():
        write_residual(shared_by(file, without), name, fitted.residual, folder)


def fit_families(
    groups: list[Rows], progress: Callable[[str], None] = lambda text: None, only: Collection[str] = ()
) -> dict[str, dict[str, Section]]:
    """Sections of constants that devices share, by file: ``defaults``, and one for each family.

    A family's values begin at those of all other families and are held to them weakly, so that one row of a sister
    device moves them little. Where what others have taught predicts those left out no better than the model's defaults
    do, those are shared, with their error. *only* fits these families, and leaves the defaults as they ship.
    """
    files: dict[str, dict[str, Section]] = {} if only else {"defaults": {}}
    for section, members in _by_section(groups).items():
        families = sorted({family_of(group.spec) for group in members})
        model = members[0].model
        defaults = Fitted({name: one.default for name, one in model.CONSTANTS.items()}, origin=_DEFAULTS)
        unlike = getattr(model, "UNLIKE", {}).get(section.partition(".")[2], ())
        if only:
            general = fitted_in("defaults").get(section, Section())
        else:
            progress(f"{section}: {len(families)} families")
            general = Section()
            if len(families) > 1:
                general = _leaving_out(
                    members, families, lambda group: family_of(group.spec), "specs", defaults, unlike
                )
                files["defaults"][section] = general
        for family in (one for one in families if not only or one in only):
            progress(f"{section}: {family}")
            own = [group for group in members if family_of(group.spec) == family]
            names = sorted({group.spec.name for group in own})
            known = general.without.get(family, defaults)
            shared = Section()
            if len(names) > 1 or _predict_each_other(own, known):
                shared = _leaving_out(own, names, lambda group: group.spec.name, "family", known)
            files.setdefault(family, {})[section] = shared
            if (
                not only and len(families) == 1 and shared.without
            ):  # what holds between its devices is all that is known
                whole = None if shared.values is None else replace(shared.values, tier="specs", residual=None)
                files["defaults"][section] = Section(whole)
    return files


def fit_devices(
    groups: list[Rows], folds: int = 5, progress: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[str, str, str, Fitted | None]]:
    """Family, section, device and the constants fitted to its own rows, beginning at those that its family ships with:
    so run `fit_families` and write its files before. None where what its family ships with predicts it better."""
    for section, members in _by_section(groups).items():
        for name in sorted({group.spec.name for group in members}):
            own = [group for group in members if group.spec.name == name]
            progress(f"{section}: {name}")
            fitted, before_pct = _of_device(own, folds)
            yield family_of(own[0].spec), section, name, fitted if _teaches(fitted, before_pct) else None


def _by_section(groups: list[Rows]) -> dict[str, list[Rows]]:
    """The rows of devices as they are sold, by the set of constants that predicts them; a device of fewer than ten rows
    teaches nothing, so that it is new to every fit."""
    sold = [group for group in groups if "[" not in group.spec.name]
    found = {}
    for name in sorted({group.section for group in sold}):
        members = [group for group in sold if group.section == name]
        rows = {one: _count(g for g in members if g.spec.name == one) for one in {g.spec.name for g in members}}
        known = [group for group in members if rows[group.spec.name] >= _FEWEST]
        if known:
            found[name] = known
    return found


def _of_device(members: list[Rows], folds: int) -> tuple[Fitted, float]:
    """The fit to all rows of a device, with the error of the rows held out in turn; and the error of what was fitted
    to others (infinite: to none)."""
    first = members[0]
    shared = fitted_in(family_of(first.spec)).get(first.section, Section())
    tier: Tier = "family" if shared.without else "specs"  # of one device alone, what the family knows is its own
    known = constants_for(first.spec, first.section, first.model.CONSTANTS, tier=tier, own={})
    before = np.concatenate([predicted(group.model, group, known.values, known.residual) for group in members])
    before_pct = _mape(before, members) if known.origin else math.inf
    found = fitted_values(first.model, thinned(members, _ROWS_OF_A_FIT), known.values)
    values = {name: float(f"{value:.4g}") for name, value in found.items()}  # as the file will hold them
    residual = learned_residual(members, values)
    times = np.concatenate(held_out(members, folds))
    fitted = Fitted(values, "calibrated", _mape(times, members), _count(members), _origin(members), residual)
    return fitted, before_pct


def _teaches(fitted: Fitted, before_pct: float) -> bool:
    """Whether a device's held-out rows are predicted no worse by the fit to its others than they were *before*."""
    assert fitted.error_pct is not None
    return fitted.error_pct <= before_pct


def _leaving_out(
    members: list[Rows],
    names: list[str],
    name_of: Callable[[Rows], str],
    tier: Tier,
    known: Fitted,
    unlike: Collection[str] = (),
) -> Section:
    """The fit to all of *members*, and for each of *names* the one to all others with its error on that name's rows.
    Those of the names *unlike* teach no other.

    The residuals that come with these fits are kept where they help: where a vendor's names, each left out, are
    predicted better with them in the mean, or for all of a section, all vendors'.
    """
    fits: list[tuple[str, Fitted, Fitted]] = []  # by constants alone, and with the residual
    before: dict[str, Fitted] = {}  # by the defaults
    teaching = [group for group in members if name_of(group) not in unlike] or members
    for name in names:
        tested = [group for group in members if name_of(group) == name]
        seen = _alike([group for group in teaching if name_of(group) != name], tested[0].spec.vendor, name_of)
        if seen:
            found = _over(seen, members, tier, known.values)
            if known.origin == _DEFAULTS:
                before[name] = _tested(known, tested)
            fits.append((name, _tested(replace(found, residual=None), tested), _tested(found, tested)))
    vendors = {name_of(group): group.spec.vendor for group in members}
    gains: dict[str, list[float]] = {}  # by vendor, and of all
    for name, alone, taught in fits:
        for which in ("", vendors[name]):
            gains.setdefault(which, []).append((alone.error_pct or 0.0) - (taught.error_pct or 0.0))
    helps = {which: sum(gained) > 0 for which, gained in gains.items()}
    without = {name: taught if helps[vendors[name]] else alone for name, alone, taught in fits}
    whole = _over(teaching, members, tier, known.values)
    if not helps.get("", True):
        whole = replace(whole, residual=None)
    if before and _sum_pct(before) <= _sum_pct(without):
        whole, without = known, before
    rows = sum(one.rows for one in without.values())
    error = sum((one.error_pct or 0.0) * one.rows for one in without.values()) / rows if rows else None
    return Section(replace(whole, error_pct=error, rows=rows), without=without)


def _sum_pct(fits: Mapping[str, Fitted]) -> float:
    return sum(one.error_pct or 0.0 for one in fits.values())


def _predict_each_other(own: list[Rows], known: Fitted) -> bool:
    """Whether the rows of one device, in five folds, are predicted no worse by each other than by what was *known*: or
    else they have nothing to tell a sister device."""
    return _mape(np.concatenate(held_out(own, folds=5)), own) <= (_tested(known, own).error_pct or 0.0)


def _tested(fitted: Fitted, members: list[Rows]) -> Fitted:
    """*fitted* with its error over the rows of *members*."""
    times = [predicted(group.model, group, fitted.values, fitted.residual) for group in members]
    return replace(fitted, error_pct=_mape(np.concatenate(times), members), rows=_count(members))


def _alike(members: list[Rows], vendor: str, name_of: Callable[[Rows], str]) -> list[Rows]:
    """The vendor's own of *members* if they are of three names or more, or else all: a library is its vendor's, but one
    or two other generations alone would be copied with all that is peculiar to them."""
    own = [group for group in members if group.spec.vendor == vendor]
    return own if len({name_of(group) for group in own}) >= 3 else members


def _over(members: list[Rows], alike: list[Rows], tier: Tier, known: Mapping[str, float]) -> Fitted:
    """One fit to the rows of several devices, each counting the same, and what these say beyond it, by traits that all
    devices have that are *alike*.

    What a host's clock shows around each call and its synchronisation tells of a framework more than of a kernel: other
    families learn from it only where there is nothing else.
    """
    if tier == "specs":
        members = [group for group in members if not (column(group.sizes, "launched") == 3).any()] or members
    names = list(dict.fromkeys(group.spec.name for group in members))

    def of_each(rows: int) -> list[Rows]:
        return [one for name in names for one in thinned([group for group in members if group.spec.name == name], rows)]

    model, variant = members[0].model, members[0].section.partition(".")[2]
    given: Mapping[str, float | None] = getattr(model, "KNOWN", {}).get(variant, {})
    told = {name: known[name] if value is None else value for name, value in given.items()}
    fixed = [name for name, value in given.items() if value is not None or tier == "family"]
    values = fitted_values(model, of_each(_ROWS_OF_A_DEVICE), {**known, **told}, _EFFORT_OVER_MANY, fixed)
    values = {name: float(f"{value:.4g}") for name, value in values.items()}  # as the file will hold them
    residual = shared_residual(of_each(_ROWS_OF_A_RESIDUAL // len(names)), alike, values)
    return Fitted(values, tier, None, 0, _origin(members), residual)


def _count(members: Iterable[Rows]) -> int:
    return sum(len(group.measured_s) for group in members)


def _mape(times: np.ndarray, members: list[Rows]) -> float:
    measured = np.concatenate([group.measured_s for group in members])
    return float(np.mean(np.abs(times / measured - 1)) * 100)


def _origin(members: Iterable[Rows]) -> str:
    return "measurements of " + ", ".join(sorted({group.source or "an unnamed source" for group in members}))
