"""How well predictions agree with measurements: mean, median and 90th percentile of the error, and rank correlation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZE_RANGES", "Score", "range_of", "score"]

SIZE_RANGES: tuple[tuple[str, float], ...] = (
    ("below 10 us", 1e-5), ("10 to 100 us", 1e-4), ("0.1 to 1 ms", 1e-3), ("1 to 10 ms", 1e-2),
    ("above 10 ms", float("inf")),
)  # fmt: skip
"""Ranges of the measured time, by their upper end in seconds."""

Floats = NDArray[np.float64]


class Score(NamedTuple):
    """Absolute errors in percent of the measured time, and Spearman's rank correlation (NaN below three rows)."""

    rows: int
    mape: float
    median: float
    p90: float
    spearman: float


def score(predicted_s: Floats, measured_s: Floats) -> Score:
    """The score of *predicted_s* against *measured_s*.

    >>> score(np.array([1.1, 2.0, 2.7]), np.array([1.0, 2.0, 3.0]))
    Score(rows=3, mape=6.67, median=10.0, p90=10.0, spearman=1.0)
    """
    if not len(measured_s):
        return Score(0, float("nan"), float("nan"), float("nan"), float("nan"))
    errors = np.abs(predicted_s / measured_s - 1) * 100
    mean, median, p90 = float(errors.mean()), float(np.median(errors)), float(np.percentile(errors, 90))
    rank = _correlation(_ranks(predicted_s), _ranks(measured_s)) if len(measured_s) > 2 else float("nan")
    return Score(len(errors), round(mean, 2), round(median, 2), round(p90, 2), round(rank, 4))


def range_of(measured_s: Floats) -> NDArray[np.int64]:
    """The index into ``SIZE_RANGES`` of each time."""
    return np.searchsorted(np.array([end for _, end in SIZE_RANGES]), measured_s, side="left").astype(np.int64)


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values sharing their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Floats = (ends - (counts + 1) / 2)[where]
    return middle


def _correlation(one: Floats, other: Floats) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else float("nan")
