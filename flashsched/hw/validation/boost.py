"""Learning a residual (``hw/residual.py``): gradient boosting of oblivious trees, on quantised traits.

Each tree takes a part of what is left; residuals count with their square up to 15 %, beyond it with their absolute
value, so that a row which nobody can explain pulls no harder than others, and in proportion to predicted over measured
time, for it is the error in percent of the measured time that is to be small. A leaf of few rows is drawn to zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.operators import ExplainsItself
from flashsched.hw.residual import Residual
from flashsched.hw.validation.rows import Rows

__all__ = ["learned", "learned_residual", "shared_residual"]

Floats = NDArray[np.float64]

DEPTH = 5
SHALLOW = 3
TREES = 160
RATE = 0.2
BINS = 24
_PART = 3  # each tree may ask about a third of the traits, so that trees differ and none of them is asked too often
_OUTLIER = 0.15
_DRAWN = 6.0  # rows' worth of weight that a leaf's value is drawn to zero by
_MANY = 350  # rows from which trees are deep
_FEWEST = 120  # rows of a section that a residual is learned from
_SHARED_TREES, _SHARED_DEPTH, _SHARED_RATE, _SHARED_DRAWN = 40, 4, 0.3, 30.0
"""Of what devices share: smaller, and drawn harder to zero. Twice the trees, or a level more, are no better."""
_FINE, _ROW = 2.0**22, 2.0**40
"""One sum tells of a bin both how many rows it has and what pulls them: a row counts ``_ROW``, and its pull in
``_FINE`` parts, rounded. Up to 8,192 rows a bin such sums are whole numbers below 2 ** 53, so exact in any order."""


def learned_residual(members: Sequence[Rows], values: Mapping[str, float]) -> Residual | None:
    """What the rows of *members* say beyond their model with the constants *values*; None where they are too few."""
    found = _explained(members, values)
    return None if found is None else learned(*found)


def shared_residual(seen: Sequence[Rows], members: Sequence[Rows], values: Mapping[str, float]) -> Residual | None:
    """What the rows *seen* of several devices say beyond their model with the *values* that these devices share, by the
    traits that all *members* have, whatever tiles their libraries have; None where rows are too few.

    Much of what is left of one device's rows is a library's habits, which its makers keep for some generations.
    """
    found = _explained(seen, values, members)
    if found is None:
        return None
    return learned(*found, trees=_SHARED_TREES, rate=_SHARED_RATE, drawn=_SHARED_DRAWN, depth=_SHARED_DEPTH)


def _explained(
    seen: Sequence[Rows], values: Mapping[str, float], alike: Sequence[Rows] = ()
) -> tuple[tuple[str, ...], Floats, Floats] | None:
    """Names of traits, their columns by row, and how far off each row is, as a logarithm; None where rows are too few
    to learn from, or the model does not explain itself."""
    model = seen[0].model
    if not isinstance(model, ExplainsItself) or sum(len(group.measured_s) for group in seen) < _FEWEST:
        return None
    explained = [model.explained(group.spec, values, group.dtype, group.sizes) for group in seen]
    first = [group.take(np.arange(len(group.measured_s)) == 0) for group in alike]
    others = [model.explained(group.spec, values, group.dtype, group.sizes)[1] for group in first]
    tables = [table for _, table in explained]
    names = tuple(name for name in tables[0] if all(name in table for table in (*tables, *others)))
    traits = np.concatenate([np.stack([table[name] for name in names], axis=1) for table in tables])
    off = [np.log(group.measured_s / times) for group, (times, _) in zip(seen, explained, strict=True)]
    return names, traits, np.concatenate(off)


def learned(names: tuple[str, ...], traits: Floats, residual: Floats, *, trees: int = TREES, rate: float = RATE,
            drawn: float = _DRAWN, depth: int = DEPTH) -> Residual:  # fmt: skip
    """The trees over *traits* (a column for each of *names*) that predict *residual*; the same ones every time. Of few
    rows they are shallow, else of *depth* questions."""
    rows = len(traits)
    depth = depth if rows >= _MANY else SHALLOW
    cuts = np.stack([np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]) for column in traits.T])  # by trait
    bins = np.stack([np.searchsorted(cut, column, side="left") for cut, column in zip(cuts, traits.T, strict=True)])
    telling = np.flatnonzero(bins.min(axis=1) < bins.max(axis=1))  # the same for all rows tells nothing
    telling = telling if len(telling) else np.arange(len(bins))
    some = min(len(telling), max(3, len(telling) // _PART))
    left = residual.copy()
    asked = np.zeros((trees, depth), dtype=np.int64)
    above = np.zeros((trees, depth))
    values = np.zeros((trees, 2**depth))
    for tree in range(trees):
        pull = np.clip(left, -_OUTLIER, _OUTLIER) * np.clip(np.exp(-left), 0.5, 2.0)
        packed = _ROW + np.round(pull * _FINE)
        leaf = np.zeros(rows, dtype=np.int64)
        offered = np.sort(np.random.default_rng(tree).choice(telling, some, replace=False))
        of_tree = bins[offered]
        table = _table(of_tree, leaf, packed, 1)
        for level in range(depth):
            place, cut = _best_cut(table, drawn)
            asked[tree, level], above[tree, level] = offered[place], cuts[offered[place], cut]
            over = of_tree[place] > cut
            if level + 1 < depth:  # the rows above the cut are counted; all others are below it
                high = np.flatnonzero(over)
                of_high = _table(of_tree.take(high, axis=1), leaf[high], packed[high], 2**level)
                table = np.concatenate([table - of_high, of_high])
            leaf += over * 2**level
        sums = np.bincount(leaf, pull, minlength=2**depth)
        values[tree] = rate * sums / (np.bincount(leaf, minlength=2**depth) + drawn)
        left -= values[tree][leaf]
    return Residual(names, asked, above, values)


def _table(bins: NDArray[np.int64], leaf: NDArray[np.int64], packed: Floats, leaves: int) -> Floats:
    """By leaf, trait and bin: the sum of *packed* over its rows."""
    found = np.empty((leaves, len(bins), BINS))
    first = leaf * BINS
    for trait, column in enumerate(bins):  # one by one: what they touch stays in the nearest caches
        found[:, trait] = np.bincount(column + first, packed, minlength=leaves * BINS).reshape(leaves, BINS)
    return found


def _best_cut(table: Floats, drawn: float) -> tuple[int, int]:
    """The trait and the bin after which to cut all leaves, so that the squares of what is left are least."""
    rows = np.round(table / _ROW)
    sums = ((table - rows * _ROW) / _FINE).cumsum(axis=2)
    rows = rows.cumsum(axis=2)
    low, below = sums[:, :, :-1], rows[:, :, :-1]
    high, over = sums[:, :, -1:] - low, rows[:, :, -1:] - below
    gain = (low**2 / (below + drawn) + high**2 / (over + drawn)).sum(axis=0)
    best = int(gain.argmax())
    return best // (BINS - 1), best % (BINS - 1)
