"""A trace as the Python program that makes it.

The trace is replayed while it is printed, so the state says what each name is: which loops and stages a step made, and
of which axes a stage is. A primitive needs nothing here; its arguments are those of `flashsched.schedule.arguments`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite
from typing import Any, TypeAlias

from flashsched.schedule.arguments import Kind, arguments_of
from flashsched.schedule.default import default_state, loop_names, stage_names
from flashsched.schedule.own import own_primitive
from flashsched.schedule.primitives import apply
from flashsched.schedule.state import Stage, State
from flashsched.schedule.trace import Step, Trace
from flashsched.schedule.views import StageView
from flashsched.te.tensor import Tensor

__all__ = ["to_python"]


@dataclass(eq=False)
class _Variable:
    """A variable of the program: the name that it would like, and whether a later line uses it."""

    wish: str
    used: bool = False
    name: str = ""


_PARAGRAPH = 3  # lines about one stage, from which on they stand apart from those about others

_Piece: TypeAlias = "str | _Variable"


@dataclass
class _Line:
    """``targets = pieces``, where what is not used later is left out; *stage* is what the line is about."""

    stage: str
    pieces: list[_Piece]
    targets: list[_Variable] = field(default_factory=list)
    axes: bool = False
    sequence: bool = False


class _Writer:
    """The lines so far, and the variables that hold each loop and each tensor."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self.state: State = default_state(outputs)
        self.loops: dict[tuple[str, str], _Variable] = {}
        self.tensors: dict[str, _Variable] = {}  # by the buffer's name
        self.lines: list[_Line] = []
        self.unpacked: set[str] = set()
        self.imports: dict[str, set[str]] = {}  # functions of one's own, by module
        named = {id(op): name for op, name in stage_names(outputs)}
        for op, name in stage_names(outputs):
            for tensor in op.outputs:
                label = name if len(op.outputs) == 1 else f"{name}.v{tensor.index}"
                self.tensors[label] = _Variable(_underscored(label), used=True)
        pieces: list[_Piece] = []
        for output in outputs:
            name = named[id(output.op)]
            label = name if len(output.op.outputs) == 1 else f"{name}.v{output.index}"
            pieces += [", " if pieces else "", self.tensors[label]]
        ends = ("(", ")") if len(outputs) == 1 else ("([", "])")
        self.lines.append(_Line("", ["s = te.create_schedule", ends[0], *pieces, ends[1]]))

    def step(self, step: Step) -> None:
        """Write one step."""
        if step.steps is not None:
            self._own(step)
            return
        before = self.state
        of_stage = hasattr(StageView, step.primitive)
        pieces: list[_Piece] = []
        for argument in arguments_of(step.primitive):
            if argument.name in step.args:
                value = self._value(step.stage, argument.kind, step.args[argument.name])
                spread = argument.by_position and argument.kind in (Kind.LOOPS, Kind.PLACE)
                shown = value if spread else _bracketed(argument.kind, value)
                pieces += [", " if pieces else "", "" if argument.by_position else f"{argument.name}=", *shown]
        if of_stage:
            call = [*self._stage(step.stage), f".{step.primitive}(", *pieces, ")"]
        else:
            call = [f"s.{step.primitive}(", self._tensor(step.stage), ", " if pieces else "", *pieces, ")"]
        self.state, out = apply(before, step.primitive, step.stage, step.args)
        self._forget(before, step.stage)
        line = _Line(step.stage if of_stage else (out or ("",))[0], call)
        self.lines.append(line)
        for name in out:
            line.targets += self._made(before, step.stage, name)

    def _forget(self, before: State, stage: str) -> None:
        """Let go of the axes that *stage* had *before* and has lost, so that those in their place are unpacked."""
        axes = before.stages[stage].axes if stage in before.stages else ()
        for axis, name in zip(axes, loop_names(axes), strict=True):
            if axis not in self.state.stages[stage].axes and self.state.stages[stage].remade:
                self.loops.pop((stage, name), None)
                self.unpacked.discard(stage)

    def _own(self, step: Step) -> None:
        """Write a call of a primitive of one's own, where the function can be had; else the steps that it took."""
        own = own_primitive(step.primitive)
        if own is None or own.module is None:
            for inner in step.steps or ():
                self.step(inner)
            return
        function = own.function.__name__
        self.imports.setdefault(own.module, set()).add(function)
        pieces: list[_Piece] = [f"{function}(s"]
        for name, value in own.by_position(step.args):
            pieces += [", ", f"{name}=" if name else "", *self._given(value)]
        for inner in step.flat():
            before = self.state
            self.state, _ = apply(before, inner.primitive, inner.stage, inner.args)
            self._forget(before, inner.stage)
        several = isinstance(step.returned, list)
        line = _Line("", [*pieces, ")"], sequence=several)
        self.lines.append(line)
        for handle in step.returned if several else [step.returned]:
            match handle:
                case {"$loop": [stage, name]}:
                    line.targets.append(_Variable(_squeezed(name)))
                    self.loops[stage, name] = line.targets[-1]
                case {"$tensor": name}:
                    line.targets.append(_Variable(_underscored(name)))
                    if name not in self.tensors:
                        self.tensors[name] = line.targets[-1]
                case _:
                    line.targets.append(_Variable("_"))

    def _given(self, value: Any) -> list[_Piece]:
        """A value given to a primitive of one's own."""
        match value:
            case {"$tensor": name}:
                return [self._tensor(name)]
            case {"$stage": name}:
                return self._stage(name)
            case {"$loop": [stage, name]}:
                return [self._loop(stage, name)]
            case list():
                return ["[", *_listed([self._given(item) for item in value]), "]"]
            case dict():
                return ["{", *_listed([[f"{_literal(key)}: ", *self._given(item)] for key, item in value.items()]), "}"]
            case _:
                return [_literal(value)]

    def _made(self, before: State, stage: str, name: str) -> list[_Variable]:
        """The variables for what a step made: a new stage's tensors, or a loop."""
        if name in self.state.stages and name not in before.stages:
            tensors = self.state.stages[name].op.outputs
            made = [_Variable(_underscored(tensor.name)) for tensor in tensors]
            self.tensors |= {tensor.name: variable for tensor, variable in zip(tensors, made, strict=True)}
            return made
        self.loops[stage, name] = _Variable(_squeezed(name))
        return [self.loops[stage, name]]

    def _value(self, stage: str, kind: Kind, value: Any) -> list[_Piece]:
        match kind:
            case Kind.LOOP if isinstance(value, str):
                return [self._loop(stage, value)]
            case Kind.LOOPS:
                return _listed([[self._loop(stage, name)] for name in value])
            case Kind.PLACE:
                return [*self._stage(value[0]), ", ", self._loop(value[0], value[1])]
            case Kind.STAGE | Kind.TENSOR if isinstance(value, str):
                return [self._tensor(value)]
            case Kind.STAGES | Kind.TENSORS if isinstance(value, list | tuple):
                return _listed([[self._tensor(name)] for name in value])
            case _:
                return [_literal(value)]

    def _stage(self, name: str) -> list[_Piece]:
        """The stage as it is asked for: by its first tensor."""
        return ["s[", self._tensor(name), "]"]

    def _tensor(self, name: str) -> _Piece:
        """The variable of a buffer, or of a stage's first; the name itself where no variable holds it."""
        if name not in self.tensors and name in self.state.stages:
            name = _first_tensor(self.state.stages[name])
        return _use(self.tensors[name]) if name in self.tensors else _literal(name)

    def _loop(self, stage: str, name: str) -> _Piece:
        """The variable that holds the loop; those of a stage's axes are unpacked when the first of them is named."""
        if (stage, name) not in self.loops and stage not in self.unpacked:
            self.unpacked.add(stage)
            op, known = self.state.stages[stage].now, self.state.stages[stage].axes
            names = dict(zip((*op.axis, *op.reduce_axis), loop_names((*op.axis, *op.reduce_axis)), strict=True))
            for axes, attribute in ((op.axis, "axis"), (op.reduce_axis, "reduce_axis")):
                held = [_Variable(_squeezed(names[axis])) for axis in axes]
                for axis, variable in zip(axes, held, strict=True):
                    if axis in known:
                        self.loops.setdefault((stage, names[axis]), variable)
                if held:
                    self.lines.append(_Line(stage, [*self._stage(stage), f".op.{attribute}"], held, axes=True))
        found = self.loops.get((stage, name))
        return _literal(name) if found is None else _use(found)

    def text(self) -> str:
        """The program, its variables named in the order in which they appear."""
        taken = {"s", "te", "_"}.union(*self.imports.values())
        lines: list[str] = []
        for tensor in self.tensors.values():
            if tensor.used:
                _christen(tensor, taken)
        before = 0
        for _, group in groupby(self.lines, lambda line: line.stage):
            written: list[str] = []
            for line in group:
                for variable in line.targets:
                    if variable.used and not variable.name:
                        _christen(variable, taken)
                written += _written(line)
            apart = len(lines) > 1 and max(before, len(written)) >= _PARAGRAPH
            lines += ["", *written] if apart else written
            before = len(written)
        there = {module: names for module, names in self.imports.items() if module != "__main__"}
        imports = [f"from {module} import {', '.join(sorted(there[module]))}" for module in sorted(there)]
        return "\n".join([*imports, *([""] if imports else []), *lines]) + "\n"


def _first_tensor(stage: Stage) -> str:
    """The name of the first tensor of *stage* (its memory may be another stage's by now)."""
    return stage.name if len(stage.op.outputs) == 1 else f"{stage.name}.v0"


def _use(variable: _Variable) -> _Variable:
    variable.used = True
    return variable


def _listed(items: list[list[_Piece]]) -> list[_Piece]:
    pieces: list[_Piece] = []
    for item in items:
        pieces += [", " if pieces else "", *item]
    return pieces


def _bracketed(kind: Kind, value: list[_Piece]) -> list[_Piece]:
    return ["[", *value, "]"] if kind in (Kind.LOOPS, Kind.STAGES, Kind.TENSORS) else value


def _written(line: _Line) -> list[str]:
    """The line as text; an unpacking that nobody uses is none."""
    text = "".join(piece if isinstance(piece, str) else piece.name for piece in line.pieces)
    used = [number for number, variable in enumerate(line.targets) if variable.used]
    if not used:
        return [] if line.axes else [text]
    if len(used) == 1 and (line.axes or (line.sequence and len(line.targets) == 1)):
        return [f"{line.targets[used[0]].name} = {text}[{used[0]}]"]
    return [f"{', '.join(variable.name if variable.used else '_' for variable in line.targets)} = {text}"]


def _literal(value: Any) -> str:
    """*value* as it is written in a program."""
    if isinstance(value, str) and '"' not in value and "\\" not in value and value.isprintable():
        return f'"{value}"'
    return f'float("{value}")' if isinstance(value, float) and not isfinite(value) else repr(value)


def _underscored(name: str) -> str:
    """``C.local`` as ``C_local``."""
    return re.sub(r"\W", "_", name)


def _squeezed(name: str) -> str:
    """``i.o`` as ``io``, and ``row.o`` as ``row_o``."""
    short = all(re.fullmatch(r"[A-Za-z]\d*", part) for part in name.split("."))
    return name.replace(".", "") if short else _underscored(name)


def _christen(variable: _Variable, taken: set[str]) -> None:
    base = variable.wish
    if not base.isidentifier() or keyword.iskeyword(base):
        base = f"_{base}" if base[:1].isdigit() else f"{base}_"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}" if base[-1].isdigit() else f"{base}{number}"
    taken.add(name)
    variable.name = name


def to_python(outputs: Sequence[Tensor], trace: Trace) -> str:
    """The program, given that the variables of the te graph are named as its tensors are (``C.v0`` is ``C_v0``)."""
    writer = _Writer(outputs)
    for step in trace:
        writer.step(step)
    return writer.text()
