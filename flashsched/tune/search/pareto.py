"""Several objectives at once: which candidates no other beats in all of them, and in what order to try the others.

K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["front", "front_of", "in_fronts"]

T = TypeVar("T")
Values = Sequence[Sequence[float]]

_HELD = 256  # of a stream, before it is seen which of them are beaten


def front(values: Values) -> list[int]:
    """Indices of those that no other beats: none is as good in every column and better in one. Of equals, the first.

    >>> front([(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (5.0, 1.0), (1.0, 5.0)])
    [0, 1, 3]
    """
    table = np.asarray(values, dtype=np.float64)
    found: list[int] = []
    for at in range(len(table)):
        beaten = (table <= table[at]).all(axis=1) & (table < table[at]).any(axis=1)
        equal = (table[:at] == table[at]).all(axis=1)
        if not beaten.any() and not equal.any():
            found.append(at)
    return found


def front_of(items: Iterable[T], values: Callable[[T], Sequence[float]]) -> list[T]:
    """Those of *items* that no other beats, as `front` has it, in their order; of a stream, no more are held than that.

    >>> front_of(["aaa", "b", "cc", "a"], lambda word: (len(word), -ord(word[0])))
    ['b', 'cc']
    """
    held: list[tuple[T, Sequence[float]]] = []
    most = _HELD
    for item in items:
        held.append((item, values(item)))
        if len(held) >= most:
            held = [held[at] for at in front([numbers for _, numbers in held])]
            most = len(held) + _HELD
    return [held[at][0] for at in front([numbers for _, numbers in held])] if held else []


def in_fronts(values: Values) -> list[int]:
    """All indices, front by front; within one those first that have the most room about them, its ends before all.

    >>> in_fronts([(3.0, 3.0), (1.0, 5.0), (2.0, 2.0), (5.0, 1.0)])
    [1, 3, 2, 0]
    """
    left = list(range(len(values)))
    order: list[int] = []
    while left:
        table = [values[at] for at in left]
        here = front(table)
        room = _room(np.asarray([table[n] for n in here], dtype=np.float64))
        order += [left[here[n]] for n in np.argsort(-room, kind="stable")]
        taken = set(here)
        left = [at for n, at in enumerate(left) if n not in taken]
    return order


def _room(table: NDArray[Any]) -> NDArray[Any]:
    """The distance between each one's neighbours, summed over the columns; infinite at the ends."""
    room = np.zeros(len(table))
    for column in np.log(np.maximum(table, 1e-30)).T:
        order = np.argsort(column, kind="stable")
        span = max(float(column[order[-1]] - column[order[0]]), 1e-12)
        room[order[[0, -1]]] = np.inf
        room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return room
