"""How good a prediction is at what a search needs of it: to order schedules of one task, and to name the fast ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_of_first", "pairwise"]

Numbers = NDArray[Any]

ALIKE = 0.05
"""Times that differ by less are no pair that has an order: medians of short timings scatter by a few percent."""


def pairwise(predicted: Numbers, measured: Numbers, noise: Numbers | None = None) -> float:
    """The share of pairs that *predicted* puts in the order of *measured*; a tie in *predicted* is half right.

    Pairs within 5 % of one another are left out, and with *noise*, how far timings of each were apart as a logarithm,
    those that are no further apart than their timings; NaN where none is left.

    >>> pairwise(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.6666666666666666
    """
    one, other = np.triu_indices(len(measured), 1)
    apart = np.log(measured[one]) - np.log(measured[other])
    told = np.sign(predicted[one] - predicted[other])
    clear = np.abs(apart) > np.log1p(ALIKE)
    if noise is not None:
        clear &= np.abs(apart) > noise[one] + noise[other]
    if not clear.any():
        return float("nan")
    right = np.where(told == 0, 0.5, told == np.sign(apart))
    return float(right[clear].mean())


def best_of_first(predicted: Numbers, measured: Numbers, count: int) -> float:
    """How near the best of the *count* predicted to be fastest comes to the fastest of all; 0.5 is half as fast.

    >>> best_of_first(np.array([1.0, 2.0, 3.0]), np.array([4.0, 2.0, 1.0]), 2)
    0.5
    """
    first = np.argsort(predicted, kind="stable")[:count]
    return float(measured.min() / measured[first].min())
