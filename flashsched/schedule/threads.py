"""What a nest must keep to where loops are bound to the blocks and threads of a GPU.

A single step sees only some of it: a reorder can turn blocks and threads inside out, a stage that is moved takes its
bound loops along. So the whole nest is looked at after each step, where it has such loops at all.

A thread axis may run over a reduction: each thread then has a part of what is combined, and the parts are combined
into the element once, in any order. What that means is the loop run turn by turn, as for every reduction.
"""

from __future__ import annotations

from flashsched.errors import DependenceError, StructureError
from flashsched.schedule.facts import marks_in
from flashsched.schedule.ir import Block, For, LoopKind, Stmt, blocks, sub_stmts
from flashsched.schedule.state import State, refuse
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import uses

__all__ = ["combined_across", "require_sound_threads"]


_BOUND = frozenset(kind for kind in LoopKind if kind.is_block or kind.is_thread)


def require_sound_threads(state: State) -> None:
    """Refuse a nest whose blocks and threads do not fit together.

    Raises:
        ScheduleError: a block axis stands inside a thread axis or inside itself; a loop bound to a GPU stands with a
            parallel one; a cooperative loop does not do one piece of work for all threads around it; or threads that
            combine what each of them has do not all combine it into the same elements.
    """
    if not _BOUND.isdisjoint(marks_in(state.body)):
        _visit(state, state.body, ())


def combined_across(loop: For) -> tuple[str, ...]:
    """The buffers into whose elements the threads of *loop* combine what each of them has; none for other loops."""
    if not loop.kind.is_thread:
        return ()
    found = [store.buffer.name for block in _reductions(loop) for store in block.stores]
    return tuple(dict.fromkeys((*loop.notes.get("combines", ()), *found)))


def _reductions(loop: For) -> list[Block]:
    """The blocks in *loop* that reduce over it."""
    return [block for block in blocks(loop.body) if AxisKind.REDUCE in _kinds(block, loop)]


def _kinds(block: Block, loop: For) -> set[AxisKind]:
    return {item.kind for item in block.iters if uses(item.value, loop.var)}


def _visit(state: State, stmt: Stmt, path: tuple[For, ...]) -> None:
    if isinstance(stmt, For):
        for outer in path:
            _require_fit(state, outer, stmt)
        if stmt.kind.is_thread:
            _require_one_element(state, stmt, path)
            _require_outside_threads(state, stmt, path)
        if stmt.kind.is_thread and any(outer.kind is stmt.kind for outer in path):
            _require_one_piece(state, stmt, path)
        path = (*path, stmt)
    for inner in sub_stmts(stmt):
        _visit(state, inner, path)


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


def _require_one_element(state: State, loop: For, path: tuple[For, ...]) -> None:
    """Refuse a thread axis over a reduction whose threads do not all combine into the same elements, each its part."""
    twice = next((outer for outer in path if outer.kind is loop.kind), None)
    for block in _reductions(loop):
        shown = f"the threads of loop {loop.var.name!r} ({loop.kind.value}) combine what each has of {block.name!r}"
        if AxisKind.SPATIAL in _kinds(block, loop):
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


def _require_outside_threads(state: State, loop: For, path: tuple[For, ...]) -> None:
    """Refuse a cooperative *loop* in virtual threads of one thread: its memory is that of the block, one for all."""
    twice = next((number for number, outer in enumerate(path) if outer.kind is loop.kind), len(path))
    virtual = next((outer for outer in path[twice:] if outer.kind is LoopKind.VTHREAD), None)
    if virtual is not None:
        refuse(
            state,
            f"the threads of {path[twice].var.name!r} ({loop.kind.value}) share the turns of loop {loop.var.name!r}, "
            f"and the virtual threads of {virtual.var.name!r}, between them, would each need a copy",
            error=StructureError,
            loop=virtual.var,
            hint=f"reorder {virtual.var.name!r} outside of the threads: each virtual thread then has shared memory of "
            "its own",
        )


def _require_one_piece(state: State, loop: For, path: tuple[For, ...]) -> None:
    """Refuse a cooperative *loop* whose work the threads can't share."""
    twice = next(outer for outer in path if outer.kind is loop.kind)
    shares = (
        f"loop {loop.var.name!r} is bound to {loop.kind.value} inside {twice.var.name!r}, which is too, so the threads "
        "share its turns"
    )
    own = [
        outer
        for number, outer in enumerate(path)
        if outer.kind.is_thread and not any(before.kind is outer.kind for before in path[:number])
    ]
    for block in blocks(loop.body):
        if any(buffer.scope != "shared" for buffer in state.stages[block.name].buffers):
            refuse(
                state,
                f"{shares}, and {block.name!r} writes memory that they do not share",
                error=DependenceError,
                loop=loop.var,
                hint=f"set_scope('shared') for {block.name!r} first, or bind the loop to another axis",
            )
        spoken = (*block.where, *block.within, *(item.value for item in block.iters))
        for outer in own:
            if any(uses(expr, outer.var) for expr in spoken):
                refuse(
                    state,
                    f"{shares}, and each turn of {outer.var.name!r} needs another part of {block.name!r}",
                    error=DependenceError,
                    loop=loop.var,
                    hint="compute it at a loop outside the threads",
                )
