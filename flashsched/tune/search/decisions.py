"""Decisions as rows of numbers: thousands of neighbours and crossings are drawn at once, with no template asked.

Asking a template costs milliseconds, a row here microseconds. So a sampler or a screen draws many rows, predicts which
are good, and has only those made. What a row leaves open or gets wrong (a knob that is asked only after another
answer) is put right where the template is asked, see `flashsched.tune.search.knobs.HintedKnobs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABSENT", "DecisionTable", "Rows", "distinct"]

ABSENT = -1
"""Stands in a row where a knob was not asked."""

Rows = NDArray[np.int16]


class DecisionTable:
    """The knobs that were seen so far, a column each, in the order in which they first were."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._sizes: list[int] = []

    @property
    def names(self) -> list[str]:
        """The knobs, in the order of the columns."""
        return list(self._columns)

    def note(self, sizes: Mapping[str, int]) -> None:
        """Take in the knobs of a candidate, and how many options each had: the most that were seen count."""
        for name, size in sizes.items():
            column = self._columns.setdefault(name, len(self._columns))
            if column == len(self._sizes):
                self._sizes.append(size)
            self._sizes[column] = max(self._sizes[column], size)

    def rows(self, several: Sequence[Mapping[str, int]]) -> Rows:
        """A row for each of *several* decisions; knobs that were never noted are left out."""
        made = np.full((len(several), len(self._columns)), ABSENT, dtype=np.int16)
        for row, decisions in zip(made, several, strict=True):
            for name, index in decisions.items():
                if (column := self._columns.get(name)) is not None:
                    row[column] = index
        return made

    def decisions(self, row: Rows) -> dict[str, int]:
        """The decisions that *row* stands for."""
        return {name: int(row[column]) for name, column in self._columns.items() if row[column] != ABSENT}

    def scaled(self, rows: Rows) -> NDArray[np.float64]:
        """*rows* with each index as a share of its knob's last one, and -1 where it was not asked."""
        last = np.maximum(1, np.array(self._sizes, dtype=np.float64) - 1)
        return np.where(rows == ABSENT, -1.0, rows / last)

    def draw(self, rng: np.random.Generator, good: Rows, known: Rows, count: int) -> Rows:
        """*count* rows: by thirds neighbours of *good* ones, crossings of two of them, and of any *known* ones anew.

        A neighbour moves a few knobs, mostly by one step. What is drawn anew keeps which knobs are asked.
        """
        if not len(known) or not self._sizes:
            return np.empty((0, len(self._columns)), dtype=np.int16)
        good = good if len(good) else known
        third = -(-count // 3)
        near = good[rng.integers(len(good), size=third)]
        one, other = (good[rng.integers(len(good), size=third)] for _ in range(2))
        crossed = np.where(rng.random(one.shape) < 0.5, one, other)
        anew = known[rng.integers(len(known), size=third)]
        sizes = np.array(self._sizes)
        fresh = rng.integers(0, sizes, size=anew.shape)
        anew = np.where(anew == ABSENT, ABSENT, fresh).astype(np.int16)
        moved = np.concatenate([self._moved(rng, near), self._moved(rng, crossed), anew])
        return moved[rng.permutation(len(moved))[:count]]

    def _moved(self, rng: np.random.Generator, rows: Rows) -> Rows:
        """*rows* with one knob moved in each, and each other one with a chance of about one in all of them."""
        sizes = np.array(self._sizes)
        count, width = rows.shape
        moves = rng.random(rows.shape) < 0.7 / width
        moves[np.arange(count), rng.integers(width, size=count)] = True
        step = np.where(rng.random(rows.shape) < 0.5, 1, -1)
        near = np.clip(rows + step, 0, sizes - 1)
        far = rng.integers(0, sizes, size=rows.shape)
        value = np.where(rng.random(rows.shape) < 0.25, far, near)
        made: Rows = np.where((rows != ABSENT) & moves, value, rows).astype(np.int16)
        return made


def distinct(rows: Rows) -> Rows:
    """*rows* without repeats, which are told by a hash of 64 bits: sorting numbers is faster than sorting rows."""
    factors = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64) * 2 + 1
    hashes = rows.astype(np.uint64) @ factors
    first = np.sort(np.unique(hashes, return_index=True)[1])
    made: Rows = rows[first]
    return made
