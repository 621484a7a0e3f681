"""How well the cost model orders schedules of tasks that it never saw: a table is split by tasks, and each part is
predicted by a forest that was fitted to the others."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flashsched.tune.costmodel.ranking import best_of_first, pairwise
from flashsched.tune.costmodel.table import Table

__all__ = ["Score", "held_out", "predictions", "scores"]

Numbers: TypeAlias = NDArray[Any]

_FOLDS = 5
_FEWEST = 8  # schedules of a task that are worth ordering
_RANDOM = 20  # orders drawn, whose scores are averaged


@dataclass(frozen=True)
class Score:
    """What a predictor is worth, averaged over tasks.

    Attributes:
        pairwise: the share of pairs in order.
        clear: of those pairs that are further apart than repeated timings of the two were.
        top1, top5: how near the best of its first, and of its first five, comes to the fastest.
        tasks: that were scored.
    """

    pairwise: float
    clear: float
    top1: float
    top5: float
    tasks: int


def held_out(table: Table, seed: int = 0, only: set[str] | None = None) -> Mapping[str, Score]:
    """The scores of the learned model, the device's model (the prior), the roofline and chance, tasks held out.

    Args:
        table: what was measured.
        seed: of the folds and of chance.
        only: hashes of the tasks that count; all by default. The others are learned from.
    """
    return scores(table, predictions(table, seed), only)


def predictions(table: Table, seed: int = 0) -> dict[str, list[Numbers]]:
    """What each predictor says of each row, tasks held out: one array, or several whose scores are averaged."""
    order = sorted({int(n) for n in table.task})
    random.Random(seed).shuffle(order)
    learned = np.zeros(len(table))
    for fold in range(_FOLDS):
        away = np.isin(table.task, order[fold::_FOLDS])
        if away.any() and not away.all():
            learned[away] = table.only(~away).fit(seed)(table.only(away).inputs())[0]
    rng = np.random.default_rng(seed)
    return {
        "cost model": [learned],
        "device model": [table.prior_s],
        "roofline": [table.rooflines_s()],
        "random": [rng.random(len(table)) for _ in range(_RANDOM)],
    }


def scores(
    table: Table, predicted: Mapping[str, list[Numbers]], only: set[str] | None = None, operator: str | None = None
) -> Mapping[str, Score]:
    """The scores of *predicted*, over all tasks, those whose hash is in *only*, or those of one *operator*."""
    counted = [
        at
        for n, task in enumerate(table.tasks)
        if len(at := np.flatnonzero(table.task == n)) >= _FEWEST
        and (only is None or task["hash"] in only)
        and operator in (None, task["op"])
    ]
    return {name: _mean([_score(each, table, counted) for each in said]) for name, said in predicted.items()}


def _mean(several: list[Score]) -> Score:
    means = np.mean([[one.pairwise, one.clear, one.top1, one.top5] for one in several], axis=0)
    pairs, clear, first, five = map(float, means)
    return Score(pairs, clear, first, five, several[0].tasks)


def _score(predicted: Numbers, table: Table, tasks: list[NDArray[np.intp]]) -> Score:
    rows = []
    for at in tasks:
        said, measured = predicted[at], table.measured_s[at]
        noise = table.noise[at].astype(np.float64)
        pairs = pairwise(said, measured), pairwise(said, measured, noise)
        rows.append((*pairs, *(best_of_first(said, measured, k) for k in (1, 5))))
    if not rows:
        return Score(math.nan, math.nan, math.nan, math.nan, 0)
    ordered, clear, first, five = (_mean_known(column) for column in np.array(rows).T)
    return Score(ordered, clear, first, five, len(rows))


def _mean_known(column: Numbers) -> float:
    """The mean of what is known: of a task whose schedules are all alike there is nothing to order."""
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else math.nan
