"""`create_schedule`, and schedules with TVM's arguments over ours.

A step is refused at its own line, as everywhere in flashsched. What TVM allowed in any order is kept:

- A loop may be vectorized before it is innermost. It becomes a vector as soon as it is; if it never is, lowering moves
  it inside, as TVM did when it made vectors of all that stands in it.
- A stage may be computed at a loop before all of its readers stand there, and a loop be bound to a GPU's axis before it
  stands where such loops do.
- A stage may be tensorized, scheduled further, and tensorized anew: TVM matched the intrinsic when it lowered.
- What was inlined may still be copied by `Schedule.cache_read`: the copy then computes it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.stage import Attempt, Stage
from flashsched.compat.tvm.te.tensor import adopt
from flashsched.errors import FlashschedError, LimitError, StructureError, UnknownNameError
from flashsched.schedule.ir import For, walk_stmt
from flashsched.schedule.primitives.vectorize import MOST_LANES
from flashsched.schedule.schedule import Schedule as OurSchedule
from flashsched.schedule.trace import Step, Trace
from flashsched.te.tensor import ComputeOp, Operation, Read
from flashsched.te.visit import walk

__all__ = ["AutoInlineElemWise", "AutoInlineInjective", "Group", "Schedule", "create_schedule"]


_LANES = 64
"""Into how many lanes a loop is cut that is too long for one vector."""


class Schedule:
    """How a te graph is run; ``s[C]`` is a stage. *ours* is the schedule of flashsched underneath."""

    def __init__(self, ours: OurSchedule) -> None:
        self.ours = ours
        self._waiting: list[tuple[str, str]] = []
        self._attempts: list[Attempt] = []
        self._rewritten: list[Step] = []  # tensorize steps that later steps took back
        self._names: dict[Operation, str] = {}  # the stages of operations that a replay made anew

    def __getitem__(self, key: Any) -> Stage:
        if isinstance(key, Stage):
            return key
        key = self._present(key)
        if isinstance(key, te.Tensor | Operation) and _is_input(self.ours, key):
            return Stage(self, None, key.op if isinstance(key, te.Tensor) else key)
        view = self.ours[key]
        return Stage(self, view.name, view.op)

    @property
    def outputs(self) -> list[Operation]:
        """The operations that the caller sees."""
        return list(dict.fromkeys(tensor.op for tensor in self.ours.outputs))

    @property
    def stages(self) -> list[Stage]:
        """The stages, inputs first, then in the order in which they are computed."""
        inputs = [Stage(self, None, tensor.op) for tensor in self.ours.inputs]
        return inputs + [Stage(self, view.name, view.op) for view in self.ours.stages]

    @property
    def stage_map(self) -> Schedule:
        """``s.stage_map[op]`` is ``s[op]``."""
        return self

    def normalize(self) -> Schedule:
        """This schedule: the nest always has one loop an axis, so there is nothing to normalize."""
        return self

    def copy(self) -> Schedule:
        """Another schedule in this state."""
        twin = Schedule(self.ours.copy())
        twin._waiting, twin._attempts = list(self._waiting), list(self._attempts)
        twin._rewritten, twin._names = list(self._rewritten), dict(self._names)
        return twin

    def cache_read(self, tensor: Any, scope: str, readers: Any) -> Any:
        """Let *readers* (tensors or operations) read a copy of *tensor* in *scope*; returns the copy."""
        items = readers if isinstance(readers, Sequence) else [readers]
        op = self._present(tensor).op
        inlined = next((name for name, stage in self.ours.state.stages.items() if stage.inlined and stage.op is op), "")
        if inlined:
            self._replay(lambda step: step.primitive == "compute_inline" and step.stage == inlined)
        made = self.ours.cache_read(self._present(tensor), scope, [self._present(item) for item in items])
        if inlined:
            self.ours[inlined].compute_inline()
        return adopt(made.op)[0]

    def cache_write(self, tensor: Any, scope: str) -> Any:
        """Let a stage in *scope* compute *tensor*, which becomes a copy of it; returns the new stage's tensor.

        For the outputs of one operation, given as a list, it returns a list. A reduction moves to the new stage with
        its axes.
        """
        several = isinstance(tensor, tuple | list)
        items = list(tensor) if isinstance(tensor, tuple | list) else [tensor]
        if any(item.op is not items[0].op for item in items):
            raise UnknownNameError("cache_write of tensors that are not the outputs of one operation")
        made = self.ours.cache_write(self._present(items[0]), scope)
        tensors = adopt((made[0] if isinstance(made, tuple) else made).op)
        return list(tensors) if several else tensors[items[0].index]

    def rfactor(self, tensor: Any, axis: Any, factor_axis: int = 0) -> Any:
        """Combine each turn of the reduction's loop *axis* in a stage of its own; returns its tensor.

        Where the reduction has several outputs, it returns all of the new stage's.
        """
        stage = self[tensor]
        made = self.ours.rfactor(stage.view.name, stage.handle(axis), factor_axis)
        tensors = adopt((made[0] if isinstance(made, tuple) else made).op)
        self.settle()
        return tensors[0] if len(tensors) == 1 else list(tensors)

    def create_group(self, outputs: Any, inputs: Any, include_inputs: bool = False) -> Group:
        """The stages that compute *outputs* from *inputs*, as a group that moves together."""
        ends, begins = (
            [self._present(item) for item in (given if isinstance(given, tuple | list) else [given])]
            for given in (outputs, inputs)
        )
        return Group(self, self.ours.create_group(ends, begins, include_inputs))

    def _present(self, key: Any) -> Any:
        """*key*, or what a replay made in its place."""
        op = key.op if isinstance(key, te.Tensor) else key
        name = self._names.get(op) if isinstance(op, Operation) else None
        if name is None:
            return key
        now = self.ours.state.stages[name].op
        return now.output(key.index) if isinstance(key, te.Tensor) else now

    def _replay(self, left_out: Callable[[Step], bool]) -> list[Step]:
        """Take all steps again but those *left_out*, which it returns."""
        steps = self.ours.trace.steps
        again = OurSchedule(self.ours.outputs).replay(Trace(tuple(step for step in steps if not left_out(step))))
        self._names |= {stage.op: name for name, stage in self.ours.state.stages.items()}
        self.ours = again
        return [step for step in steps if left_out(step)]

    def take_back_tensorize(self, stage: str) -> bool:
        """Forget, for now, that *stage* is tensorized; lowering does it again unless it is tensorized anew."""
        if not any(step.primitive == "tensorize" and step.stage == stage for step in self.ours.trace):
            return False
        self._rewritten += self._replay(lambda step: step.primitive == "tensorize" and step.stage == stage)
        return True

    def tensorized(self, stage: str, loop: str) -> None:
        """*loop* of *stage* was tensorized anew, or will be: what was taken back for it stays so."""
        self._rewritten = [s for s in self._rewritten if (s.stage, s.args["loop"]) != (stage, loop)]

    def later(self, stage: str, loop: str) -> None:
        """Vectorize *loop* of *stage* as soon as it is innermost."""
        self._waiting.append((stage, loop))

    def attempt(self, attempt: Attempt) -> None:
        """Take a step now, or else as soon as it is not refused."""
        try:
            attempt.step(self.ours[attempt.stage])
        except attempt.refused:
            self._attempts.append(attempt)

    def waits(self, stage: str, loop: str) -> bool:
        """Whether *loop* of *stage* is to be vectorized later."""
        return (stage, loop) in self._waiting

    def settle(self, final: bool = False) -> None:
        """Vectorize what waits for its place and has it now; where it is *final*, the rest as `settled` does."""
        if final:
            self.ours, self._waiting, self._attempts, self._rewritten = self.settled(), [], [], []
        attempts, self._attempts = self._attempts, []
        for attempt in attempts:
            with contextlib.suppress(UnknownNameError):  # its loop is no more
                self.attempt(attempt)
        waiting, self._waiting = self._waiting, []
        for stage, loop in waiting:
            try:
                self.ours[stage].vectorize(loop)
            except (StructureError, LimitError):
                self._waiting.append((stage, loop))

    def settled(self) -> OurSchedule:
        """A copy of our schedule in which what waits is a vector: its loop moved inside, and cut where it is long.

        Raises:
            ScheduleError: a loop can't be moved inside those in it.
        """
        ours = self.ours.copy()
        for step in self._rewritten:
            ours.apply(step.primitive, step.stage, dict(step.args))
        for attempt in self._attempts:
            refused: tuple[type[FlashschedError], ...] = (*attempt.refused, UnknownNameError)
            try:
                attempt.step(ours[attempt.stage])
            except refused as error:
                error.where = attempt.where
                if attempt.needed:
                    raise
                warnings.warn(f"{attempt.lost}: {error}", stacklevel=2)
        for stage, loop in self._waiting:
            view, known = ours[stage], ours.state.stages[stage]
            names = {var: name for name, var in known.loops.items()}
            node = ours.state.loop(stage, loop)
            inside = [names[n.var] for n in walk_stmt(node.body) if isinstance(n, For) and n.var in names]
            if inside:
                view.reorder(*inside, loop)
            if node.turns is not None and node.turns > MOST_LANES:
                loop = view.split(loop, factor=_LANES)[1].name
            view.vectorize(loop)
        return ours

    def __str__(self) -> str:
        return str(self.ours)

    def __repr__(self) -> str:
        return f"schedule({', '.join(tensor.name for tensor in self.ours.outputs)})"


def AutoInlineElemWise(sch: Schedule) -> None:  # noqa: N802  (as TVM spells it)
    """Inline the stages, other than outputs, that combine elements at one place."""
    _inline(sch, lambda axes, indices: len(axes) == len(indices) and all(map(_is, axes, indices)))


def AutoInlineInjective(sch: Schedule) -> None:  # noqa: N802  (as TVM spells it)
    """Inline all stages, other than outputs, that are no reductions."""
    _inline(sch, lambda axes, indices: True)


def _is(axis: Any, index: Any) -> bool:
    return index is axis


def _inline(sch: Schedule, fits: Callable[[Sequence[Any], Sequence[Any]], bool]) -> None:
    for stage in sch.stages:
        op = stage.origin_op
        if not isinstance(op, ComputeOp) or op.reduce_axis or stage.is_output or len(op.body) != 1:
            continue
        if all(fits(op.axis, node.indices) for node in walk(op.body[0]) if isinstance(node, Read)):
            stage.compute_inline()


class Group:
    """Stages that move together; see `Schedule.create_group`."""

    def __init__(self, schedule: Schedule, ours: Any) -> None:
        self._schedule, self.ours = schedule, ours

    def compute_at(self, parent: Stage, scope: Any) -> None:
        """Compute all of them at the loop *scope* of the stage *parent*."""
        self.ours.compute_at(parent.view, parent.handle(scope))
        self._schedule.settle()


def _is_input(schedule: OurSchedule, key: Any) -> bool:
    op = key.op if isinstance(key, te.Tensor) else key
    return any(tensor.op is op for tensor in schedule.inputs)


def create_schedule(ops: Any) -> Schedule:
    """The schedule of *ops*: an operation or a tensor, or a list of them."""
    from flashsched.schedule import create_schedule as create

    items = list(ops) if isinstance(ops, Sequence) else [ops]
    return Schedule(create([item.op if isinstance(item, Stage) else item for item in items]))
