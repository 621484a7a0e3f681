"""What one trace does otherwise than another, as text and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from flashsched.schedule.arguments import Kind, arguments_of
from flashsched.schedule.trace import Step, Trace

__all__ = ["Change", "TraceDiff", "diff"]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a difference.

    Attributes:
        old: the step of the first trace; None where only the second has it.
        new: the step of the second, in the first's names; None where only the first has it.
        arguments: where both have it, the arguments that differ: name to (old value, new value).
    """

    old: Step | None
    new: Step | None
    arguments: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        """Whether both traces have the step, with the same arguments."""
        return self.old is not None and self.new is not None and not self.arguments

    def __str__(self) -> str:
        if self.old is not None and self.new is not None:
            if not self.arguments:
                return f"  {self.old.lines()[0]}"
            changed = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in self.arguments.items())
            return f"! {self.old.lines()[0]}: {changed}"
        step, sign = (self.old, "-") if self.old is not None else (self.new, "+")
        assert step is not None
        return f"{sign} {step.lines()[0]}"


@dataclass(frozen=True, slots=True)
class TraceDiff:
    """How a second trace differs from a first; false where it does not.

    Attributes:
        changes: every step of both, in order.
        names: where the two speak of other stages or loops, the second's names with those of the first.
    """

    changes: tuple[Change, ...]
    names: Mapping[str, str]

    def __bool__(self) -> bool:
        return any(not change.same for change in self.changes)

    def __iter__(self) -> Iterator[Change]:
        return (change for change in self.changes if not change.same)

    def __str__(self) -> str:
        lines = [f"= {new} is {old}" for new, old in self.names.items()]
        return "\n".join([*lines, *map(str, self.changes)]) if self else "(no difference)"

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON values."""
        return {
            "names": dict(self.names),
            "only_old": [c.old.to_json() for c in self if c.old is not None and c.new is None],
            "only_new": [c.new.to_json() for c in self if c.new is not None and c.old is None],
            "changed": [
                {"step": c.old.to_json(), "arguments": {name: list(pair) for name, pair in c.arguments.items()}}
                for c in self
                if c.old is not None and c.new is not None
            ],
        }


def diff(old: Trace, new: Trace) -> TraceDiff:
    """How *new* differs from *old*: steps that only one of them has, and arguments that changed.

    Steps of both are found in their order, by primitive, stage and loops. Where the two were recorded on programs with
    other names, the names that only one of them uses are taken for each other in the order in which they come.

    >>> from flashsched.testing.programs import pointwise
    >>> from flashsched import te
    >>> _, C = pointwise(8)
    >>> s, t = te.create_schedule(C), te.create_schedule(C)
    >>> s[C].unroll(s[C].split("i", 4)[1])
    >>> t[C].vectorize(t[C].split("i", 2)[1])
    >>> print(s.trace.diff(t.trace))
    ! C: split('i', factor=4): factor 4 -> 2
    - C: unroll('i.i')
    + C: vectorize('i.i')
    """
    first, second = list(old.flat()), list(new.flat())
    names = _matched(_names(first), _names(second))
    second = [_renamed(step, names) for step in second]
    keys, others = ([(s.stage, s.primitive, _handles(s)) for s in steps] for steps in (first, second))
    changes: list[Change] = []
    for tag, a, b, c, d in SequenceMatcher(None, keys, others, autojunk=False).get_opcodes():
        if tag == "equal":
            changes += [_both(x, y) for x, y in zip(first[a:b], second[c:d], strict=True)]
        else:
            changes += [Change(step, None, {}) for step in first[a:b]]
            changes += [Change(None, step, {}) for step in second[c:d]]
    return TraceDiff(tuple(changes), names)


def _both(old: Step, new: Step) -> Change:
    keys = [*old.args, *(key for key in new.args if key not in old.args)]
    pairs = {key: (old.args.get(key), new.args.get(key)) for key in keys}
    return Change(old, new, {key: pair for key, pair in pairs.items() if pair[0] != pair[1]})


def _handles(step: Step) -> tuple[str, ...]:
    """The loops and stages that the step speaks of."""
    found: list[str] = []
    for argument in arguments_of(step.primitive):
        value = step.args.get(argument.name)
        if argument.kind.is_handle and value is not None:
            found += [str(value)] if isinstance(value, str) else map(str, value)
    return tuple(found)


def _names(steps: Sequence[Step]) -> list[str]:
    """The names that steps use, without what derived ones add (``i`` for ``i.o``), in the order of their first use."""
    found: dict[str, None] = {}
    for step in steps:
        for name in (step.stage, *_handles(step), *step.out):
            found[name.split(".")[0]] = None
    return list(found)


def _matched(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """New names with the old ones that they stand for, where as many are new as are gone."""
    added, gone = [n for n in new if n not in old], [n for n in old if n not in new]
    return dict(zip(added, gone, strict=True)) if len(added) == len(gone) else {}


def _renamed(step: Step, names: Mapping[str, str]) -> Step:
    def change(value: Any) -> Any:
        if isinstance(value, str):
            first, *rest = value.split(".")
            fused = [part if part in ("o", "i") else names.get(part, part) for part in rest]
            return ".".join([names.get(first, first), *fused])
        return [change(item) for item in value] if isinstance(value, list | tuple) else value

    kinds = {argument.name: argument.kind for argument in arguments_of(step.primitive)}
    args = {k: change(v) if kinds.get(k, Kind.VALUE).is_handle else v for k, v in step.args.items()}
    return replace(step, stage=change(step.stage), args=args, out=tuple(map(change, step.out)))
