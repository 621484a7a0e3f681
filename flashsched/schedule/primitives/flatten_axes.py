"""flatten_axes: a stage is computed over axes that each run through several of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from flashsched.errors import ArgumentError, DependenceError, LimitError
from flashsched.schedule.default import loop_names
from flashsched.schedule.ir import Buffer, Iter, Load, Store
from flashsched.schedule.primitives.blocks import map_loads
from flashsched.schedule.primitives.cache_write import taken_over
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import recurrent
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.bounds import within_loop
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges, simplify
from flashsched.te.sizes import extent_expr, is_static
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, Reduce
from flashsched.te.visit import rewrite, substitute

__all__ = ["flatten_axes"]


@primitive()
def flatten_axes(state: State, stage: str, groups: list[list[str]]) -> Result:
    """Compute *stage* elsewhere, over one axis for each of *groups* of its axes, in that order.

    Rewrite, for an output of ``n`` by ``w`` and ``groups=[["n", "w"], ["c", "r"]]``::

        for n: for w: for c: for r:           for n.w: for c.r:
            C[n, w] += A[n, c, w + r]    ->       C.flat[n.w] += A[n.w // 4, c.r // 3, n.w % 4 + c.r % 3]
                                              for n: for w:
                                                  C[n, w] = C.flat[n * 4 + w]

    The last axis of a group is that of neighbours. With `reindex` the tensors that it reads come to lie over the same
    axes, so that a convolution becomes a product of two matrices, whose tiles go on from image to image and from window
    to window. Among reduce axes another order changes the rounding of floats, not the meaning.

    >>> from flashsched import te
    >>> A, W = te.placeholder((2, 5, 6), name="A"), te.placeholder((5, 3), name="W")
    >>> c, r = te.reduce_axis((0, 5), name="c"), te.reduce_axis((0, 3), name="r")
    >>> C = te.compute((2, 4), lambda n, w: te.sum(A[n, c, w + r] * W[c, r], axis=[c, r]), name="C")
    >>> s = te.create_schedule(C)
    >>> flat = s.flatten_axes(C, [["n", "w"], ["c", "r"]])
    >>> columns, taps = s.reindex(flat, A), s.reindex(flat, W)
    >>> s[taps].compute_inline()
    >>> print(s)
    for n.w in range(8):
      for c.r in range(15):
        A.reindex(n.w=n.w, c.r=c.r):
          A.reindex[n.w, c.r] = A[n.w // 4, c.r // 3, n.w % 4 + c.r % 3]
    for n.w in range(8):
      for c.r in range(15):
        C.flat(n.w=n.w, c.r=c.r):  # reduces c.r
          init C.flat[n.w] = 0.0
          C.flat[n.w] = C.flat[n.w] + A.reindex[n.w, c.r] * W[c.r // 3, c.r % 3]
    for n in range(2):
      for w in range(4):
        C(n=n, w=w):
          C[n, w] = C.flat[n * 4 + w]

    Args:
        state: the schedule's state.
        stage: what is computed.
        groups: names of its axes, each in one of the groups; those of a group are all of the output, or all reduced.
            The new stage has those of the output first.

    Returns:
        The name of the new stage, which has the axes; *stage* copies its result.

    Raises:
        ScheduleError: *stage* has been scheduled already, or is part of a recurrence; *groups* are not its axes; a
            size is known at run time only.
    """
    known = state.stage(stage)
    order = _order(state, known, groups)
    if recurrent(state, stage):
        refuse(
            state,
            f"{stage!r} is computed anew in each turn of a recurrence, in just the rows of that turn",
            error=DependenceError,
            block=stage,
            hint="give other axes to stages that read the scan",
        )
    state, (name,) = taken_over(state, stage, "flatten_axes", "global", f"{stage}.flat")
    known = state.stages[name]
    flat = [_Flat(tuple(known.axes[place] for place in places)) for places in order]
    flat.sort(key=lambda f: not f.spatial)
    fresh = {old: replace(old, shape=tuple(f.axis.extent for f in flat if f.spatial)) for old in known.buffers}
    place = {axis: n for n, axis in enumerate(known.spatial)}

    def read(load: Load) -> Load:
        """What is read of the new stage from outside."""
        at = tuple(f.joined([load.indices[place[axis]] for axis in f.axes]) for f in flat if f.spatial)
        return Load(fresh[load.buffer], at)

    state = map_loads(state, known.buffers, read, [other for other in state.stages if other != name])
    state = state.with_stage(_over(known, flat, fresh))
    return moved(state, name, known.attach, follows=known.follows), (name,)


class _Flat:
    """One *axis* that runs through all of *axes*, the last one fastest."""

    def __init__(self, axes: tuple[Axis, ...]) -> None:
        first, *others = axes
        self.axes = axes
        self.spatial = first.kind is AxisKind.SPATIAL
        self.axis = first
        if others:
            name = ".".join(axis.name for axis in axes)
            self.axis = Axis(name, first.dtype, prod(axis.count for axis in axes), first.kind)

    def parts(self) -> dict[Var, Expr]:
        """Each of the axes in terms of the one."""
        if len(self.axes) == 1:
            return {}
        found: dict[Var, Expr] = {}
        rest: Expr = self.axis
        for axis in self.axes[:0:-1]:
            found[axis] = rest % max(axis.count, 1) + axis.begin
            rest = rest // max(axis.count, 1)
        return {**found, self.axes[0]: rest + self.axes[0].begin}

    def joined(self, values: Sequence[Expr]) -> Expr:
        """The one where the axes, all of an output, have *values*."""
        whole, *rest = values
        for axis, value in zip(self.axes[1:], rest, strict=True):
            whole = whole * axis.count + value
        return simplify(whole)


def _over(known: Stage, flat: Sequence[_Flat], fresh: Mapping[Buffer, Buffer]) -> Stage:
    """*known* over the axes of *flat*, into the buffers *fresh* in place of its own."""
    values: dict[Var, Expr] = {}
    ranges: Ranges = {}
    for f in flat:
        values |= f.parts()
        if not f.axis.begin:
            ranges = within_loop(ranges, f.axis, extent_expr(f.axis.extent))
    own = tuple(f.axis for f in flat if f.spatial)

    def change(node: Expr) -> Expr | None:
        if isinstance(node, Load) and node.buffer in fresh:  # its own element, the only one that it reads
            return Load(fresh[node.buffer], own)
        return simplify(node, ranges) if node.dtype == dtypes.INDEX and not isinstance(node, Load) else None

    def expr(value: Expr) -> Expr:
        return rewrite(substitute(value, values), change)

    def stores(items: Sequence[Store]) -> tuple[Store, ...]:
        return tuple(Store(fresh[item.buffer], own, expr(item.value)) for item in items)

    iters = tuple(Iter(f.axis, f.axis.begin, f.axis.extent, f.axis.kind, f.axis) for f in flat)
    block = replace(known.block, iters=iters, stores=stores(known.block.stores), init=stores(known.block.init))
    op = _operation(known, flat, expr)
    return replace(known, op=op, block=block, buffers=tuple(fresh[old] for old in known.buffers))


def _operation(known: Stage, flat: Sequence[_Flat], expr: Callable[[Expr], Expr]) -> ComputeOp:
    """What the block of *known* computes then, as an operation."""

    def value(old: Expr) -> Expr:
        new = expr(old)
        if isinstance(new, Reduce):
            return Reduce(new.reducer, new.values, tuple(f.axis for f in flat if not f.spatial), new.index)
        return new

    op = known.now
    assert isinstance(op, ComputeOp)  # what is extern was refused before
    return ComputeOp(op.name, tuple(f.axis for f in flat if f.spatial), tuple(map(value, op.body)), op.where)


def _order(state: State, known: Stage, groups: Sequence[Sequence[str]]) -> list[list[int]]:
    """The places of the axes of *known* that each of *groups* names."""
    names = loop_names(known.axes)
    if sorted(name for group in groups for name in group) != sorted(names) or not all(groups):
        refuse(
            state,
            f"groups {[list(group) for group in groups]} are not the axes of {known.name!r}",
            error=ArgumentError,
            block=known.name,
            hint=f"put each of {', '.join(names)} into one group",
        )
    order = [[names.index(name) for name in group] for group in groups]
    for group, places in zip(groups, order, strict=True):
        axes = [known.axes[place] for place in places]
        if len({axis.kind for axis in axes}) > 1:
            refuse(
                state,
                f"the group of {', '.join(group)} has axes of the output of {known.name!r} beside axes that it reduces",
                error=DependenceError,
                block=known.name,
                hint="one axis runs through elements, or through what is combined in each: make two groups",
            )
        if len(axes) > 1 and not is_static([axis.extent for axis in axes]):
            refuse(
                state,
                f"{', '.join(group)} have sizes that are known at run time only, and one axis for all needs numbers",
                error=LimitError,
                block=known.name,
                hint="give the sizes of these axes as numbers, or let each be a group of its own",
            )
    return order
