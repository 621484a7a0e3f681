"""Knowing when to stop: no progress for long (patience), or hardly any left to be made (regret).

**Regret.** The claim "with 95 % probability, nothing that the search can propose is more than 2 % faster" is made from
two things that a run has anyway. First, what the cost model said of each candidate before it was run, and what was
measured: their ratio's logarithm is the model's error, and the errors of the latest trials are its distribution, taken
as a Student t around their median, with a scale that takes the wider of their spread and their quartiles. Second, what
the
model says of those that were not run: all that wait, and each draw of the screen. Each of those beats the target
(best / 1.02) with the chance that the error is so low; the sum of the chances bounds the probability that any does
(Boole's inequality), whatever the errors have to do with each other. When the bound is below 5 % for several batches
in a row, each of which proposed afresh, the search ends.

What it can't know: a corner of the space of which no draw and no prediction tells. So the figure speaks of what the
search can propose, and `tests/tune/test_stopping.py` counts on spaces known as a whole how often it was right.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patience", "Regret", "chance_below"]

_GAIN = 0.005  # a best that is better by less is none to wait for
_ERRORS = 48  # the latest trials whose errors count
_FEWEST = 24  # trials before anything is claimed
_ROUNDS = 3  # batches in a row that must say so
_SURE = 0.95


class Patience:
    """Ends a search that found nothing better in *trials* trials; a gain of less than half a percent is none.

    Args:
        trials: how many.
    """

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self._best = math.inf
        self._since = 0

    def note(self, value: float | None) -> None:
        """A trial was run; *value* is what it took, None where it failed."""
        self._since += 1
        if value is not None and value < self._best * (1 - _GAIN):
            self._best, self._since = value, 0

    @property
    def why(self) -> str | None:
        """Why to stop; None while there is no reason to."""
        if self._since < self.trials:
            return None
        return f"nothing better in {self._since} trials"


class Regret:
    """Ends a search of which it is 95 % sure that less than *share* is left to be gained.

    Args:
        share: of the best time: 0.02 is 2 %.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.chance = 1.0
        """A bound of the probability that more than *share* is left."""
        self._errors: deque[float] = deque(maxlen=_ERRORS)
        self._sure = 0
        self._trials = 0

    def note(self, predicted_s: float, value: float | None) -> None:
        """A trial was run that was predicted to take *predicted_s*; *value* is what it took, None where it failed."""
        self._trials += 1
        if value is not None and value > 0 and predicted_s > 0:
            self._errors.append(math.log(value / predicted_s))

    def consider(self, predicted_s: Sequence[float] | NDArray[np.float64], best_s: float | None) -> None:
        """Before each batch: what the model says of those that were not run yet, and the best of those that were."""
        if best_s is None or self._trials < _FEWEST or len(self._errors) < _FEWEST // 2:
            return
        needed = np.log(best_s * (1 - self.share) / np.maximum(np.asarray(predicted_s, dtype=np.float64), 1e-15))
        self.chance = float(min(1.0, chance_below(needed, list(self._errors)).sum()))
        self._sure = self._sure + 1 if self.chance <= 1 - _SURE else 0

    @property
    def why(self) -> str | None:
        """Why to stop; None while there is no reason to."""
        if self._sure < _ROUNDS:
            return None
        return f"{_SURE:.0%} sure that less than {self.share:.1%} is left".replace("%", " %")


def chance_below(needed: NDArray[np.float64], errors: Sequence[float]) -> NDArray[np.float64]:
    """How likely an error is as low as each of *needed*, from the *errors* seen: a Student t with their spread.

    The median and the quartiles stand for the middle, the standard deviation for the tails; the wider of the two
    scales counts.
    """
    seen = np.asarray(errors, dtype=np.float64)
    low, middle, high = np.quantile(seen, (0.25, 0.5, 0.75))
    scale = max(float(high - low) / 1.349, float(seen.std(ddof=1)), 1e-4)
    return student_below((needed - middle) / scale, max(3, len(seen) // 4))


def student_below(z: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    """The distribution function of Student's t with a whole number of degrees of freedom, by its finite series.

    M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.
    """
    angle = np.arctan(z / math.sqrt(freedom))
    cosine, sine = np.cos(angle), np.sin(angle)
    term = np.ones_like(angle)
    total = np.zeros_like(angle)
    if freedom % 2:
        term = cosine.copy()
        for k in range(1, freedom - 1, 2):
            total += term
            term = term * cosine**2 * (k + 1) / (k + 2)
        area = 2 / math.pi * (angle + sine * total if freedom > 1 else angle)
    else:
        for k in range(0, freedom - 1, 2):
            total += term
            term = term * cosine**2 * (k + 1) / (k + 2)
        area = sine * total
    below: NDArray[np.float64] = 0.5 + 0.5 * area
    return below
