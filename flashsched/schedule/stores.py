"""Where buffers are made that a stage is to keep at a loop outside the one that it is computed at (`store_at`).

The wish is kept with the stage, and looked at after each step: the loop must still stand outside, and turns that run at
once must not meet in the memory that they now share.
"""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import DependenceError, StructureError
from flashsched.schedule.accesses import accesses
from flashsched.schedule.disjoint import disjoint
from flashsched.schedule.ir import For, LoopKind, Stmt
from flashsched.schedule.nest import find_block, loop_ranges, path_to_loop, replace_loop
from flashsched.schedule.regions import region
from flashsched.schedule.state import Stage, State, refuse

__all__ = ["require_sound_stores", "with_stores"]


def with_stores(state: State) -> Stmt:
    """The nest of *state*, each loop noting the buffers that live in a turn of it because `store_at` says so."""
    body = state.body
    for stage in state.stages.values():
        if stage.store is not None:
            loop = state.loop(*stage.store)
            for buffer in stage.buffers:
                body = replace_loop(body, loop.var, lambda node, name=buffer.name: _noted(node, name))  # type: ignore[misc]
    return body


def _noted(loop: For, name: str) -> For:
    return replace(loop, notes={**loop.notes, "stores": (*loop.notes.get("stores", ()), name)})


def require_sound_stores(state: State) -> None:
    """Refuse a nest in which a stage is not computed inside the loop that it is stored at, or turns would meet there.

    Raises:
        StructureError: the loop does not stand outside, or the memory is of a kind that can't be shared.
        DependenceError: turns that run at once would write the same elements.
    """
    for stage in state.stages.values():
        if stage.store is not None:
            _require_sound(state, stage, *stage.store)


def _require_sound(state: State, stage: Stage, consumer: str, name: str) -> None:
    store = state.loop(consumer, name)
    own = set(stage.loops.values())
    path = find_block(state.body, stage.name)
    around = [node for node in path if isinstance(node, For) and node.var not in own]
    if not any(node is store for node in around):
        refuse(
            state,
            f"{stage.name!r} is stored at loop {name!r} of {consumer!r}, and is not computed inside it",
            error=StructureError,
            loop=store.var,
            hint=f"compute it at a loop inside {name!r}, or store it elsewhere",
        )
    between = around[around.index(store) + 1 :]
    if (
        any(buffer.scope == "shared" or buffer.doubled or buffer.rolling for buffer in stage.buffers)
        or "pipeline" in store.notes
    ):
        refuse(
            state,
            f"the memory of {stage.name!r} is shared by GPU threads or works on several turns, so its place is fixed",
            error=StructureError,
            loop=store.var,
            hint="leave out store_at, or the step that made it so",
        )
    for loop in between:
        if loop.kind.is_concurrent or "pipeline" in loop.notes:
            _require_apart(state, stage, store, loop)


def _require_apart(state: State, stage: Stage, store: For, loop: For) -> None:
    shown = f"{stage.name!r} is stored at loop {store.var.name!r}, outside of {loop.var.name!r}"
    if loop.kind is LoopKind.SERIAL or any(buffer.is_own for buffer in stage.buffers):
        refuse(
            state,
            f"{shown}, whose turns run at once, and local memory is not shared"
            if loop.kind is not LoopKind.SERIAL
            else f"{shown}, whose turns are pipelined",
            error=StructureError,
            loop=loop.var,
            hint=f"store it at {loop.var.name!r} or inside",
        )
    ranges = loop_ranges(path_to_loop(state.body, loop))
    for buffer in stage.buffers:
        spans = region(accesses(loop.body, buffer), buffer.shape, ranges)
        if not disjoint(spans, {loop.var: loop.turns}, ranges):
            refuse(
                state,
                f"{shown}, whose turns run at once ({loop.kind.value}) and may write the same elements of it: a race",
                error=DependenceError,
                loop=loop.var,
                hint=f"store it at {loop.var.name!r} or inside, so that each turn has its own",
            )
