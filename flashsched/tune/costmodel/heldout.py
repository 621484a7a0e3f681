"""How well the cost model orders schedules of tasks that it never saw: a table is split by tasks, and each part is
predicted by a forest that was fitted to the others."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flashsched.tune.costmodel.ranking import best_of_first, pairwise
from flashsched.tune.costmodel.table import Table

__all__ = ["Score", "held_out"]

_FOLDS = 5
_FEWEST = 8  # schedules of a task that are worth ordering
_RANDOM = 20  # orders drawn, whose scores are averaged


@dataclass(frozen=True)
class Score:
    """What a predictor is worth, averaged over tasks: the share of pairs in order, and how near the best of its first
    and of its first five come to the fastest."""

    pairwise: float
    top1: float
    top5: float
    tasks: int


def held_out(table: Table, seed: int = 0, only: set[str] | None = None) -> Mapping[str, Score]:
    """The scores of the learned model, the device's model (the prior), the roofline and chance, tasks held out.

    Args:
        seed: of the folds and of chance.
        only: hashes of the tasks that count; all by default. The others are learned from.
    """
    present = sorted({int(n) for n in table.task})
    order = present[:]
    random.Random(seed).shuffle(order)
    learned = np.zeros(len(table))
    for fold in range(_FOLDS):
        away = np.isin(table.task, order[fold::_FOLDS])
        if away.any() and not away.all():
            learned[away] = table.only(~away).fit(seed)(table.only(away).inputs())[0]
    counted = [
        np.flatnonzero(table.task == n)
        for n in present
        if (table.task == n).sum() >= _FEWEST and (only is None or table.tasks[n]["hash"] in only)
    ]
    rng = np.random.default_rng(seed)
    chance = [_score(rng.random(len(table)), table, counted) for _ in range(_RANDOM)]
    return {
        "cost model": _score(learned, table, counted),
        "device model": _score(table.prior_s, table, counted),
        "roofline": _score(table.rooflines_s(), table, counted),
        "random": _mean(chance),
    }


def _mean(scores: list[Score]) -> Score:
    ordered, first, five = np.mean([[score.pairwise, score.top1, score.top5] for score in scores], axis=0)
    return Score(float(ordered), float(first), float(five), scores[0].tasks)


def _score(predicted: np.typing.NDArray[np.float64], table: Table, tasks: list[np.typing.NDArray[np.intp]]) -> Score:
    rows = [
        (pairwise(predicted[at], table.measured_s[at]), *(best_of_first(predicted[at], table.measured_s[at], k)
                                                          for k in (1, 5)))
        for at in tasks
    ]  # fmt: skip
    if not rows:
        return Score(float("nan"), float("nan"), float("nan"), 0)
    ordered, first, five = np.array(rows).T
    known = ordered[~np.isnan(ordered)]  # of a task whose schedules are all alike there is nothing to order
    return Score(
        float(known.mean()) if len(known) else float("nan"), float(first.mean()), float(five.mean()), len(rows)
    )
