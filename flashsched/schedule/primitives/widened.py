"""A stage over axes that are longer than they were: what padding a layout and padding a product are made of.

Apart from the primitives: they say how long, and what lies in the padding; here the stage is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.schedule.ir import Load, Store
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.cache_write import operation_over
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.state import State
from flashsched.te.expr import Const, Expr, Select, Var, compare, logical_and
from flashsched.te.sizes import Size, alike, extent_expr
from flashsched.te.tensor import Axis, AxisKind, ComputeOp
from flashsched.te.visit import substitute

__all__ = ["widened"]


def widened(state: State, stage: str, extents: Sequence[Size], beyond: Const | None) -> State:
    """*state* in which the axes of *stage*, its reduce axes too, have *extents*, none shorter than before.

    The elements that it did not have before are *beyond*. With None they are computed like all others, for which the
    stage must be right wherever its axes go.
    """
    known = state.stage(stage)
    assert isinstance(known.now, ComputeOp)
    old = known.axes
    new = [Axis(a.name, a.dtype, n, a.kind, a.begin) for a, n in zip(old, extents, strict=True)]
    own: dict[Var, Expr] = dict(zip(old, new, strict=True))
    longer = [(a, was.extent) for a, was in zip(new, old, strict=True) if not alike([a.extent], [was.extent])]
    tests = [compare("<", axis, extent_expr(size)) for axis, size in longer if axis.kind is AxisKind.SPATIAL]

    def store(item: Store, otherwise: Expr | None) -> Store:
        indices = tuple(substitute(i, own) for i in item.indices)
        value = substitute(item.value, own)
        if tests and beyond is not None:
            value = Select(logical_and(*tests), value, Load(item.buffer, indices) if otherwise is None else otherwise)
        return Store(item.buffer, indices, value)

    block = replace(
        known.block,
        iters=tuple(
            replace(item, var=axis, extent=axis.extent, value=axis)
            for item, axis in zip(known.block.iters, new, strict=True)
        ),
        stores=tuple(store(item, None if known.reduced else beyond) for item in known.block.stores),
        init=tuple(store(item, beyond) for item in known.block.init),
    )
    op = operation_over(known.now, stage, own)
    state = state.with_stage(replace(known, block=block, remade=op))
    shape = tuple(axis.extent for axis in new if axis.kind is AxisKind.SPATIAL)
    for buffer in known.buffers:
        state = change_buffer(state, buffer, replace(buffer, shape=shape))
    return moved(state, stage, known.attach, follows=known.follows)
