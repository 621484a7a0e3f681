"""A trace as the Python program that makes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flashsched.schedule.default import loop_names, stage_names
from flashsched.schedule.trace import Step, Trace
from flashsched.te.tensor import ComputeOp, Tensor

__all__ = ["to_python"]

_BY_SCHEDULE = ("cache_read", "cache_write")


def _identifier(name: str) -> str:
    text = re.sub(r"\W", "_", name)
    return f"_{text}" if text[:1].isdigit() else text


class _Writer:
    """Names and lines of the program so far.

    Attributes:
        tensors: the variables of a stage's outputs (or of an input), by the stage's name.
        ranks: the number of dimensions of each of them.
        axes: for each stage the names of its spatial and of its reduce axes.
        loops: the variable of each loop, by stage and name.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self.tensors: dict[str, list[str]] = {}
        self.ranks: dict[str, int] = {}
        self.axes: dict[str, tuple[list[str], list[str]]] = {}
        self.loops: dict[tuple[str, str], str] = {}
        self.taken: set[str] = {"s", "te"}
        self.unpacked: set[str] = set()
        stages: dict[int, str] = {}
        for op, name in stage_names(outputs):
            stages[id(op)] = name
            self._know(name, len(op.outputs), len(op.output(0).shape))
            if isinstance(op, ComputeOp):
                names = loop_names((*op.axis, *op.reduce_axis))
                self.axes[name] = (names[: len(op.axis)], names[len(op.axis) :])
        named = ", ".join(self.tensors[stages[id(t.op)]][t.index] for t in outputs)
        self.lines = [f"s = te.create_schedule({named if len(outputs) == 1 else f'[{named}]'})"]

    def _know(self, stage: str, outputs: int, rank: int) -> None:
        labels = [stage] if outputs == 1 else [f"{stage}.v{n}" for n in range(outputs)]
        self.tensors[stage] = [self._fresh(label) for label in labels]
        self.ranks[stage] = rank

    def _fresh(self, name: str) -> str:
        base = _identifier(name)
        text, number = base, 1
        while text in self.taken:
            number += 1
            text = f"{base}{number}"
        self.taken.add(text)
        return text

    def stage(self, name: str) -> str:
        """The stage as it is asked for: by its (first) tensor."""
        return f"s[{self.tensors[name][0]}]"

    def loop(self, stage: str, name: str) -> str:
        """The variable that holds the loop, which is unpacked from its stage the first time."""
        if (stage, name) not in self.loops and stage not in self.unpacked:
            self.unpacked.add(stage)
            for names, field in zip(self.axes[stage], ("axis", "reduce_axis"), strict=True):
                if names:
                    for item in names:
                        self.loops[stage, item] = self._fresh(item)
                    held = ", ".join(self.loops[stage, item] for item in names)
                    comma = "," if len(names) == 1 else ""
                    self.lines.append(f"{held}{comma} = {self.stage(stage)}.op.{field}")
        return self.loops[stage, name]

    def step(self, step: Step) -> None:
        """Write one step."""
        if step.primitive in _BY_SCHEDULE:
            self._cache(step)
            return
        arguments: list[str] = []
        for key, value in step.args.items():
            arguments += self._argument(step.stage, key, value)
        call = f"{self.stage(step.stage)}.{step.primitive}({', '.join(arguments)})"
        if step.out:
            for name in step.out:
                self.loops[step.stage, name] = self._fresh(name)
            call = f"{', '.join(self.loops[step.stage, name] for name in step.out)} = {call}"
        self.lines.append(call)

    def _argument(self, stage: str, key: str, value: Any) -> list[str]:
        if key == "loop":
            return [self.loop(stage, value)]
        if key == "loops":
            return [self.loop(stage, item) for item in value]
        if key == "at":
            return [self.stage(value[0]), self.loop(value[0], value[1])]
        if key in ("scope", "axis", "layout"):
            return [repr(value)]
        return [f"{key}={value!r}"]

    def _cache(self, step: Step) -> None:
        (name,) = step.out
        if step.primitive == "cache_write":
            source = self.tensors[step.stage][0]
            self._know(name, len(self.tensors[step.stage]), self.ranks[step.stage])
            self.axes[name] = self.axes[step.stage]
            self.axes[step.stage] = (self.axes[step.stage][0], [])
        else:
            stage, index = self._output(step.stage)
            source = self.tensors[stage][index]
            self._know(name, 1, self.ranks[stage])
            self.axes[name] = ([f"i{n}" for n in range(self.ranks[stage])], [])
        arguments = [source, repr(step.args["scope"])]
        if step.args.get("readers"):
            arguments.append(f"[{', '.join(self.tensors[reader][0] for reader in step.args['readers'])}]")
        self.lines.append(f"{', '.join(self.tensors[name])} = s.{step.primitive}({', '.join(arguments)})")

    def _output(self, buffer: str) -> tuple[str, int]:
        """The stage (or input) that a buffer belongs to, and the number of the output."""
        if buffer in self.tensors:
            return buffer, 0
        stage, _, index = buffer.rpartition(".v")
        return stage, int(index)


def to_python(outputs: Sequence[Tensor], trace: Trace) -> str:
    """The program, given that the variables of the te graph are named as its tensors are (``C.v0`` is ``C_v0``)."""
    writer = _Writer(outputs)
    for step in trace:
        writer.step(step)
    return "\n".join(writer.lines) + "\n"
