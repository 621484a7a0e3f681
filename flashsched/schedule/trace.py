"""The record of how a schedule came to be: steps that are JSON, replay, and print as Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flashsched.errors import TraceError
from flashsched.schedule.arguments import call_text

__all__ = ["Step", "Trace"]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One primitive applied to *stage*: its arguments (plain JSON values), and the names that it gave.

    Attributes:
        primitive: its name, ``split``.
        stage: the stage it was applied to.
        args: its arguments, loops and stages by name.
        out: the names of the loops (or of the stage) that it made, in order.
    """

    primitive: str
    stage: str
    args: Mapping[str, Any]
    out: tuple[str, ...] = ()

    def text(self) -> str:
        """The call as it reads in a message: ``split('i', factor=4)``."""
        return call_text(self.primitive, self.args)

    def to_json(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {"do": self.primitive, "stage": self.stage, **self.args, "out": list(self.out)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """The step that `to_json` gave.

        Raises:
            ScheduleError: *data* is no step.
        """
        try:
            args = {key: value for key, value in data.items() if key not in ("do", "stage", "out")}
            return cls(str(data["do"]), str(data["stage"]), args, tuple(data.get("out", ())))
        except (KeyError, TypeError, AttributeError) as error:
            raise TraceError(
                f"{data!r} is no step of a trace: {error}",
                hint="a step is an object with 'do', 'stage', the arguments by name, and 'out'",
            ) from None


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps of a schedule in order."""

    steps: tuple[Step, ...] = ()

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.canonical())

    def __str__(self) -> str:
        return "\n".join(f"{step.stage}: {step.text()}" for step in self.steps) or "(no steps)"

    def then(self, step: Step) -> Trace:
        """This trace and one step more."""
        return Trace((*self.steps, step))

    def to_json(self) -> dict[str, Any]:
        """The trace as JSON values, with the version of their form."""
        return {"version": VERSION, "steps": [step.to_json() for step in self.steps]}

    def canonical(self) -> str:
        """One text for one trace: what tells duplicates apart."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: Any) -> Trace:
        """The trace that `to_json` gave.

        Raises:
            ScheduleError: *data* is no trace, or one of a newer version.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("steps"), Iterable):
            raise TraceError(f"not a trace: {str(data)[:80]}", hint="a trace is an object with 'version' and 'steps'")
        version = data.get("version", VERSION)
        if version != VERSION:
            raise TraceError(
                f"this trace has version {version}, and this flashsched reads version {VERSION}",
                hint="upgrade flashsched to use it",
            )
        return cls(tuple(Step.from_json(step) for step in data["steps"]))
