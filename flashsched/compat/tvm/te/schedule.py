"""`create_schedule`, and schedules with TVM's arguments over ours.

A step is refused at its own line, as everywhere in flashsched. One thing TVM allowed in any order is kept: a loop may
be vectorized before it is innermost. It becomes a vector as soon as it is; if it never is, lowering moves it inside, as
TVM did when it made vectors of all that stands in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.stage import Stage
from flashsched.compat.tvm.te.tensor import adopt
from flashsched.errors import LimitError, StructureError, UnknownNameError
from flashsched.schedule.ir import For, walk_stmt
from flashsched.schedule.primitives.vectorize import MOST_LANES
from flashsched.schedule.schedule import Schedule as OurSchedule
from flashsched.te.tensor import Operation

__all__ = ["Schedule", "create_schedule"]


_LANES = 64
"""Into how many lanes a loop is cut that is too long for one vector."""


class Schedule:
    """How a te graph is run; ``s[C]`` is a stage. *ours* is the schedule of flashsched underneath."""

    def __init__(self, ours: OurSchedule) -> None:
        self.ours = ours
        self._waiting: list[tuple[str, str]] = []

    def __getitem__(self, key: Any) -> Stage:
        if isinstance(key, Stage):
            return key
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
        twin._waiting = list(self._waiting)
        return twin

    def cache_read(self, tensor: Any, scope: str, readers: Any) -> Any:
        """Let *readers* (tensors or operations) read a copy of *tensor* in *scope*; returns the copy."""
        items = readers if isinstance(readers, Sequence) else [readers]
        return adopt(self.ours.cache_read(tensor, scope, list(items)).op)[0]

    def cache_write(self, tensor: Any, scope: str) -> Any:
        """Let a stage in *scope* compute *tensor*, which becomes a copy of it; returns the new stage's tensor.

        For the outputs of one operation, given as a list, it returns a list. A reduction moves to the new stage with
        its axes.
        """
        several = isinstance(tensor, tuple | list)
        items = list(tensor) if isinstance(tensor, tuple | list) else [tensor]
        if any(item.op is not items[0].op for item in items):
            raise UnknownNameError("cache_write of tensors that are not the outputs of one operation")
        made = self.ours.cache_write(items[0], scope)
        tensors = adopt((made[0] if isinstance(made, tuple) else made).op)
        return list(tensors) if several else tensors[items[0].index]

    def rfactor(self, tensor: Any, axis: Any, factor_axis: int = 0) -> Any:
        """Combine each turn of the reduction's loop *axis* in a stage of its own; returns its tensor.

        Where the reduction has several outputs, it returns all of the new stage's.
        """
        stage = self[tensor]
        made = self.ours.rfactor(tensor, stage.handle(axis), factor_axis)
        tensors = adopt((made[0] if isinstance(made, tuple) else made).op)
        self.settle()
        return tensors[0] if len(tensors) == 1 else list(tensors)

    def create_group(self, *args: Any, **kwargs: Any) -> Any:
        """Not there: compute each stage of the group at the loop with ``s[X].compute_at``."""
        raise NotImplementedError("create_group is not there; compute each stage of the group at the loop yourself")

    def later(self, stage: str, loop: str) -> None:
        """Vectorize *loop* of *stage* as soon as it is innermost."""
        self._waiting.append((stage, loop))

    def settle(self, final: bool = False) -> None:
        """Vectorize what waits for its place and has it now; where it is *final*, the rest as `settled` does."""
        if final:
            self.ours, self._waiting = self.settled(), []
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


def _is_input(schedule: OurSchedule, key: Any) -> bool:
    op = key.op if isinstance(key, te.Tensor) else key
    return any(tensor.op is op for tensor in schedule.inputs)


def create_schedule(ops: Any) -> Schedule:
    """The schedule of *ops*: an operation or a tensor, or a list of them."""
    from flashsched.schedule import create_schedule as create

    items = list(ops) if isinstance(ops, Sequence) else [ops]
    return Schedule(create([item.op if isinstance(item, Stage) else item for item in items]))
