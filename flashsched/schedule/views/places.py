"""``s[C].compute_at(...)`` and the others that say where a stage is computed."""

from __future__ import annotations

from typing import Any

from flashsched.schedule.views.base import LoopLike, StageHandle
from flashsched.te.tensor import Operation, Tensor

__all__ = ["PlacePrimitives"]


class PlacePrimitives(StageHandle):
    """The primitives that say where a stage is computed."""

    def compute_at(self, consumer: StageHandle | Tensor | Operation | str, loop: LoopLike) -> None:
        """Compute this stage at *loop* of *consumer*, just the part that each turn needs."""
        view = consumer if isinstance(consumer, StageHandle) else self._schedule[consumer]
        self._apply("compute_at", at=[view.name, view._loop(loop)])

    def store_at(self, consumer: StageHandle | Tensor | Operation | str, loop: LoopLike) -> None:
        """Keep what this stage computes through a whole turn of *loop*, outside the loop that it is computed at."""
        view = consumer if isinstance(consumer, StageHandle) else self._schedule[consumer]
        self._apply("store_at", at=[view.name, view._loop(loop)])

    def compute_root(self) -> None:
        """Compute all of this stage before its first reader."""
        self._apply("compute_root")

    def compute_inline(self) -> None:
        """Put this stage's expression into its readers."""
        self._apply("compute_inline")

    def reverse_compute_at(self, producer: StageHandle | Tensor | Operation | str, loop: LoopLike) -> None:
        """Compute this stage at *loop* of a *producer*, the points for which each turn finishes what they read."""
        view = producer if isinstance(producer, StageHandle) else self._schedule[producer]
        self._apply("reverse_compute_at", at=[view.name, view._loop(loop)])

    def reverse_compute_inline(self) -> None:
        """Let the stage that this one reads compute it right away, in its own loops."""
        self._apply("reverse_compute_inline")

    def decompose_reduction(self, loop: LoopLike) -> Any:
        """Set this reduction's elements to the identity in a stage before *loop*; returns that stage's tensor(s)."""
        (name,) = self._schedule.apply("decompose_reduction", self.name, {"loop": self._loop(loop)})
        return self._schedule.tensors(name)
