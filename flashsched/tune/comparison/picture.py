"""A comparison as a drawing: each device's time, its limit, its error band; SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.errors import TuneError
from flashsched.hw.axes import round_ticks, time_text
from flashsched.tune.figures import figure_text, seconds_text
from flashsched.tune.settings import require_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Picture", "comparison_page", "comparison_text", "plot_comparison"]

_COLOURS = {"gpu": "#2467c4", "cpu": "#2f9e63", "tpu": "#8a4fc4", "asic": "#b8860b"}
_ROW, _TOP, _BOTTOM, _PLOT, _GAP = 24, 58, 40, 500, 10
_LETTER = 7.0  # about the width of one at 12 px, to know what room a label needs


class Picture:
    """A drawing: shown by notebooks as it is, written by `save`, its text is ``svg``."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write it, as a drawing (``.svg``) or as a page (``.html``).

        Raises:
            TuneError: *path* is none, or ends in something else.
        """
        require_path("path", path)
        ending = Path(path).suffix.lower()
        if ending not in (".svg", ".html", ".htm"):
            raise TuneError(
                f"a drawing is written as .svg or as .html, and {str(path)!r} asks for {ending or 'neither'}",
                hint="any browser shows an SVG, and rsvg-convert or inkscape make a PNG of it",
            )
        text = self.svg if ending == ".svg" else _page("Comparison", self.svg, "")
        Path(path).write_text(text, encoding="utf-8")


def plot_comparison(df: pd.DataFrame) -> Picture:
    """The table of `compare_devices`, or of `compare_log`, as points on a logarithmic axis, the fastest on top.

    A point is the predicted time, the line through it the error band, the mark to its left the roofline. A star is on
    the Pareto front of time, energy and cost. What has no time stands below, with the reason.

    Raises:
        TuneError: *df* is no such table, or no row of it has a time.
    """
    if not {"device", "kind"} <= set(getattr(df, "columns", ())):
        raise TuneError(
            f"a table of compare_devices or compare_log is drawn, got a {type(df).__name__} without its columns",
            hint="fs.plot_comparison(fs.compare_devices(task, ['a100-sim', 'h100-sim']))",
        )
    rows = _rows(df)
    if not rows:
        raise TuneError("there is nothing to draw: no device has a time")
    low = min(row["roofline_s"] for row in rows)
    high = max(row["time_s"] * (1 + row["error_pct"] / 100) for row in rows)
    low, high = _room(low, high)
    without = _without_time(df)
    left = _GAP + _LETTER * max(len(name) for name in [*map(_name, rows), *(name for name, _ in without)]) + _GAP
    width = left + _PLOT + _GAP + _LETTER * max(len(_told(row)) for row in rows) + _GAP

    def x(seconds: float) -> float:
        return left + _PLOT * math.log(seconds / low) / math.log(high / low)

    bottom = _TOP + _ROW * len(rows)
    parts = [f'<path class="line" d="M{x(tick):.1f} {_TOP - 4}V{bottom + 4}"/>'
             f'<text x="{x(tick):.1f}" y="{_TOP - 10}" text-anchor="middle">{time_text(tick)}</text>'
             for tick in round_ticks(low, high)]  # fmt: skip
    parts.append(f'<text class="name" x="{left:.0f}" y="18">Predicted time, logarithmic</text>')
    parts += [_row(row, _TOP + _ROW * number, x, left) for number, row in enumerate(rows)]
    for number, (name, reason) in enumerate(without):
        y = bottom + 4 + _ROW * number + _ROW / 2 + 4
        parts.append(f'<text x="{left - _GAP:.0f}" y="{y}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<text x="{left:.0f}" y="{y}" font-style="italic">{escape(reason)}</text>')
    bottom += _ROW * len(without)
    parts.append(_legend(rows, left, bottom + 28))
    height = bottom + _BOTTOM
    frame = (
        f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        'role="img" font-family="sans-serif"'
    )
    style = "<style>text{font-size:12px;fill:#555}.name{fill:#222}.line{stroke:#ddd}</style>"
    title = "<title>Predicted time by device</title>"
    return Picture(f'<svg {frame}>{title}{style}<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>')


def _row(row: Mapping[str, Any], top: float, x: Callable[[float], float], left: float) -> str:
    middle, at, colour = top + _ROW / 2, x(row["time_s"]), _colour(row["kind"])
    bound, band = x(row["roofline_s"]), row["error_pct"] / 100
    parts = [
        f'<text class="name" x="{left - _GAP:.0f}" y="{middle + 4}" text-anchor="end">{escape(_name(row))}</text>',
        f'<path d="M{bound:.1f} {middle}H{at:.1f}" stroke="{colour}" stroke-opacity="0.35" stroke-width="3"/>',
        _mark(bound, middle),
    ]
    if band > 0:
        parts.append(
            _band(x(max(row["time_s"] * (1 - band), row["roofline_s"])), x(row["time_s"] * (1 + band)), middle)
        )
    parts.append(f'<circle cx="{at:.1f}" cy="{middle}" r="5" fill="{colour}"/>')
    label = f'<text x="{left + _PLOT + _GAP:.0f}" y="{middle + 4}">{escape(_told(row))}</text>'
    return "".join([*parts, label])


def _mark(at: float, middle: float) -> str:
    return f'<path d="M{at:.1f} {middle - 7}V{middle + 7}" stroke="#222" stroke-width="1.5"/>'


def _band(low: float, high: float, middle: float) -> str:
    ends = f"M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
    return f'<path d="M{low:.1f} {middle}H{high:.1f}{ends}" stroke="#222" stroke-width="1"/>'


def _legend(rows: Sequence[Mapping[str, Any]], left: float, y: float) -> str:
    """What those points and marks mean that are drawn, in a line."""
    parts, at = [], left
    for kind in dict.fromkeys(row["kind"] for row in rows):
        parts.append(f'<circle cx="{at + 5:.1f}" cy="{y - 4}" r="5" fill="{_colour(kind)}"/>')
        parts.append(f'<text x="{at + 16:.1f}" y="{y}">{escape(kind)}</text>')
        at += 16 + _LETTER * len(kind) + 16
    parts.append(_mark(at + 2, y - 4) + f'<text x="{at + 10:.1f}" y="{y}">roofline</text>')
    at += 10 + _LETTER * 8 + 16
    banded = [row["error_pct"] > 0 for row in rows]
    if any(banded):
        said = "error band" if all(banded) else "error band (none: error unknown)"
        parts.append(_band(at, at + 18, y - 4) + f'<text x="{at + 26:.1f}" y="{y}">{said}</text>')
        at += 26 + _LETTER * len(said) + 16
    if any(row["pareto"] for row in rows):
        parts.append(f'<text x="{at:.1f}" y="{y}">★ Pareto front</text>')
    return "".join(parts)


def _name(row: Mapping[str, Any]) -> str:
    return f"★ {row['device']}" if row["pareto"] else str(row["device"])


def _told(row: Mapping[str, Any]) -> str:
    return f"{seconds_text(row['time_s'])}, {row['bound']}"


def _room(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis with some room beyond *low* and *high*, and half a decade at least."""
    room = max(1.15, math.sqrt(max(1.0, 10**0.5 / (high / low))))
    return low / room, high * room


def _place(row: Mapping[Any, Any]) -> str:
    return f"{row['workload']} on {row['device']}" if "workload" in row else str(row["device"])


def _without_time(df: pd.DataFrame) -> list[tuple[str, str]]:
    """The rows that have no time, with the reason, as far as a line has room for it."""
    rows = [row for row in df.to_dict("records") if not row.get("time_s", row.get("best_s", math.nan)) > 0]
    reasons = [str(row.get("note") or "no time is known").removeprefix(f"device '{row['device']}' ") for row in rows]
    room = int(_PLOT / _LETTER)
    return [
        (_place(row), reason if len(reason) <= room else reason[: room - 1] + "…")
        for row, reason in zip(rows, reasons, strict=True)
    ]


def _rows(df: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for row in df.to_dict("records"):
        time_s = row.get("time_s", row.get("best_s", math.nan))
        if not time_s > 0:
            continue
        error = row.get("error_pct", math.nan)
        roofline = row.get("roofline_s", time_s)
        rows.append(
            {
                "device": _place(row),
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
    said = "Predictions of device models; nothing ran."
    below = f"<pre>{escape(text)}</pre>" if text else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{style}'
        f"</style></head><body><main><h1>{escape(title)}</h1><p>{said}</p>{drawing}{below}</main></body></html>\n"
    )
