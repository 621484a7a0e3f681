"""Memory that each turn of a loop has for itself, made outside of that loop, where several turns are under way at once.

What the passes share that take a loop apart: `serial_threads` and `virtual_threads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.errors import LoweringError
from flashsched.schedule.ir import (
    Alloc,
    Extern,
    For,
    Load,
    Prefetch,
    Stmt,
    Store,
    map_exprs,
    rewrite_stmt,
    walk_stmt,
)
from flashsched.te.expr import Expr
from flashsched.te.sizes import Size, as_size
from flashsched.te.visit import rewrite

__all__ = ["is_passed_whole", "widened"]


def is_passed_whole(alloc: Alloc) -> bool:
    """Whether an extern call in the body of *alloc* takes its memory as one array."""
    calls = (node for node in walk_stmt(alloc.body) if isinstance(node, Extern))
    return any(alloc.buffer in (*call.inputs, *call.outputs) for call in calls)


def widened(alloc: Alloc, own: Sequence[For], scope: str) -> Alloc:
    """The memory of *alloc* once for each turn of the loops *own*, in new dimensions before its own, in *scope*.

    Rewrite::

        for t in range(4):                L = alloc([4, 8])
            L = alloc([8])       ->       for t in range(4):
            L[i] = ...                        L[t, i] = ...

    Raises:
        LoweringError: how many turns there are depends on a size, or an extern call takes the memory as one array.
    """
    old = alloc.buffer
    shape: list[int] = []
    for loop in own:
        if loop.turns is None:
            raise LoweringError(
                f"loop {loop.var.name!r} has {loop.extent} turns, and memory for its threads needs a number"
            )
        shape.append(loop.turns)
    if is_passed_whole(alloc):
        raise LoweringError(f"{old.name} is each thread's own, and an extern call takes all of a buffer as one array")
    step: Size = 1
    for extent, stride in zip(old.shape, old.element_strides, strict=True):
        room = as_size(extent * stride)  # of a thread; dimensions that are sizes lie one inside the other
        step = max(step, room) if isinstance(step, int) and isinstance(room, int) else step if step != 1 else room
    strides = list(old.element_strides)
    for extent in reversed(shape):
        strides.insert(0, step)
        step = as_size(step * max(extent, 1))
    wide = replace(
        old, scope=scope, shape=(*shape, *old.shape), strides=tuple(strides) if old.strides is not None else None
    )
    mine = tuple(loop.var for loop in own)

    def on_expr(node: Expr) -> Expr | None:
        return Load(wide, (*mine, *node.indices)) if isinstance(node, Load) and node.buffer is old else None

    def on_stmt(node: Stmt) -> Stmt | None:
        if isinstance(node, Store | Prefetch) and node.buffer is old:
            return replace(node, buffer=wide, indices=(*mine, *node.indices))
        return None

    return Alloc(wide, rewrite_stmt(map_exprs(alloc.body, lambda expr: rewrite(expr, on_expr)), on_stmt))
