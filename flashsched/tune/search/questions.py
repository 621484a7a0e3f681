"""What a template asks, as far as it was asked before: so that nothing is made twice, nor what can't be made at all.

A template's next question hangs on the answers so far and on nothing else. So its questions are a tree, and what came
of each line of answers is written at its end: why it is infeasible, or the key of the schedule. Answers that lead to a
known end cost microseconds, where making their schedule costs milliseconds; and a constraint that a few answers break
is known for all that would have followed them. Where nothing is known, the template goes on with the answers that were
given on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flashsched.tune.search.knobs import Answers

__all__ = ["Key", "Questions", "Refusal"]

_MOST = 5_000  # ends that are remembered, some KB each, before it is begun anew


@dataclass(frozen=True, slots=True)
class Key:
    """The answers make a schedule: what tells it from others."""

    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answers make none, and why."""

    reason: str


End = Key | Refusal


@dataclass(slots=True)
class _Question:
    """What is asked, what came of each answer to it, and of how many answers not all is known yet."""

    name: str
    options: Sequence[Any]
    default: Any
    open: int
    after: dict[int, _Question | End] = field(default_factory=dict)


class Questions:
    """The tree of one template's questions.

    >>> from flashsched.tune.search.knobs import FixedKnobs
    >>> questions, knobs = Questions(), FixedKnobs({"tile": 1})
    >>> questions.end_of(knobs), knobs.choice("tile", [8, 16])
    (None, 16)
    >>> questions.note(knobs, Refusal("too large"))
    >>> questions.end_of(FixedKnobs({"tile": 1}))
    Refusal(reason='too large')
    """

    def __init__(self) -> None:
        self._top: _Question | End | None = None
        self._ends = 0

    def end_of(self, knobs: Answers) -> End | None:
        """Where the answers of *knobs* lead, who are asked what is known to be asked; None where that is not known."""
        at = self._top
        while isinstance(at, _Question):
            knobs.choice(at.name, at.options, at.default)
            at = at.after.get(knobs.decisions[at.name])
        return at

    def knows(self, decisions: Mapping[str, int]) -> bool:
        """Whether it is known where *decisions* lead; one that is beyond its options is taken for the last of them, and
        one that is missing for any."""
        at = self._top
        while isinstance(at, _Question):
            if at.name not in decisions:
                return not at.open
            at = at.after.get(min(decisions[at.name], len(at.options) - 1))
        return at is not None

    def note(self, knobs: Answers, end: End) -> None:
        """The template asked *knobs* all that they remember, and then came to *end*, which was not known."""
        if self._ends >= _MOST:
            self._top, self._ends = None, 0
        self._ends += 1
        path: list[_Question] = []
        for name, options, default in knobs.asked:
            found = path[-1].after.get(knobs.decisions[path[-1].name]) if path else self._top
            if not isinstance(found, _Question):
                found = _Question(name, tuple(options), default, len(options))
                self._put(path, knobs, found)
            path.append(found)
        self._put(path, knobs, end)
        for question in reversed(path):
            question.open -= 1
            if question.open:
                break

    def _put(self, path: list[_Question], knobs: Answers, what: _Question | End) -> None:
        if path:
            path[-1].after[knobs.decisions[path[-1].name]] = what
        else:
            self._top = what
