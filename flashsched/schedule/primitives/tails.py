"""What becomes of the last turn of a split that does not divide: the five strategies that ``tail`` names.

Apart from `split`, which makes the loops: here is what stands in them. ``docs/design/0002-tails.md`` says what each
strategy is for.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from flashsched.errors import (
    ArgumentError,
    DependenceError,
    LimitError,
    OutputError,
    StructureError,
    counted,
    did_you_mean,
)
from flashsched.schedule.ir import Alloc, Block, For, Seq, Stmt, block_loads, rewrite_stmt, seq
from flashsched.schedule.nest import add_guard, find_block, loop_ranges
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.loops import block_of, require_whole
from flashsched.schedule.primitives.transform_layout import require_one_place_each
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Binary, Const, Expr, Var
from flashsched.te.simplify import bounds, simplify
from flashsched.te.sizes import numbers
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import free_vars, uses

__all__ = ["TAILS", "require_tail", "room_for_padding", "tail_body", "tail_index"]

TAILS = ("guard", "cut", "mask", "pad", "shift")
"""The strategies: a condition (as lowering likes it, cut out of full tiles, kept as a mask), more memory, overlap."""


_DONE = {"pad": "padded", "shift": "shifted"}


def require_tail(state: State, stage: str, loop: For, name: str, tail: str, factor: Expr, *, ragged: bool) -> str:
    """The strategy for *loop*, split by *factor*: *tail*, which must be sound, where the last tile is *ragged*.

    Raises:
        ArgumentError: there is no such strategy, or the loop is too short to be shifted.
        DependenceError: the points of the stage may not be computed twice, which ``"shift"`` does.
        OutputError: ``"pad"`` would write beyond what the caller passes.
        StructureError: ``"pad"`` would write what another turn of a loop around has computed; the turns are no number.
    """
    if tail not in TAILS:
        refuse(
            state,
            f"no tail strategy {tail!r}",
            error=ArgumentError,
            loop=loop.var,
            hint=did_you_mean(str(tail), TAILS),
        )
    if not ragged:
        return "guard"  # a condition that always holds
    if tail in ("pad", "shift"):
        require_unscanned(state, state.stage(stage), "padded" if tail == "pad" else "computed twice")
    if tail in ("pad", "shift") and not (isinstance(factor, Const) and isinstance(loop.extent, Const)):
        refuse(
            state,
            f"loop {name!r} has {loop.extent} turns, and a tail can be {_DONE[tail]} only where its length is a number",
            error=StructureError,
            loop=loop.var,
            hint="use tail='cut', 'mask' or 'guard'",
        )
    if tail == "pad":
        _require_room(state, stage, loop, name)
    if tail == "shift":
        _require_twice(state, stage, loop, name, factor)
    return tail


def _require_room(state: State, stage: str, loop: For, name: str) -> None:
    known = state.stage(stage)
    own = set(known.loops.values()) - {loop.var}
    for item in block_of(state, stage).iters:
        if item.kind is AxisKind.REDUCE or not uses(item.value, loop.var):
            continue
        require_whole(state, known, "split(tail='pad')")
        if known.output:
            refuse(
                state,
                f"padding {name!r} makes what {stage!r} writes larger, and {stage!r} is an output of the caller's size",
                error=OutputError,
                loop=loop.var,
                hint=f"compute into a copy and pad that: cache_write({stage!r}, 'local'); or use tail='cut' here",
            )
        if free_vars(item.value) & own:
            refuse(
                state,
                f"loop {name!r} is only a part of axis {item.var.name!r} ({item.value}): what lies beyond it belongs "
                "to the next turn of the loops around it",
                error=StructureError,
                loop=loop.var,
                hint=f"pad where the whole axis is split, and use a factor that divides {name!r} here",
            )


def _require_twice(state: State, stage: str, loop: For, name: str, factor: Expr) -> None:
    block = block_of(state, stage)
    if block.reduces or any(load.buffer in state.stage(stage).buffers for load in block_loads(block)):
        refuse(
            state,
            f"a shifted tail computes some points twice, and {stage!r} adds to what it has computed before",
            error=DependenceError,
            loop=loop.var,
            hint="use tail='cut' or 'guard'; or let cache_write take the sum, and shift the loops that copy it",
        )
    if loop.turns is not None and isinstance(factor, Const) and loop.turns < factor.value:
        refuse(
            state,
            f"loop {name!r} has {counted(loop.turns, 'turn')}, and a tile of {factor} can't be shifted into them",
            error=ArgumentError,
            loop=loop.var,
            hint=f"split by at most {loop.turns}, or use tail='guard'",
        )


def tail_index(tail: str, outer: Expr, inner: Expr, factor: Expr, turns: Expr) -> Expr:
    """The turn of the loop that was, made of the two that are now."""
    first = outer * factor
    if tail == "shift":
        first = Binary("min", first, simplify(turns - factor))
    return first + inner


def tail_body(state: State, stage: str, loop: For, body: Stmt, inside: Expr, tail: str) -> Stmt:
    """*body* of *loop*, where only the points with *inside* are points of the loop that was."""
    if tail == "shift":
        return body
    if tail == "pad" and any(uses(item.value, loop.var) for item in block_of(state, stage).iters):
        return _padding(body, stage, inside)
    return add_guard(body, inside)


def _padding(stmt: Stmt, stage: str, inside: Expr) -> Stmt:
    """*stmt* in which the block of *stage* makes padding, and all others rest, where *inside* does not hold."""
    match stmt:
        case Block() if stmt.name == stage:
            return replace(stmt, within=(*stmt.within, inside))
        case For() | Alloc():
            return replace(stmt, body=_padding(stmt.body, stage, inside))
        case Seq():
            return seq([_padding(inner, stage, inside) for inner in stmt.stmts])
        case _:
            pass
    return add_guard(stmt, inside)


def room_for_padding(state: State, stage: str, loops: tuple[Var, ...], name: str) -> State:
    """*state* in which the block and the memory of *stage* hold all turns of its *loops*, padding included.

    Raises:
        LimitError: it is not known how large that is.
        LayoutError: the layout of the memory has no room.
    """
    path = find_block(state.body, stage)
    ranges = loop_ranges(path)
    block = path[-1]
    assert isinstance(block, Block)
    iters = list(block.iters)
    for number, item in enumerate(iters):
        if any(uses(item.value, var) for var in loops):
            last = bounds(item.value, ranges)[1]
            if last == inf:
                refuse(
                    state,
                    f"how far {item.value} goes is not known, so {name!r} can't be padded",
                    error=LimitError,
                    block=stage,
                    hint="use tail='guard' or 'cut'",
                )
            iters[number] = replace(item, extent=max(numbers((item.extent,), name)[0], int(last) + 1 - item.begin))
    wide = replace(block, iters=tuple(iters))
    state = state.with_body(rewrite_stmt(state.body, lambda node: wide if node is block else None))
    shape = tuple(item.extent for item in iters if item.kind is AxisKind.SPATIAL)
    for buffer in state.stage(stage).buffers:
        if buffer.shape != shape:
            if buffer.layout is not None:
                require_one_place_each(state, stage, buffer.layout, shape)
            state = change_buffer(state, buffer, replace(buffer, shape=shape))
    return state
