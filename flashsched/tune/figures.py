"""Figures as text for people, three digits each: times, rates, shares, shapes. Apart from ``report.py``, so that a
progress line does not have to import pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["figure_text", "percent_text", "seconds_text", "shape_text"]


def seconds_text(seconds: float) -> str:
    """A time with three digits and a fitting unit.

    >>> seconds_text(0.0012345), seconds_text(2e-7), seconds_text(float("nan"))
    ('1.23 ms', '200 ns', '–')
    """
    if not math.isfinite(seconds):
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * scale:
            return f"{figure_text(seconds / scale)} {unit}"
    return f"{figure_text(seconds / 1e-9)} ns"


def figure_text(value: float) -> str:
    """Three digits, without an exponent."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value) * 1.0005)))}f}"


def percent_text(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share * 100:.1f} %" if math.isfinite(share) else "–"


def shape_text(shape: Iterable[int]) -> str:
    """A shape as on paper.

    >>> shape_text((512, 256))
    '512×256'
    """
    return "×".join(map(str, shape))
