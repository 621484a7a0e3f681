"""Candidates: a template's schedule for some decisions, with all that decides whether it is worth running."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.schedule import Trace
from flashsched.tune.search.knobs import Answers
from flashsched.tune.search.questions import Key, Questions, Refusal
from flashsched.tune.task import Candidate, Task

if TYPE_CHECKING:
    from flashsched.tune.search.proposer import Proposal

__all__ = ["Draft", "Maker", "Ranked", "key_of"]


@dataclass(frozen=True)
class Ranked:
    """A candidate with what the cost model needs to know of it.

    Attributes:
        candidate: the schedule, and the decisions that led to it.
        key: of its steps: two candidates of one key are one.
        sizes: how many options each decision had.
        features: numbers read off its nest, and its decisions as ``knob NAME``.
        prior_s: seconds that the device's own model predicts.
        energy_j: joules that it predicts, where it tells.
        code: instructions of straight code, roughly: accesses of all blocks as often as they are written out.
        proposal: what the sampler must be told of, where it was the one that proposed it.
    """

    candidate: Candidate
    key: str
    sizes: dict[str, int]
    features: dict[str, float]
    prior_s: float
    proposal: Proposal[Draft] | None = None
    energy_j: float | None = None
    code: float = 0.0

    @property
    def decisions(self) -> dict[str, int]:
        """Index of the option taken, by knob."""
        return self.candidate.decisions


@dataclass
class Draft:
    """A candidate that was asked for; one whose key is known already is made only where it is wanted all the same.

    Attributes:
        key: of its steps.
    """

    key: str
    make: Callable[[], Candidate] = field(repr=False)

    @cached_property
    def candidate(self) -> Candidate:
        """The schedule."""
        return self.make()


class Maker:
    """Makes candidates of *task* for *spec*, and none twice.

    Attributes:
        refused: why candidates were ruled out before they were run, and how often.
    """

    def __init__(self, task: Task, spec: DeviceSpec) -> None:
        self.task, self.spec = task, spec
        self.refused: dict[str, int] = {}
        self._start = task.start()
        self._questions = Questions()

    def make(self, knobs: Answers) -> Draft:
        """What the template makes of *knobs*.

        Raises:
            Infeasible: the template rules it out, or runs into a refusal of the schedule language.
        """
        end = self._questions.end_of(knobs)
        if isinstance(end, Refusal):
            raise self._ruled_out(end.reason)
        if isinstance(end, Key):
            return Draft(end.text, lambda: self._made(knobs))
        try:
            candidate = self._made(knobs)
        except Infeasible as error:
            self._questions.note(knobs, Refusal(error.reason))
            raise self._ruled_out(error.reason) from None
        key = key_of(candidate.trace)
        self._questions.note(knobs, Key(key))
        return Draft(key, lambda: candidate)

    def knows(self, decisions: Mapping[str, int]) -> bool:
        """Whether *decisions* were made before, or are known to be infeasible."""
        return self._questions.knows(decisions)

    def _made(self, knobs: Answers) -> Candidate:
        try:
            return self.task.candidate(knobs, self.spec, self._start)
        except ScheduleError as error:
            raise Infeasible(f"refused: {error.step}: {error.reason}") from None

    def ranked(
        self,
        candidate: Candidate,
        decisions: Mapping[str, int],
        sizes: Mapping[str, int],
        proposal: Proposal[Draft] | None = None,
    ) -> Ranked:
        """*candidate* with its features and the prediction of the device's model.

        Raises:
            Infeasible: the device can't hold it.
        """
        from flashsched.codegen.analysis import analyse
        from flashsched.tune.costmodel.features import features_of, times_repeated_calls

        try:
            read = analyse(candidate.schedule, self.spec, warm=times_repeated_calls(self.spec))
        except Infeasible as error:
            raise self._ruled_out(error.reason) from None
        numbers = features_of(read.nests, read.works, self.spec)
        numbers |= {f"knob {name}": float(index) for name, index in decisions.items()}
        found, key, code = read.prediction, key_of(candidate.trace), 2.0 ** numbers["code"] - 1
        made = replace(candidate, decisions=dict(decisions), predicted=found)
        return Ranked(made, key, dict(sizes), numbers, found.time_s, proposal, found.energy_j, code)

    def _ruled_out(self, reason: str) -> Infeasible:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return Infeasible(reason)


def key_of(trace: Trace) -> str:
    """What tells the steps of *trace* from others: a digest of their text, which may be long."""
    return hashlib.blake2b(trace.canonical().encode(), digest_size=16).hexdigest()
