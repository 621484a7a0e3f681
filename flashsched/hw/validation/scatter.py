"""Predicted against measured times as a drawing: a point for each row and tier, SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.axes import round_ticks, time_text

__all__ = ["scatter"]

_COLOURS = {"calibrated": "#1b6ca8", "family": "#2a9d55", "specs": "#d9822b", "roofline": "#999999"}
_MOST_POINTS = 4000
_EDGE = 2.5  # the logarithm to base 2 of the largest ratio that is drawn
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 330, 60, 20, 30, 44
_STYLE = "<style>text{font:12px sans-serif}.left{text-anchor:end}.below{text-anchor:middle}path{fill:none}</style>"

Floats = NDArray[np.float64]


def scatter(measured: Floats, series: Mapping[str, Floats]) -> str:
    """Predicted over measured time against the measured time, both axes logarithmic, as SVG.

    *series* holds predictions in the order of *measured*, NaN where there is none; what is off by more than five or six
    times lies on the upper or the lower edge, which then says so.
    """
    low, high = (float(end) for end in (measured.min(), measured.max()))
    room = max((high / low) ** 0.04, 1.25)
    low, high = low / room, high * room

    def x(seconds: float) -> float:
        return _LEFT + math.log(seconds / low) / math.log(high / low) * (_WIDTH - _LEFT - _RIGHT)

    def y(ratio: float) -> float:
        share = (min(max(math.log2(ratio), -_EDGE), _EDGE) + _EDGE) / (2 * _EDGE)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    parts = []
    for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
        shade = "#888" if ratio == 1.0 else "#ddd"
        parts.append(f'<path d="M{_LEFT} {y(ratio):.1f}H{_WIDTH - _RIGHT}" stroke="{shade}"/>')
        parts.append(f'<text class="left" x="{_LEFT - 8}" y="{y(ratio) + 4:.1f}">×{ratio:g}</text>')
    ratios = np.concatenate([times / measured for times in series.values()])
    for ratio, off, sign in ((2**-_EDGE, ratios < 2**-_EDGE, "&lt;"), (2**_EDGE, ratios > 2**_EDGE, "&gt;")):
        if off.any():
            parts.append(f'<text class="left" x="{_LEFT - 8}" y="{y(ratio) + 4:.1f}">{sign} ×{ratio:.2g}</text>')
    bottom = _HEIGHT - _BOTTOM
    for tick in round_ticks(low, high):
        parts.append(f'<path d="M{x(tick):.1f} {_TOP}V{bottom}" stroke="#eee"/>')
        parts.append(f'<text class="below" x="{x(tick):.1f}" y="{bottom + 16}">{time_text(tick)}</text>')
    parts.append(f'<text class="below" x="{(_LEFT + _WIDTH) // 2}" y="{_HEIGHT - 6}">measured time</text>')
    step = max(1, len(measured) // _MOST_POINTS)
    size = 6 if len(measured) < 200 else 4 if len(measured) < 1000 else 2
    for tier, times in reversed(list(series.items())):
        dots = [
            f"M{x(real):.1f} {y(predicted / real):.1f}h0"
            for real, predicted in zip(measured[::step].tolist(), times[::step].tolist(), strict=True)
            if math.isfinite(predicted) and predicted > 0
        ]
        ink = f'stroke="{_COLOURS[tier]}" stroke-width="{size}" stroke-linecap="round" stroke-opacity="0.7"'
        parts.append(f'<path d="{"".join(dots)}" {ink}/>')
    keys = "".join(f'<tspan dx="12" fill="{_COLOURS[tier]}">● {tier}</tspan>' for tier in series)
    parts.append(f'<text x="{_LEFT}" y="16">predicted / measured: {keys}</text>')
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img"'
    return f"<svg {frame}>{_STYLE}{''.join(parts)}</svg>"
