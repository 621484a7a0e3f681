"""How often Python looks for cycles of garbage while schedules are made by the thousand.

A nest is a tree that is never changed: it goes when the last reference to it goes, and holds no cycles. Thousands of
them that are kept make each look dearer, though: a fifth of the time in which candidates are made went there.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["seldom_collected"]

_SELDOM = (20_000, 20, 20)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have Python look more seldom; whoever turned that off, or looks more seldom yet, is left alone."""
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(*(max(own, seldom) for own, seldom in zip(before, _SELDOM, strict=True)))
    try:
        yield
    finally:
        gc.set_threshold(*before)
