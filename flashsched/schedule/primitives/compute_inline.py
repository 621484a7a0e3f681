"""compute_inline: a stage's expression moves into its readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flashsched.schedule.derive import detached
from flashsched.schedule.ir import Block, Buffer, Load, Stmt, Store, rewrite_stmt
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Expr, Var
from flashsched.te.visit import rewrite, substitute

__all__ = ["compute_inline", "map_loads"]


@primitive()
def compute_inline(state: State, stage: str) -> Result:
    """Put the expression of *stage* in place of each read of it; the stage needs no memory and no loops any more.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            P[i] = f(i)                            S[i] = g(f(i))
        for i in range(n):
            S[i] = g(P[i])

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_inline()
    >>> print(s)
    for i in range(8):
      C(i=i):
        C[i] = (A[i] + 1.0) * 2.0

    Raises:
        ScheduleError: *stage* is a reduction (its value is no expression) or an output, or another stage is computed
            at one of its loops.
    """
    known = state.stage(stage)
    if known.block.init:
        refuse(
            state,
            f"{stage!r} is a reduction, and has no expression to put in its place",
            block=stage,
            hint="compute it at a loop of its reader: compute_at",
        )
    if known.output:
        refuse(state, f"{stage!r} is an output, and the caller wants it in memory", block=stage)
    held = state.attached_to(stage)
    if held:
        refuse(
            state,
            f"stage {held[0].name!r} is computed at a loop of {stage!r}, and those loops would be gone",
            block=stage,
            hint=f"move {held[0].name!r} first: compute_at or compute_root",
        )
    values = {store.buffer: store.value for store in known.block.stores}
    axes: tuple[Var, ...] = known.spatial
    state = detached(state, stage)

    def inlined(load: Load) -> Expr:
        return substitute(values[load.buffer], dict(zip(axes, load.indices, strict=True)))

    state = map_loads(state, values, inlined)
    return state.with_stage(replace(known, inlined=True, attach=None, loops={})), ()


def map_loads(
    state: State,
    buffers: Mapping[Buffer, object],
    change: object,
    readers: list[str] | None = None,
) -> State:
    """*state* in which every load of one of *buffers* in the blocks of *readers* (all by default) is changed."""
    assert callable(change)

    def on_expr(node: Expr) -> Expr | None:
        if isinstance(node, Load) and node.buffer in buffers:
            new: Expr = change(node)
            return new
        return None

    def on_store(store: Store) -> Store:
        indices = tuple(rewrite(i, on_expr) for i in store.indices)
        return Store(store.buffer, indices, rewrite(store.value, on_expr))

    def on_block(block: Block) -> Block:
        return replace(block, stores=tuple(map(on_store, block.stores)), init=tuple(map(on_store, block.init)))

    def on_stmt(node: Stmt) -> Stmt | None:
        wanted = isinstance(node, Block) and (readers is None or node.name in readers)
        return on_block(node) if wanted and isinstance(node, Block) else None

    for stage in state.stages.values():
        if readers is None or stage.name in readers:
            state = state.with_stage(replace(stage, block=on_block(stage.block)))
    return state.with_body(rewrite_stmt(state.body, on_stmt))
