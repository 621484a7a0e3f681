"""What came of replays, for people: a table of text, and a page with the curves; drawn here, with nothing loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from flashsched.tune.figures import seconds_text
from flashsched.tune.spaces.replay import Replays, random_curve

__all__ = ["replay_page", "replay_text"]

_COLOURS = ("#2467c4", "#c4472f", "#2f9e63", "#8a4fc4", "#b8860b", "#0f8b8d", "#c2407f")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 260, 44, 16, 12, 34


def replay_text(found: Replays) -> str:
    """Trials to the goal, space by space and in all, beside those of random search."""
    head = ("space", "points", "strategy", "reached", "trials", "random", "ratio", "at the end")
    rows = [
        (
            row["space"], str(row["points"]), row["strategy"], f"{row['reached']}/{row['seeds']}",
            f"{row['trials']:.1f}", f"{row['random']:.1f}", f"{row['ratio']:.2f}", f"{row['fraction'] * 100:.1f} %",
        )
        for row in found.rows()
    ]  # fmt: skip
    lines = [
        f"trials to {found.goal * 100:.0f} % of the optimum, {found.trials} at most; random search by exact count", "",
        *_aligned(head, rows), "",
    ]  # fmt: skip
    for row in found.overall():
        lines.append(
            f"{row['strategy']}: {row['trials']:.0f} trials over all spaces where random search needs "
            f"{row['random']:.0f}, {row['ratio']:.2f} of them (mean of ratios {row['mean_ratio']:.2f}); "
            f"{row['reached'] * 100:.0f} % of the searches got there"
        )
    return "\n".join(lines)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return [
        "  ".join(c.ljust(widths[n]) if n in (0, 2) else c.rjust(widths[n]) for n, c in enumerate(row)).rstrip()
        for row in (head, *rows)
    ]


def replay_page(found: Replays) -> str:
    """A page with a drawing for each space: the mean fraction of the optimum against the number of trials."""
    strategies = found.strategies
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(strategies)}
    legend = "".join(
        f'<span class="key"><svg width="22" height="10"><path d="M1 5H21" stroke="{colour}" stroke-width="2.5" '
        f"{dash}/></svg>{escape(name)}</span>"
        for name, colour, dash in [*((n, c, "") for n, c in colours.items()), ("random", "#888", _DASHED)]
    )
    cards = []
    for name, space in found.spaces.items():
        curves = {strategy: found.curve(name, strategy) for strategy in strategies}
        chart = _chart(curves, random_curve(space, found.trials), colours, found.goal)
        about = f"{escape(space.title)}; {len(space)} points, best {seconds_text(space.best_s)}, {escape(space.device)}"
        kind = "simulated" if space.source == "simulated" else "measured"
        cards.append(f"<section><h2>{escape(name)}</h2><p>{about}, {kind}</p>{chart}</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Replay of searches</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>Searches over spaces that were measured point by point</h1>"
        f"<p>Fraction of the optimum that was found after so many trials (logarithmic), mean of all seeds. The dashed "
        f"curve is random search, by exact count; the line is {found.goal * 100:.0f} %.</p>"
        f'<p class="legend">{legend}</p><div class="grid">{"".join(cards)}</div>'
        f"<pre>{escape(replay_text(found))}</pre></main></body></html>\n"
    )


_DASHED = 'stroke-dasharray="5 4"'


def _chart(
    curves: Mapping[str, Sequence[float]], chance: Sequence[float], colours: Mapping[str, str], goal: float
) -> str:
    most = max(2, len(chance))
    low = max(0.0, min([curve[0] for curve in curves.values()] + [chance[0], 0.9]) - 0.05)
    low = math.floor(low * 10) / 10

    def x(n: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(n) / math.log(most)

    def y(fraction: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - fraction) / (1.0 - low)

    parts = []
    for tenth in range(10, round(low * 10) - 1, -1 if low >= 0.5 else -2):
        at = y(tenth / 10)
        parts.append(f'<path class="line" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    round_ones = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n <= most and x(most) - x(n) > 24]
    for n in (*round_ones, most):
        parts.append(f'<text x="{x(n):.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{n}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 2}" text-anchor="middle">trials</text>')
    parts.append(f'<path class="goal" d="M{_LEFT} {y(goal):.1f}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<path d="{_steps(chance, x, y)}" stroke="#888" fill="none" stroke-width="2" {_DASHED}/>')
    for name, curve in curves.items():
        parts.append(f'<path d="{_steps(curve, x, y)}" stroke="{colours[name]}" fill="none" stroke-width="2.2"/>')
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
    return f"<svg {frame}><title>Fraction of the optimum against trials</title>{''.join(parts)}</svg>"


def _steps(curve: Sequence[float], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    """A line that stays where it is until a trial lifts it."""
    first, *rest = curve
    return f"M{x(1):.1f} {y(first):.1f}" + "".join(f"H{x(n):.1f}V{y(value):.1f}" for n, value in enumerate(rest, 2))


_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f3; --card: #fff; --ink: #1c1c1a; --soft: #6b6a64; --line: #e2e1db; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #1f1f1d; --ink: #ecebe6; --soft: #a09f98;
  --line: #34342f; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 0; }
p { margin: 0; color: var(--soft); } .legend { margin: 1rem 0; } .key { margin-right: 1.4rem; color: var(--ink); }
.key svg { vertical-align: middle; margin-right: .4rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; }
section svg { width: 100%; height: auto; margin-top: .5rem; } svg text { fill: var(--soft); font-size: 11px; }
.line { stroke: var(--line); } .goal { stroke: var(--soft); stroke-dasharray: 1 3; }
pre { overflow-x: auto; margin-top: 1.5rem; font-size: .85rem; }
"""
