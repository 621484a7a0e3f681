"""Knobs: how a template asks for its decisions, and the ways to answer that need no model.

A template is a function of knobs. It asks ``knobs.choice("tile_i", [8, 16, 32])`` as it goes, so later questions may
depend on earlier answers, and its search space is whatever it asks. Options stand in order (sizes rising), because a
decision is kept as an index into them, and neighbours should be alike. Operators (floor 4) know knobs only by
these two methods, ``choice`` and ``require``; how Optuna answers is ``proposer.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from flashsched.errors import Infeasible, TuneError

__all__ = [
    "Answers",
    "FirstKnobs",
    "FixedKnobs",
    "HintedKnobs",
    "Knobs",
    "MutatedKnobs",
    "PathKnobs",
    "RandomKnobs",
    "Template",
    "every",
    "replay",
]

O = TypeVar("O")  # noqa: E741  (an option)
T = TypeVar("T")  # what a template makes


class Knobs(Protocol):
    """What a template may ask."""

    def choice(self, name: str, options: Sequence[O], default: O | None = None) -> O:
        """One of *options*, which stand in order. Asked twice under one name, the answer is the same.

        Args:
            default: the option for a first, unsearched schedule; a number that is not among the options stands for
                the nearest one.

        Raises:
            Infeasible: there are no options.
        """
        ...

    def require(self, condition: object, text: str) -> None:
        """Rule this candidate out unless *condition* holds; *text* says why, with values.

        Raises:
            Infeasible: it does not hold.
        """
        ...


class Answers:
    """Base of all knobs: remembers what was asked and answered. A subclass says how to answer (``_pick``).

    Attributes:
        decisions: index of the option taken, by name, in the order of asking.
        sizes: how many options there were, by name.
        asked: the questions, as they were first asked: name, options, default.
    """

    def __init__(self) -> None:
        self.decisions: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.asked: list[tuple[str, Sequence[Any], Any]] = []

    def choice(self, name: str, options: Sequence[O], default: O | None = None) -> O:
        if not len(options):
            raise Infeasible(f"knob {name!r} has no options left")
        if name not in self.decisions:
            index = self._pick(name, options, _index_of(default, options))
            self.decisions[name], self.sizes[name] = index, len(options)
            self.asked.append((name, options, default))
        elif self.sizes[name] != len(options):
            raise TuneError(
                f"knob {name!r} was asked with {self.sizes[name]} options and now with {len(options)}",
                hint="give each question a name of its own",
            )
        return options[self.decisions[name]]

    def require(self, condition: object, text: str) -> None:
        if not condition:
            raise Infeasible(text)

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        raise NotImplementedError


Template = Callable[[Answers], T]


class FirstKnobs(Answers):
    """Every knob at its default; at its first option where the template names none."""

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        return default


class FixedKnobs(Answers):
    """Knobs as they were decided before, from a log say.

    Raises:
        TuneError: (from ``choice``) a decision is missing or beyond its options: the template has changed since.
    """

    def __init__(self, decisions: Mapping[str, int]) -> None:
        super().__init__()
        self.given = dict(decisions)

    @property
    def unused(self) -> list[str]:
        """Decisions that no one has asked for."""
        return [name for name in self.given if name not in self.decisions]

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        stale = "the template has changed since this was decided; tune again"
        if name not in self.given:
            raise TuneError(f"no decision for knob {name!r} with options {_shown(options)}", hint=stale)
        index = self.given[name]
        if type(index) is not int or not 0 <= index < len(options):
            raise TuneError(
                f"decision {index!r} for knob {name!r} is no index into its {len(options)} options {_shown(options)}",
                hint=stale,
            )
        return index


class RandomKnobs(Answers):
    """Every option equally likely."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        return self._rng.randrange(len(options))


class MutatedKnobs(Answers):
    """A neighbour of known decisions: a few knobs move, mostly by one step, and the others stay.

    With *other*, a second set of decisions, each knob is first taken from either of the two. Knobs that neither
    knows are drawn at random; a decision beyond its options becomes the last one.
    """

    def __init__(
        self, decisions: Mapping[str, int], rng: random.Random, other: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self._rng = rng
        self._given = dict(decisions)
        for name, index in (other or {}).items():
            if name not in self._given or rng.random() < 0.5:
                self._given[name] = index
        names = sorted(self._given)
        moves = 1
        while moves < len(names) and rng.random() < 0.4:
            moves += 1
        self._moved = set(rng.sample(names, min(moves, len(names))))

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        last = len(options) - 1
        if name not in self._given or (name in self._moved and self._rng.random() < 0.25):
            return self._rng.randrange(last + 1)
        index = min(max(self._given[name], 0), last)
        if name not in self._moved or last == 0:
            return index
        return min(max(index + self._rng.choice((-1, 1)), 0), last) if 0 < index < last else abs(index - 1)


class HintedKnobs(Answers):
    """Answers as *decisions* say, as far as they fit: one beyond its options becomes the last, and what they do not
    know is drawn at random."""

    def __init__(self, decisions: Mapping[str, int], rng: random.Random) -> None:
        super().__init__()
        self._given, self._rng = dict(decisions), rng

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        last = len(options) - 1
        return min(max(self._given[name], 0), last) if name in self._given else self._rng.randrange(last + 1)


class PathKnobs(Answers):
    """The first questions answered by *path*, in the order of asking; all later ones by 0. See :func:`every`."""

    def __init__(self, path: Sequence[int]) -> None:
        super().__init__()
        self._path = path

    def _pick(self, name: str, options: Sequence[Any], default: int) -> int:
        return self._path[len(self.decisions)] if len(self.decisions) < len(self._path) else 0


def replay(template: Template[T], decisions: Mapping[str, int]) -> T:
    """What *template* makes of *decisions*; fails loudly where they do not fit it.

    Raises:
        TuneError: a decision is missing, out of range, or was not asked for.
        Infeasible: the template rules them out.
    """
    knobs = FixedKnobs(decisions)
    value = template(knobs)
    if knobs.unused:
        raise TuneError(
            f"the template does not ask for {', '.join(map(repr, knobs.unused))}",
            hint="the template has changed since this was decided; tune again",
        )
    return value


def every(template: Template[T], limit: int | None = None) -> Iterator[tuple[PathKnobs, T]]:
    """All feasible candidates of a template, in the order of their decisions, as ``(knobs, value)``.

    Stops after *limit* candidates were looked at, infeasible ones among them.
    """
    path: list[int] | None = []
    looked = 0
    while path is not None and (limit is None or looked < limit):
        looked += 1
        knobs = PathKnobs(path)
        try:
            value = template(knobs)
        except Infeasible:
            pass
        else:
            yield knobs, value
        path = _next_path(list(knobs.decisions.values()), list(knobs.sizes.values()))


def _next_path(path: list[int], sizes: list[int]) -> list[int] | None:
    """The next one like an odometer: the last wheel that can still turn does, and those behind it are dropped."""
    for at in reversed(range(len(path))):
        if path[at] + 1 < sizes[at]:
            return [*path[:at], path[at] + 1]
    return None


def _index_of(default: Any, options: Sequence[Any]) -> int:
    """Where *default* stands among *options*; the nearest for numbers; 0 where there is no telling."""
    if default is None:
        return 0
    for index, option in enumerate(options):
        if option == default:
            return index
    numbers = [*options, default]
    if all(isinstance(item, int | float) and not isinstance(item, bool) for item in numbers):
        return min(range(len(options)), key=lambda index: abs(options[index] - default))
    raise TuneError(f"default {default!r} is not among the options {_shown(options)}")


def _shown(options: Sequence[Any]) -> str:
    shown = [repr(option) for option in options[:12]]
    return f"[{', '.join(shown)}{', …' if len(options) > 12 else ''}]"
