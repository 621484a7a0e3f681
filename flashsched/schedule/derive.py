"""Where a stage's nest stands, and how it is made anew there.

``compute_at`` and ``compute_root`` move a stage by making its nest again: one loop an axis over the region that is
needed at the new place, its own steps replayed, and the stages that are computed inside it made anew in turn. So it
does not matter whether a stage is split first or moved first.

A stage in shared memory that is computed inside a loop over threads serves all threads of the block: its region is
what they read together, and its loops are to be bound to the same thread axes, which shares the work out (a
cooperative copy).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flashsched.errors import DependenceError
from flashsched.schedule.accesses import accesses
from flashsched.schedule.default import root_nest
from flashsched.schedule.disjoint import disjoint, turning
from flashsched.schedule.facts import stages_in
from flashsched.schedule.follow import part_that_follows
from flashsched.schedule.ir import Block, Buffer, For, Stmt, seq
from flashsched.schedule.nest import (
    add_guard,
    find_block,
    insert_before_reader,
    loop_chain,
    loop_ranges,
    path_to_loop,
    readers,
    remove_loops,
    replace_loop,
    simplified,
)
from flashsched.schedule.recurrence import is_state, ride
from flashsched.schedule.regions import Span, region
from flashsched.schedule.rolling import require_window
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges, prove, structural_key
from flashsched.te.sizes import Size, extent_expr
from flashsched.te.tensor import Axis, AxisKind
from flashsched.te.visit import loop_vars, uses

__all__ = ["derive", "detached", "in_shared", "rebuild_chain", "require_readers_inside"]

Replay = Callable[[State, Any], State]


def detached(state: State, stage: str) -> State:
    """*state* without the nest of *stage*, nor of those computed inside it."""
    for inner in state.attached_to(stage):
        state = detached(state, inner.name)
    rest = remove_loops(state.body, stage)
    return state.with_body(seq(()) if rest is None else rest)


def derive(state: State, name: str) -> State:
    """*state* with the nest of the stage *name* made anew where its ``attach`` says, those inside it too."""
    from flashsched.schedule.primitives import replay_loop_step  # the primitives are built on this module

    state = _without_padding(detached(state, name), name)
    stage = state.stages[name]
    place = stage.attach or (state.stages[stage.init_of].attach if stage.init_of else None)
    rolling: tuple[int, int] | None = None
    if place is None:
        nest, fresh = root_nest(stage)
        state = state.with_body(insert_before_reader(state.body, nest, _made_inside(state, name)))
    elif is_state(stage):
        state, fresh = ride(state, stage)
    else:
        state, fresh, rolling = _attach(state, stage, *place)
    steps = stage.steps
    state = _changed(state.with_stage(replace(fresh, steps=())), name, rolling=rolling)
    for step in steps:
        state = replay_loop_step(state, step)
    for inner in reversed(state.attached_to(name)):  # readers before what they read
        state = derive(state, inner.name)
    return state


def _without_padding(state: State, name: str) -> State:
    """*state* with the buffers of the stage *name* as large as its axes: its steps make them larger, if at all."""
    return _changed(state, name, shape=tuple(axis.extent for axis in state.stages[name].spatial))


def _changed(state: State, name: str, **attributes: Any) -> State:
    """*state* with the buffers of the stage *name* having these *attributes*."""
    from flashsched.schedule.primitives.blocks import change_buffer

    if state.stages[name].init_of is not None:  # the memory is that of its reduction: never padded, never rolling
        return state
    if is_state(state.stages[name]):  # never padded either, and of more rows than its axes have
        return state
    for buffer in state.stages[name].buffers:
        if any(getattr(buffer, key) != value for key, value in attributes.items()):
            state = change_buffer(state, buffer, replace(buffer, **attributes))
    return state


def _made_inside(state: State, name: str) -> tuple[Buffer, ...]:
    """What *name* and the stages that follow it write."""
    followers = [inner.name for inner in state.attached_to(name) if inner.follows]
    return sum((_made_inside(state, inner) for inner in followers), state.stages[name].buffers)


def _attach(state: State, stage: Stage, consumer: str, loop: str) -> tuple[State, Stage, tuple[int, int] | None]:
    """*state* with a nest of *stage* at a loop, the stage that knows it, and the window that it keeps, if it rolls."""
    target = state.loop(consumer, loop)
    path = path_to_loop(state.body, target)
    outer = loop_ranges(path)
    if stage.follows:
        spans, conditions = part_that_follows(state, stage, state.stages[consumer], path)
    else:
        require_readers_inside(state, stage, (consumer, loop))
        spans, conditions = _part_that_is_read(state, stage, target, path)
    wanted: dict[Axis, tuple[Expr, Size]] = {}
    guards: dict[Axis, list[tuple[str, Size]]] = {}
    for axis, span in spans.items():
        wanted[axis] = (span.first, span.extent)
        limits: list[tuple[str, Size]] = [] if prove(span.first >= 0, outer) else [(">=", 0)]
        if not prove(span.first + span.extent <= extent_expr(axis.extent), outer):
            limits.append(("<", axis.extent))
        guards[axis] = limits
    nest, fresh = root_nest(stage, wanted, guards)
    window = None
    if stage.rolling and not stage.follows:  # what follows is refused by `require_turns`, which tells why
        window = require_window(state, stage, target, [spans[a] for a in stage.spatial], outer)
        nest = add_guard(nest, window.is_new(fresh))
    for condition in conditions:
        if window is None or not uses(condition, target.var):  # later turns count on what this one computes
            nest = add_guard(nest, condition)
    nest = simplified(nest, outer)

    def put(node: For) -> Stmt:
        return node.around(insert_before_reader(node.body, nest, _made_inside(state, stage.name)))

    kept = None if window is None else (window.dimension, window.extent)
    return state.with_body(replace_loop(state.body, target.var, put)), fresh, kept


def _part_that_is_read(
    state: State, stage: Stage, target: For, path: list[Stmt]
) -> tuple[dict[Axis, Span], list[Expr]]:
    """What the nests in *target* read of *stage* in each turn, and the conditions under which they read at all."""
    found = [access for b in stage.buffers for access in accesses(target.body, b, writes=False, skip=stage.name)]
    threads = [node for node in path if isinstance(node, For) and node.kind.is_thread and in_shared(stage)]
    together = tuple((node.var, node.extent) for node in threads)  # what all threads read is copied by them together
    found = [replace(access, inner=(*together, *access.inner)) for access in found]
    outer = loop_ranges(path)
    points = {var: bounds for var, bounds in outer.items() if all(var is not node.var for node in threads)}
    spans = region(found, stage.buffers[0].shape, points)
    if stage.init_of is not None and stage.attach is not None:
        _require_own_part(state, stage, target, path, spans)
    return dict(zip(stage.spatial, spans, strict=True)), _asked_under(target.body, stage, points)


def _require_own_part(state: State, init: Stage, target: For, path: Sequence[Stmt], spans: Sequence[Span]) -> None:
    """Refuse a place for *init* from which it would reset what another turn of its stage's loops has combined."""
    assert init.init_of is not None
    own = loop_chain(state.body, init.init_of, state.stages[init.init_of].loops)
    around = [loop for loop in own if any(node is loop for node in path)]
    bound = find_block(state.body, init.init_of)[-1]
    assert isinstance(bound, Block)
    reduced = [item.value for item in bound.iters if item.kind is AxisKind.REDUCE]
    for loop in around:
        if any(uses(value, loop.var) for value in reduced):
            refuse(
                state,
                f"loop {loop.var.name!r} runs over the reduction of {init.init_of!r}, and {init.name!r} at loop "
                f"{target.var.name!r} inside it would set the elements to the identity in each turn",
                error=DependenceError,
                loop=loop.var,
                hint="choose the outermost loop over the reduction, or one outside of it",
            )
    ranges = loop_ranges(list(path))
    asked = _asked_under(target.body, init, ranges)
    if not disjoint(spans, turning(around, ranges, asked), ranges):
        refuse(
            state,
            f"the parts of {init.init_of!r} that turns of {target.var.name!r} and the loops around it combine can't be "
            f"told apart, so {init.name!r} might reset what another turn has combined",
            error=DependenceError,
            loop=target.var,
            hint="choose a loop further out; loops that were fused and then split give such parts",
        )


def _asked_under(body: Stmt, stage: Stage, points: Ranges) -> list[Expr]:
    """The conditions, known at these *points*, without which no block of *body* reads *stage*, so that it may rest."""
    asking = [block for block in readers(body, stage.buffers) if block.name != stage.name]
    tests = [{structural_key(w): w for w in (*b.where, *b.within) if loop_vars(w) <= points.keys()} for b in asking]
    return [w for key, w in tests[0].items() if all(key in other for other in tests[1:])] if tests else []


def require_readers_inside(state: State, stage: Stage, at: tuple[str, str]) -> None:
    """Refuse the place *at* (a stage and its loop) for *stage* if something reads it outside of that loop.

    Raises:
        ScheduleError: that is so.
    """
    target = state.loop(*at)
    inside = stages_in(target.body) | {stage.name}
    outside = [block.name for block in readers(state.body, stage.buffers) if block.name not in inside]
    if stage.init_of is not None:  # what others read was combined by the stage whose init it is
        outside = [name for name in outside if name == stage.init_of]
    if outside:
        refuse(
            state,
            f"{', '.join(map(repr, outside))} reads {stage.name!r} outside loop {at[1]!r} of {at[0]!r}",
            error=DependenceError,
            loop=target.var,
            hint=f"move {outside[0]!r} inside that loop first, or choose a loop around all readers",
        )


def in_shared(stage: Stage) -> bool:
    """Whether *stage* writes memory that the threads of a GPU block share."""
    return any(buffer.scope == "shared" for buffer in stage.buffers)


def rebuild_chain(state: State, stage: str, change: Callable[[list[For], Stmt], Stmt], loops: Sequence[Var]) -> State:
    """*state* with the stretch of *stage*'s loops from the first to the last of *loops* remade by *change*.

    *change* gets the loops of the stretch, outermost first, and what the innermost holds. Stages computed at a loop of
    the stretch are taken out first and made anew afterwards.
    """
    known = state.stage(stage)
    chain = loop_chain(state.body, stage, known.loops)
    places = [n for n, loop in enumerate(chain) if loop.var in loops]
    stretch = chain[places[0] : places[-1] + 1]
    remade = {loop.var for loop in stretch}
    names = {name for name, var in known.loops.items() if var in remade}
    there = stages_in(state.body)  # while the nest is made anew, those inside it are not
    moved = [s for s in state.attached_to(stage) if s.attach is not None and s.attach[1] in names and s.name in there]
    for inner in moved:
        state = detached(state, inner.name)
    path = find_block(state.body, stage)
    fresh = [node for node in path if isinstance(node, For) and node.var in remade]
    innermost = fresh[-1].body
    state = state.with_body(replace_loop(state.body, fresh[0].var, lambda _: change(fresh, innermost)))
    for inner in reversed(moved):
        state = derive(state, inner.name)
    return state
