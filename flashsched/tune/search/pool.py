"""What is worth running next: candidates are made, ranked by the cost model, and wait until their turn comes."""

from __future__ import annotations

import contextlib
import importlib
import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flashsched.errors import Infeasible
from flashsched.tune.costmodel.cost_model import CostModel
from flashsched.tune.goal import Goal
from flashsched.tune.logs.record import Record
from flashsched.tune.search.candidates import Draft, Maker, Ranked
from flashsched.tune.search.history import History, decisions_of, record_key
from flashsched.tune.search.knobs import Answers, FirstKnobs, HintedKnobs, MutatedKnobs, RandomKnobs
from flashsched.tune.search.screen import Screen
from flashsched.tune.search.stopping import Regret
from flashsched.tune.search.transfer import Seed, ValueKnobs
from flashsched.tune.settings import Settings
from flashsched.tune.task import Candidate

if TYPE_CHECKING:
    from flashsched.tune.search.proposer import Proposal

__all__ = ["Pool"]

_FIRST = 96  # candidates that the prior ranks before the first trial
_FIRST_EACH = 16  # and no more of them for each trial that is asked for
_HINTS = 12  # of the screen for a round: those before the first trial have no others, later ones neighbours beside them
_FRESH = 16  # new candidates that are ranked for each batch until so many times are known; then as many as are run
_SCREENED = 2048  # draws that are screened for each trial of a batch
_TURNS = 8  # of which chance has one, and the screen the others; before it knows enough, neighbours
_ASKED = 12  # the sampler is asked for one of so many new candidates: a draw of it takes far longer than the others
_ATTEMPTS = 2  # draws for each candidate that is wanted: a template is asked for each, which costs milliseconds
_WAITING = 400  # candidates that are kept for later batches; one takes some 100 KB
_FRUITLESS = 32  # draws in a row that may give nothing new
_THINKING = 0.2  # share of a time budget's rest that making candidates for one batch may take
_TRUST = 0.5  # what the prior's time for the template's own choice is multiplied by, for the first trial


class Pool:
    """The candidates that wait, and those who propose more: the sampler, the screen, neighbours of the best, chance.

    Args:
        history: what was tried.
        settings: the sampler, the seed, and what is searched for.
        deadline: when the run ends, by `time.perf_counter`; None where its time is not limited.
        seeds: decisions of nearby tasks, which are in the first batch.
        regret: is told what the model says of all that was not run.

    Attributes:
        model: predicts what a candidate will take.
        exhausted: whether nothing new is left to be proposed.
    """

    def __init__(
        self,
        history: History,
        settings: Settings,
        deadline: float | None,
        seeds: list[Seed],
        regret: Regret | None = None,
    ) -> None:
        _import_optuna()
        from flashsched.tune.search.proposer import Proposer

        seed = settings.seed
        self._first, self._trials = min(_FIRST, _FIRST_EACH * settings.trials), settings.trials
        self._history, self._deadline, self._regret = history, deadline, regret
        self._maker = Maker(history.task, history.runner.spec)
        self._proposer = Proposer(seed, settings.sampler, asks=1)  # TPE's second draw is mostly known, and costs 10 ms
        self.model = CostModel(seed, history.device if settings.pretrained else None)
        self._goal = Goal(settings.objectives, seed)
        self._blindly = settings.sampler == "random"
        self._screen = Screen(seed, self._maker.knows)
        self._screened: deque[dict[str, int]] = deque()
        self._rng = random.Random(seed)
        self._seeds = seeds
        self._seeded: set[str] = set()  # keys of candidates that came from seeds
        self._waiting: dict[str, Ranked] = {}
        self._said: dict[str, float] = {}  # what was predicted of those that are being run
        self._asked_again: dict[str, Proposal[Draft]] = {}  # what the sampler proposed of those meanwhile
        self._coming: Iterator[None] | None = None  # proposals for the next batch, where they have begun
        self._measured = history.runner.source == "measured"
        self.exhausted = False

    @property
    def refused(self) -> dict[str, int]:
        """Why candidates were ruled out before they were run, and how often."""
        return self._maker.refused

    def next_batch(self, want: int) -> list[Ranked]:
        """The *want* candidates that are worth running most; fewer where the space ends."""
        first = not self._history.records
        for _ in self._coming or self._proposals(want, first):
            pass
        self._coming = None
        pool = list(self._waiting.values())
        if not pool:
            return []
        predicted, unsure = self._goal.values(pool, self.model)
        if self._regret is not None:
            self._regret.consider([*predicted, *self._screen.left_s], self._history.best_s)
        if first and self._measured:  # the template's own choice comes first, and is trusted against the prior
            predicted[0] *= _TRUST
        order = sorted(range(len(pool)), key=lambda n: float(predicted[n]))
        batch = [pool[n] for n in self._chosen(pool, order, predicted, unsure, want)]
        said = dict(zip((item.key for item in pool), predicted, strict=True))
        self._said = {item.key: float(said[item.key]) for item in batch}
        kept = [pool[n] for n in order if pool[n].key not in self._said]
        self._waiting = {item.key: item for item in kept[:_WAITING]}
        return batch

    def ahead(self, want: int) -> Iterator[None]:
        """Propose for the batch of *want* after the one that is being run, a candidate at each step.

        It may be gone on with while that is compiled; what is left of it is done when `next_batch` is called.
        """
        self._coming = self._proposals(want, first=False)
        return self._coming

    def _proposals(self, want: int, first: bool) -> Iterator[None]:
        """Make candidates, those for the first trial in rounds: each begins where the model likes those made so far."""
        if first:
            fresh, each = self._first, _HINTS
        else:  # a simulated trial costs as much as its prediction: there, all that is made is run
            fresh = each = max(_FRESH, want) if self._measured and len(self.model) < _FRESH else want
        aim = len(self._waiting) + fresh
        now = time.perf_counter()
        enough = None if self._deadline is None else now + _THINKING * max(0.0, self._deadline - now)
        for _ in range(math.ceil(fresh / each)):
            if not self._blindly:
                made = self._screen.made
                values = self._goal.values(made, self.model)[0] if made else None
                left = self._regret is not None
                self._screened = deque(self._screen.propose(values, _SCREENED * want, min(each, _HINTS), left))
                yield
            yield from self._fill(min(each, aim - len(self._waiting)), enough)

    def learn(self, item: Ranked, value: float | None) -> None:
        """Take in what *item* took; None where it failed."""
        if self._regret is not None:
            self._regret.note(self._said.get(item.key, item.prior_s), value)
        told = None if value is None else self._goal.single(item, value)
        asked = [one for one in (item.proposal, self._asked_again.pop(item.key, None)) if one is not None]
        for proposal in asked:
            self._proposer.tell(proposal, told)
        if not asked:
            self._proposer.add_known(item.decisions, told, item.sizes)
        if value is not None:
            self._goal.note(item, value)
            self.model.learn(item.features, item.prior_s, value)

    def learn_earlier(self, record: Record, value: float | None, candidate: Candidate | None) -> None:
        """Take in a trial of another run; the cost model learns where the schedule was replayed."""
        self._waiting.pop(record_key(record), None)
        self._proposer.add_known(decisions_of(record), value, record.extra.get("sizes"))
        if candidate is not None and value is not None:
            with contextlib.suppress(Infeasible):  # the device's model has changed since
                item = self._maker.ranked(candidate, candidate.decisions, {})
                self.model.learn(item.features, item.prior_s, value)

    def _chosen(self, pool: list[Ranked], order: list[int], predicted: Any, unsure: Any, want: int) -> list[int]:
        """Which of the pool to run: most of what is predicted best, and what came from nearby tasks.

        Some slots go to what might be better than it looks, some to draws that no prediction chose: a prior that is
        wrong about one decision would else never be told so. The last batch of a run teaches nothing that is used.
        """
        learns = want > 2 and len(self._history.records) + want < self._trials
        bold = max(1, want // 8) if learns else 0
        blind = max(1, want // (4 if len(self.model) > 2 * want else 2)) if learns else 0
        carried = [n for n in order if pool[n].key in self._seeded] if want > 2 else []
        best = [n for n in order if n not in set(carried)][: max(0, want - bold - blind - len(carried))]
        chosen = [*carried, *best][: want - bold - blind]
        left = [n for n in order if n not in set(chosen)]
        hopeful = sorted(left, key=lambda n: float(predicted[n]) / (1 + 2 * float(unsure[n])))[:bold]
        rest = [n for n in left if n not in hopeful]
        return [*chosen, *hopeful, *self._rng.sample(rest, min(blind, len(rest)))]

    def _fill(self, fresh: int, enough: float | None) -> Iterator[None]:
        """Make up to *fresh* new candidates, each with its features and the prior's prediction; until *enough*."""
        before = len(self._waiting)
        aim = before + fresh
        fruitless = 0  # turns in a row that gave nothing new: the space may be small, and be used up
        asked = 0
        for turn in range(_ATTEMPTS * fresh if self._screened else 6 * fresh):
            if len(self._waiting) >= aim or fruitless >= _FRUITLESS or self.exhausted:
                break
            if self._waiting and enough is not None and time.perf_counter() >= enough:
                break
            if self._history.records and asked * _ASKED <= len(self._waiting) - before:
                asked += 1
                item = self._asked()
            else:
                item = self._propose(turn)
            fruitless = 0 if item is not None else fruitless + 1
            if item is not None:
                self._waiting[item.key] = item
                yield

    def _propose(self, turn: int) -> Ranked | None:
        """A candidate that was not seen before; None if this draw gave none."""
        knobs = self._answers(turn)
        try:
            draft = self._maker.make(knobs)
        except Infeasible:
            self._screen.note_refused(knobs.decisions, knobs.sizes)
            return None
        key = draft.key
        if key in self._history.seen or key in self._waiting or key in self._said:
            return None
        try:
            item = self._maker.ranked(draft.candidate, knobs.decisions, knobs.sizes)
        except Infeasible:
            self._history.seen[key] = None
            self._screen.note_refused(knobs.decisions, knobs.sizes)
            return None
        if isinstance(knobs, ValueKnobs):
            self._seeded.add(key)
        self._screen.note(item)
        return item

    def _answers(self, turn: int) -> Answers:
        """What the screen thinks of most, else neighbours and crossings of the best; and by turns chance."""
        parents = self._goal.parents([entry.candidate.decisions for entry in self._history.best[:8]])
        voice = turn % _TURNS
        if not self._history.records and not self._waiting and turn == 0:
            return FirstKnobs()
        if self._seeds:
            return ValueKnobs(self._seeds.pop(0).values)
        if voice == 1 or not parents or self._blindly:
            return RandomKnobs(self._rng)
        if self._screened:
            return HintedKnobs(self._screened.popleft(), self._rng)
        other = self._rng.choice(parents) if voice % 2 else None
        return MutatedKnobs(self._rng.choice(parents), self._rng, other)

    def _asked(self) -> Ranked | None:
        """What the sampler proposes, if it is new; it is told at once of what is known already."""
        from flashsched.tune.search.proposer import SpaceExhausted

        try:
            proposal = self._proposer.ask(self._maker.make)
        except SpaceExhausted:
            self.exhausted = True
            return None
        key = proposal.value.key
        if key in self._waiting:
            self._waiting[key] = replace(self._waiting[key], proposal=proposal)
            return None
        if key in self._said and key not in self._history.seen:  # it is being run
            self._asked_again[key] = proposal
            return None
        if key in self._history.seen:
            self._proposer.tell(proposal, self._history.seen[key])
            return None
        try:
            item = self._maker.ranked(proposal.value.candidate, proposal.decisions, proposal.sizes, proposal)
        except Infeasible:
            self._history.seen[key] = None
            self._proposer.tell(proposal, None)
            return None
        self._screen.note(item)
        return item


def _import_optuna() -> None:
    """Import it in a thread, where no frame of a search is above the import.

    Optuna keeps the errors of imports that it can do without, and an error keeps the frames that it went through, with
    all that they hold: the first search of a process would never be freed.
    """
    aside = threading.Thread(target=importlib.import_module, args=("flashsched.tune.search.proposer",))
    aside.start()
    aside.join()
