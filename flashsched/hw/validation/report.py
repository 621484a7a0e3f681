"""The outcome of a validation for people: a table of plain text, and a page with predicted against measured times."""

from __future__ import annotations

import csv
import html
import math
from pathlib import Path

import numpy as np

from flashsched.hw.validation.ranking import APART, ranked
from flashsched.hw.validation.run import Scored, Validation
from flashsched.hw.validation.scatter import scatter
from flashsched.hw.validation.scores import Score

__all__ = ["score_records", "to_page", "to_text", "write_rows"]


def score_records(outcome: Validation, *, by_size: bool = True) -> list[dict[str, object]]:
    """One record per device, operation, dtype, range of times and tier, with its score."""
    return [_record(each) for each in [*outcome.overall(), *outcome.scores(by_size=by_size)]]


def _record(each: Scored) -> dict[str, object]:
    record: dict[str, object] = {
        "device": each.device, "spec": each.spec, "op": each.op, "dtype": each.dtype, "times": each.sizes,
        "tier": each.tier,
    }  # fmt: skip
    for name, value in each.score._asdict().items():
        record[name if name in ("rows", "spearman") else f"{name}_pct"] = value
    return record


def to_text(outcome: Validation, *, by_size: bool = False) -> str:
    """The scores as a table: of the calibrated tier in full, of the others and the roofline the mean error."""
    head = (
        "device",
        "operation",
        "dtype",
        "times",
        "rows",
        "MAPE",
        "median",
        "p90",
        "rank",
        "family",
        "specs",
        "roofline",
    )
    rows: list[tuple[str, ...]] = [head]
    for scored in (outcome.scores(by_size=by_size), outcome.overall()):
        lines: dict[tuple[str, str, str, str], dict[str, Score]] = {}
        for each in scored:
            lines.setdefault((each.device, each.op, each.dtype, each.sizes), {})[each.tier] = each.score
        for key, tiers in lines.items():
            best = tiers.get("calibrated", Score(tiers["roofline"].rows, *[math.nan] * 4))
            others = (tiers[tier].mape if tier in tiers else math.nan for tier in ("family", "specs", "roofline"))
            rows.append((
                _short(key[0]), *key[1:], f"{tiers['roofline'].rows:,}", _percent(best.mape), _percent(best.median),
                _percent(best.p90), "-" if math.isnan(best.spearman) else f"{best.spearman:.3f}",
                *map(_percent, others),
            ))  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    table = [
        "  ".join(cell.rjust(widths[at]) if at >= 4 else cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    legend = (
        "errors in percent of the measured time; MAPE, median, p90 and rank correlation: calibrated, each row\n"
        "predicted by constants fitted to other rows of its device; family, specs and roofline: MAPE of constants\n"
        "fitted to other devices of its family, to other families alone, and of no model; -: nothing to compare with"
    )
    return "\n".join([*table, "", legend, "", *_ranking(outcome), *outcome.notes.lines]).rstrip()


def _ranking(outcome: Validation) -> list[str]:
    """How often each tier tells the faster of two devices, where some source timed both on the same work."""
    told: dict[str, list[str]] = {}
    for each in ranked(outcome):
        told.setdefault(each.operation, []).append(f"{each.tier} {each.right_pct:.1f} ({each.pairs:,})")
    if not told:
        return []
    head = f"which of two devices is faster, where they differ by more than {APART:.0%}: percent told rightly (pairs)"
    return [head, *(f"{name:<12}  {', '.join(tiers)}" for name, tiers in told.items()), ""]


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def write_rows(outcome: Validation, path: Path) -> int:
    """Write one line for each measured row and tier as CSV; how many there were."""
    columns = outcome.columns()
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        texts = [
            [f"{value:.6g}" for value in column.tolist()] if column.dtype.kind == "f" else column.tolist()
            for column in columns.values()
        ]
        writer.writerows(zip(*texts, strict=True))
    return len(next(iter(columns.values())))


def to_page(outcome: Validation, title: str = "Device models against measurements") -> str:
    """A self-contained HTML page: for each operation the predicted against the measured times, and the table."""
    figures = []
    for name in sorted({group.model.NAME for group in outcome.groups}):
        at = [i for i, group in enumerate(outcome.groups) if group.model.NAME == name]  # noqa: SIM300
        measured = np.concatenate([outcome.groups[i].measured_s for i in at])
        series = {tier: np.concatenate([times[i] for i in at]) for tier, times in outcome.tables.items()}
        figures.append(f"<h2>{html.escape(name)}</h2>\n{scatter(measured, series)}")
    return (
        f"<!doctype html>\n<html lang='en'>\n<meta charset='utf-8'>\n<title>{html.escape(title)}</title>\n"
        "<style>body{font:15px system-ui,sans-serif;margin:2em;max-width:70em;background:#fff;color:#222}"
        "svg{max-width:100%;height:auto}"
        "pre{font-size:12px;overflow-x:auto}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n{''.join(figures)}\n<pre>{html.escape(to_text(outcome))}</pre>\n"
    )
