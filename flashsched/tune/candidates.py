"""Candidates: a template's schedule for some decisions, with all that decides whether it is worth running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.tune.task import Candidate, Task

if TYPE_CHECKING:
    from flashsched.tune.search import Proposal

__all__ = ["Maker", "Ranked"]


@dataclass(frozen=True)
class Ranked:
    """A candidate with what the cost model needs to know of it.

    Attributes:
        candidate: the schedule, and the decisions that led to it.
        canonical: its steps as text: two candidates of one text are one.
        sizes: how many options each decision had.
        features: numbers read off its nest, and its decisions as ``knob NAME``.
        prior_s: seconds that the device's own model predicts.
        proposal: what the sampler must be told of, where it was the one that proposed it.
    """

    candidate: Candidate
    canonical: str
    sizes: dict[str, int]
    features: dict[str, float]
    prior_s: float
    proposal: Proposal[Candidate] | None = None

    @property
    def decisions(self) -> dict[str, int]:
        """Index of the option taken, by knob."""
        return self.candidate.decisions


class Maker:
    """Makes candidates of *task* for *spec*.

    Attributes:
        refused: why candidates were ruled out before they were run, and how often.
    """

    def __init__(self, task: Task, spec: DeviceSpec) -> None:
        self.task, self.spec = task, spec
        self.refused: dict[str, int] = {}

    def make(self, knobs: Any) -> Candidate:
        """The schedule that the template makes of *knobs*.

        Raises:
            Infeasible: the template rules it out, or runs into a refusal of the schedule language.
        """
        try:
            return self.task.candidate(knobs, self.spec)
        except (Infeasible, ScheduleError) as error:
            reason = f"refused: {error.step}: {error.reason}" if isinstance(error, ScheduleError) else error.reason
            raise self._ruled_out(reason) from None

    def ranked(
        self,
        candidate: Candidate,
        decisions: Mapping[str, int],
        sizes: Mapping[str, int],
        proposal: Proposal[Candidate] | None = None,
    ) -> Ranked:
        """*candidate* with its features and the prediction of the device's model.

        Raises:
            Infeasible: the device can't hold it.
        """
        from flashsched.codegen.analysis import analyse
        from flashsched.tune.features import features_of

        try:
            works, prediction = analyse(candidate.schedule, self.spec)
        except Infeasible as error:
            raise self._ruled_out(error.reason) from None
        numbers = features_of(works, self.spec)
        numbers |= {f"knob {name}": float(index) for name, index in decisions.items()}
        made = replace(candidate, decisions=dict(decisions))
        return Ranked(made, candidate.trace.canonical(), dict(sizes), numbers, prediction.time_s, proposal)

    def _ruled_out(self, reason: str) -> Infeasible:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return Infeasible(reason)
