"""A trace with steps left out, and what each group of steps is worth: how a schedule's speed is taken apart.

Two questions, and neither answers the other. *What if this step were missing?* A step that another one builds on takes
that one with it, so the effects of single steps overlap, and their product is far more than the whole speed-up. *How
much of the speed-up is due to this group of steps?* Shapley's value: the mean, over orders in which the groups may be
put in place, of what a group adds when its turn comes (L. Shapley, "A value for n-person games", 1953). The values are
of the logarithm of the speed-up, so that their factors multiply to the whole of it.

Nothing here measures; ``explain.py`` does.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from flashsched.errors import ScheduleError
from flashsched.schedule import Trace
from flashsched.tune.task import Candidate, Task

__all__ = ["Fallen", "Group", "Reduced", "Worth", "groups_of", "keep", "orders_of", "shapley"]

_PURPOSES = {
    "vectors": ("vectorize", "tensorize"),
    "unrolling": ("unroll", "unroll_and_jam"),
    "threads": ("parallel", "bind", "env_threads", "set_store_predicate"),
    "partial sums": ("cache_write", "stage_mem", "rfactor", "decompose_reduction", "set_scope"),
    "placement": (
        "compute_at", "compute_inline", "compute_root", "create_group", "reverse_compute_at", "reverse_compute_inline",
        "store_at",
    ),
    "layout": ("transform_layout", "storage_align", "flatten_axes", "reindex", "pad_einsum"),
    "running ahead": ("double_buffer", "software_pipeline", "rolling_buffer", "prefetch"),
    "special cases": ("loop_partition", "peel", "specialize"),
}  # fmt: skip
"""What a primitive is for, where it is not for tiling (loops cut, joined, ordered)."""
_PURPOSE = {primitive: purpose for purpose, primitives in _PURPOSES.items() for primitive in primitives}
_COPIES = ("cache_read",)


@dataclass(frozen=True)
class Fallen:
    """A step that was to stay, and no longer fits: its place in the trace, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Reduced:
    """A schedule made of some steps of a trace, and the steps among them that do not fit without the others."""

    candidate: Candidate
    fallen: tuple[Fallen, ...]


@dataclass(frozen=True)
class Group:
    """Steps that serve one purpose: their places in the trace."""

    name: str
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Worth:
    """What a group is worth.

    Attributes:
        factor: how many times faster it makes the schedule, over orders in the geometric mean.
        share: its part of the logarithm of the whole speed-up; the shares sum to 1, and one below 0 does harm.
        spread: standard error of the share over the orders; 0 where all orders were taken.
    """

    group: Group
    factor: float
    share: float
    spread: float


def keep(task: Task, trace: Trace, wanted: Collection[int]) -> Reduced:
    """The schedule of those steps of *trace* (a flat one) whose places are in *wanted*.

    A step that is refused without the others falls, and so does one that would give other names than it gave when it
    was recorded: what follows would speak of something else.

    >>> from flashsched.schedule import create_schedule
    >>> task = Task("relu", (8, 32))
    >>> s = create_schedule(task.args()[-1])
    >>> stage = s.stages[0]
    >>> stage.vectorize(stage.split(stage.loops[1], factor=8)[1])
    >>> keep(task, s.trace, {1}).fallen[0].number
    1
    """
    start = task.replay(Trace())
    schedule = start.schedule
    fallen: list[Fallen] = []
    for number, step in enumerate(trace):
        if number not in wanted:
            continue
        tried = schedule.copy()
        try:
            out = tried.apply(step.primitive, step.stage, dict(step.args))
        except ScheduleError as error:
            fallen.append(Fallen(number, error.reason))
            continue
        if out != step.out:
            given, gave = (", ".join(names) or "nothing" for names in (out, step.out))
            fallen.append(Fallen(number, f"it would give {given}, where it gave {gave}"))
            continue
        schedule = tried
    return Reduced(Candidate(schedule, start.args, {}, task), tuple(fallen))


def groups_of(trace: Trace) -> list[Group]:
    """The steps of *trace* (a flat one) by what they are for, in the order of their first steps.

    A copy of an operand is a group of its own, with all steps on the stage that copies.
    """
    copies: dict[str, str] = {}
    found: dict[str, list[int]] = {}
    for number, step in enumerate(trace):
        if step.primitive in _COPIES:
            copies.update(dict.fromkeys(step.out, f"copy {step.stage}"))
        name = next((copies[s] for s in (step.stage, *step.out) if s in copies), None)
        found.setdefault(name or _PURPOSE.get(step.primitive, "tiling"), []).append(number)
    return [Group(name, tuple(steps)) for name, steps in found.items()]


def orders_of(count: int, most: int, seed: int) -> tuple[list[tuple[int, ...]], bool]:
    """Orders of *count* things: all of them if there are at most *most*, and else a sample; and whether it is all.

    A sample comes in pairs, an order and its reverse, so that what is early in one is late in the other
    (R. Mitchell et al., "Sampling permutations for Shapley value estimation", JMLR 23, 2022).
    """
    if math.factorial(count) <= most:
        return list(itertools.permutations(range(count))), True
    rng = random.Random(seed)
    orders: list[tuple[int, ...]] = []
    while len(orders) < most:
        order = list(range(count))
        rng.shuffle(order)
        orders += [tuple(order), tuple(reversed(order))]
    return orders[:most], False


def shapley(
    groups: Sequence[Group], orders: Sequence[Sequence[int]], exact: bool, seconds: Callable[[frozenset[int]], float]
) -> list[Worth]:
    """What each of *groups* is worth, by ``seconds(the steps that are in place)``.

    >>> tiles, lanes = Group("tiles", (0,)), Group("lanes", (1,))
    >>> times = {frozenset(): 8.0, frozenset({0}): 8.0, frozenset({1}): 4.0, frozenset({0, 1}): 1.0}
    >>> [round(w.factor, 2) for w in shapley([tiles, lanes], [(0, 1), (1, 0)], True, times.__getitem__)]
    [2.0, 4.0]
    """
    gains: list[list[float]] = [[] for _ in groups]
    for order in orders:
        placed: frozenset[int] = frozenset()
        before = math.log(seconds(placed))
        for which in order:
            placed = placed | frozenset(groups[which].steps)
            after = math.log(seconds(placed))
            gains[which].append(before - after)
            before = after
    means = [statistics.fmean(gain) for gain in gains]
    whole = math.fsum(means)
    scale = 1.0 / whole if abs(whole) > 1e-9 else 0.0
    errors = [0.0 if exact or len(gain) < 2 else statistics.stdev(gain) / math.sqrt(len(gain)) for gain in gains]
    return [
        Worth(group, math.exp(mean), mean * scale, abs(error * scale))
        for group, mean, error in zip(groups, means, errors, strict=True)
    ]
