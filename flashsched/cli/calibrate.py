"""``flashsched calibrate``: an operator model's constants fitted to measurements of one device."""

from __future__ import annotations

from pathlib import Path

import click

from flashsched.cli.run import USAGE, CommandError, say, tell, usage

__all__ = ["calibrate"]


@click.command(short_help="Fit a device's constants to your measurements of it.")
@click.option("--device", required=True, metavar="NAME", help="The device; `flashsched devices` lists them.")
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A CSV file, or a folder.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write here, not into the data folder.")
@click.option("--folds", type=click.IntRange(2, 50), default=5, help="Parts that the rows are dealt to.")
def calibrate(device: str, data: Path, out: Path | None, folds: int) -> None:
    """Fit the constants of the operator models to measurements of one device, and tell how well they then predict.

    The measurements are CSV files as for `flashsched validate`; an operation needs ten rows. The error told is of rows
    that the fit did not see. The constants go where the device's own file says (`calibration = "FILE"`), and else into
    a file of its name in your data folder (or the folder $FLASHSCHED_CONSTANTS); every prediction for it finds them.

    The rows of a device that is a file of yours are those whose column `device` has its name, or one of its aliases.

    \b
    Examples:
      flashsched calibrate --device a100-sim --data my_measurements
      flashsched calibrate --device a100-sim --data gemm.csv --out a100-constants.toml
      flashsched calibrate --device my-board.toml --data my_measurements
    """
    from flashsched.hw import devices
    from flashsched.hw.constants import constants_file
    from flashsched.hw.validation.calibrate import calibrated, write_calibration

    with usage():
        spec = devices[device]
        name = spec.name
        sections, notes = calibrated(data, spec if device.endswith(".toml") else name, folds)
    default = constants_file(name) if spec.calibration is None else Path(spec.calibration)
    path = default if out is None else out
    try:
        write_calibration(sections, path, name)
    except OSError as error:
        raise CommandError(f"error: cannot write {path}: {error.strerror}", USAGE) from None
    for note in notes:
        say(note)
    lines = [f"{name}, error of rows that the fit did not see"]
    for section, found in sorted(sections.items()):
        fitted = found.devices[name]
        lines.append(f"  {section:<18} {fitted.error_pct:6.1f} %  of {fitted.rows:,} rows")
        lines.append("    " + ", ".join(f"{key} {value:.3g}" for key, value in fitted.values.items()))
    used = "every prediction for the device uses it"
    if path.absolute() != default.absolute():
        used = f'name it in the device\'s file, calibration = "{path}", or keep it as {constants_file(name)}'
    tell("\n".join([*lines, f"wrote {path}: {used}"]))
