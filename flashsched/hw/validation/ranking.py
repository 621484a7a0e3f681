"""Which of two devices is faster at the same work: how often predictions say so rightly.

Only rows that one source timed are compared, of one operation, dtype and size; a pair of devices counts at that size if
the slower one takes more than a tenth longer than the faster, for below that two collections of one device differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.validation.rows import Rows
from flashsched.hw.validation.run import Validation

__all__ = ["APART", "Ranked", "ranked"]

Floats = NDArray[np.float64]

APART = 0.1
"""How much longer than the other one device must take for a pair to count."""


class Ranked(NamedTuple):
    """Of *pairs* of devices at one size, the share that a tier's predictions order as they were measured, in percent;
    *operation* is a model's name, or "all"."""

    operation: str
    tier: str
    pairs: int
    right_pct: float


def ranked(outcome: Validation) -> list[Ranked]:
    """By operation and over all of them, for each tier that predicts any pair."""
    counts: dict[tuple[str, str], list[int]] = {}
    for tier, table in outcome.tables.items():
        for operation, right in _pairs(outcome.groups, table):
            for name in (operation, "all"):
                count = counts.setdefault((name, tier), [0, 0])
                count[0] += len(right)
                count[1] += int(right.sum())
    order = sorted(counts, key=lambda key: (key[0] == "all", key[0]))
    return [
        Ranked(*key, pairs, round(100 * right / pairs, 1)) for key in order for pairs, right in [counts[key]] if pairs
    ]


def _pairs(groups: list[Rows], table: list[Floats]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """For each two devices that one source timed on the same work: at each size where they are apart, whether the
    predictions in *table* order them rightly."""
    works: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for index, group in enumerate(groups):
        work = (group.model.NAME, group.source, group.op, group.dtype_name, *_of_work(group))
        works.setdefault(work, {}).setdefault(group.spec.name, []).append(index)
    for work, devices in works.items():
        if len(devices) > 1:
            by_size = [_by_size([groups[i] for i in at], [table[i] for i in at]) for at in devices.values()]
            for one, other in combinations(by_size, 2):
                _, mine, theirs = np.intersect1d(one[0], other[0], return_indices=True)
                measured = one[1][mine] - other[1][theirs]
                predicted = one[2][mine] - other[2][theirs]
                apart = (np.abs(measured) > np.log1p(APART)) & np.isfinite(predicted)
                yield work[0], (measured[apart] > 0) == (predicted[apart] > 0)


def _of_work(group: Rows) -> list[str]:
    """The columns that say what is asked, not how one of a source's devices was timed or where the row stands."""
    return sorted(group.sizes.keys() - {"launched", "place"})


def _by_size(members: list[Rows], tables: list[Floats]) -> tuple[NDArray[np.void], Floats, Floats]:
    """A device's sizes, each once, with the mean logarithm of what was measured and of what is predicted."""
    sizes = np.concatenate([np.stack([g.sizes[name] for name in _of_work(g)], axis=1) for g in members])
    rows = np.ascontiguousarray(sizes).view([("", sizes.dtype)] * sizes.shape[1]).ravel()
    unique, where, counts = np.unique(rows, return_inverse=True, return_counts=True)
    times = (np.concatenate([group.measured_s for group in members]), np.concatenate(tables))
    measured, predicted = (np.bincount(where, np.log(time)) / counts for time in times)
    return unique, measured, predicted
