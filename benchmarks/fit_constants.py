"""Fit the constants that ship (``flashsched/hw/fitted/*.toml``) to a folder of measurements.

    python benchmarks/fit_constants.py MEASUREMENTS [SECTION …]

With sections named (``softmax``, ``conv2d.tensor``), only those are fitted anew; others stay as they are. A section
that no row asks for any more is dropped. The files are written whole: what is to be said in them stands in NOTE.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flashsched.hw.constants import fitted_in, fitted_toml
from flashsched.hw.validation.calibrate import fit_families, write_residuals
from flashsched.hw.validation.rows import read_rows

FOLDER = Path(__file__).resolve().parents[1] / "flashsched" / "hw" / "fitted"
RESIDUALS = FOLDER / "residuals"

NOTE = """Constants of the operator models, fitted by benchmarks/fit_constants.py to published measurements.
[section]: over all devices of the family. devices: to one device's own rows. without: to all but that device
(in defaults.toml: all but that family). error_pct: mean error of rows that the fit did not see; of [section], of
the devices (families) left out in turn. docs/guide/trust.md tells what the tiers mean."""


def main(folder: str, *only: str) -> None:
    groups, _ = read_rows(Path(folder))
    wanted = [group for group in groups if not only or group.section in only or group.model.NAME in only]
    fresh = fit_families(wanted, progress=lambda text: print(text, flush=True))
    RESIDUALS.mkdir(parents=True, exist_ok=True)
    for sections in fresh.values():
        write_residuals(sections, RESIDUALS)
    measured = {group.section for group in groups}
    for file in sorted({*(path.stem for path in FOLDER.glob("*.toml")), *fresh}):
        fitted_in.cache_clear()  # another run may have written meanwhile
        kept = {name: section for name, section in fitted_in(file).items() if name in measured}
        sections = {**kept, **fresh.get(file, {})}
        (FOLDER / f"{file}.toml").write_text(fitted_toml(sections, NOTE), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
