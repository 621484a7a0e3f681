"""Fit the constants that ship (``flashsched/hw/fitted/*.toml``) to a folder of measurements.

    python benchmarks/fit_constants.py [--folds 5] [--own] [--families apple …] MEASUREMENTS [SECTION …]

With sections named (``softmax``, ``conv2d.tensor``), only those are fitted anew; others stay as they are. A section
that no row asks for any more is dropped. First come the constants that devices share, then each device's own, which
begin at them (``--own``: these alone; ``--families``: of these families alone, and no defaults). A device whose family
predicts it better than its own rows do has none. Every fit is written when it is there, and one that was made before on
the same rows by the same model is taken from the user's cache, so that a run can be broken off and gone on with.
Sections may be fitted side by side: each process adds to the files what it has found.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flashsched.hw.constants import Fitted, Section, family_of, fitted_in, parse_fitted, shipped_residual
from flashsched.hw.validation.calibrate import fit_devices, fit_families, write_residual, write_shared
from flashsched.hw.validation.files import change_sections
from flashsched.hw.validation.rows import read_rows

FOLDER = Path(__file__).resolve().parents[1] / "flashsched" / "hw" / "fitted"
RESIDUALS = FOLDER / "residuals"

NOTE = """Constants of the operator models, fitted by benchmarks/fit_constants.py to published measurements.
[section]: over all devices of the family. devices: to one device's own rows. without: to all but that device
(in defaults.toml: all but that family). error_pct: mean error of rows that the fit did not see; of [section], of
the devices (families) left out in turn. docs/guide/trust.md tells what the tiers mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the constants that ship.")
    parser.add_argument("data", type=Path)
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--folds", type=int, default=5, help="parts that a device's rows are held out in (default 5)")
    parser.add_argument("--own", action="store_true", help="only devices' own constants: those that they share stay")
    parser.add_argument("--families", nargs="+", default=[], help="only these, beginning at the defaults that ship")
    asked = parser.parse_args()
    groups, _ = read_rows(asked.data)
    only, families = asked.sections, asked.families
    wanted = [group for group in groups if not only or group.section in only or group.model.NAME in only]
    wanted = [group for group in wanted if not families or family_of(group.spec) in families]

    def told(text: str) -> None:
        print(text, flush=True)

    for file, fresh in {} if asked.own else fit_families(wanted, told, families).items():
        for name, section in fresh.items():
            write_shared(file, name, section, RESIDUALS)
            _change(file, name, lambda old, new=section: replace(new, devices=old.devices))
    for file, name, device, fitted in fit_devices(wanted, asked.folds, told):
        told(f"  {fitted.band}" if fitted is not None else "  its family's constants predict it better")
        write_residual(device, name, None if fitted is None else fitted.residual, RESIDUALS)
        _change(file, name, lambda old, device=device, new=fitted: _with_device(old, device, new))
    _drop({(family_of(group.spec), group.section) for group in groups})


def _change(file: str, name: str, change: Callable[[Section], Section]) -> None:
    """Write one section of a file anew; the others as they stand there by now."""
    change_sections(FOLDER / f"{file}.toml", lambda old: {**old, name: change(old.get(name, Section()))}, NOTE)
    fitted_in.cache_clear()
    shipped_residual.cache_clear()


def _with_device(old: Section, device: str, fitted: Fitted | None) -> Section:
    """*old* with the constants of *device*'s own, or without any."""
    others = {name: one for name, one in old.devices.items() if name != device}
    return replace(old, devices=others if fitted is None else {**others, device: fitted})


def _drop(measured: set[tuple[str, str]]) -> None:
    """Take the sections away that no row of the *measured* (families and sections) asks for."""
    for path in FOLDER.glob("*.toml"):
        asked = {section for family, section in measured if path.stem in (family, "defaults")}
        change_sections(path, lambda old, asked=asked: {one: old[one] for one in old if one in asked}, NOTE)
        if not parse_fitted(path.read_text(encoding="utf-8"), path.name):
            path.unlink()


if __name__ == "__main__":
    main()
