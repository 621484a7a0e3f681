"""The record of how a schedule came to be: steps that are JSON, replay, and print as Python.

docs/reference/trace.md describes the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flashsched.errors import TraceError
from flashsched.schedule.arguments import call_text
from flashsched.te.quick import quickly_made
from flashsched.te.tensor import Tensor

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule
    from flashsched.schedule.trace_diff import TraceDiff

__all__ = ["Step", "Trace"]

VERSION = 1
"""Raised when a reader of the version before would take a trace for something that it does not say."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Step:
    """One primitive applied to *stage*: its arguments (plain JSON values), and the names that it gave.

    Attributes:
        primitive: its name, ``split``.
        stage: the stage it was applied to; empty for a primitive of one's own, which is applied to the schedule.
        args: its arguments, loops and stages by name (see `flashsched.schedule.handles` for a primitive of one's own).
        out: the names of the loops (or of the stage) that it made, in order.
        steps: for a primitive of one's own, the steps that it took; None for a built-in one.
        returned: what a primitive of one's own returned.
    """

    primitive: str
    stage: str
    args: Mapping[str, Any]
    out: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = None
    returned: Any = None

    def text(self) -> str:
        """The call as it reads in a message: ``split('i', factor=4)``."""
        return call_text(self.primitive, self.args)

    def lines(self, indent: str = "") -> list[str]:
        """The step as it is listed, with the steps inside it below it."""
        if self.steps is None:
            return [f"{indent}{self.stage}: {self.text()}"]
        return [f"{indent}{self.text()}", *(line for step in self.steps for line in step.lines(indent + "  "))]

    def flat(self) -> Iterator[Step]:
        """The built-in steps that it is made of: itself, if it is one."""
        if self.steps is None:
            yield self
        else:
            for step in self.steps:
                yield from step.flat()

    def to_json(self) -> dict[str, Any]:
        """The step as JSON values."""
        if self.steps is None:
            return {"do": self.primitive, "stage": self.stage, **self.args, "out": list(self.out)}
        steps = [step.to_json() for step in self.steps]
        return {"do": self.primitive, "args": dict(self.args), "returned": self.returned, "steps": steps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """The step that `to_json` gave.

        Raises:
            TraceError: *data* is no step.
        """
        try:
            if "steps" in data:
                steps = tuple(cls.from_json(step) for step in data["steps"])
                return cls(str(data["do"]), "", dict(data.get("args", {})), (), steps, data.get("returned"))
            args = {key: value for key, value in data.items() if key not in ("do", "stage", "out")}
            return cls(str(data["do"]), str(data["stage"]), args, tuple(data.get("out", ())))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise TraceError(
                f"{str(data)[:200]} is no step of a trace: {error}",
                hint="a step is an object with 'do', 'stage', the arguments by name, and 'out'",
            ) from None


@quickly_made
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
        return "\n".join(line for step in self.steps for line in step.lines()) or "(no steps)"

    def then(self, step: Step) -> Trace:
        """This trace and one step more."""
        return Trace((*self.steps, step))

    def flat(self) -> Trace:
        """This trace with each primitive of one's own replaced by the steps that it took."""
        return Trace(tuple(inner for step in self.steps for inner in step.flat()))

    def replay_on(self, outputs: Tensor | Sequence[Tensor], *, strict: bool = True) -> Schedule:
        """The schedule that these steps make of *outputs*, which may have other sizes than those of the first time.

        Factors stay as they are. See `Schedule.replay` for *strict*.

        >>> from flashsched import te
        >>> def double(n):
        ...     A = te.placeholder((n,), name="A")
        ...     return te.compute((n,), lambda i: A[i] * 2, name="C")
        >>> s = te.create_schedule(C := double(8))
        >>> _ = s[C].split("i", factor=4)
        >>> print(s.trace.replay_on(double(10)))
        for i.o in range(3):
          for i.i in range(4):
            C(i=i.o * 4 + i.i):
              where i.o * 4 + i.i < 10
              C[i] = A[i] * 2.0

        Raises:
            TraceError: a step does not fit there.
        """
        from flashsched.schedule.schedule import create_schedule  # which keeps traces

        return create_schedule(outputs).replay(self, strict=strict)

    def diff(self, other: Trace) -> TraceDiff:
        """What *other* does otherwise: ``print`` it, or look at its changes."""
        from flashsched.schedule.trace_diff import diff

        return diff(self, other)

    def to_json(self) -> dict[str, Any]:
        """The trace as JSON values, with the version of their form."""
        return {"version": VERSION, "steps": [step.to_json() for step in self.steps]}

    def canonical(self) -> str:
        """One text for one trace: what tells duplicates apart."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: Any) -> Trace:
        """The trace that `to_json` gave; what stands beside its steps is not looked at.

        Raises:
            TraceError: *data* is no trace, or one of a version that is not known.
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
