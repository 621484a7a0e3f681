"""``s[C].split(...)`` and the others that speak of a stage's own loops."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.schedule.intrinsic import Intrinsic
from flashsched.schedule.llvm_texts import PREFIX, remember_llvm
from flashsched.schedule.primitives.software_pipeline import unit_names
from flashsched.schedule.views.base import Loop, LoopLike, StageHandle
from flashsched.te.expr import Expr
from flashsched.te.tensor import Tensor
from flashsched.te.threads import ThreadAxis

__all__ = ["LoopPrimitives"]


class LoopPrimitives(StageHandle):
    """The primitives on a stage's own loops."""

    def split(
        self,
        loop: LoopLike,
        factor: int | None = None,
        nparts: int | None = None,
        tail: str | None = None,
    ) -> tuple[Loop, Loop]:
        """Cut *loop* in two, the inner of *factor* turns or the outer of *nparts*; returns (outer, inner)."""
        outer, inner = self._apply("split", loop=self._loop(loop), factor=factor, nparts=nparts, tail=tail)
        return outer, inner

    def tile(
        self,
        x: LoopLike,
        y: LoopLike,
        x_factor: int,
        y_factor: int,
        tail: str | None = None,
    ) -> tuple[Loop, Loop, Loop, Loop]:
        """Split two loops and order them ``x.o, y.o, x.i, y.i``, which it returns."""
        loops = [self._loop(x), self._loop(y)]
        a, b, c, d = self._apply("tile", loops=loops, x_factor=x_factor, y_factor=y_factor, tail=tail)
        return a, b, c, d

    def fuse(self, *loops: LoopLike) -> Loop:
        """Make one loop of adjacent *loops*, named from the outside in; returns it."""
        return self._apply("fuse", loops=[self._loop(item) for item in loops])[0]

    def reorder(self, *loops: LoopLike) -> None:
        """Put *loops* in this order, in the places that they have together."""
        self._apply("reorder", loops=[self._loop(item) for item in loops])

    def software_pipeline(
        self,
        loop: LoopLike,
        units: Sequence[Tensor | str] | None = None,
        *,
        stages: Sequence[int],
        order: Sequence[int] | None = None,
    ) -> None:
        """Run the pieces of the body of *loop* (*units*, in the order of the text) in *stages*, a turn apart each."""
        name = self._loop(loop)
        if units is None:
            named = unit_names(self._schedule.state, self.name, name)
        else:
            named = [self._schedule._tensor_name(unit) for unit in units]
        places = None if order is None else list(order)
        self._apply("software_pipeline", loop=name, units=named, stages=list(stages), order=places)

    def blockize(self, loop: LoopLike) -> None:
        """Make one unit of *loop* and all inside it: no loop leaves it, and none comes in."""
        self._apply("blockize", loop=self._loop(loop))

    def add_unit_loop(self, loop: LoopLike | None = None) -> Loop:
        """Put a loop of one turn around *loop*, or right around the computation; returns it."""
        return self._apply("add_unit_loop", loop=None if loop is None else self._loop(loop))[0]

    def loop_partition(self, loop: LoopLike) -> None:
        """Run the middle of *loop* without the conditions inside it."""
        self._apply("loop_partition", loop=self._loop(loop))

    def peel(self, loop: LoopLike, front: int | None = None, back: int | None = None) -> None:
        """Give the first *front* and the last *back* turns of *loop* code of their own."""
        self._apply("peel", loop=self._loop(loop), front=front, back=back)

    def annotate(self, loop: LoopLike, key: str, value: str | int | float | bool = True) -> None:
        """Note *value* under *key* on *loop*, for people and tools."""
        self._apply("annotate", loop=self._loop(loop), key=key, value=value)

    def unannotate(self, loop: LoopLike, key: str) -> None:
        """Take the note under *key* away from *loop*."""
        self._apply("unannotate", loop=self._loop(loop), key=key)

    def unroll_and_jam(self, loop: LoopLike, factor: int, tail: str | None = None) -> tuple[Loop, Loop]:
        """Do *factor* turns of *loop* together in the innermost loop; returns (outer, the one that is unrolled)."""
        outer, inner = self._apply("unroll_and_jam", loop=self._loop(loop), factor=factor, tail=tail)
        return outer, inner

    def specialize(self, *conditions: Expr | str) -> None:
        """Give the nest of this stage code of its own for sizes for which a condition, ``n % 16 == 0``, holds."""
        for condition in conditions:
            self._apply("specialize", condition=str(condition))

    def unroll(self, loop: LoopLike) -> None:
        """Write the turns of *loop* out one after another."""
        self._apply("unroll", loop=self._loop(loop))

    def vectorize(self, loop: LoopLike) -> None:
        """Run the turns of *loop* as lanes of vector instructions."""
        self._apply("vectorize", loop=self._loop(loop))

    def parallel(self, loop: LoopLike) -> None:
        """Share the turns of *loop* among the CPU's threads."""
        self._apply("parallel", loop=self._loop(loop))

    def pragma(self, loop: LoopLike, key: str, value: int | bool | str = True) -> None:
        """Tell lowering *key* of *loop*; for ``import_llvm`` the value is LLVM text, and the trace holds its hash."""
        if key == "import_llvm" and not str(value).startswith(PREFIX):
            value = remember_llvm(str(value))
        self._apply("pragma", loop=self._loop(loop), key=key, value=value)

    def tensorize(self, loop: LoopLike, intrinsic: Intrinsic | str, tail: str | None = None) -> None:
        """Let *intrinsic*, or the one of that name, do what *loop* and all inside it does."""
        name = intrinsic if isinstance(intrinsic, str) else intrinsic.name
        self._apply("tensorize", loop=self._loop(loop), intrinsic=name, tail=tail)

    def bind(self, loop: LoopLike, axis: ThreadAxis | str, extent: int | None = None) -> None:
        """Give the turns of *loop* to blocks, threads (``"threadIdx.x"``) or virtual threads; there are *extent*."""
        if isinstance(axis, ThreadAxis):
            extent = axis.extent if extent is None else extent
        self._apply("bind", loop=self._loop(loop), axis=getattr(axis, "name", axis), extent=extent)

    def env_threads(self, axes: Sequence[ThreadAxis | str], extents: Sequence[int] | None = None) -> None:
        """Launch threads around the nest of this stage: its loops that are bound to these *axes* share them.

        There are *extents* of them, where the axes do not say.
        """
        names = [getattr(axis, "name", axis) for axis in axes]
        known = [getattr(axis, "extent", None) for axis in axes] if extents is None else extents
        self._apply("env_threads", axes=names, extents=[count for count in known if count is not None])

    def set_store_predicate(self, condition: Expr | str) -> None:
        """Have only the first thread of an axis, ``"threadIdx.x == 0"``, store what this stage computes."""
        self._apply("set_store_predicate", condition=str(condition))
