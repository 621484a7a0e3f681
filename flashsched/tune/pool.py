"""What is worth running next: candidates are made, ranked by the cost model, and wait until their turn comes."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import replace

from flashsched.errors import Infeasible
from flashsched.tune.candidates import Maker, Ranked
from flashsched.tune.cost_model import CostModel
from flashsched.tune.history import History, canonical_of, decisions_of
from flashsched.tune.knobs import Answers, FirstKnobs, MutatedKnobs, RandomKnobs
from flashsched.tune.record import Record
from flashsched.tune.task import Candidate

__all__ = ["Pool"]

_FIRST = 96  # candidates that the prior ranks before the first trial
_FRESH = 40  # new candidates that the cost model ranks for each batch, beside those that wait
_WAITING = 400  # candidates that are kept for later batches; one takes some 100 KB
_FRUITLESS = 64  # draws in a row that may give nothing new
_THINKING = 0.2  # share of a time budget's rest that making candidates for one batch may take
_TRUST = 0.5  # what the prior's time for the template's own choice is multiplied by, for the first trial


class Pool:
    """The candidates that wait, and those who propose more: the sampler, neighbours of the best, and chance.

    Args:
        history: what was tried.
        seed: of everything random.
        sampler: one of `flashsched.tune.search.SAMPLERS`.
        deadline: when the run ends, by `time.perf_counter`; None where its time is not limited.

    Attributes:
        model: predicts what a candidate will take.
    """

    def __init__(self, history: History, seed: int, sampler: str, deadline: float | None) -> None:
        from flashsched.tune.search import Proposer

        self._history, self._deadline = history, deadline
        self._maker = Maker(history.task, history.runner.spec)
        self._proposer = Proposer(seed, sampler)
        self.model = CostModel(seed)
        self._rng = random.Random(seed)
        self._waiting: dict[str, Ranked] = {}
        self._exhausted = False  # whether nothing new is left to be proposed

    @property
    def refused(self) -> dict[str, int]:
        """Why candidates were ruled out before they were run, and how often."""
        return self._maker.refused

    def next_batch(self, want: int) -> list[Ranked]:
        """The *want* candidates that are worth running most; fewer where the space ends."""
        first = not self._history.records
        measured = self._history.runner.source == "measured"
        # a simulated trial costs as much as its prediction: there, all that is made is run
        self._fill(_FIRST if first else max(_FRESH, 2 * want) if measured else want)
        pool = list(self._waiting.values())
        if not pool:
            return []
        predicted, unsure = self.model.predict([item.features for item in pool], [item.prior_s for item in pool])
        if first and measured:  # the template's own choice comes first in the pool; it is trusted against the prior
            predicted[0] *= _TRUST
        order = sorted(range(len(pool)), key=lambda n: float(predicted[n]))
        # some slots go to what might be better than it looks, some to draws that no prediction chose: a prior that is
        # wrong about one decision would else never be told so
        bold = max(1, want // 8) if want > 2 else 0
        blind = max(1, want // (4 if len(self.model) > 2 * want else 2)) if want > 2 else 0
        chosen = order[: want - bold - blind]
        left = order[want - bold - blind :]
        hopeful = sorted(left, key=lambda n: float(predicted[n]) / (1 + 2 * float(unsure[n])))[:bold]
        drawn = self._rng.sample([n for n in left if n not in hopeful], min(blind, max(0, len(left) - bold)))
        batch = [pool[n] for n in (*chosen, *hopeful, *drawn)]
        taken = {item.canonical for item in batch}
        kept = [pool[n] for n in order if pool[n].canonical not in taken]
        self._waiting = {item.canonical: item for item in kept[:_WAITING]}
        return batch

    def learn(self, item: Ranked, value: float | None) -> None:
        """Take in what *item* took; None where it failed."""
        if item.proposal is not None:
            self._proposer.tell(item.proposal, value)
        else:
            self._proposer.add_known(item.decisions, value, item.sizes)
        if value is not None:
            self.model.learn(item.features, item.prior_s, value)

    def learn_earlier(self, record: Record, value: float | None, candidate: Candidate | None) -> None:
        """Take in a trial of another run; the cost model learns where the schedule was replayed."""
        self._waiting.pop(canonical_of(record), None)
        self._proposer.add_known(decisions_of(record), value, record.extra.get("sizes"))
        if candidate is not None and value is not None:
            with contextlib.suppress(Infeasible):  # the device's model has changed since
                item = self._maker.ranked(candidate, candidate.decisions, {})
                self.model.learn(item.features, item.prior_s, value)

    def _fill(self, fresh: int) -> None:
        """Make up to *fresh* new candidates, each with its features and the prior's prediction."""
        aim = len(self._waiting) + fresh
        now = time.perf_counter()
        enough = None if self._deadline is None else now + _THINKING * max(0.0, self._deadline - now)
        fruitless = 0  # turns in a row that gave nothing new: the space may be small, and be used up
        for turn in range(6 * fresh):
            if len(self._waiting) >= aim or fruitless >= _FRUITLESS or self._exhausted:
                break
            if self._waiting and enough is not None and time.perf_counter() >= enough:
                break
            item = self._propose(turn)
            fruitless = 0 if item is not None else fruitless + 1
            if item is not None:
                self._waiting[item.canonical] = item

    def _propose(self, turn: int) -> Ranked | None:
        """A candidate that was not seen before; None if this draw gave none."""
        knobs: Answers
        best = self._history.best
        if not self._history.records and turn == 0:
            knobs = FirstKnobs()
        elif self._history.records and turn % 4 == 0:
            return self._asked()
        elif best and turn % 4 != 1:
            one = self._rng.choice(best[:8]).candidate.decisions
            other = self._rng.choice(best[:8]).candidate.decisions if turn % 4 == 3 else None
            knobs = MutatedKnobs(one, self._rng, other)
        else:
            knobs = RandomKnobs(self._rng)
        try:
            candidate = self._maker.make(knobs)
        except Infeasible:
            return None
        canonical = candidate.trace.canonical()
        if canonical in self._history.seen or canonical in self._waiting:
            return None
        try:
            return self._maker.ranked(candidate, knobs.decisions, knobs.sizes)
        except Infeasible:
            self._history.seen[canonical] = None
            return None

    def _asked(self) -> Ranked | None:
        """What the sampler proposes, if it is new; it is told at once of what is known already."""
        from flashsched.tune.search import SpaceExhausted

        try:
            proposal = self._proposer.ask(self._maker.make)
        except SpaceExhausted:
            self._exhausted = True
            return None
        canonical = proposal.value.trace.canonical()
        if canonical in self._waiting:
            self._waiting[canonical] = replace(self._waiting[canonical], proposal=proposal)
            return None
        if canonical in self._history.seen:
            self._proposer.tell(proposal, self._history.seen[canonical])
            return None
        try:
            return self._maker.ranked(proposal.value, proposal.decisions, proposal.sizes, proposal)
        except Infeasible:
            self._history.seen[canonical] = None
            self._proposer.tell(proposal, None)
            return None
