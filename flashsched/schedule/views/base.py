"""What every part of a stage's view leans on: handles of loops, and taking a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from flashsched.errors import UnknownNameError
from flashsched.schedule.default import loop_names
from flashsched.te.external import ExternOp
from flashsched.te.tensor import Axis, ComputeOp

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule

__all__ = ["Loop", "LoopLike", "StageHandle"]


@dataclass(frozen=True, slots=True)
class Loop:
    """A handle of one loop: its stage and its name. Two handles of one loop are equal."""

    stage: str
    name: str

    def __repr__(self) -> str:
        return f"{self.stage}.{self.name}"


LoopLike: TypeAlias = Loop | Axis | str
"""How a loop is named: what a primitive returned, an axis of the stage, or the loop's name."""


class StageHandle:
    """One stage of a schedule, by name: its operation and its loops, and how a step is taken on it."""

    def __init__(self, schedule: Schedule, name: str) -> None:
        self._schedule = schedule
        self.name = name

    def __repr__(self) -> str:
        return f"<stage {self.name}: loops {', '.join(self._schedule.state.stages[self.name].loops)}>"

    @property
    def op(self) -> ComputeOp | ExternOp:
        """The operation, for ``op.axis`` and ``op.reduce_axis``."""
        return self._schedule.state.stages[self.name].now

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Handles of all its loops."""
        return tuple(Loop(self.name, name) for name in self._schedule.state.stage(self.name).loops)

    def _loop(self, handle: LoopLike) -> str:
        if isinstance(handle, str):
            return handle
        if isinstance(handle, Loop):
            if handle.stage != self.name:
                raise UnknownNameError(
                    f"loop {handle!r} belongs to stage {handle.stage!r}, not to {self.name!r}",
                    hint=f"loops of {self.name}: {', '.join(self._schedule.state.stage(self.name).loops)}",
                )
            return handle.name
        if isinstance(handle, Axis):
            axes = (*self.op.axis, *self.op.reduce_axis)
            names = loop_names(axes)
            first = self._schedule.state.stages[self.name].op.axis  # those of the program, wherever they are longer now
            for axis, name in (*zip(axes, names, strict=True), *zip(first, loop_names(first), strict=True)):
                if axis is handle:
                    return name
            raise UnknownNameError(
                f"axis {handle.name!r} is not one of stage {self.name!r}",
                hint=f"take it from s[{self.name}].op: {', '.join(axis.name for axis in axes)}",
            )
        raise UnknownNameError(
            f"{handle!r} is no loop", hint="use an axis of the stage, what a primitive returned, or a loop's name"
        )

    def _apply(self, primitive: str, **args: Any) -> tuple[Loop, ...]:
        kept = {key: value for key, value in args.items() if value is not None}
        return tuple(Loop(self.name, name) for name in self._schedule.apply(primitive, self.name, kept))
