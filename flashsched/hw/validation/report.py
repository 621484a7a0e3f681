"""The outcome of a validation for people: a table of plain text, and a page with predicted against measured times."""

from __future__ import annotations

import csv
import html
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.validation.run import Scored, Validation
from flashsched.hw.validation.scores import Score

__all__ = ["score_records", "to_page", "to_text", "write_rows"]

_COLOURS = {"calibrated": "#1b6ca8", "family": "#2a9d55", "specs": "#d9822b", "roofline": "#999999"}
_MOST_POINTS = 4000

Floats = NDArray[np.float64]


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
    return "\n".join([*table, "", legend, "", *outcome.notes.lines]).rstrip()


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
        figures.append(f"<h2>{html.escape(name)}</h2>\n{_scatter(measured, series)}")
    return (
        f"<!doctype html>\n<meta charset='utf-8'>\n<title>{html.escape(title)}</title>\n"
        "<style>body{font:15px system-ui,sans-serif;margin:2em;max-width:70em}"
        "pre{font-size:12px;overflow-x:auto}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n{''.join(figures)}\n<pre>{html.escape(to_text(outcome))}</pre>\n"
    )


def _scatter(measured: Floats, series: dict[str, Floats]) -> str:
    """Predicted over measured time in percent, against the measured time, both axes logarithmic."""
    width, height, left, bottom = 760, 300, 60, 40
    low, high = math.log10(measured.min()), math.log10(measured.max())
    high = max(high, low + 0.1)
    parts = []
    for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
        y = _height(math.log2(ratio), height, bottom)
        parts.append(f"<line x1='{left}' x2='{width}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ccc'/>"
                     f"<text x='4' y='{y + 4:.1f}' font-size='12'>×{ratio:g}</text>")  # fmt: skip
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = left + (power - low) / (high - low) * (width - left)
        label = f"{10.0 ** (power + 6):g} µs"
        parts.append(f"<text x='{x:.1f}' y='{height - 12}' font-size='12' text-anchor='middle'>{label}</text>")
    step = max(1, len(measured) // _MOST_POINTS)
    for tier, times in reversed(series.items()):
        dots = []
        for real, predicted in zip(measured[::step].tolist(), times[::step].tolist(), strict=True):
            if math.isfinite(predicted) and predicted > 0:
                x = left + (math.log10(real) - low) / (high - low) * (width - left)
                y = _height(math.log2(predicted / real), height, bottom)
                dots.append(f"M{x:.1f} {y:.1f}h1")
        parts.append(f"<path d='{''.join(dots)}' stroke='{_COLOURS[tier]}' stroke-width='2'/>")
    keys = " ".join(f"<tspan fill='{_COLOURS[tier]}'>■ {tier}</tspan>" for tier in series)
    parts.append(f"<text x='{left}' y='14' font-size='12'>predicted / measured: {keys}</text>")
    return f"<svg viewBox='0 0 {width} {height}' width='{width}' role='img'>{''.join(parts)}</svg>"


def _height(log_ratio: float, height: int, bottom: int) -> float:
    share = (min(max(log_ratio, -2.5), 2.5) + 2.5) / 5
    return (height - bottom) - share * (height - bottom - 20)
