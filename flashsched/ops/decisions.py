"""Questions that templates ask again and again, each as a few ordered choices: a split, and an order of loops.

They are functions of knobs, and not methods of them: whoever answers knows ``choice`` and ``require`` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from flashsched.errors import TuneError, counted
from flashsched.ops.operator import KnobsLike

__all__ = ["choose_order", "choose_split"]

T = TypeVar("T")


def choose_split(
    knobs: KnobsLike, name: str, extent: int, parts: int, *, most: int | None = None, first: Sequence[int] = ()
) -> list[int]:
    """In how many turns each of *parts* loops goes that a loop of *extent* is split into, outermost first.

    What TVM calls ``define_split``. All parts but the outermost are divisors, small before large, so that their product
    divides *extent*; the innermost is asked for first, as it matters most.

    >>> from flashsched.tune.search.knobs import FixedKnobs
    >>> choose_split(FixedKnobs({"i: part 2": 5, "i: part 1": 1}), "i", 48, 3)
    [3, 2, 8]

    Args:
        most: the largest turns of the innermost part.
        first: the turns, outermost first, of a first schedule; as for `choice`, the nearest divisors stand for them.

    Raises:
        TuneError: *extent* or *parts* is below 1, or *first* has another length.
    """
    if extent < 1 or parts < 1:
        raise TuneError(f"a split is of 1 turn at least into 1 part at least, got {extent} into {parts}")
    if first and len(first) != parts:
        raise TuneError(f"first has {counted(len(first), 'number')}, and the split {counted(parts, 'part')}")
    turns: list[int] = []
    left = extent
    for part in reversed(range(1, parts)):
        options = [n for n in range(1, left + 1) if left % n == 0]
        if most is not None and part == parts - 1:
            options = [n for n in options if n <= most] or [1]
        turns.insert(0, knobs.choice(f"{name}: part {part}", options, default=first[part] if first else None))
        left //= turns[0]
    return [left, *turns]


def choose_order(knobs: KnobsLike, name: str, items: Sequence[T]) -> list[T]:
    """An order of *items*; the first answers leave them as they are.

    Each item in turn is moved to the front past so many of those before it. A decision that changes by one swaps two
    neighbours, so orders that are alike have decisions that are alike, which the number of a permutation has not.

    >>> from flashsched.tune.search.knobs import FixedKnobs
    >>> choose_order(FixedKnobs({"order: j": 0, "order: k": 2}), "order", ["i", "j", "k"])
    ['k', 'i', 'j']
    """
    found: list[T] = []
    for number, item in enumerate(items):
        past = knobs.choice(f"{name}: {item}", range(number + 1)) if number else 0
        found.insert(number - past, item)
    return found
