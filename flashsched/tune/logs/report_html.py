"""The page of a tuning report: plain data in, one HTML text out, with its style and its drawings inside.

It knows nothing of logs and tables (``report.py`` does), loads nothing from anywhere, and needs no script.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Section", "Trial", "page"]


@dataclass(frozen=True)
class Trial:
    """One trial; *time_s* is None unless it may be the best."""

    number: int
    time_s: float | None
    time_text: str
    status: str
    error: str
    decisions: str


@dataclass(frozen=True)
class Section:
    """All trials of one task on one device, in the order they were made, and the figures that head them."""

    title: str
    device: str
    source: str
    figures: Sequence[tuple[str, str]]
    trials: Sequence[Trial]
    front: Sequence[Sequence[str]] = ()  # of a run for several objectives: a trial, and what it says of each of them
    objectives: str = ""


_SOURCES = {
    "measured": ("Measured", "Kernels that ran on real hardware."),
    "simulated": ("Simulated", "Predictions of a device model. No kernel ran, and none of this is a measurement."),
}

_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f3; --card: #ffffff; --ink: #1c1c1a; --soft: #6b6a64; --line:
  #e2e1db; --main: #2467c4; --dots: #8fb4e6; --good: #2467c4; --pale: #9db7d8; --bad: #c4472f; --mark: #e3edf9; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #1f1f1d; --ink: #ecebe6; --soft: #a09f98;
  --line: #34342f; --main: #6ea8f2; --dots: #41628f; --good: #6ea8f2; --pale: #4f6a8c; --bad: #e8765f; --mark:
  #263449; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0; }
h3 { font-size: 1.05rem; margin: 0; }
.soft { color: var(--soft); }
p { margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem 1.4rem;
  margin-top: 1rem; }
.card header { display: flex; flex-wrap: wrap; gap: .3rem .7rem; align-items: baseline; }
.badge { background: var(--mark); border-radius: 999px; padding: .05rem .6rem; font-size: .85rem; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); }
.best { fill: none; stroke: var(--main); stroke-width: 2; stroke-linejoin: round; }
.dot { fill: var(--dots); }
.miss { stroke: var(--bad); stroke-width: 1.5; }
.bar { display: flex; height: 10px; border-radius: 5px; overflow: hidden; gap: 2px; margin: 1rem 0 .4rem; }
.correct { background: var(--good); }
.unverified { background: var(--pale); }
.failed { background: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin-top: .5rem; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--main); }
code { font-size: .85em; overflow-wrap: anywhere; }
"""


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole report; measured and simulated sections stand apart."""
    total = sum(len(section.trials) for section in sections)
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{_count(total, "trial")}, {_count(len(sections), "search")}</p>',
    ]
    for source in sorted({section.source for section in sections}):
        name, note = _SOURCES.get(source, (source, ""))
        body.append(f'<h2>{escape(name)}</h2><p class="soft">{escape(note)}</p>')
        body += [_card(section) for section in sections if section.source == source]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _card(section: Section) -> str:
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in section.figures)
    return (
        f'<section class="card"><header><h3>{escape(section.title)}</h3>'
        f'<span class="badge">{escape(section.device)}</span>'
        f'<span class="soft">{escape(section.source)}</span></header>'
        f"<dl>{figures}</dl>{_curve(section.trials)}{_statuses(section.trials)}{_front(section)}"
        f"{_fastest(section.trials)}{_failures(section.trials)}</section>"
    )


def _curve(trials: Sequence[Trial]) -> str:
    """Best time so far against the number of trials made, each trial as a dot, the time on a log scale."""
    times = [trial.time_s for trial in trials if trial.time_s]
    if not times:
        return ""
    width, height, left, right, top, bottom = 720, 220, 64, 12, 12, 34
    low, high = math.log10(min(times)) - 0.06, math.log10(max(times)) + 0.06

    def x(at: int) -> float:
        return left + (width - left - right) * (at / max(1, len(trials) - 1))

    def y(seconds: float) -> float:
        return top + (height - top - bottom) * (high - math.log10(seconds)) / (high - low)

    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{_tick_text(tick)}</text>')
    path, best = "", math.inf
    for at, trial in enumerate(trials):
        if not trial.time_s:
            parts.append(
                f'<path class="miss" d="M{x(at) - 2.5:.1f} {height - bottom - 2.5}l5 5m0 -5l-5 5">'
                f"<title>trial {trial.number}: {escape(trial.status)}</title></path>"
            )
            continue
        parts.append(
            f'<circle class="dot" cx="{x(at):.1f}" cy="{y(trial.time_s):.1f}" r="3">'
            f"<title>trial {trial.number}: {escape(trial.time_text)}</title></circle>"
        )
        if trial.time_s < best:
            path += f"M{x(at):.1f} {y(trial.time_s):.1f}" if not path else f"H{x(at):.1f}V{y(trial.time_s):.1f}"
            best = trial.time_s
    parts.append(f'<path class="best" d="{path}H{x(max(1, len(trials) - 1)):.1f}"/>')
    parts.append(f'<text x="{left}" y="{height - 8}">first trial</text>')
    parts.append(f'<text x="{width - right}" y="{height - 8}" text-anchor="end">{_count(len(trials), "trial")}</text>')
    label = "Best time so far (line), each trial (dots, failed ones as crosses at the bottom), log scale"
    frame = f'viewBox="0 0 {width} {height}" role="img" aria-label="{label}"'
    return f"<svg {frame}><title>{label}</title>{''.join(parts)}</svg>"


def _ticks(low: float, high: float) -> list[float]:
    """Round times within ``10**low`` to ``10**high``: 1, 2 and 5 of each decade, fewer where they would crowd."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1,)):
        ticks = [
            step * 10.0**decade for decade in decades for step in steps if low <= math.log10(step) + decade <= high
        ]
        if 2 <= len(ticks) <= 7:
            return ticks
    return ticks[:: max(1, len(ticks) // 6)] or [10 ** ((low + high) / 2)]


def _tick_text(seconds: float) -> str:
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, scale = next((pair for pair in units if seconds >= 0.999 * pair[1]), ("ns", 1e-9))
    return f"{seconds / scale:.3g} {unit}"


def _statuses(trials: Sequence[Trial]) -> str:
    counts = sorted(Counter(trial.status for trial in trials).items(), key=lambda item: (_kind(item[0]), -item[1]))
    bar = "".join(f'<span class="{_kind(status)}" style="flex:{count}"></span>' for status, count in counts)
    words = ", ".join(f"{count} {escape(status)}" for status, count in counts)
    return f'<div class="bar" aria-hidden="true">{bar}</div><p class="soft">{words}</p>'


def _kind(status: str) -> str:
    return status if status in ("correct", "unverified") else "failed"


def _front(section: Section) -> str:
    """The trials that no other beats in all objectives."""
    if not section.front:
        return ""
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in ("", *section.objectives.split(", ")))
    rows = ("<tr>" + "".join(f'<td class="n">{escape(cell)}</td>' for cell in row) + "</tr>" for row in section.front)
    return _details(f"Pareto front: {_count(len(section.front), 'trial')}", f"<tr>{head}</tr>", rows)


def _fastest(trials: Sequence[Trial]) -> str:
    best = sorted((trial for trial in trials if trial.time_s is not None), key=lambda trial: trial.time_s or 0.0)[:10]
    rows = (
        f'<tr><td class="n">{trial.number}</td><td class="n">{escape(trial.time_text)}</td>'
        f"<td>{escape(trial.status)}</td><td><code>{escape(trial.decisions)}</code></td></tr>"
        for trial in best
    )
    head = '<tr><th class="n">trial</th><th class="n">time</th><th>status</th><th>decisions</th></tr>'
    return _details(f"Fastest {len(best)}", head, rows) if best else ""


def _failures(trials: Sequence[Trial]) -> str:
    """What went wrong, by the first line of the error, the most frequent first."""
    failed = [trial for trial in trials if _kind(trial.status) == "failed"]
    causes = Counter((trial.status, trial.error.strip().split("\n")[0]) for trial in failed)
    rows = (
        f'<tr><td class="n">{count}</td><td>{escape(status)}</td><td>{escape(text)}</td></tr>'
        for (status, text), count in causes.most_common(20)
    )
    head = '<tr><th class="n">trials</th><th>status</th><th>first line of the error</th></tr>'
    return _details(f"{len(failed)} failed", head, rows) if failed else ""


def _details(name: str, head: str, rows: Iterable[str]) -> str:
    return f'<details><summary>{name}</summary><div class="scroll"><table>{head}{"".join(rows)}</table></div></details>'


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("h") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
