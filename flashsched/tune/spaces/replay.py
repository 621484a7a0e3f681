"""Searches over tables: any sampler, with the tuner's cost model or alone, and how many trials it needs.

A search with the cost model is a run of the tuner with a runner that looks up. One without it asks the sampler for one
candidate after another. Random search needs no runs: what *n* draws without repetition may be expected to find is
counted, exactly (`random_curve`, `random_trials`).

The *fraction of the optimum* after n trials is the table's best time over the best that was found.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flashsched.errors import Infeasible, ScheduleError, TuneError
from flashsched.tune.spaces.runner import TableRunner, task_of
from flashsched.tune.spaces.table import Space
from flashsched.tune.task import Candidate, Task

__all__ = ["Course", "Replays", "Strategy", "random_curve", "random_trials", "replay"]

GOAL = 0.95
"""The fraction of the optimum that a search is to reach."""


@dataclass(frozen=True)
class Strategy:
    """How to search: a sampler, whether the tuner's cost model chooses among what is proposed, and whether that one
    starts from the measurements of other tasks that ship with the package."""

    sampler: str
    cost_model: bool = True
    pretrained: bool = False

    def __str__(self) -> str:
        return self.sampler + ("-pretrained" if self.pretrained else "" if self.cost_model else "-alone")

    @classmethod
    def of(cls, text: str) -> Strategy:
        """``tpe``, ``tpe-alone`` without the cost model, or ``tpe-pretrained`` with one that knows other tasks.

        Raises:
            TuneError: there is no such sampler.
        """
        from flashsched.errors import did_you_mean
        from flashsched.tune.search.proposer import SAMPLERS

        name = text.removesuffix("-alone").removesuffix("-pretrained")
        if name not in SAMPLERS:
            raise TuneError(f"unknown sampler {name!r}", hint=did_you_mean(name, SAMPLERS))
        return cls(name, not text.endswith("-alone"), text == f"{name}-pretrained")


@dataclass(frozen=True)
class Course:
    """What one search over one space found: the fraction of the optimum after each trial."""

    space: str
    strategy: str
    seed: int
    fractions: tuple[float, ...]

    def trials_to(self, goal: float = GOAL) -> int | None:
        """The trials that it took to reach *goal*; None if it did not."""
        return next((n for n, fraction in enumerate(self.fractions, 1) if fraction >= goal), None)


@dataclass
class Replays:
    """All searches of a comparison.

    Attributes:
        spaces: the spaces by name.
        courses: the searches.
        trials: how many trials each had at most.
    """

    spaces: dict[str, Space]
    trials: int
    goal: float = GOAL
    courses: list[Course] = field(default_factory=list)

    @property
    def strategies(self) -> list[str]:
        """The strategies, in the order of their first searches."""
        return list(dict.fromkeys(course.strategy for course in self.courses))

    def of(self, space: str, strategy: str) -> list[Course]:
        """The searches of *space* by *strategy*, one a seed."""
        return [each for each in self.courses if (each.space, each.strategy) == (space, strategy)]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each space and strategy: mean trials to the goal, how many seeds reached it, and the ratio to
        random search. A search that did not reach the goal counts with all of its trials, which flatters it:
        ``reached`` tells.
        """
        found = []
        for name, space in self.spaces.items():
            chance = random_trials(space, self.goal)
            for strategy in self.strategies:
                courses = self.of(name, strategy)
                reached = [course.trials_to(self.goal) for course in courses]
                mean = statistics.fmean(self.trials if n is None else n for n in reached)
                found.append(
                    {
                        "space": name,
                        "points": len(space),
                        "strategy": strategy,
                        "seeds": len(courses),
                        "reached": sum(n is not None for n in reached),
                        "trials": mean,
                        "random": chance,
                        "ratio": mean / chance,
                        "fraction": statistics.fmean(course.fractions[-1] for course in courses),
                    }
                )
        return found

    def overall(self) -> list[dict[str, Any]]:
        """One row a strategy, over all spaces: trials summed and over those of random search, and the mean ratio."""
        found = []
        rows = self.rows()
        for strategy in self.strategies:
            mine = [row for row in rows if row["strategy"] == strategy]
            found.append(
                {
                    "strategy": strategy,
                    "trials": sum(row["trials"] for row in mine),
                    "random": sum(row["random"] for row in mine),
                    "ratio": sum(row["trials"] for row in mine) / sum(row["random"] for row in mine),
                    "mean_ratio": math.exp(statistics.fmean(math.log(row["ratio"]) for row in mine)),
                    "reached": sum(row["reached"] for row in mine) / sum(row["seeds"] for row in mine),
                }
            )
        return found

    def curve(self, space: str, strategy: str) -> list[float]:
        """The mean fraction of the optimum after each trial."""
        courses = self.of(space, strategy)
        return [
            statistics.fmean(c.fractions[min(n, len(c.fractions) - 1)] for c in courses) for n in range(self.trials)
        ]


def replay(
    spaces: Sequence[Space],
    strategies: Iterable[Strategy],
    seeds: int = 5,
    trials: int = 100,
    *,
    goal: float = GOAL,
    progress: Callable[[Course], None] | None = None,
) -> Replays:
    """Search each of *spaces* by each of *strategies* with the seeds 0, 1, …; the same always.

    Raises:
        TuneError: a table does not fit its template any more, or there are no trials to be made.
    """
    if trials < 1 or seeds < 1:
        raise TuneError(f"a replay needs a trial and a seed at least, got {trials} and {seeds}")
    found = Replays({space.name: space for space in spaces}, trials, goal)
    wanted = list(strategies)
    for space in spaces:
        task = task_of(space)
        for strategy in wanted:
            for seed in range(seeds):
                course = _searched(space, task, strategy, seed, trials)
                found.courses.append(course)
                if progress is not None:
                    progress(course)
    return found


def _searched(space: Space, task: Task, strategy: Strategy, seed: int, trials: int) -> Course:
    runner = TableRunner(space)
    most = min(trials, len(space))
    if strategy.cost_model:
        _with_tuner(task, runner, strategy, seed, most)
    else:
        _alone(task, runner, strategy.sampler, seed, most)
    best = math.inf
    fractions = []
    for time_s in runner.tried:
        best = best if time_s is None else min(best, time_s)
        fractions.append(space.best_s / best)
    return Course(space.name, str(strategy), seed, tuple(fractions))


def _with_tuner(task: Task, runner: TableRunner, strategy: Strategy, seed: int, trials: int) -> None:
    """A run of the tuner itself."""
    from flashsched.tune.settings import Settings
    from flashsched.tune.tuner import Search

    settings = Settings(
        trials=trials, seed=seed, sampler=strategy.sampler, warm_start=False, pretrained=strategy.pretrained
    )
    search = Search(task, runner, settings)
    while search.step():
        pass


def _alone(task: Task, runner: TableRunner, sampler: str, seed: int, trials: int) -> None:
    """The sampler's own proposals, each tried as it comes."""
    from flashsched.tune.search.proposer import Proposer, SpaceExhausted

    proposer = Proposer(seed, sampler)

    def make(knobs: Any) -> Candidate:
        try:
            return task.candidate(knobs, runner.spec)
        except ScheduleError as error:
            raise Infeasible(error.reason) from None

    for _ in range(trials):
        try:
            proposal = proposer.ask(make)
        except SpaceExhausted:
            return
        for _, trial in runner.run(task, [proposal.value], None):
            proposer.tell(proposal, trial.times_s[0] if trial.times_s else None)


def random_trials(space: Space, goal: float = GOAL) -> float:
    """The trials that random search, without repetition, needs for *goal* in the mean.

    Of N points in random order the first of K good ones is expected at place (N + 1) / (K + 1).
    """
    good = sum(p.time_s is not None and space.best_s / p.time_s >= goal for p in space.points.values())
    return (len(space) + 1) / (good + 1)


def random_curve(space: Space, trials: int) -> list[float]:
    """The fraction of the optimum that random search, without repetition, reaches in the mean after 1, 2, … trials.

    With the points in order of time, the best of n draws is the r-th with probability
    ``C(N - r, n - 1) / C(N, n)``, which is summed over r without large numbers.
    """
    times = sorted(math.inf if p.time_s is None else p.time_s for p in space.points.values())
    fractions = [space.best_s / time_s for time_s in times]
    total = len(fractions)
    curve = []
    for n in range(1, min(trials, total) + 1):
        chance, mean = n / total, 0.0  # that the first of all is among the n drawn
        for rank, fraction in enumerate(fractions):
            mean += chance * fraction
            left = total - rank - 1
            if left < n:
                break
            chance *= (left - n + 1) / left
        curve.append(mean)
    return curve + [1.0] * max(0, trials - total)
