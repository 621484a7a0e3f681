"""What a search is for: the least time, or several things at once that a device's model tells.

With one objective a candidate is worth its predicted time. With several, each batch weighs them anew at random and
takes the weighted greatest of how far each is from the best known (Chebyshev), so that in the course of a run all of
the Pareto front is aimed at (J. Knowles, "ParEGO", IEEE TEC 10(1), 2006); those on the front so far have the children.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.costmodel.cost_model import CostModel
from flashsched.tune.search.candidates import Ranked
from flashsched.tune.search.pareto import front

__all__ = ["Goal"]

_SMALLEST = 1e-15


class Goal:
    """Turns what is known of candidates into one figure each, the less the better.

    Args:
        objectives: ``"time"``, perhaps ``"energy"`` and ``"code"``.
        seed: of the weights.
    """

    def __init__(self, objectives: Sequence[str], seed: int) -> None:
        self._objectives = tuple(objectives)
        self._rng = random.Random(seed)
        self._front: list[tuple[tuple[float, ...], dict[str, int]]] = []

    def values(self, items: Sequence[Ranked], model: CostModel) -> tuple[NDArray[Any], NDArray[Any]]:
        """What each of *items* is worth, and the uncertainty of its logarithm."""
        times, unsure = model.predict([item.features for item in items], [item.prior_s for item in items])
        if len(self._objectives) == 1 or not len(items):
            return times, unsure
        logs = np.log(
            [np.maximum(self.several(item, time), _SMALLEST) for item, time in zip(items, times, strict=True)]
        )
        weights = np.array([self._rng.expovariate(1.0) + 1e-3 for _ in self._objectives])
        apart = (logs - logs.min(axis=0)) * (weights / weights.sum())
        return np.exp(apart.max(axis=1) + 0.05 * apart.sum(axis=1)), unsure

    def several(self, item: Ranked, time_s: float) -> tuple[float, ...]:
        """The objectives of *item*, in their order."""
        known = {"time": float(time_s), "energy": item.energy_j or 0.0, "code": item.code}
        return tuple(known[name] for name in self._objectives)

    def single(self, item: Ranked, time_s: float) -> float:
        """One figure for a sampler that knows one: the geometric mean of the objectives."""
        numbers = self.several(item, time_s)
        if len(numbers) == 1:
            return numbers[0]
        return math.exp(sum(math.log(max(number, _SMALLEST)) for number in numbers) / len(numbers))

    def note(self, item: Ranked, time_s: float) -> None:
        """*item* was run and took *time_s*."""
        if len(self._objectives) > 1:
            entries = [*self._front, (self.several(item, time_s), item.decisions)]
            self._front = [entries[at] for at in front([values for values, _ in entries])]

    def parents(self, fastest: list[dict[str, int]]) -> list[dict[str, int]]:
        """Whose neighbours are worth a try: the fastest, or all on the front."""
        return [decisions for _, decisions in self._front] or fastest
