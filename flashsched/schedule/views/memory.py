"""``s[C].set_scope(...)`` and the others that say where and how a stage's values lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.schedule.layout import IndexMap
from flashsched.schedule.views.base import LoopLike, StageHandle
from flashsched.te.tensor import Axis, Tensor

__all__ = ["MemoryPrimitives"]


class MemoryPrimitives(StageHandle):
    """The primitives on the memory that a stage writes."""

    def double_buffer(self) -> None:
        """Compute this stage one turn ahead, into the other one of two buffers."""
        self._apply("double_buffer")

    def join_axes(self, first: LoopLike, second: LoopLike) -> None:
        """Make one axis of two that count only by their sum, so that nothing is computed once for each pair."""
        self._apply("join_axes", first=self._loop(first), second=self._loop(second))

    def prefetch(self, tensor: Tensor | str, loop: LoopLike, offset: int) -> None:
        """In each turn of *loop*, ask for the lines of *tensor* that the turn *offset* ahead will read."""
        name = self._schedule._tensor_name(tensor)
        self._apply("prefetch", tensor=name, loop=self._loop(loop), offset=offset)

    def rolling_buffer(self) -> None:
        """Keep what earlier turns computed of this stage and still is needed, and compute only what is new."""
        self._apply("rolling_buffer")

    def set_scope(self, scope: str) -> None:
        """Keep what this stage writes in *scope*: ``"global"``, ``"shared"``, ``"local"`` or ``"register"``."""
        self._apply("set_scope", scope=scope)

    def storage_align(self, axis: Axis | int, factor: int, offset: int = 0) -> None:
        """Let the stride of *axis* (a dimension of the memory) be *offset* modulo *factor*, in elements."""
        place = axis if isinstance(axis, int) else [*self.op.axis].index(axis) if axis in self.op.axis else -1
        self._apply("storage_align", axis=place, factor=factor, offset=offset)

    def transform_layout(self, layout: Callable[..., Any] | str, pad_value: float | bool | None = None) -> None:
        """Store what this stage writes in another order, e.g. ``lambda k, j: (j // 32, k, j % 32)``.

        Places that the order has and the tensor has not are filled with *pad_value*, or with nothing in particular.
        """
        known = self._schedule.state.stage(self.name)
        text = layout if isinstance(layout, str) else str(IndexMap.of(layout, len(known.buffers[0].shape)))
        self._apply("transform_layout", layout=text, pad_value=pad_value)
