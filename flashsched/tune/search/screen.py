"""The screen: thousands of decisions are ranked before a schedule is made of a few.

Making a schedule and reading its nest costs milliseconds, which is what limits how many the cost model can look at. So
a forest learns, from the decisions alone, what the cost model says of the candidates that were made: a guess at a
guess, that costs microseconds. It draws neighbours and crossings of the good ones by the thousand, and only the most
promising of them are made and ranked by their nests. Draws that turned out infeasible count as slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.search.candidates import Ranked
from flashsched.tune.search.decisions import ABSENT, DecisionTable, Rows, distinct

__all__ = ["Screen"]

_FEWEST = 24  # candidates before anything is screened
_KEPT = 600  # candidates that the forest learns from: the latest
_GOOD = 32  # of which that many have neighbours
_SLOW = 1.0  # by how much the logarithm of an infeasible one's time exceeds the slowest's
_TREES = 24
_ANEW = 8  # the forest is fitted anew when what it learns from has grown by one part in so many
_LOOKED_UP = 512  # of the most promising draws, whether they were made before; of the others it hardly matters


class Screen:
    """Knows what was made of which decisions.

    Args:
        seed: of the draws and the forest.
        knows: whether it is known what comes of some decisions: they need not be proposed then.
    """

    def __init__(self, seed: int, knows: Callable[[Mapping[str, int]], bool]) -> None:
        self._knows = knows
        self._seed = seed % 2**32
        self._rng = np.random.default_rng(seed)
        self._table = DecisionTable()
        self._made: list[Ranked] = []
        self._refused: list[dict[str, int]] = []
        self._noted = 0
        self._predict: Any = None
        self._fitted = self._width = 0  # how many were noted, and how many knobs known, when the forest was fitted
        self.left_s: NDArray[Any] = np.empty(0)

    def note(self, item: Ranked) -> None:
        """A candidate was made."""
        self._table.note(item.sizes)
        self._noted += 1
        self._made.append(item)
        if len(self._made) >= 2 * _KEPT:
            del self._made[:-_KEPT]

    def note_refused(self, decisions: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        """These decisions are infeasible; the last ones may be missing."""
        self._table.note(sizes)
        self._noted += 1
        self._refused.append(dict(decisions))
        del self._refused[: -_KEPT // 2]

    @property
    def made(self) -> list[Ranked]:
        """The candidates that it learns from; none while there are too few."""
        return self._made[-_KEPT:] if len(self._made) >= _FEWEST else []

    def propose(self, values: NDArray[Any] | None, count: int, want: int, left: bool = True) -> list[dict[str, int]]:
        """The most promising *want* of *count* draws that no candidate was made of; *values* are those of `made`.

        ``left_s`` then says, if *left* asks for it, what is thought of the draws that were not made, hopefully: less
        by their uncertainty.
        """
        self.left_s = np.empty(0)
        made = self.made
        if values is None or not made or not self._table.names:
            return []
        rows = self._table.rows([item.decisions for item in made])
        logs = np.log(np.maximum(values, 1e-12))
        good = rows[np.argsort(logs, kind="stable")[:_GOOD]]
        drawn = distinct(self._table.draw(self._rng, good, rows, count))
        if self._predict is None or self._noted >= self._fitted + self._fitted // _ANEW:
            self._predict, self._fitted, self._width = self._forest(rows, logs), self._noted, rows.shape[1]
        mean, spread = self._predict(self._table.scaled(drawn)[:, : self._width])
        found: list[dict[str, int]] = []
        new = np.ones(len(drawn), dtype=bool)
        for place, at in enumerate(np.argsort(mean - 0.5 * spread, kind="stable")):
            if len(found) >= want and not (left and place < _LOOKED_UP):
                break
            decisions = self._table.decisions(drawn[at])
            new[at] = not self._knows(decisions)
            if new[at] and len(found) < want:
                found.append(decisions)
        if left:
            self.left_s = np.exp(mean - spread)[new]
        return found

    def _forest(self, rows: Rows, logs: NDArray[Any]) -> Any:
        from flashsched.tune.costmodel.learners import forest

        bad = self._completed(self._table.rows(self._refused), rows)
        table = self._table.scaled(np.concatenate([rows, bad]))
        slow = np.full(len(bad), float(logs.max()) + _SLOW)
        return forest(table, np.concatenate([logs, slow]), self._seed, trees=_TREES, leaf=1)

    def _completed(self, rows: Rows, known: Rows) -> Rows:
        """*rows* with the answers that were never asked for taken from any known row: a draw has all of them."""
        any_row = known[self._rng.integers(len(known), size=len(rows))]
        made: Rows = np.where(rows == ABSENT, any_row, rows).astype(np.int16)
        return made
