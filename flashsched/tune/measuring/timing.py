"""Statistics of timing: how often to repeat, what the samples say, and which of several kernels is the fastest.

No kernel and no worker here: a thing to be timed is ``run(repeat) -> seconds``, which does its work *repeat* times in
a row and says how long all of it took. A kernel offers that natively; :func:`repeated` makes it of any callable.

Times on a shared machine are skewed and drift (other processes, clock frequency), so everything here rests on order
statistics: medians, and intervals of the median that assume nothing about the distribution.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flashsched.errors import TuneError

__all__ = [
    "Interval",
    "Run",
    "Timing",
    "choose",
    "interleave",
    "median_interval",
    "repeated",
    "tie_band",
    "time_callable",
]

Run: TypeAlias = Callable[[int], float]

_SETTLED = 6  # samples from which on the interval of their median can hold it with 95 %
_MOST = 1 << 24  # calls in one sample; what is still faster than the clock then does nothing


@dataclass(frozen=True)
class Interval:
    """An interval that holds the median with probability *coverage* (which may be below what was asked for)."""

    low: float
    high: float
    coverage: float


@dataclass(frozen=True)
class Timing:
    """Samples of one thing's time, each in seconds per call and the mean of ``repeat`` calls.

    ``stopped_early`` tells that it was so slow that timing it further was no use.
    """

    samples_s: list[float]
    repeat: int
    stopped_early: bool = False

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    @property
    def interval(self) -> Interval:
        return median_interval(self.samples_s)

    @property
    def noise(self) -> float:
        """Width of the 95 % interval of the median, relative to the median; 0.02 means known to about 1 % each way."""
        return (self.interval.high - self.interval.low) / self.median_s if self.median_s > 0 else 0.0


def repeated(function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Run:
    """A ``run(repeat)`` of a plain callable. The loop costs about 30 ns a call, which is not taken off."""

    def run(repeat: int) -> float:
        start = clock()
        for _ in range(repeat):
            function()
        return clock() - start

    return run


def time_callable(
    run: Run,
    *,
    min_time_s: float = 0.1,
    max_repeats: int = 30,
    min_repeats: int = 3,
    min_sample_s: float = 2e-4,
    precision: float = 0.0,
    stop_if_slower_than_s: float | None = None,
    worse_than_s: float | None = None,
    surely_above_s: float | None = None,
) -> Timing:
    """Time *run*, as long as it pays.

    One call warms up. Then the number of calls in a sample grows until a sample lasts *min_sample_s*, and samples
    are taken until they sum to *min_time_s*, but at least *min_repeats* and at most *max_repeats*.

    Args:
        precision: enough is known when the 95 % interval of the median is no wider than this share of the median,
            which needs six samples or more.
        stop_if_slower_than_s: seconds per call. When the fastest sample so far, warm-up included, is slower than
            this, timing ends there; a candidate ten times slower than the best needs no third digit.
        worse_than_s: the same with less hurry: when all of *min_repeats* samples are slower.
        surely_above_s: enough is known, too, when the whole interval lies above this: the median is that of no winner.

    Raises:
        TuneError: the settings contradict each other, or *run* says that it takes no time at all.
    """
    if not 1 <= min_repeats <= max_repeats:
        raise TuneError(f"timing needs 1 <= min_repeats <= max_repeats, got {min_repeats} and {max_repeats}")
    slow = math.inf if stop_if_slower_than_s is None else stop_if_slower_than_s
    warm = run(1)
    if warm > slow:
        again = min(warm, run(1)) if warm < 2 * slow else warm  # first calls touch cold memory: near misses get another
        if again > slow:
            return Timing([again], 1, stopped_early=True)
    repeat, first = _calibrate(run, min_sample_s)
    samples = [first / repeat]
    total = first
    worse = math.inf if worse_than_s is None else worse_than_s
    above = math.inf if surely_above_s is None else surely_above_s
    while len(samples) < min_repeats or (total < min_time_s and len(samples) < max_repeats):
        if min(samples) > (worse if len(samples) >= min_repeats else slow):
            return Timing(samples, repeat, stopped_early=True)
        if precision and len(samples) >= max(min_repeats, _SETTLED):
            known = Timing(samples, repeat)
            if known.noise <= precision or known.interval.low > above:
                break
        seconds = run(repeat)
        total += seconds
        samples.append(max(seconds, 0.0) / repeat)
    return Timing(samples, repeat)


def interleave(runs: Sequence[Run], rounds: int = 11, *, min_sample_s: float = 2e-3) -> list[list[float]]:
    """Time several things against each other: one sample of each in every round, so that drift hits all alike.

    Each round starts with another one and every second round goes backwards, so that none always follows the same
    neighbour (whose data it finds in the caches).

    Returns:
        For each of *runs* its samples in seconds per call, round by round.
    """
    repeats = [_calibrate(run, min_sample_s)[0] for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds):
        order = [(turn + offset) % len(runs) for offset in range(len(runs))]
        for index in order if turn % 2 == 0 else reversed(order):
            samples[index].append(max(runs[index](repeats[index]), 0.0) / repeats[index])
    return samples


def median_interval(samples: Sequence[float], coverage: float = 0.95) -> Interval:
    """The narrowest interval between two samples of equal rank from either end that holds the median.

    The number of samples below the true median is binomial(n, 1/2), whatever their distribution, which gives the
    coverage exactly (David and Nagaraja, Order Statistics, 3rd ed., section 7.1). Below six samples not even
    (smallest, largest) reaches 95 %; the interval says what it does reach.

    >>> median_interval([3.0, 1.0, 2.0])
    Interval(low=1.0, high=3.0, coverage=0.75)
    """
    if not samples:
        raise TuneError("a median needs at least one sample")
    ordered = sorted(samples)
    n = len(ordered)
    rank, missed = 0, 2 * 0.5**n  # outside (ordered[rank], ordered[-1 - rank]) with probability *missed*
    while rank + 1 < n - 1 - (rank + 1):
        wider = missed + 2 * math.comb(n, rank + 1) * 0.5**n
        if wider > 1 - coverage:
            break
        rank, missed = rank + 1, wider
    return Interval(ordered[rank], ordered[n - 1 - rank], max(0.0, 1 - missed))


def tie_band(samples: Sequence[Sequence[float]], tolerance: float = 0.0, coverage: float = 0.95) -> list[int]:
    """Indices of those that may be as fast as the one with the least median, which is among them; in order.

    *samples* are those of :func:`interleave`. Round by round, the time of each is divided by that of the best, so
    that drift cancels; it ties when the interval of the median of these ratios reaches down to ``1 + tolerance``.
    """
    if not samples or len({len(row) for row in samples}) != 1 or not samples[0]:
        raise TuneError(f"a tie needs as many samples of each, got {[len(row) for row in samples]}")
    best = min(range(len(samples)), key=lambda index: statistics.median(samples[index]))

    def ties(index: int) -> bool:
        ratios = [
            mine / its if its > 0 else (1.0 if mine <= 0 else math.inf)
            for mine, its in zip(samples[index], samples[best], strict=True)
        ]
        return median_interval(ratios, coverage).low <= 1 + tolerance

    return [index for index in range(len(samples)) if index == best or ties(index)]


def choose(samples: Sequence[Sequence[float]], tolerance: float = 0.0) -> int:
    """The winner: of those that tie for the best, the one that stands first, so that noise does not decide."""
    return tie_band(samples, tolerance)[0]


def _calibrate(run: Run, min_sample_s: float) -> tuple[int, float]:
    """How many calls last *min_sample_s*, and how long they took."""
    repeat = 1
    while (seconds := run(repeat)) < min_sample_s:
        if repeat >= _MOST:
            if seconds > 0:
                break
            raise TuneError(f"{repeat} calls took {seconds} s, so there is nothing to time")
        factor = min_sample_s / seconds if seconds > 0 else 16.0
        repeat = min(_MOST, max(repeat + 1, math.ceil(repeat * min(16.0, factor * 1.1))))
    return repeat, seconds
