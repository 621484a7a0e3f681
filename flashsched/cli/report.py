"""``flashsched report``: what tuning logs hold, as text, JSON, CSV or a page for the browser."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.run import FAILED, USAGE, CommandError, say, tell, usage
from flashsched.errors import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["log_paths", "report"]


@click.command(short_help="Tell what tuning logs hold.")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document: a summary, and every trial.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a trial, as CSV.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page that needs nothing else.")
def report(logs: tuple[Path, ...], as_json: bool, as_csv: bool, html: Path | None) -> None:
    """Tell what tuning logs hold; a folder stands for all logs (*.jsonl) in it.

    Measured and simulated times are kept apart. Of runs for several objectives, the trials that no other beats in all
    of them follow. Damaged lines are skipped with a warning.

    \b
    Examples:
      flashsched report tuning_logs
      flashsched report a.jsonl b.jsonl --html report.html
      flashsched report tuning_logs --csv > trials.csv
    """
    if sum((as_json, as_csv, html is not None)) > 1:
        raise click.UsageError("--json, --csv and --html exclude each other.")
    paths = log_paths(logs)
    if html is not None and any(html.resolve() == path.resolve() for path in paths):
        raise CommandError(f"error: --html {html} is one of the logs, and is left alone", USAGE)
    from flashsched.tune.logs.report import read_log, summary, to_html

    if not (as_json or as_csv or html):
        with usage():
            tell(summary(paths).text())
        return
    with usage():
        df = read_log(paths)
    if as_json:
        tell(json.dumps(_json(df, paths), allow_nan=False, indent=1))
    elif as_csv:
        tell(df.to_csv(index=False, lineterminator="\n"), end="")
    elif html is not None:
        try:
            html.write_text(to_html(df), encoding="utf-8")
        except OSError as error:
            code = FAILED if error.errno == errno.ENOSPC else USAGE
            raise CommandError(f"error: cannot write {html}: {error.strerror}", code) from None
        say(f"wrote {html}: {counted(len(df), 'trial')} of {counted(len(paths), 'log')}")


def log_paths(given: tuple[Path, ...]) -> list[Path]:
    """The logs that the words name, those of a folder in order; each once."""
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(path.rglob("*.jsonl"))
            if not inside:
                raise CommandError(f"error: there is no log (*.jsonl) in {path}", USAGE)
            paths += inside
        else:
            paths.append(path)
    return list(dict.fromkeys(paths))


def _json(df: pd.DataFrame, paths: list[Path]) -> dict[str, Any]:
    from flashsched.tune.logs.report import fronts, summarize

    return {
        "logs": [str(path) for path in paths],
        "summary": _rows(summarize(df)),
        "fronts": _rows(fronts(df)),
        "trials": _rows(df),
    }


def _rows(df: pd.DataFrame) -> list[dict[str, Any]]:
    """One object a row; what is not a number is null."""
    return [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in df.to_dict("records")
    ]
