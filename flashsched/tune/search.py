"""The door to Optuna: proposals that learn from what was measured.

Optuna runs in memory and holds nothing that the tuning log does not: a search is rebuilt from a log with
:meth:`Proposer.add_known`. How a template asks, and answers that need no model, are in ``tune/knobs.py``.

What this adds to Optuna's ask and tell:

- **No repeats.** TPE proposes what it knows again and again (on 490 points, 300 trials gave 145 different ones). A
  proposal that was made before, or is infeasible, is drawn again a bounded number of times; then neighbours of the
  best and random draws fill in; then the space is walked through in order. So a small space is searched
  completely, and its end is told.
- **Questions that depend on answers.** A knob whose options differ in number between candidates is a parameter of its
  own for each number, as Optuna models only parameters that keep their range.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from ..errors import Infeasible, TuneError, did_you_mean
from .knobs import Answers, FixedKnobs, MutatedKnobs, RandomKnobs, Template, every

__all__ = ["SAMPLERS", "Proposal", "Proposer", "SpaceExhausted"]

T = TypeVar("T")

_ASKS = 3  # draws from Optuna for one proposal
_DRAWS = 48  # then draws from neighbours of the best and at random
_WALK = 2_000  # then candidates walked through in order, in all: making one may cost milliseconds

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
"""Samplers by name. Those that need more than Optuna itself (GP, CMA-ES) or download code are left out."""


class SpaceExhausted(TuneError):  # noqa: N818  (the end of a search, not a failure)
    """Every candidate that can be found was proposed."""


@dataclass(frozen=True)
class Proposal(Generic[T]):
    """A candidate: its decisions (index by knob), how many options each knob had, and what the template made."""

    decisions: dict[str, int]
    sizes: dict[str, int]
    value: T
    trial: Trial | None = field(default=None, repr=False, compare=False)


class Proposer:
    """Proposes candidates of a template, each once, in the light of what was told about earlier ones.

    The same seed and the same calls give the same proposals. Smaller values are better.

    Args:
        seed: of everything random.
        sampler: one of :data:`SAMPLERS`.

    Raises:
        TuneError: unknown sampler.
    """

    def __init__(self, seed: int = 0, sampler: str = "tpe") -> None:
        if sampler not in SAMPLERS:
            raise TuneError(f"unknown sampler {sampler!r}", hint=did_you_mean(sampler, SAMPLERS))
        with _quiet():
            self._study = optuna.create_study(direction="minimize", sampler=SAMPLERS[sampler](seed % 2**32))
        self._rng = random.Random(seed)
        self._seen: set[tuple[tuple[str, int], ...]] = set()
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
        for _ in range(_ASKS):
            with _quiet():
                trial = self._study.ask()
            knobs = _TrialKnobs(trial)
            value = self._try(template, knobs)
            if value is not None:
                return Proposal(knobs.decisions, knobs.sizes, value[0], trial)
            self._fail(trial)
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

        A proposal made elsewhere, from :class:`~flashsched.tune.knobs.RandomKnobs` say, may be told as well.
        """
        self._new(proposal.decisions)
        self._remember(proposal.decisions, value)
        if proposal.trial is None:
            self._add(proposal.decisions, proposal.sizes, value)
            return
        with _quiet():
            if value is None:
                self._study.tell(proposal.trial, state=TrialState.PRUNED)
            else:
                self._study.tell(proposal.trial, value)

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
            self._add(decisions, sizes, value)

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
        key = tuple(sorted(decisions.items()))
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
            self._add(decisions, knobs.sizes, value)

    def _add(self, decisions: Mapping[str, int], sizes: Mapping[str, int], value: float | None) -> None:
        names = {name: _parameter(name, size) for name, size in sizes.items() if name in decisions}
        ranges: dict[str, BaseDistribution] = {names[name]: IntDistribution(0, sizes[name] - 1) for name in names}
        params = {names[name]: decisions[name] for name in names}
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        with _quiet():
            self._study.add_trial(optuna.create_trial(state=state, value=value, params=params, distributions=ranges))

    def _fail(self, trial: Trial) -> None:
        """Forget a draw. It may have been cut short by its constraint, and would then blur Optuna's joint model."""
        with _quiet():
            self._study.tell(trial, state=TrialState.FAIL)


class _TrialKnobs(Answers):
    """Answers drawn by Optuna."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self._trial = trial

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        with _quiet():
            return self._trial.suggest_int(_parameter(name, len(options)), 0, len(options) - 1)


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
