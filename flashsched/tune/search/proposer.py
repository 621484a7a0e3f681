"""The door to Optuna, and what any sampler's proposals go through: proposals that learn from what was measured.

Optuna runs in memory and holds nothing that the tuning log does not: a search is rebuilt from a log with
:meth:`Proposer.add_known`. How a template asks, and answers that need no model, are in ``knobs.py``; samplers of
our own are in ``samplers.py``.

What this adds to ask and tell:

- **No repeats.** TPE proposes what it knows again and again (on 490 points, 300 trials gave 145 different ones). A
  proposal that was made before, or is infeasible, is drawn again a bounded number of times; then neighbours of the
  best and random draws fill in; then the space is walked through in order. So a small space is searched
  completely, and its end is told.
- **Questions that depend on answers.** A knob whose options differ in number between candidates is a parameter of its
  own for each number, as Optuna models only parameters that keep their range.
- **A cost that stays.** What TPE takes for a proposal grows with the trials it knows, so it knows the best and the
  latest: see :class:`_OptunaSampler` (``benchmarks/search.py`` draws the curve).
"""

from __future__ import annotations

import importlib.util
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from flashsched.errors import Infeasible, TuneError, did_you_mean
from flashsched.tune.search.knobs import Answers, FixedKnobs, MutatedKnobs, RandomKnobs, Template, every
from flashsched.tune.search.samplers import Evolution, GaussianSampler, Sampler

__all__ = ["SAMPLERS", "Proposal", "Proposer", "SpaceExhausted"]

T = TypeVar("T")

_ASKS = 3  # draws from the sampler for one proposal
_DRAWS = 48  # then draws from neighbours of the best and at random
_WALK = 2_000  # then candidates walked through in order, in all: making one may cost milliseconds
_REMEMBERED = 240  # trials that TPE goes on with when it is told to forget, half of them the best
_FORGETS_AT = 480  # trials, failed draws among them, at which it is


def _cmaes(seed: int) -> Sampler:
    if importlib.util.find_spec("cmaes") is None:
        raise TuneError("sampler 'cmaes' needs the package cmaes", hint="pip install 'flashsched[search]'")
    return _OptunaSampler(optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=10), forgets=False)


SAMPLERS: dict[str, Callable[[int], Sampler]] = {
    "tpe": lambda seed: _OptunaSampler(optuna.samplers.TPESampler(seed=seed, multivariate=True)),
    "random": lambda seed: _OptunaSampler(optuna.samplers.RandomSampler(seed=seed)),
    "cmaes": _cmaes,
    "gp": lambda seed: GaussianSampler(seed),
    "evolutionary": lambda seed: Evolution(seed),
}
"""Samplers by name, each made from a seed."""


class SpaceExhausted(TuneError):  # noqa: N818  (the end of a search, not a failure)
    """Every candidate that can be found was proposed."""


@dataclass(frozen=True)
class Proposal(Generic[T]):
    """A candidate: its decisions (index by knob), how many options each knob had, and what the template made."""

    decisions: dict[str, int]
    sizes: dict[str, int]
    value: T
    answers: Answers | None = field(default=None, repr=False, compare=False)


class Proposer:
    """Proposes candidates of a template, each once, in the light of what was told about earlier ones.

    The same seed and the same calls give the same proposals. Smaller values are better.

    Args:
        seed: of everything random.
        sampler: one of :data:`SAMPLERS`.
        asks: draws from the sampler for one proposal, before neighbours of the best and random draws fill in.

    Raises:
        TuneError: unknown sampler.
    """

    def __init__(self, seed: int = 0, sampler: str = "tpe", asks: int = _ASKS) -> None:
        if sampler not in SAMPLERS:
            raise TuneError(f"unknown sampler {sampler!r}", hint=did_you_mean(sampler, SAMPLERS))
        self._sampler, self._asks = SAMPLERS[sampler](seed % 2**32), asks
        self._rng = random.Random(seed)
        self._seen: set[int] = set()  # hashes of decisions, which a long run has many of
        self._best: list[tuple[float, dict[str, int]]] = []
        self._unsized: list[tuple[dict[str, int], float | None]] = []
        self._walk: Iterator[tuple[Answers, Any]] | None = None
        self.infeasible = 0
        self.last_reason = ""

    def ask(self, template: Template[T]) -> Proposal[T]:
        """A candidate that was not proposed, told or added before. Always pass the same template.

        Raises:
            SpaceExhausted: there is none left, or none can be found; the message names the last constraint broken.
        """
        self._size_known(template)
        for _ in range(self._asks):
            knobs = self._sampler.draw()
            value = self._try(template, knobs)
            if value is not None:
                return Proposal(knobs.decisions, knobs.sizes, value[0], knobs)
            self._sampler.forget(knobs)
        for turn in range(_DRAWS):
            drawn = self._draw(turn)
            if (value := self._try(template, drawn)) is not None:
                return Proposal(drawn.decisions, drawn.sizes, value[0])
        if self._walk is None:
            self._walk = every(template, _WALK)
        for walked, made in self._walk:
            if self._new(walked.decisions):
                return Proposal(walked.decisions, walked.sizes, made)
        why = f"; {self.infeasible} draws were infeasible, last: {self.last_reason}" if self.infeasible else ""
        raise SpaceExhausted(f"no new candidate is left after {len(self._seen)}{why}")

    def tell(self, proposal: Proposal[Any], value: float | None) -> None:
        """Report what became of a proposal: seconds, or None when it failed (which counts as worse than any time).

        A proposal made elsewhere, from :class:`~flashsched.tune.search.knobs.RandomKnobs` say, may be told as well.
        """
        self._new(proposal.decisions)
        self._remember(proposal.decisions, value)
        self._sampler.tell(proposal.answers, proposal.decisions, proposal.sizes, value)

    def add_known(
        self, decisions: Mapping[str, int], value: float | None, sizes: Mapping[str, int] | None = None
    ) -> None:
        """Add a trial from a log; it will not be proposed again.

        Without *sizes*, how many options each knob had is found out by running the template, at the next ask;
        decisions that no longer fit it are then left out.
        """
        self._new(dict(decisions))
        if sizes is None:
            self._unsized.append((dict(decisions), value))
        else:
            self._remember(dict(decisions), value)
            self._sampler.tell(None, decisions, sizes, value)

    def _try(self, template: Template[T], knobs: Answers) -> tuple[T] | None:
        """What the template makes of *knobs*; None if they are infeasible or not new."""
        try:
            value = template(knobs)
        except Infeasible as error:
            self.infeasible += 1
            self.last_reason = error.reason
            return None
        return (value,) if self._new(knobs.decisions) else None

    def _new(self, decisions: Mapping[str, int]) -> bool:
        key = hash(frozenset(decisions.items()))
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _draw(self, turn: int) -> Answers:
        """By turns a neighbour of one of the best, a cross of two of them, and anything."""
        if turn % 3 == 2 or not self._best:
            return RandomKnobs(self._rng)
        one, other = (self._rng.choice(self._best)[1] for _ in range(2))
        return MutatedKnobs(one, self._rng, other if turn % 3 else None)

    def _remember(self, decisions: dict[str, int], value: float | None) -> None:
        if value is not None:
            self._best = sorted([*self._best, (value, decisions)], key=lambda entry: entry[0])[:8]

    def _size_known(self, template: Template[Any]) -> None:
        waiting, self._unsized = self._unsized, []
        for decisions, value in waiting:
            knobs = FixedKnobs(decisions)
            try:
                template(knobs)
            except TuneError:
                continue
            self._remember(decisions, value)
            self._sampler.tell(None, decisions, knobs.sizes, value)


class _OptunaSampler:
    """A sampler of Optuna's.

    Args:
        sampler: Optuna's own.
        forgets: whether it goes on with the best and the latest trials once it has been told of many. One that keeps
            its state in the trials, as CMA-ES does, can't.
    """

    def __init__(self, sampler: optuna.samplers.BaseSampler, forgets: bool = True) -> None:
        self._forgets = forgets
        self._sampler = sampler
        self._study = self._new_study()
        self._trials = 0

    def draw(self) -> Answers:
        if self._forgets and self._trials >= _FORGETS_AT:
            self._forget_most()
        self._trials += 1
        with _quiet():
            return _TrialKnobs(self._study, self._study.ask())

    def tell(self, answers: Answers | None, decisions: Mapping[str, int], sizes: Mapping[str, int],
             value: float | None) -> None:  # fmt: skip
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        with _quiet():
            if isinstance(answers, _TrialKnobs) and answers.study is self._study:
                self._study.tell(answers.trial, value, state)
                return
            names = {name: _parameter(name, size) for name, size in sizes.items() if name in decisions}
            ranges: dict[str, BaseDistribution] = {names[name]: IntDistribution(0, sizes[name] - 1) for name in names}
            params = {names[name]: decisions[name] for name in names}
            self._trials += 1
            self._study.add_trial(optuna.create_trial(state=state, value=value, params=params, distributions=ranges))

    def forget(self, answers: Answers) -> None:
        """Its draw may have been cut short by a constraint, and would then blur Optuna's joint model."""
        assert isinstance(answers, _TrialKnobs)
        with _quiet():
            answers.study.tell(answers.trial, state=TrialState.FAIL)

    def _forget_most(self) -> None:
        """Go on with the best, the latest, and the latest failures. What is drawn and not told of is told by its
        decisions later."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        valid = [trial for trial in done if trial.state == TrialState.COMPLETE]
        best = sorted(valid, key=_value)[: _REMEMBERED // 2]
        kept = {trial.number for trial in (*best, *done[-(_REMEMBERED // 2) :])}
        self._study = self._new_study()
        with _quiet():
            self._study.add_trials([trial for trial in done if trial.number in kept])
        self._trials = len(kept)

    def _new_study(self) -> optuna.Study:
        with _quiet():
            return optuna.create_study(direction="minimize", sampler=self._sampler)


class _TrialKnobs(Answers):
    """Answers drawn by Optuna, as *trial* of *study*."""

    def __init__(self, study: optuna.Study, trial: Trial) -> None:
        super().__init__()
        self.study, self.trial = study, trial

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        with _quiet():
            return self.trial.suggest_int(_parameter(name, len(options)), 0, len(options) - 1)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _parameter(name: str, size: int) -> str:
    return f"{name}/{size}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from reporting each trial, without changing how it reports to others in this process."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
