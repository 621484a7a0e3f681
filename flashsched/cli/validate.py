"""``flashsched validate``: the device models held against real measurements."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from flashsched.cli.run import USAGE, CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option

__all__ = ["validate"]


@click.command(short_help="Hold the device models against real measurements.")
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A CSV file, or a folder.")
@click.option("--device", metavar="NAME", help="Only this device: our name, the measurements' own, or a file.")
@click.option("--folds", type=click.IntRange(2, 50), default=5, help="Parts that the rows are dealt to.")
@click.option("--by-size", is_flag=True, help="A line for each range of measured times.")
@click.option("--rows", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write every prediction as CSV.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.html", help="Draw predicted against measured.")
@json_option
def validate(
    data: Path, device: str | None, folds: int, by_size: bool, rows: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Predict the times in measurements of real devices, and tell how far off the predictions are.

    Three tiers: calibrated (fitted to the device's own rows, each predicted by a fit that did not see it), family
    (fitted to other devices of its architecture) and specs (to other architectures alone), with the roofline beside
    them. The measurements are CSV files with the columns device, dtype, op, measured_us, the operation's sizes and the
    source. What has no model is counted and named.

    \b
    Examples:
      flashsched validate --data measurements
      flashsched validate --data measurements --device a100-sim --by-size
      flashsched validate --data gemm.csv --rows predictions.csv --plot validation.html
    """
    from flashsched.hw import devices
    from flashsched.hw.validation import validate_models
    from flashsched.hw.validation.ranking import ranked
    from flashsched.hw.validation.report import score_records, to_page, to_text, write_rows

    if plot is not None and plot.suffix.lower() not in (".html", ".htm"):
        raise CommandError(
            f"error: --plot writes a page (.html), not {plot.suffix or 'a file without a suffix'}", USAGE
        )
    with usage():
        one = devices[device] if device is not None and device.endswith(".toml") else device
        outcome = validate_models(data, device=one, folds=folds)
    try:
        if rows is not None:
            say(f"wrote {rows}: {write_rows(outcome, rows):,} predictions")
        if plot is not None:
            plot.write_text(to_page(outcome), encoding="utf-8")
            say(f"wrote {plot}")
    except OSError as error:
        raise CommandError(f"error: cannot write {error.filename}: {error.strerror}", USAGE) from None
    if as_json:
        document = {"rows": outcome.rows, "folds": folds, "notes": outcome.notes.lines,
                    "scores": [_plain(each) for each in score_records(outcome)],
                    "ranking": [each._asdict() for each in ranked(outcome)]}  # fmt: skip
        tell(json.dumps(document, allow_nan=False, indent=1))
    else:
        tell(to_text(outcome, by_size=by_size))


def _plain(record: dict[str, object]) -> dict[str, Any]:
    """What is not a number is null."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in record.items()}
