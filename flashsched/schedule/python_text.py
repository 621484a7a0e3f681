"""A trace as the Python program that makes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flashsched.schedule.default import loop_names
from flashsched.schedule.trace import Step, Trace
from flashsched.te.tensor import ComputeOp, Tensor, graph

__all__ = ["to_python"]

_BY_SCHEDULE = ("cache_read", "cache_write")


def _identifier(name: str) -> str:
    text = re.sub(r"\W", "_", name)
    return f"_{text}" if text[:1].isdigit() else text


class _Writer:
    """Names and lines of the program so far."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self.tensors: dict[str, str] = {}
        self.axes: dict[str, tuple[list[str], list[str]]] = {}
        self.loops: dict[tuple[str, str], str] = {}
        self.taken: set[str] = {"s", "te"}
        for op in graph(outputs):
            self.tensors[op.name] = self._fresh(op.name)
            if isinstance(op, ComputeOp):
                self._know_axes(op.name, op)
        named = ", ".join(self.tensors[t.op.name] for t in outputs)
        self.lines = [f"s = te.create_schedule({named if len(outputs) == 1 else f'[{named}]'})"]
        self.unpacked: set[str] = set()

    def _fresh(self, name: str) -> str:
        base = _identifier(name)
        text, number = base, 1
        while text in self.taken:
            number += 1
            text = f"{base}{number}"
        self.taken.add(text)
        return text

    def _know_axes(self, stage: str, op: ComputeOp) -> None:
        names = loop_names((*op.axis, *op.reduce_axis))
        self.axes[stage] = (names[: len(op.axis)], names[len(op.axis) :])

    def loop(self, stage: str, name: str) -> str:
        """The variable that holds the loop, which is unpacked from its stage the first time."""
        if (stage, name) not in self.loops and stage in self.axes and stage not in self.unpacked:
            self.unpacked.add(stage)
            for names, field in zip(self.axes[stage], ("axis", "reduce_axis"), strict=True):
                if names:
                    for item in names:
                        self.loops[stage, item] = self._fresh(item)
                    held = ", ".join(self.loops[stage, item] for item in names)
                    comma = "," if len(names) == 1 else ""
                    self.lines.append(f"{held}{comma} = s[{self.tensors[stage]}].op.{field}")
        return self.loops.get((stage, name), repr(name))

    def step(self, step: Step) -> None:
        """Write one step."""
        if step.primitive in _BY_SCHEDULE:
            self._cache(step)
            return
        arguments: list[str] = []
        for key, value in step.args.items():
            arguments += self._argument(step.stage, key, value)
        call = f"s[{self.tensors[step.stage]}].{step.primitive}({', '.join(arguments)})"
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
            return [f"s[{self.tensors[value[0]]}]", self.loop(value[0], value[1])]
        if key in ("scope", "axis", "layout"):
            return [repr(value)]
        return [f"{key}={value!r}"]

    def _cache(self, step: Step) -> None:
        (name,) = step.out
        arguments = [self.tensors.get(step.stage, repr(step.stage)), repr(step.args["scope"])]
        if step.args.get("readers"):
            arguments.append(f"[{', '.join(self.tensors[reader] for reader in step.args['readers'])}]")
        self.tensors[name] = self._fresh(name)
        if step.primitive == "cache_write":
            self.axes[name] = self.axes[step.stage]
            self.axes[step.stage] = (self.axes[step.stage][0], [])
        else:
            self.axes[name] = ([], [])
        self.lines.append(f"{self.tensors[name]} = s.{step.primitive}({', '.join(arguments)})")


def to_python(outputs: Sequence[Tensor], trace: Trace) -> str:
    """The program, given that the variables of the te graph are named as its tensors are."""
    writer = _Writer(outputs)
    ranks = {op.output(0).name: len(op.output(0).shape) for op in graph(outputs)}
    for step in trace:
        if step.primitive == "cache_read":
            rank = ranks.get(step.stage, 0)
            writer.axes[step.out[0]] = ([f"i{n}" for n in range(rank)], [])
            ranks[step.out[0]] = rank
            axes = writer.axes[step.out[0]]
            writer.step(step)
            writer.axes[step.out[0]] = axes
        else:
            if step.primitive == "cache_write":
                ranks[step.out[0]] = ranks.get(step.stage, 0)
            writer.step(step)
    return "\n".join(writer.lines) + "\n"
