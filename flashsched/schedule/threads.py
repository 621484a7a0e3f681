"""What a nest must keep to where loops are bound to the blocks and threads of a GPU.

A single step sees only some of it: a reorder can turn blocks and threads inside out, a stage that is moved takes its
bound loops along. So the whole nest is looked at after each step, where it has such loops at all.

A thread axis may run over a reduction: each thread then has a part of what is combined, and the parts are combined
into the element once, in any order. What that means is the loop run turn by turn, as for every reduction.

What does not depend on a thread axis around it is done by each of its threads. That is right where each has memory of
its own for it, or where it stands in a cooperative loop: the threads share the turns, and each element is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flashsched.errors import DependenceError, StructureError
from flashsched.schedule.facts import (
    blocks_in,
    buffers_in,
    filled_together,
    marks_in,
    reduced_in,
    stages_in,
    threads_around,
    uses_in,
    vars_in,
)
from flashsched.schedule.ir import Block, Buffer, For, LoopKind, Stmt, sub_stmts
from flashsched.schedule.nest import path_to_loop
from flashsched.schedule.state import State, refuse
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import uses

__all__ = ["PREDICATE", "combined_across", "depends", "require_sound_threads"]

PREDICATE = "store_predicate"
"""The note of a cooperative loop of one turn: the first thread's (`set_store_predicate`)."""

_BOUND = frozenset(kind for kind in LoopKind if kind.is_block or kind.is_thread)
_LOOKED_AT = _BOUND | {LoopKind.PARALLEL, PREDICATE}


def require_sound_threads(state: State) -> None:
    """Refuse a nest whose blocks and threads do not fit together.

    Raises:
        ScheduleError: a block axis stands inside a thread axis or inside itself; a loop bound to a GPU stands with a
            parallel one; a cooperative loop does not do one piece of work for all threads around it; threads that
            combine what each of them has do not all combine it into the same elements; or each of them does what is to
            be done once.
    """
    if not _BOUND.isdisjoint(marks_in(state.body)):
        _visit(state, state.body, (), ())


def combined_across(loop: For) -> tuple[str, ...]:
    """The buffers into whose elements the threads of *loop* combine what each of them has; none for other loops."""
    if not loop.kind.is_thread:
        return ()
    found = [store.buffer.name for block in _reductions(loop) for store in block.stores]
    return tuple(dict.fromkeys((*loop.notes.get("combines", ()), *found)))


def _reductions(loop: For) -> list[Block]:
    """The blocks in *loop* that reduce over it."""
    key = id(loop.var)
    return [block for block in blocks_in(loop.body) if key in reduced_in(block)]


def _visit(state: State, stmt: Stmt, path: tuple[For, ...], beside: tuple[Stmt, ...]) -> None:
    """Look at *stmt*, which stands in the loops of *path*; *beside* is all that stands outside of *stmt*."""
    if _LOOKED_AT.isdisjoint(marks_in(stmt)):
        return
    while isinstance(stmt, For):
        if stmt.kind in _LOOKED_AT or PREDICATE in stmt.notes:
            _require_sound(state, stmt, path, beside)
        path = (*path, stmt)
        stmt = stmt.body
    parts = sub_stmts(stmt)
    for inner in parts:
        others = beside if len(parts) == 1 else (*beside, *[part for part in parts if part is not inner])
        _visit(state, inner, path, others)


def _require_sound(state: State, loop: For, path: tuple[For, ...], beside: tuple[Stmt, ...]) -> None:
    """Refuse what *loop* itself is bound to, inside the loops of *path*."""
    around = [outer.kind for outer in path]
    if loop.kind in _LOOKED_AT and (LoopKind.PARALLEL in around or not loop.kind.is_thread):
        for outer in path:
            _require_fit(state, outer, loop)
    twice = around.index(loop.kind) if loop.kind.is_thread and loop.kind in around else None
    if loop.kind.is_thread:
        _require_one_element(state, loop, None if twice is None else path[twice])
        if twice is not None:
            _require_outside_threads(state, loop, path[twice:])
        _require_same_for_each(state, loop, path, beside, first=twice is None)
    if twice is not None:
        _require_one_piece(state, loop, path, path[twice])
    elif PREDICATE in loop.notes:
        refuse(
            state,
            f"loop {loop.var.name!r} is the first thread's turn, and no loop around it is bound to {loop.kind.value}",
            error=StructureError,
            loop=loop.var,
            hint=f"keep it inside a loop that is bound to {loop.kind.value}",
        )


def _require_fit(state: State, outer: For, inner: For) -> None:
    if inner.kind.is_block and (outer.kind.is_thread or outer.kind is inner.kind):
        refuse(
            state,
            f"loop {inner.var.name!r} is bound to {inner.kind.value}, and stands inside {outer.var.name!r}, which is "
            f"bound to {outer.kind.value}",
            error=StructureError,
            loop=outer.var,
            hint="a grid of blocks stands outside its threads, each of its axes bound once",
        )
    kinds = {outer.kind, inner.kind}
    if LoopKind.PARALLEL in kinds and any(kind.is_block or kind.is_thread for kind in kinds):
        bound = inner if outer.kind is LoopKind.PARALLEL else outer
        other = outer if bound is inner else inner
        refuse(
            state,
            f"loop {bound.var.name!r} is bound to {bound.kind.value}, and {other.var.name!r}, around or inside it, is "
            "parallel on a CPU",
            error=StructureError,
            loop=bound.var,
            hint="bind all of a program's loops, or none",
        )


def _require_one_element(state: State, loop: For, twice: For | None) -> None:
    """Refuse a thread axis over a reduction whose threads do not all combine into the same elements, each its part.

    *twice* is the loop around it that is bound to the same axis, if there is one.
    """
    for block in _reductions(loop):
        shown = f"the threads of loop {loop.var.name!r} ({loop.kind.value}) combine what each has of {block.name!r}"
        if any(uses(item.value, loop.var) for item in block.iters if item.kind is AxisKind.SPATIAL):
            refuse(
                state,
                f"{shown}, and the loop runs over its output too, so that each has an element of its own",
                error=DependenceError,
                loop=loop.var,
                hint="bind a loop that runs over the reduction only",
            )
        if twice is not None:
            refuse(
                state,
                f"{shown}, inside loop {twice.var.name!r}, which has each of these threads do something else",
                error=DependenceError,
                loop=loop.var,
                hint=f"bind it to another axis than {loop.kind.value}, or compute {block.name!r} outside of "
                f"{twice.var.name!r}",
            )


def _require_outside_threads(state: State, loop: For, between: Sequence[For]) -> None:
    """Refuse a cooperative *loop* in virtual threads of one thread: its memory is that of the block, one for all.

    *between* are the loops from that of the threads on.
    """
    virtual = next((outer for outer in between if outer.kind is LoopKind.VTHREAD), None)
    if virtual is not None:
        refuse(
            state,
            f"the threads of {between[0].var.name!r} ({loop.kind.value}) share the turns of loop {loop.var.name!r}, "
            f"and the virtual threads of {virtual.var.name!r}, between them, would each need a copy",
            error=StructureError,
            loop=virtual.var,
            hint=f"reorder {virtual.var.name!r} outside of the threads: each virtual thread then has shared memory of "
            "its own",
        )


def _require_one_piece(state: State, loop: For, path: tuple[For, ...], twice: For) -> None:
    """Refuse a cooperative *loop* whose work the threads of *twice*, around it, can't share."""
    shares = (
        f"loop {loop.var.name!r} is bound to {loop.kind.value} inside {twice.var.name!r}, which is too, so the threads "
        "share its turns"
    )
    own = [
        outer
        for number, outer in enumerate(path)
        if outer.kind.is_thread and not any(before.kind is outer.kind for before in path[:number])
    ]
    for block in blocks_in(loop.body):
        if not _is_shared(state, block.name, own[0]):
            refuse(
                state,
                f"{shares}, and {block.name!r} writes memory that they do not share",
                error=DependenceError,
                loop=loop.var,
                hint=f"set_scope('shared') for {block.name!r} first, or bind the loop to another axis",
            )
        for outer in own:
            if depends(block, outer):
                refuse(
                    state,
                    f"{shares}, and each turn of {outer.var.name!r} needs another part of {block.name!r}",
                    error=DependenceError,
                    loop=loop.var,
                    hint="bind the loop to another axis, or compute it at a loop outside the threads",
                )


def _require_same_for_each(
    state: State, loop: For, path: tuple[For, ...], beside: tuple[Stmt, ...], first: bool
) -> None:
    """Refuse a thread axis whose threads would each do what is to be done once, and does not depend on them.

    *first* tells that no loop of *path* is bound to the same axis.
    """
    if loop.turns in (0, 1):
        return
    key = id(loop.var)
    for block in blocks_in(loop.body):
        if key in uses_in(block):
            continue
        if not (first and _is_cooperative(block, loop, path)) and not _is_own(state, block, loop, beside):
            refuse(
                state,
                f"each turn of loop {loop.var.name!r} ({loop.kind.value}) stores all of {block.name!r}, in memory that "
                "they share",
                error=DependenceError,
                loop=loop.var,
                hint=f"bind a loop of {block.name!r} to {loop.kind.value} first, so that the threads share its turns",
            )
        if not _begins_inside(state, block, loop, path):
            refuse(
                state,
                f"each turn of loop {loop.var.name!r} ({loop.kind.value}) combines into {block.name!r}, whose elements "
                "are set to the identity outside of it",
                error=DependenceError,
                loop=loop.var,
                hint=f"reorder {loop.var.name!r} outside of the reduction, and leave that whole",
            )


def depends(block: Block, loop: For) -> bool:
    """Whether what *block* does depends on the turn of *loop*."""
    return id(loop.var) in uses_in(block)


def _is_cooperative(block: Block, loop: For, path: tuple[For, ...]) -> bool:
    """Whether threads share the turns of a loop around *block*, which stands in *loop*, inside *path*."""
    kinds = [*[outer.kind for outer in path if outer.kind.is_thread], *threads_around(loop)[block.name]]
    return len(set(kinds)) < len(kinds)


def _is_shared(state: State, name: str, outermost: For) -> bool:
    """Whether the stage *name* writes memory that lies outside of the thread loop *outermost*: one for all threads."""
    other = [buffer for buffer in state.stages[name].buffers if buffer.scope != "shared"]
    if not other:
        return True
    path = path_to_loop(state.body, outermost)
    beside = [inner for node, way in pairwise(path) for inner in sub_stmts(node) if inner is not way]
    return all(buffer.scope == "global" and _outlives(state, buffer, beside, certainly=True) for buffer in other)


def _is_own(state: State, block: Block, loop: For, beside: Sequence[Stmt]) -> bool:
    """Whether each turn of *loop* has memory of its own for what *block* writes; *beside* stands outside of it."""
    stage = state.stages[block.name]
    if stage.store is not None and id(state.loop(*stage.store).var) not in vars_in(loop):
        return False
    for buffer in stage.buffers:
        if (buffer.scope == "shared" and buffer in filled_together(state.body)) or _outlives(state, buffer, beside):
            return False
    return True


def _outlives(state: State, buffer: Buffer, beside: Sequence[Stmt], certainly: bool = False) -> bool:
    """Whether *buffer* is the caller's, or is used *beside* a loop too.

    Of a stage that computes several outputs the caller may see some only; those are his, *certainly*, where it is one.
    """
    for stage in state.stages.values():
        if stage.output and buffer in stage.buffers and not (certainly and len(stage.buffers) > 1):
            return True
    return any(buffer in buffers_in(inner) for inner in beside)


def _begins_inside(state: State, block: Block, loop: For, path: tuple[For, ...]) -> bool:
    """Whether *block*, where it reduces, sets its elements to the identity in each turn of *loop*, inside *path*."""
    if not block.reduces:
        return True
    if any(id(outer.var) in reduced_in(block) for outer in path):
        return False
    init = {stage.name for stage in state.stages.values() if stage.init_of == block.name}
    return init & stages_in(state.body) <= stages_in(loop)  # while a nest is made anew, that of its init is not there
