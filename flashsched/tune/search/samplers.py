"""Samplers: who answers a template's questions next. Two of our own, behind the contract that Optuna's meet as well.

- ``evolutionary``: neighbours and crossings of those that won a tournament among the best.
- ``gp``: a Gaussian process over the decisions; of some thousand rows the one of the greatest expected improvement.

Those by Optuna are in ``proposer.py``, which also sees to it that nothing is proposed twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flashsched.tune.search.decisions import DecisionTable
from flashsched.tune.search.knobs import Answers, HintedKnobs, MutatedKnobs, RandomKnobs

__all__ = ["Evolution", "GaussianSampler", "Sampler", "expected_improvement"]


class Sampler(Protocol):
    """Answers questions in the light of what became of earlier answers; smaller values are better."""

    def draw(self) -> Answers:
        """Answers for one more candidate."""
        ...

    def tell(self, answers: Answers | None, decisions: Mapping[str, int], sizes: Mapping[str, int],
             value: float | None) -> None:  # fmt: skip
        """What became of a candidate: its value, None where it failed. *answers* are those drawn for it, if any."""
        ...

    def forget(self, answers: Answers) -> None:
        """*answers* led to nothing: what they made is known already, or can't be made at all."""
        ...


@dataclass(frozen=True)
class _Told:
    value: float
    decisions: dict[str, int]


class Evolution:
    """Neighbours and crossings of the best; one in eight is a stranger.

    Args:
        seed: of the draws.
        parents: how many of the best may have children.
        strangers: candidates drawn at random before any has.
    """

    def __init__(self, seed: int, parents: int = 24, strangers: int = 12) -> None:
        self._rng = random.Random(seed)
        self._parents, self._strangers = parents, strangers
        self._best: list[_Told] = []
        self._told = 0

    def draw(self) -> Answers:
        if self._told < self._strangers or not self._best or self._rng.random() < 0.125:
            return RandomKnobs(self._rng)
        other = self._winner() if self._rng.random() < 0.5 else None
        return MutatedKnobs(self._winner(), self._rng, other)

    def tell(self, answers: Answers | None, decisions: Mapping[str, int], sizes: Mapping[str, int],
             value: float | None) -> None:  # fmt: skip
        self._told += 1
        if value is not None:
            self._best.append(_Told(value, dict(decisions)))
            self._best.sort(key=lambda told: told.value)
            del self._best[self._parents :]

    def forget(self, answers: Answers) -> None:
        """Nothing is remembered of it."""

    def _winner(self) -> dict[str, int]:
        """The better of two of the parents."""
        return min((self._rng.choice(self._best) for _ in range(2)), key=lambda told: told.value).decisions


class GaussianSampler:
    """A Gaussian process of the logarithm of the value, by the decisions.

    Fitting grows with the cube of what is fitted, so that the best and the latest are, 160 in all; and it is fitted
    anew when a twentieth has been added.

    Args:
        seed: of the draws.
        strangers: candidates drawn at random before anything is fitted.
        looked_at: rows that are predicted for one draw.
    """

    MOST = 160

    def __init__(self, seed: int, strangers: int = 10, looked_at: int = 1536) -> None:
        self._seed, self._strangers, self._looked_at = seed, strangers, looked_at
        self._rng = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._table = DecisionTable()
        self._told: list[_Told] = []
        self._failed: list[dict[str, int]] = []
        self._fitted = self._learned = 0
        self._predict: Any = None
        self._drawn: set[bytes] = set()

    def draw(self) -> Answers:
        if len(self._told) < self._strangers or self._rng.random() < 0.05:
            return RandomKnobs(self._rng)
        if self._predict is None or self._learned >= self._fitted + max(1, self._fitted // 20):
            self._fit()
        best = sorted(self._told, key=lambda told: told.value)
        good = self._table.rows([told.decisions for told in best[:24]])
        known = self._table.rows([told.decisions for told in self._told[-64:]])
        rows = self._table.draw(self._numbers, good, known, self._looked_at)
        mean, spread = self._predict(self._table.scaled(rows))
        gain = expected_improvement(mean, spread, math.log(max(best[0].value, 1e-30)))
        for at in np.argsort(-gain, kind="stable"):
            if (key := rows[at].tobytes()) not in self._drawn:
                self._drawn.add(key)
                return HintedKnobs(self._table.decisions(rows[at]), self._rng)
        return RandomKnobs(self._rng)

    def tell(self, answers: Answers | None, decisions: Mapping[str, int], sizes: Mapping[str, int],
             value: float | None) -> None:  # fmt: skip
        self._table.note(sizes)
        if value is None:
            self._failed.append(dict(decisions))
            del self._failed[: -self.MOST // 4]  # of more, none is fitted
        else:
            self._told.append(_Told(value, dict(decisions)))
            self._learned += 1
            if len(self._told) >= 4 * self.MOST:
                self._told = self._chosen()

    def forget(self, answers: Answers) -> None:
        """Its row is not drawn again."""

    def _fit(self) -> None:
        from flashsched.tune.costmodel.learners import gaussian

        chosen = self._chosen()
        logs = [math.log(max(told.value, 1e-30)) for told in chosen]
        failed = self._failed  # as slow as the slowest: fast ones are looked for elsewhere
        rows = self._table.rows([*(told.decisions for told in chosen), *failed])
        values = np.array(logs + [max(logs)] * len(failed))
        self._predict = gaussian(self._table.scaled(rows), values, self._seed % 2**32)
        self._fitted = self._learned

    def _chosen(self) -> list[_Told]:
        """The best and the latest of what was told, the latest last."""
        best = sorted(self._told, key=lambda told: told.value)[: self.MOST // 2]
        latest = self._told[-self.MOST // 2 :]
        taken = {id(told) for told in latest}
        return [told for told in best if id(told) not in taken] + latest


def expected_improvement(mean: Any, spread: Any, best: float) -> Any:
    """How far below *best* a normal variable is expected to fall, being counted 0 where it does not.

    D. R. Jones et al., "Efficient global optimization of expensive black-box functions", 1998.
    """
    spread = np.maximum(spread, 1e-9)
    z = (best - np.asarray(mean)) / spread
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2)))
    return spread * (z * below + density)
