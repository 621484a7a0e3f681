"""Round times on a logarithmic axis, and how they are written there."""

from __future__ import annotations

import math

__all__ = ["round_ticks", "time_text"]

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def round_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from *low* to *high*, both above 0, and what lies between where there are fewer than three.

    >>> round_ticks(3e-6, 5e-3)
    [1e-05, 0.0001, 0.001]
    >>> round_ticks(0.9, 7.0)
    [1.0, 2.0, 5.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return ticks


def time_text(seconds: float) -> str:
    """A round time with its unit, without digits that say nothing.

    >>> time_text(3e-5), time_text(0.001), time_text(2e-9)
    ('30 µs', '1 ms', '2 ns')
    """
    unit, scale = next((pair for pair in _UNITS if seconds >= 0.999 * pair[1]), ("ns", 1e-9))
    return f"{seconds / scale:.3g} {unit}"
