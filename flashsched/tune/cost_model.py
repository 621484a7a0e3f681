"""The learned cost model: the device's own model as the prior, and what the measurements say of its error.

What is learned is the logarithm of (measured / prior), from features of the nest, by a forest of randomised trees
(P. Geurts et al., "Extremely randomized trees", Machine Learning 63, 2006): with few samples it stays close to the
prior, and the spread of its trees says how sure it is. The forest itself is in ``tune/learners.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.learners import Predict, forest

__all__ = ["CostModel"]

_FEWEST = 6  # samples before anything is learned
_SHORTEST = 1e-12  # seconds; a kernel over nothing has a prior of 0

_PRIOR = "log of the prior"  # among the features, so that an error that grows with the size can be learned


class CostModel:
    """Predicts seconds from features and the prior's seconds; learns from measured seconds.

    Args:
        seed: of the forest.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._rows: list[dict[str, float]] = []
        self._errors: list[float] = []
        self._names: list[str] = []
        self._predict: Predict | None = None
        self._fitted = 0

    def __len__(self) -> int:
        return len(self._rows)

    def learn(self, features: Mapping[str, float], prior_s: float, measured_s: float) -> None:
        """Take one measurement in; the model is fitted when it is next asked."""
        self._rows.append({**features, _PRIOR: float(np.log(max(prior_s, _SHORTEST)))})
        self._errors.append(float(np.log(max(measured_s, _SHORTEST) / max(prior_s, _SHORTEST))))

    def predict(
        self, features: Sequence[Mapping[str, float]], priors_s: Sequence[float]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Predicted seconds, and the standard deviation of their logarithm, for each candidate."""
        prior = np.array(priors_s, dtype=np.float64)
        if len(self._rows) < _FEWEST or not len(prior):
            return prior, np.full(len(prior), 0.5)
        self._fit()
        rows = self._table(
            [{**f, _PRIOR: float(np.log(max(p, _SHORTEST)))} for f, p in zip(features, priors_s, strict=True)]
        )
        assert self._predict is not None
        error, spread = self._predict(rows)
        return prior * np.exp(error), spread

    def _table(self, rows: Sequence[Mapping[str, float]]) -> NDArray[Any]:
        """*rows* as a matrix; a feature that a row lacks (a decision that was not asked) is -1."""
        return np.asarray([[float(row.get(name, -1.0)) for name in self._names] for row in rows])

    def _fit(self) -> None:
        if self._fitted == len(self._rows):
            return
        self._names = sorted({name for row in self._rows for name in row})
        self._predict = forest(self._table(self._rows), np.asarray(self._errors), self._seed)
        self._fitted = len(self._rows)
