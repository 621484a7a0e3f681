"""`Group`: stages that move together, as ``create_group`` of classic te programs gives them.

A group is no part of the nest, and no step of a trace: it takes one step for each of its stages, in an order in which
none is read before it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from flashsched.errors import ArgumentError, ScheduleError
from flashsched.schedule.ir import block_loads
from flashsched.schedule.state import State
from flashsched.schedule.views import LoopLike, StageView
from flashsched.te.tensor import Operation, Tensor

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule

__all__ = ["Group", "between"]


class Group:
    """The stages *names* of a schedule; what is done to the group is done to each of them, or to none."""

    def __init__(self, schedule: Schedule, names: Collection[str]) -> None:
        self._schedule = schedule
        self._names = frozenset(names)

    def __repr__(self) -> str:
        return f"<group of {', '.join(view.name for view in self.stages)}>"

    @property
    def stages(self) -> tuple[StageView, ...]:
        """Its stages, in the order in which they are computed."""
        return tuple(view for view in self._schedule.stages if view.name in self._names)

    def compute_at(self, consumer: StageView | Tensor | Operation | str, loop: LoopLike) -> None:
        """Compute all stages of the group at *loop* of *consumer*, just the parts that each turn needs.

        Raises:
            ScheduleError: one of them can't be computed there; then none has moved.
        """
        self._each(self.stages[::-1], lambda view: view.compute_at(consumer, loop))

    def compute_root(self) -> None:
        """Compute all stages of the group in nests of their own.

        Raises:
            ScheduleError: one of them can't be; then none has moved.
        """
        self._each(self.stages, lambda view: view.compute_root())

    def _each(self, views: Collection[StageView], move: Callable[[StageView], None]) -> None:
        before = self._schedule.copy()
        try:
            for view in views:
                move(view)
        except ScheduleError:
            self._schedule.__dict__.update(before.__dict__)
            raise


def between(state: State, outputs: Collection[str], inputs: Collection[str], include_inputs: bool) -> set[str]:
    """The stages that compute *outputs* from *inputs* (of stages or of the program).

    Raises:
        ArgumentError: an output does not depend on any of the inputs.
    """
    writers = {buffer: stage.name for stage in state.stages.values() if not stage.inlined for buffer in stage.buffers}
    writers |= {buffer: buffer.name for buffer in state.params}
    read = {
        stage.name: {writers[load.buffer] for load in block_loads(stage.block)} - {stage.name}
        for stage in state.stages.values()
        if not stage.inlined
    }
    found: set[str] = set()
    ends: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in inputs and name not in outputs:
            ends.add(name)
        elif name in read and name not in found:
            found.add(name)
            waiting += sorted(read[name])
    missing = [name for name in inputs if name not in ends]
    if missing:
        raise ArgumentError(
            f"{', '.join(sorted(outputs))} does not depend on {', '.join(missing)}",
            hint="name inputs that lie on the way to the outputs",
        )
    return found | (ends & read.keys() if include_inputs else set())
