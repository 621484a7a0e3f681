"""The control kernel: a piece of work that never changes, timed beside each candidate to see what the machine does.

Clock frequencies fall when a core gets hot, and other work takes its share of a core. The control kernel is one chain
of dependent multiply-adds, whose time follows both and nothing else. What it takes more than at its best in this run
is the *drift*.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from flashsched.tune.measuring.timing import Run, Timing

__all__ = ["Control"]

_LENGTH = 2048  # multiply-adds in a row, of some four cycles each
_CALLS = 48  # in a sample, which lasts about 0.1 ms
_SAMPLES = 3
_PATIENCE_S = 0.02  # before a second try, so that what disturbs may pass
DRIFT = 1.15
"""Drift from which on a timing is done again."""


class Control:
    """Times the control kernel, in the process that measures.

    Args:
        run: what to time in place of the kernel.

    Attributes:
        best_s: its least time so far.
    """

    def __init__(self, run: Run | None = None) -> None:
        self._run = run if run is not None else _chain()
        self.best_s = math.inf
        self._run(_CALLS)
        self.factor()

    def know(self, best_s: float | None) -> None:
        """Take in the least time that another process of this run saw."""
        if best_s is not None:
            self.best_s = min(self.best_s, best_s)

    def factor(self) -> float:
        """How many times slower than at its best the machine is now; 1 is the best."""
        now = min(self._run(_CALLS) for _ in range(_SAMPLES)) / _CALLS
        self.best_s = min(self.best_s, now)
        return now / self.best_s if self.best_s > 0 else 1.0

    def timed(self, timing: Callable[[], Timing]) -> tuple[Timing, float]:
        """What *timing* gives and the drift meanwhile; where that was large, the better of two tries."""
        tries = [self._one(timing)]
        if tries[0][1] > DRIFT:
            time.sleep(_PATIENCE_S)
            tries.append(self._one(timing))
        return min(tries, key=lambda entry: entry[1])

    def _one(self, timing: Callable[[], Timing]) -> tuple[Timing, float]:
        before = self.factor()
        return timing(), max(before, self.factor())


def _chain() -> Run:
    """The kernel: a sum of products in the order of its definition, each of which waits for the one before."""
    from flashsched import te
    from flashsched.codegen.build import build
    from flashsched.schedule import create_schedule

    a = te.placeholder((_LENGTH,), name="a")
    k = te.reduce_axis((0, _LENGTH), name="k")
    out = te.compute((1,), lambda i: te.sum(a[k] * a[k], axis=k), name="control")
    kernel = build(create_schedule(out), [a, out], name="control")
    return kernel.bound(np.ones(_LENGTH, dtype=np.float32), np.zeros(1, dtype=np.float32))
