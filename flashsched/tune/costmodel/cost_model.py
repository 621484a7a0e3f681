"""The learned cost model: the device's own model as the prior, and what the measurements say of its error.

What is learned is the logarithm of (measured / prior), from features of the nest, by a forest of randomised trees: with
few samples it stays close to the prior, and the spread of its trees says how sure it is. It is learned twice: from the
table of other tasks that ships with the package, once (``table.py``), and what is left of the error then from the
run's own measurements, as it goes. How far the table is believed, between the prior alone and the table alone, is seen
from the run as well: a program unlike any in the table is one of which the prior may know more. The forest itself is in
``learners.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.costmodel.learners import Predict, forest
from flashsched.tune.costmodel.table import PRIOR, base_model

__all__ = ["CostModel"]

_FEWEST = 6  # samples before anything is learned of the run
_SHORTEST = 1e-12  # seconds; a kernel over nothing has a prior of 0
_KEPT = 600  # measurements that the run's forest is fitted to, half of them the fastest and half the latest
_ANEW = 8  # the run's forest is fitted anew when the measurements have grown by one part in so many
_TOLD = 2048  # candidates of which it is kept what the table says: each is asked about in many rounds
_UNSURE = 0.5  # of the prior's logarithm, before anything is known
_TRUST, _HELD = 0.5, 4.0  # share of the table's correction that is believed at first, and samples that this counts like


class CostModel:
    """Predicts seconds from features and the prior's seconds; learns from measured seconds.

    Args:
        seed: of the forest.
        device: whose table of measurements it starts from, if one ships; None starts from the prior alone.
    """

    def __init__(self, seed: int = 0, device: str | None = None) -> None:
        self._seed = seed
        self._device = device
        self._rows: list[dict[str, float]] = []
        self._errors: list[float] = []
        self._measured: list[float] = []
        self._learned = 0
        self._bases: list[float] = []
        self._names: list[str] = []
        self._predict: Predict | None = None
        self._fitted = 0
        self._trusted = _TRUST  # when it was fitted
        self._told: dict[tuple[int, float], tuple[Mapping[str, float], float, float]] = {}
        self._level: float | None = None  # what is added to the table's figures, which say nothing of absolute times

    def __len__(self) -> int:
        """How many measurements were taken in."""
        return self._learned

    def learn(self, features: Mapping[str, float], prior_s: float, measured_s: float) -> None:
        """Take one measurement in; the model is fitted when it is next asked."""
        (base,), _ = self._base([features], np.array([prior_s]))
        self._rows.append(self._with_prior(features, prior_s, base))
        self._errors.append(float(np.log(max(measured_s, _SHORTEST) / max(prior_s, _SHORTEST))))
        self._bases.append(float(base))
        self._measured.append(measured_s)
        self._learned += 1
        if len(self._rows) >= 2 * _KEPT:
            self._forget()

    def _forget(self) -> None:
        """Go on with the fastest and the latest, so that a fit costs in a long run what it costs in a short one."""
        order = sorted(range(len(self._rows)), key=lambda at: self._measured[at])
        latest = range(len(self._rows) - _KEPT // 2, len(self._rows))
        kept = sorted({*order[: _KEPT // 2], *latest})
        self._rows, self._errors, self._bases, self._measured = (
            [self._rows[at] for at in kept],
            [self._errors[at] for at in kept],
            [self._bases[at] for at in kept],
            [self._measured[at] for at in kept],
        )

    def predict(
        self, features: Sequence[Mapping[str, float]], priors_s: Sequence[float]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Predicted seconds, and the standard deviation of their logarithm, for each candidate."""
        prior = np.array(priors_s, dtype=np.float64)
        if not len(prior):
            return prior, prior
        base, unsure = self._base(features, prior)
        if len(self._rows) < _FEWEST:
            return prior * np.exp(self._trust() * base), unsure
        self._fit()
        assert self._predict is not None
        asked = [self._with_prior(f, p, b) for f, p, b in zip(features, priors_s, base, strict=True)]
        error, spread = self._predict(self._table(asked))
        return prior * np.exp(self._trusted * base + error), spread

    def _base(self, features: Sequence[Mapping[str, float]], prior: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """What measurements of other tasks say: the logarithm to add to the prior's, and its spread.

        The table's forest orders schedules and knows no absolute times: the median of the first that are asked about is
        put where the prior's median is.
        """
        found = None if self._device is None else base_model(self._device)
        if found is None:
            return np.zeros(len(prior)), np.full(len(prior), _UNSURE)
        names, predict = found
        logs = np.log(np.maximum(prior, _SHORTEST))
        keys = [(id(row), float(each)) for row, each in zip(features, prior, strict=True)]
        if len(self._told) > _TOLD:
            self._told.clear()
        if new := [at for at, key in enumerate(keys) if key not in self._told]:
            rows = np.array([[float(features[at].get(name, 0.0)) for name in names[:-1]] for at in new])
            for at, *said in zip(new, *predict(np.column_stack([rows, logs[new]])), strict=True):
                self._told[keys[at]] = features[at], *said
        ordered, spread = np.array([self._told[key][1:] for key in keys]).T
        if self._level is None:
            self._level = float(np.median(logs - ordered))
        return ordered + self._level - logs, spread

    def _trust(self) -> float:
        """The share of the table's corrections that fits the run's measurements best, 0 to 1: a slope by least squares,
        held to what it is at first as if by some samples more."""
        if len(self._bases) < 2:
            return _TRUST
        bases, errors = (np.asarray(column) - np.mean(column) for column in (self._bases, self._errors))
        each = max(float(np.mean(bases**2)), 1e-12)
        slope = (float(bases @ errors) + _HELD * _TRUST * each) / (float(bases @ bases) + _HELD * each)
        return min(1.0, max(0.0, slope))

    def _with_prior(self, features: Mapping[str, float], prior_s: float, base: float) -> dict[str, float]:
        """*features* with what is predicted without the run, so that an error that grows with it can be learned."""
        known = {PRIOR: float(np.log(max(prior_s, _SHORTEST)))}
        if self._device is not None:
            known["base"] = float(base)
        return {**features, **known}

    def _table(self, rows: Sequence[Mapping[str, float]]) -> NDArray[Any]:
        """*rows* as a matrix; a feature that a row lacks (a decision that was not asked) is -1."""
        return np.asarray([[float(row.get(name, -1.0)) for name in self._names] for row in rows])

    def _fit(self) -> None:
        if self._fitted and self._learned < self._fitted + max(1, self._fitted // _ANEW):
            return
        self._trusted = self._trust()
        left = np.asarray(self._errors) - self._trusted * np.asarray(self._bases)
        self._names = sorted({name for row in self._rows for name in row})
        self._predict = forest(self._table(self._rows), left, self._seed)
        self._fitted = self._learned
