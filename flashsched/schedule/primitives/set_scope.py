"""set_scope: where a stage's result lives."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.ir import Block, Buffer, Load, Stmt, Store, rewrite_stmt
from flashsched.schedule.primitives.cache_read import require_scope
from flashsched.schedule.primitives.compute_at import moved
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Expr
from flashsched.te.visit import rewrite

__all__ = ["change_buffer", "set_scope"]


@primitive()
def set_scope(state: State, stage: str, scope: str) -> Result:
    """Keep what *stage* writes in *scope*: ``"global"``, ``"shared"`` or ``"local"``.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "i")
    >>> s[P].set_scope("local")
    >>> s.state.stages["P"].buffers
    (Buffer(P[8], float32, local),)

    Raises:
        ScheduleError: there is no such scope, or *stage* is an output, which lives where the caller put it; the threads
            of a GPU share what would no longer be shared.
    """
    known = state.stage(stage)
    require_scope(state, scope)
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and lives where the caller put it",
            block=stage,
            hint=f"compute into a copy: cache_write({stage!r}, {scope!r})",
        )
    for buffer in known.buffers:
        state = change_buffer(state, buffer, replace(buffer, scope=scope))
    if known.attach is not None and "shared" in (scope, known.buffers[0].scope):
        state = moved(state, stage, known.attach)  # what it computes there serves one thread, or all of them
    return state, ()


def change_buffer(state: State, old: Buffer, new: Buffer) -> State:
    """*state* in which *new* stands wherever *old* stood."""

    def on_expr(node: Expr) -> Expr | None:
        return Load(new, node.indices) if isinstance(node, Load) and node.buffer is old else None

    def on_store(store: Store) -> Store:
        indices = tuple(rewrite(i, on_expr) for i in store.indices)
        return Store(new if store.buffer is old else store.buffer, indices, rewrite(store.value, on_expr))

    def on_block(block: Block) -> Block:
        return replace(block, stores=tuple(map(on_store, block.stores)), init=tuple(map(on_store, block.init)))

    def on_stmt(node: Stmt) -> Stmt | None:
        return on_block(node) if isinstance(node, Block) else None

    for stage in state.stages.values():
        buffers = tuple(new if b is old else b for b in stage.buffers)
        state = state.with_stage(replace(stage, block=on_block(stage.block), buffers=buffers))
    return state.with_body(rewrite_stmt(state.body, on_stmt))
