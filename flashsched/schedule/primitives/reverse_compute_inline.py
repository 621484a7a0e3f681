"""reverse_compute_inline: an element-wise consumer becomes part of the stage that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError, DependenceError, OutputError, StructureError
from flashsched.schedule.default import loop_names
from flashsched.schedule.derive import derive, detached
from flashsched.schedule.ir import Block, Load, Store, block_loads
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.loops import require_none_inside, require_whole
from flashsched.schedule.primitives.opaque import require_plain_readers
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import Stage, State, refuse
from flashsched.schedule.trace import Step
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import Axis, ComputeOp, Read
from flashsched.te.visit import rewrite, substitute

__all__ = ["reverse_compute_inline"]


@primitive()
def reverse_compute_inline(state: State, stage: str) -> Result:
    """Let the stage that *stage* reads compute *stage* right away, in its own loops; *stage* has none any more.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            P[i] = f(i)                            S[i] = g(f(i))        # the nest of P, with P's steps
        for i in range(n):
            S[i] = g(P[i])

    It is ``compute_inline`` the other way round: the loops that stay, with all that was done to them, are those of the
    producer.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> _ = s[P].split("i", factor=4)
    >>> s[C].reverse_compute_inline()
    >>> print(s)
    for i.o in range(2):
      for i.i in range(4):
        P(i=i.o * 4 + i.i):
          C[i] = (A[i] + 1.0) * 2.0

    Raises:
        ScheduleError: *stage* or the producer is a reduction (an epilogue inside one would be applied at each step),
            the producer is an output or has other readers, *stage* does not read exactly one stage element by element,
            or another stage is computed at one of its loops.
    """
    known = state.stage(stage)
    require_unscanned(state, known, "folded into what it reads")
    require_whole(state, known, "reverse_compute_inline")
    require_plain_readers(state, known, "made part of another stage")
    if known.reduced:
        refuse(
            state,
            f"{stage!r} is a reduction, and its producer has no loops for it",
            error=StructureError,
            block=stage,
            hint=f"put the producer's expression into {stage!r}: compute_inline",
        )
    require_none_inside(state, stage)
    producer = _producer(state, known)
    order = _order(state, known, producer)
    return _merged(state, known, producer, order), ()


def _producer(state: State, known: Stage) -> Stage:
    """The one stage that *known* reads, if it can take it in."""
    loads = {load.buffer for load in block_loads(known.block)}
    found = [s for s in state.stages.values() if not s.inlined and s.init_of is None and loads & {*s.buffers}]
    if len(found) != 1:
        named = ", ".join(repr(s.name) for s in found) or "none"
        refuse(
            state,
            f"{known.name!r} reads {len(found)} stages ({named}), and can become part of just one",
            error=ArgumentError,
            block=known.name,
            hint="inline the others first: compute_inline",
        )
    (producer,) = found
    require_unscanned(state, producer, "given another expression")
    require_plain_readers(state, producer, "given another expression")
    if producer.reduced:
        refuse(
            state,
            f"{producer.name!r} is a reduction, and {known.name!r} would be applied at each of its steps, not to the "
            "finished element",
            error=DependenceError,
            block=producer.name,
            hint=f"let it follow a tile: s[{known.name}].reverse_compute_at(s[{producer.name}], loop); or compute "
            f"{producer.name!r} at a loop of it: compute_at",
        )
    if producer.output:
        refuse(
            state,
            f"{producer.name!r} is an output, and the caller wants its own values",
            error=OutputError,
            block=producer.name,
            hint=f"let {known.name!r} follow it: reverse_compute_at",
        )
    others = [
        s.name
        for s in state.stages.values()
        if s.name != known.name
        and not s.inlined
        and {load.buffer for load in block_loads(s.block)} & {*producer.buffers}
    ]
    if others:
        refuse(
            state,
            f"{', '.join(map(repr, others))} also reads {producer.name!r}, whose values would be gone",
            error=DependenceError,
            block=producer.name,
            hint=f"put the expression of {producer.name!r} into its readers: compute_inline",
        )
    return producer


def _order(state: State, known: Stage, producer: Stage) -> tuple[int, ...]:
    """For each axis of *known* the dimension of *producer* that it indexes, one for one."""
    found = {tuple(id(i) for i in load.indices) for load in block_loads(known.block) if load.buffer in producer.buffers}
    axes = {id(axis): axis for axis in known.spatial}
    indices = next(iter(found))
    extents = tuple(axis.extent for axis in producer.spatial)
    if (
        len(found) > 1
        or set(indices) != axes.keys()
        or len(indices) != len(axes)
        or any(axes[i].extent != extent for i, extent in zip(indices, extents, strict=True))
    ):
        refuse(
            state,
            f"{known.name!r} does not read {producer.name!r} element by element, each of its points one",
            error=DependenceError,
            block=known.name,
            hint=f"put the expression of {producer.name!r} into {known.name!r}: compute_inline",
        )
    return tuple(indices.index(i) for i in axes)


def _merged(state: State, known: Stage, producer: Stage, order: Sequence[int]) -> State:
    axes = [producer.spatial[n] for n in order]
    own: dict[Var, Expr] = dict(zip(known.spatial, axes, strict=True))
    values = {store.buffer: store.value for store in producer.block.stores}

    def merge(expr: Expr) -> Expr:
        def change(node: Expr) -> Expr | None:
            return values[node.buffer] if isinstance(node, Load) and node.buffer in values else None

        return rewrite(substitute(expr, own), change)

    stores = tuple(
        Store(s.buffer, tuple(substitute(i, own) for i in s.indices), merge(s.value)) for s in known.block.stores
    )
    items = {item.var: item for item in producer.block.iters}
    block = Block(producer.name, tuple(items[axis] for axis in axes), stores)
    steps = producer.steps
    if list(order) != sorted(order):  # its loops keep their order, whatever that of the dimensions is now
        steps = (Step("reorder", producer.name, {"loops": loop_names(producer.spatial)}), *steps)
    state = detached(state, known.name)
    gone = replace(
        known, inlined=True, into=producer.name, attach=None, follows=False, store=None, loops=MappingProxyType({})
    )
    state = state.with_stage(replace(gone, steps=()))
    taken = replace(
        producer,
        block=block,
        buffers=known.buffers,
        output=known.output,
        steps=steps,
        remade=_operation(known, producer, axes, own),
    )
    rest = MappingProxyType({name: s for name, s in state.stages.items() if name != producer.name})
    state = replace(state, stages=rest).with_stage(taken, before=known.name)  # it reads what *known* read
    state = derive(state, producer.name)
    return moved(state, producer.name, producer.attach, follows=producer.follows)


def _operation(known: Stage, producer: Stage, axes: Sequence[Axis], own: dict[Var, Expr]) -> ComputeOp:
    """The operation of both, for its axes and its tensors."""
    inner, outer = producer.now, known.now
    assert isinstance(inner, ComputeOp)
    assert isinstance(outer, ComputeOp)
    made = {id(tensor): value for tensor, value in zip(producer.op.outputs, inner.body, strict=True)}

    def change(node: Expr) -> Expr | None:
        return made.get(id(node.tensor)) if isinstance(node, Read) else None

    body = tuple(rewrite(substitute(value, own), change) for value in outer.body)
    return ComputeOp(producer.name, tuple(axes), body, outer.where)
