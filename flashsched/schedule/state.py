"""What a schedule is at one moment: an immutable nest, and what is known of each stage in it.

A primitive takes a `State` and returns another; nothing here is ever changed in place, so a schedule copies for free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

from flashsched.errors import ScheduleError, UnknownNameError, did_you_mean
from flashsched.schedule.facts import part_with_loop
from flashsched.schedule.ir import Block, Buffer, For, Stmt
from flashsched.schedule.printer import nest_text
from flashsched.schedule.trace import Step
from flashsched.te.expr import Var
from flashsched.te.external import ExternOp
from flashsched.te.quick import quickly_made
from flashsched.te.tensor import Axis, AxisKind, ComputeOp

__all__ = ["Stage", "State", "refuse"]


@dataclass(frozen=True)
class Stage:
    """One computation of the program.

    Attributes:
        name: unique in the schedule.
        op: the operation that it computes; the tensors of the program are its outputs.
        block: its block, bound to nothing yet; nests are made around it.
        buffers: what it writes.
        output: whether the caller sees what it writes.
        loops: its loops that are alive, by name, outermost first as they were made.
        gone: loops that are no more, by name, each with the step that took it.
        steps: the steps on its own loops, replayed when its nest is made anew.
        attach: the stage and the loop that it is computed at; None at the root.
        store: the stage and the loop that its memory is kept at, where that is not as near as can be (`store_at`).
        inlined: whether its expression was put into its readers, so that it has no nest.
        into: the stage that computes it now, where that is not its readers (`reverse_compute_inline`).
        init_of: the stage whose elements it sets to the identity (`decompose_reduction`); at no loop of its own choice
            it stands right before that stage.
        follows: whether ``attach`` is a loop of a stage that it reads (`reverse_compute_at`), not of one that reads it.
        rolling: whether it keeps a window of what it computed in the turns before, and adds what is new in this one.
        remade: what became of *op* where a primitive gave the stage other axes.
        tails: the notes on the tails of its axes, those that were the loops of a split (`rfactor`).
    """

    name: str
    op: ComputeOp | ExternOp
    block: Block
    buffers: tuple[Buffer, ...]
    output: bool
    loops: Mapping[str, Var] = field(default_factory=lambda: MappingProxyType({}))
    gone: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    steps: tuple[Step, ...] = ()
    attach: tuple[str, str] | None = None
    store: tuple[str, str] | None = None
    inlined: bool = False
    into: str | None = None
    init_of: str | None = None
    follows: bool = False
    rolling: bool = False
    remade: ComputeOp | None = None
    tails: Mapping[Axis, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def now(self) -> ComputeOp | ExternOp:
        """The operation whose axes are the stage's first loops."""
        return self.remade or self.op

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes that the stage runs over now: those of *op*, unless ``cache_write`` moved its reduction away."""
        return tuple(item.var for item in self.block.iters if isinstance(item.var, Axis))

    @property
    def spatial(self) -> tuple[Axis, ...]:
        """Those of its axes that are dimensions of what it writes."""
        return tuple(axis for axis in self.axes if axis.kind is AxisKind.SPATIAL)

    @property
    def reduced(self) -> tuple[Axis, ...]:
        """Those of its axes that it combines over."""
        return tuple(axis for axis in self.axes if axis.kind is AxisKind.REDUCE)

    def after(self, step: Step) -> Stage:
        """This stage, *step* the last of its own."""
        twin = object.__new__(Stage)
        twin.__dict__.update(self.__dict__, steps=(*self.steps, step))
        return twin

    def unused_name(self, base: str) -> str:
        """*base*, numbered where the stage has had a loop of that name."""
        name, number = base, 1
        while name in self.loops or name in self.gone:
            number += 1
            name = f"{base}{number}"
        return name


@quickly_made
@dataclass(frozen=True, slots=True)
class State:
    """A nest and its stages, in an order in which they can be computed.

    *params* are the program's placeholders, *imports* the names of LLVM texts whose functions it may call.
    """

    body: Stmt
    stages: Mapping[str, Stage]
    params: tuple[Buffer, ...]
    imports: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage:
        """The stage called *name*, which must have a nest.

        Raises:
            ScheduleError: there is none, or it was inlined.
        """
        if name not in self.stages:
            refuse(self, f"no stage named {name!r}", error=UnknownNameError, hint=did_you_mean(name, self.stages))
        found = self.stages[name]
        if found.into is not None:
            refuse(
                self,
                f"stage {name!r} became part of {found.into!r}, so it has no loops any more",
                error=UnknownNameError,
                hint=f"schedule {found.into!r}, or leave out {name}.reverse_compute_inline()",
            )
        if found.inlined:
            refuse(
                self,
                f"stage {name!r} was inlined into its readers, so it has no loops any more",
                error=UnknownNameError,
                hint=f"schedule its readers, or leave out {name}.compute_inline()",
            )
        return found

    def with_stage(self, stage: Stage, before: str | None = None) -> State:
        """This state with *stage* replaced or, where it is new, put before the stage *before*."""
        if stage.name in self.stages or before is None:
            return self._with_stages({**self.stages, stage.name: stage})
        stages: dict[str, Stage] = {}
        for name, old in self.stages.items():
            if name == before:
                stages[stage.name] = stage
            stages[name] = old
        return self._with_stages(stages)

    def _with_stages(self, stages: Mapping[str, Stage]) -> State:
        return State(self.body, MappingProxyType(stages), self.params, self.imports)

    def with_body(self, body: Stmt) -> State:
        """This state around another nest."""
        return State(body, self.stages, self.params, self.imports)

    def loop(self, stage: str, name: str) -> For:
        """The loop *name* of *stage*.

        Raises:
            ScheduleError: there is none; where there was one, the message names the step that took it.
        """
        known = self.stage(stage)
        if name not in known.loops:
            if name in known.gone:
                refuse(
                    self,
                    f"loop {name!r} of stage {stage!r} is no more: {known.gone[name]} took it",
                    error=UnknownNameError,
                    hint=f"its loops now: {', '.join(known.loops)}",
                )
            has = ", ".join(known.loops) or "none"
            refuse(
                self,
                f"no loop named {name!r}; stage {stage!r} has {has}",
                error=UnknownNameError,
                hint=_near(name, known.loops),
            )
        var = known.loops[name]
        node: Stmt | None = self.body
        while node is not None and not (isinstance(node, For) and node.var is var):
            node = node.body if isinstance(node, For) else part_with_loop(node, var)
        assert node is not None, f"loop {name} of {stage} is not in the nest"
        return node

    def attached_to(self, stage: str) -> list[Stage]:
        """The stages whose nests go where that of *stage* goes, in order: computed at its loops, or its init."""
        return [
            other
            for other in self.stages.values()
            if (other.attach[0] == stage if other.attach is not None else other.init_of == stage)
        ]

    def stage_of(self, buffer: Buffer) -> Stage | None:
        """The stage that writes *buffer*."""
        writers = (stage for stage in self.stages.values() if buffer in stage.buffers)
        found = [stage for stage in writers if stage.init_of is None and stage.into is None]
        return found[-1] if found else None  # a state's first rows are written by a stage of their own before it


def _near(name: str, known: Mapping[str, Var]) -> str:
    said = did_you_mean(name, known)
    return said if said.startswith("did") else "name a loop as print(s) shows it, or by the handle that made it"


def refuse(
    state: State,
    reason: str,
    *,
    error: type[ScheduleError] = ScheduleError,
    loop: Var | None = None,
    block: str | None = None,
    hint: str | None = None,
) -> NoReturn:
    """Raise the *error* (see `flashsched.errors`) that says *reason*; it shows the nest, *loop* or *block* marked."""
    raise error(reason, shown=nest_text(state.body, mark=loop, blocks=block), hint=hint)
