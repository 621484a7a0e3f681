"""Least, most and rounding of a number or of an array: NumPy's own take a microsecond for one number, and a model needs
fifty of them for each candidate of a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Numbers", "ceil", "least", "most", "norm_of", "some"]

Numbers = float | NDArray[Any]
"""A number, or an array of one for each candidate."""


def least(*values: Numbers) -> Numbers:
    """The least of *values*, element by element.

    >>> least(3.0, 2), least(np.array([1.0, 5.0]), 2.0).tolist()
    (2.0, [1.0, 2.0])
    """
    return _folded(min, np.minimum, values)


def most(*values: Numbers) -> Numbers:
    """The greatest of *values*, element by element."""
    return _folded(max, np.maximum, values)


def ceil(value: Numbers) -> Numbers:
    """*value* rounded up."""
    return np.ceil(value) if isinstance(value, np.ndarray) else float(math.ceil(value))


def some(value: Numbers) -> bool:
    """Whether *value*, or any element of it, is not zero."""
    return bool(np.any(value)) if isinstance(value, np.ndarray) else bool(value)


def norm_of(parts: list[Numbers], norm: Numbers) -> Numbers:
    """The p-norm with p = *norm* of several times: at least the longest, at most their sum.

    >>> norm_of([3.0, 0.0], 4.0), np.round(norm_of([np.array([1.0, 3.0]), 1.0], 1.0), 6).tolist()
    (3.0, [2.0, 4.0])
    """
    longest = most(*parts, 1e-30)
    if not isinstance(longest, np.ndarray):
        return longest * sum((part / longest) ** norm for part in parts) ** (1.0 / norm)
    total: Numbers = 0.0
    for part in filter(some, parts):  # exp(p ln x) is several times faster than x ** p
        total = total + np.exp(norm * np.log(most(part, 1e-30) / longest))
    return longest * np.exp(np.log(total) / norm)


def _folded(one: Callable[..., Any], many: np.ufunc, values: tuple[Numbers, ...]) -> Numbers:
    if not any(isinstance(value, np.ndarray) for value in values):
        return float(one(values))
    found: Numbers = values[0]
    for value in values[1:]:
        found = many(found, value)
    return found
