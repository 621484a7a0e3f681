"""A comparison as a drawing: a bar for each device, its limit, its error band; SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import TuneError
from flashsched.tune.figures import figure_text, seconds_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Picture", "comparison_page", "comparison_text", "plot_comparison"]

_COLOURS = {"gpu": "#2467c4", "cpu": "#2f9e63", "tpu": "#8a4fc4", "asic": "#b8860b"}
_ROW, _LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH = 24, 210, 150, 30, 26, 860


class Picture:
    """A drawing: shown by notebooks as it is, written by `save`, its text is ``svg``."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write it, as SVG or, by the ending ``.html``, as a page."""
        page = Path(path).suffix.lower() in (".html", ".htm")
        Path(path).write_text(_page("Comparison", self.svg, "") if page else self.svg, encoding="utf-8")


def plot_comparison(df: pd.DataFrame) -> Picture:
    """The table of `compare_devices`, or of `compare_log`, as bars on a logarithmic axis, the fastest on top.

    A bar is the predicted time and the thin line on it the error band; the mark before its end is the roofline. A
    hollow ring marks the Pareto front.

    Raises:
        TuneError: no row has a time.
    """
    rows = _rows(df)
    if not rows:
        raise TuneError("there is nothing to draw: no device has a time")
    low = min(min(row["time_s"], row["roofline_s"]) for row in rows) / 1.3
    high = max(row["time_s"] * (1 + row["error_pct"] / 100) for row in rows) * 1.15
    span = math.log(high / low)

    def x(seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(seconds / low) / span

    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = [f'<path class="line" d="M{x(tick):.1f} {_TOP - 6}V{height - _BOTTOM + 4}"/>'
             f'<text x="{x(tick):.1f}" y="{_TOP - 12}" text-anchor="middle">{seconds_text(tick)}</text>'
             for tick in _ticks(low, high)]  # fmt: skip
    for number, row in enumerate(rows):
        parts.append(_bar(row, _TOP + _ROW * number, x))
    kinds = dict.fromkeys(row["kind"] for row in rows)
    for number, kind in enumerate(kinds):
        at = _LEFT + 90 * number
        parts.append(f'<rect x="{at}" y="{height - 14}" width="10" height="10" rx="2" fill="{_colour(kind)}"/>')
        parts.append(f'<text x="{at + 15}" y="{height - 5}">{escape(kind)}</text>')
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="sans-serif"'
    style = "<style>text{font-size:12px;fill:#666}.name{fill:#222}.line{stroke:#ddd}</style>"
    title = "<title>Predicted time by device</title>"
    return Picture(f'<svg {frame}>{title}{style}<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>')


def _bar(row: Mapping[str, Any], top: float, x: Any) -> str:
    middle, end = top + _ROW / 2, x(row["time_s"])
    ring = "◦ " if row["pareto"] else ""
    band = row["error_pct"] / 100
    parts = [
        f'<text class="name" x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{ring}{escape(row["device"])}</text>',
        f'<rect x="{_LEFT}" y="{top + 4}" width="{max(1.0, end - _LEFT):.1f}" height="{_ROW - 8}" rx="2" '
        f'fill="{_colour(row["kind"])}" fill-opacity="0.85"/>',
        f'<path d="M{x(row["roofline_s"]):.1f} {top + 3}V{top + _ROW - 3}" stroke="#222" stroke-width="1.5"/>',
    ]
    if band > 0:
        least = max(row["time_s"] * (1 - band), row["roofline_s"])
        parts.append(
            f'<path d="M{x(least):.1f} {middle}H{x(row["time_s"] * (1 + band)):.1f}" stroke="#222" stroke-width="1"/>'
        )
    last = max(end, x(row["time_s"] * (1 + band)))
    label = f"{seconds_text(row['time_s'])}  {row['bound']}"
    return "".join([*parts, f'<text x="{last + 6:.1f}" y="{middle + 4}">{escape(label)}</text>'])


def _rows(df: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for row in df.to_dict("records"):
        time_s = row.get("time_s", row.get("best_s", math.nan))
        if not time_s > 0:
            continue
        error = row.get("error_pct", math.nan)
        roofline = row.get("roofline_s", time_s)
        name = f"{row['workload']} on {row['device']}" if "workload" in row else row["device"]
        rows.append(
            {
                "device": name,
                "kind": row["kind"],
                "bound": row["bound"],
                "time_s": time_s,
                "roofline_s": roofline if 0 < roofline <= time_s else time_s,
                "error_pct": error if error > 0 else 0.0,
                "pareto": bool(row.get("pareto", False)),
            }
        )
    return sorted(rows, key=lambda row: row["time_s"])


def _colour(kind: str) -> str:
    return _COLOURS.get(kind, "#666")


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten within, and what lies between where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return ticks


def comparison_text(df: pd.DataFrame) -> str:
    """The table for a terminal."""
    log = "spearman" in df.columns
    names = {"device": "device", "winner_s": "winner", "best_s": "favourite", "regret": "regret",
             "spearman": "spearman", "kendall": "kendall", "fits": "fit", "bound": "bound",
             "energy_j": "energy", "cost": "cost", "pareto": "Pareto", "note": "note"} if log else {
             "device": "device", "workload": "workload", "time_s": "time", "gflops": "GFLOP/s", "utilization": "use",
             "bound": "bound", "energy_j": "energy", "transfer_s": "transfer", "cost": "cost", "error_pct": "error",
             "tier": "tier", "how": "how", "pareto": "Pareto", "note": "note"}  # fmt: skip
    rows = df.to_dict("records")
    for row in rows:
        if math.isnan(row.get("error_pct", 0.0)) and not math.isnan(row["time_s"]):
            row["error_pct"] = "unknown"
    shown = [name for name in names if name in df.columns and any(_cell(name, row[name]) for row in rows)]
    table = [[names[name] for name in shown], *([_cell(name, row[name]) for name in shown] for row in rows)]
    widths = [max(len(line[at]) for line in table) for at in range(len(shown))]
    words = ("device", "workload", "bound", "tier", "how", "note")
    return "\n".join(
        "  ".join(
            cell.ljust(widths[at]) if shown[at] in words else cell.rjust(widths[at]) for at, cell in enumerate(line)
        ).rstrip()
        for line in table
    )


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "*" if value else ""
    if isinstance(value, str):
        return value if len(value) <= 60 else value[:59] + "…"
    if isinstance(value, float) and (math.isnan(value) or (name == "gflops" and value == 0)):
        return ""
    if name.endswith("_s"):
        return seconds_text(value)
    if name in ("utilization", "regret"):
        return f"{value * 100:.0f} %"
    if name == "error_pct":
        return f"±{value:.0f} %"
    if name == "energy_j":
        return f"{figure_text(value)} J" if value >= 0.01 else f"{figure_text(value * 1e3)} mJ"
    return f"{value:.2f}" if name in ("spearman", "kendall") else f"{value:.3g}"


def comparison_page(df: pd.DataFrame, title: str) -> str:
    """A page with the drawing and the table."""
    return _page(title, plot_comparison(df).svg, comparison_text(df))


def _page(title: str, drawing: str, text: str) -> str:
    style = (
        "body{margin:0;background:#f6f6f3;color:#1c1c1a;font:15px/1.5 system-ui,sans-serif}main{max-width:66rem;"
        "margin:0 auto;padding:2rem 1.25rem 4rem}svg{width:100%;height:auto;border:1px solid #e2e1db;"
        "border-radius:10px;background:#fff}pre{overflow-x:auto;font-size:.85rem}h1{font-size:1.4rem}p{color:#6b6a64}"
    )
    said = "Predictions of device models; nothing ran. The mark on a bar is the roofline, the thin line the error band."
    below = f"<pre>{escape(text)}</pre>" if text else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{style}'
        f"</style></head><body><main><h1>{escape(title)}</h1><p>{said}</p>{drawing}{below}</main></body></html>\n"
    )
