"""What the primitives on what blocks read and write share: the blocks of the nest and of the stages change together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from types import MappingProxyType

from flashsched.schedule.facts import buffers_in
from flashsched.schedule.ir import Block, Buffer, Extern, Load, Seq, Stmt, Store, rewrite_stmt, seq
from flashsched.schedule.state import Stage, State
from flashsched.te.expr import Cast, Expr
from flashsched.te.visit import rewrite

__all__ = ["change_buffer", "map_loads"]


def map_loads(
    state: State, buffers: Collection[Buffer], change: Callable[[Load], Expr], readers: Collection[str] | None = None
) -> State:
    """*state* in which every load of one of *buffers* in the blocks of *readers* (all by default) is changed."""

    def on_expr(node: Expr) -> Expr | None:
        if isinstance(node, Cast) and node.value.dtype == node.dtype:
            return node.value  # what is loaded now has been converted
        return change(node) if isinstance(node, Load) and node.buffer in buffers else None

    def on_store(store: Store) -> Store:
        indices = tuple(rewrite(i, on_expr) for i in store.indices)
        return Store(store.buffer, indices, rewrite(store.value, on_expr))

    def on_extern(extern: Extern) -> Extern:
        inputs = []
        for buffer in extern.inputs:
            new = change(Load(buffer, ())) if buffer in buffers else Load(buffer, ())
            assert isinstance(new, Load), "an extern stage reads memory, so what it reads is never inlined"
            inputs.append(new.buffer)
        return replace(extern, inputs=tuple(inputs))

    return _map_stores(state, buffers, on_store, on_extern, readers)


def change_buffer(state: State, old: Buffer, new: Buffer) -> State:
    """*state* in which *new* stands wherever *old* stood."""
    state = map_loads(state, (old,), lambda load: Load(new, load.indices))
    state = _map_stores(
        state,
        (old,),
        lambda store: replace(store, buffer=new) if store.buffer is old else store,
        lambda extern: replace(extern, outputs=tuple(new if b is old else b for b in extern.outputs)),
    )
    for stage in state.stages.values():
        if old in stage.buffers:
            state = state.with_stage(replace(stage, buffers=tuple(new if b is old else b for b in stage.buffers)))
    return state


def _map_stores(
    state: State,
    buffers: Collection[Buffer],
    change: Callable[[Store], Store],
    change_extern: Callable[[Extern], Extern],
    stages: Collection[str] | None = None,
) -> State:
    """*state* in which what the blocks of *stages* (all by default) do with *buffers* is changed.

    That is in the nest and beside it; blocks that do nothing with them stay what they are.
    """

    def on_block(block: Block) -> Block:
        if buffers_in(block).isdisjoint(buffers) or (stages is not None and block.name not in stages):
            return block
        extern = None if block.extern is None else change_extern(block.extern)
        stores, init = tuple(map(change, block.stores)), tuple(map(change, block.init))
        return replace(block, stores=stores, init=init, extern=extern)

    def on_nest(nest: Stmt) -> Stmt:
        if buffers_in(nest).isdisjoint(buffers):
            return nest
        return rewrite_stmt(nest, lambda node: on_block(node) if isinstance(node, Block) else None)

    changed: dict[str, Stage] = {}
    for stage in state.stages.values():
        block = on_block(stage.block)
        changed[stage.name] = stage if block is stage.block else replace(stage, block=block)
    body = seq([on_nest(nest) for nest in (state.body.stmts if isinstance(state.body, Seq) else (state.body,))])
    return replace(state, stages=MappingProxyType(changed), body=body)
