"""join_axes: two axes of a stage that count only by their sum become one, and nothing is computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import NoReturn, TypeVar

from flashsched.errors import ArgumentError, DependenceError, LimitError, OutputError, StructureError
from flashsched.schedule.default import loop_names
from flashsched.schedule.ir import Buffer, Iter, Load, Store
from flashsched.schedule.primitives.blocks import map_loads
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.loops import require_whole
from flashsched.schedule.primitives.opaque import require_plain_readers
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.bounds import linear
from flashsched.te.expr import Expr, Var
from flashsched.te.linear import Linear, index
from flashsched.te.simplify import simplify
from flashsched.te.sizes import is_static, numbers
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, Read
from flashsched.te.visit import free_vars, rewrite, substitute, walk

__all__ = ["join_axes"]

T = TypeVar("T")


@primitive()
def join_axes(state: State, stage: str, first: str, second: str) -> Result:
    """Make one axis of the axes *first* and *second* of *stage*, whose elements depend on the sum of both only.

    Rewrite, for a window that slides along i::

        for i: for d: for j:                     for i.d: for j:
            P[i, d, j] = f(i + d, j)         ->      P[i.d, j] = f(i.d, j)
        ... P[x, y, z]                           ... P[x + y, z]

    What was computed once for each ``(i, d)`` is computed once for each sum. A weighted sum will do, if each number
    between the least and the greatest is one: ``2 * i + d`` with at least 2 turns of d, ``i - d``.

    After `rfactor` this takes a window apart: the least element of each row of a window is found once, and shared by
    all windows that the row lies in. Nothing is rounded otherwise than by `rfactor`.

    >>> from flashsched import te
    >>> A = te.placeholder((6, 7), name="A")
    >>> d, e = te.reduce_axis((0, 3), name="d"), te.reduce_axis((0, 3), name="e")
    >>> C = te.compute((4, 5), lambda i, j: te.max(A[i + d, j + e], axis=[d, e]), name="C")
    >>> s = te.create_schedule(C)
    >>> R = s.rfactor(C, d)
    >>> s[R].join_axes("i", "d")
    >>> print(s)
    for i.d in range(6):
      for j in range(5):
        for e in range(3):
          C.rf(i.d=i.d, j=j, e=e):  # reduces e
            init C.rf[i.d, j] = -inf
            C.rf[i.d, j] = max(C.rf[i.d, j], A[i.d, j + e])
    for i in range(4):
      for j in range(5):
        for d in range(3):
          C(i=i, j=j, d=d):  # reduces d
            init C[i, j] = -inf
            C[i, j] = max(C[i, j], C.rf[i + d, j])

    Args:
        state: the schedule's state.
        stage: what is computed.
        first: one of its axes.
        second: another one.

    Raises:
        OutputError: *stage* is an output, whose shape the caller knows.
        DependenceError: its elements depend on the axes in another way.
        StructureError: it was scheduled already, or its memory has an order of its own.
        LimitError: the axes have sizes that are known at run time only.
        ArgumentError: they are not two axes of its output.
    """
    known = state.stage(stage)
    _require_plain(state, known)
    join = _join(state, known, _axes(state, known, first, second))
    for buffer in known.buffers:
        fresh = replace(buffer, shape=(*join.kept(buffer.shape, join.axis.extent),))
        state = map_loads(state, (buffer,), partial(join.read, fresh))
        block = state.stages[stage].block
        stores, init = (tuple(join.store(s, buffer, fresh) for s in part) for part in (block.stores, block.init))
        buffers = tuple(fresh if old is buffer else old for old in state.stages[stage].buffers)
        now = replace(state.stages[stage], block=replace(block, stores=stores, init=init), buffers=buffers)
        state = state.with_stage(now)
    known = state.stages[stage]
    left = {var for store in (*known.block.stores, *known.block.init) for var in free_vars(store.value)}
    if not left.isdisjoint(join.pair):
        _refuse(state, known, join.pair, "they depend on them in another way, too")
    item = Iter(join.axis, 0, join.axis.extent, AxisKind.SPATIAL, join.axis)
    iters = tuple(item if old.var is join.pair[0] else old for old in known.block.iters if old.var is not join.pair[1])
    known = replace(known, block=replace(known.block, iters=iters), remade=join.operation(known))
    return moved(state.with_stage(known), stage, known.attach, follows=known.follows), ()


@dataclass(frozen=True)
class _Join:
    """How ``factors[0] * pair[0] + factors[1] * pair[1] + offset`` becomes *axis*.

    Attributes:
        places: the dimensions of the pair.
    """

    pair: tuple[Axis, Axis]
    factors: tuple[int, int]
    offset: int
    axis: Axis
    places: tuple[int, int]

    def kept(self, items: Sequence[T], joined: T) -> list[T]:
        """*items*, one for each dimension, with *joined* for both of the pair, where the first one was."""
        both = [joined if n == self.places[0] else item for n, item in enumerate(items)]
        return [item for n, item in enumerate(both) if n != self.places[1]]

    def read(self, buffer: Buffer, load: Load) -> Load:
        """What reads the joined *buffer* in place of *load*."""
        one, two = (load.indices[place] for place in self.places)
        return Load(buffer, tuple(self.kept(load.indices, simplify(self.sum(one, two)))))

    def sum(self, one: Expr, two: Expr) -> Expr:
        """The joined axis where the pair is at *one* and *two*."""
        return one * self.factors[0] + two * self.factors[1] + self.offset

    def own(self, value: Expr) -> Expr:
        """*value* in terms of the joined axis."""
        one, two = self.pair
        mine, theirs = self.factors
        if abs(mine) == 1:
            values: dict[Var, Expr] = {one: (self.axis - self.offset - two * theirs) * mine}
        else:
            values = {two: (self.axis - self.offset - one * mine) * theirs}
        return rewrite(substitute(value, values), lambda e: simplify(e) if e.dtype == dtypes.INDEX else None)

    def store(self, store: Store, old: Buffer, fresh: Buffer) -> Store:
        """*store* of the stage itself, into *fresh* where it was into *old*."""
        if store.buffer is not old:
            return store
        return Store(fresh, tuple(self.kept(store.indices, self.axis)), self.own(store.value))

    def operation(self, known: Stage) -> ComputeOp:
        """The operation of *known* over the joined axis."""
        op = known.now
        assert isinstance(op, ComputeOp)
        spatial = tuple(self.kept(op.axis, self.axis))
        if not all(axis in known.axes for axis in op.reduce_axis):  # its reduction was moved away: a copy is left
            joined = {self.pair[0]: self.axis, self.pair[1]: index(0)}
            at = tuple(joined.get(axis, axis) for axis in op.axis)
            return ComputeOp(op.name, spatial, tuple(Read(tensor, at) for tensor in op.outputs), op.where)
        return ComputeOp(op.name, spatial, tuple(map(self.own, op.body)), op.where)


def _axes(state: State, known: Stage, first: str, second: str) -> tuple[Axis, Axis]:
    named = dict(zip(loop_names(known.axes), known.axes, strict=True))
    found = [named[name] for name in (first, second) if name in named and named[name] in known.spatial]
    if len(found) < 2 or first == second:
        refuse(
            state,
            f"{first!r} and {second!r} are not two axes of the output of {known.name!r}",
            error=ArgumentError,
            block=known.name,
            hint=f"name two of {', '.join(axis.name for axis in known.spatial) or 'them: it has none'}",
        )
    return found[0], found[1]


def _require_plain(state: State, known: Stage) -> None:
    """Refuse a stage whose axes others count on, or that was scheduled."""
    require_plain_readers(state, known, "given other axes")
    require_unscanned(state, known, "given other axes")
    require_whole(state, known, "join_axes")
    if known.output:
        refuse(
            state,
            f"{known.name!r} is an output, and the caller expects all of its axes",
            error=OutputError,
            block=known.name,
            hint="join axes of what it reads, or of the parts that rfactor makes",
        )
    if known.steps or state.attached_to(known.name):
        done = known.steps[0].text() if known.steps else f"{state.attached_to(known.name)[0].name}.compute_at"
        refuse(
            state,
            f"{known.name!r} was scheduled already ({done}), and join_axes would throw that away",
            error=StructureError,
            block=known.name,
            hint="call join_axes first, then schedule the stage",
        )
    if any(buffer.layout is not None or buffer.aligned for buffer in known.buffers):
        refuse(
            state,
            f"the memory of {known.name!r} has an order of its own, and join_axes leaves other dimensions",
            error=StructureError,
            block=known.name,
            hint="call join_axes first, then transform_layout or storage_align",
        )


def _join(state: State, known: Stage, pair: tuple[Axis, Axis]) -> _Join:
    """The join of the *pair*, as the first index that has both tells it."""
    if not is_static([axis.extent for axis in pair]):
        refuse(
            state,
            f"{known.name!r} has sizes that are known at run time only, and what is joined needs numbers",
            error=LimitError,
            block=known.name,
            hint="give the sizes of these two axes as numbers",
        )
    sizes = numbers([axis.extent for axis in pair], known.name)
    for form in _forms(known):
        found = form.coefficient(pair[0]), form.coefficient(pair[1])
        if 0 in found:
            continue
        shared = gcd(*found) * (1 if found[0] > 0 else -1)
        one, two = found[0] // shared, found[1] // shared
        least = min(0, two * (sizes[1] - 1))
        if not (one == 1 and abs(two) <= max(sizes[0], 1)) and not (abs(two) == 1 and one <= max(sizes[1], 1)):
            said = Linear({}, 0).plus(pair[0], one).plus(pair[1], two).expr()
            _refuse(state, known, pair, f"not every number from the least to the greatest of {said} is one")
        extent = one * (sizes[0] - 1) + abs(two) * (sizes[1] - 1) + 1 if 0 not in sizes else 0
        name = f"{pair[0].name}.{pair[1].name}"
        name = loop_names([*(axis for axis in known.axes if axis not in pair), Axis(name)])[-1]
        axis = Axis(name, pair[0].dtype, extent)
        return _Join(pair, (one, two), -least, axis, (known.spatial.index(pair[0]), known.spatial.index(pair[1])))
    _refuse(state, known, pair, "no index is a sum of both")


def _forms(known: Stage) -> Iterator[Linear]:
    """All indices of what *known* computes, as linear forms, but those at which it reads itself."""
    for store in known.block.stores:
        for node in walk(store.value):
            if isinstance(node, Load) and node.buffer not in known.buffers:
                yield from map(linear, node.indices)
            elif not isinstance(node, Load) and node.dtype == dtypes.INDEX:
                yield linear(node)


def _refuse(state: State, known: Stage, pair: tuple[Axis, Axis], why: str) -> NoReturn:
    refuse(
        state,
        f"the elements of {known.name!r} do not depend on a sum of {pair[0].name!r} and {pair[1].name!r} alone: {why}",
        error=DependenceError,
        block=known.name,
        hint="join axes that all indices have together, as i and d in A[i + d, j]",
    )
