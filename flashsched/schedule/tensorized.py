"""What a nest must keep to where loops are tensorized: they must go on being what their intrinsic computes.

Later steps see only some of it: an inner loop can be split, another stage's expression put in, a layout changed. So
every tensorized loop is matched again after each step, and the step that breaks one is refused at the user's line.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.errors import DependenceError, MatchError, StructureError
from flashsched.schedule.facts import marks_in
from flashsched.schedule.intrinsic import Intrinsic, find_intrinsic
from flashsched.schedule.ir import Block, For, LoopKind, Stmt, sub_stmts
from flashsched.schedule.marks import MARKS
from flashsched.schedule.match import Differs
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.printer import nest_text
from flashsched.schedule.state import State, refuse
from flashsched.schedule.units import UNIT
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import free_vars, uses

__all__ = ["require_tensorized"]


def require_tensorized(state: State) -> None:
    """Refuse a nest with a tensorized loop that its intrinsic can't stand for.

    Raises:
        MatchError: it computes something else; the message shows the first difference.
        StructureError: it holds another computation or a loop with a kind, or stands in lanes or GPU threads.
        DependenceError: it has a condition in it.
    """
    if LoopKind.TENSORIZE in marks_in(state.body):
        _visit(state, state.body, ())


def _visit(state: State, stmt: Stmt, path: tuple[Stmt, ...]) -> None:
    if isinstance(stmt, For) and stmt.kind is LoopKind.TENSORIZE:
        _require(state, stmt, [node for node in path if isinstance(node, For)])
        return
    for inner in sub_stmts(stmt):
        _visit(state, inner, (*path, stmt))


def _require(state: State, loop: For, around: Sequence[For]) -> None:
    known = find_intrinsic(loop.notes["intrinsic"])
    name = loop.var.name
    for outer in around:
        if known.lanes > 1 and (outer.kind.is_block or outer.kind in (LoopKind.THREAD_Y, LoopKind.THREAD_Z)):
            continue
        if known.lanes > 1 and outer.kind is LoopKind.THREAD_X:
            refuse(
                state,
                f"loop {name!r} is run by the {known.lanes} lanes of a warp together, and stands inside "
                f"{outer.var.name!r}, which is threadIdx.x",
                error=StructureError,
                loop=loop.var,
                hint="bind the loops around it to threadIdx.y, one turn a warp; threadIdx.x is the lanes'",
            )
        if outer.kind in (LoopKind.VECTORIZE,) or outer.kind.is_block or outer.kind.is_thread:
            refuse(
                state,
                f"loop {name!r} is tensorized, and stands inside {outer.var.name!r}, which is {outer.kind.value}",
                error=StructureError,
                loop=loop.var,
                hint="an intrinsic is called by one thread of a CPU: compute the stage at a serial or parallel loop",
            )
    inside, node = [loop], loop.body
    while isinstance(node, For):
        if node.kind is not LoopKind.SERIAL:
            refuse(
                state,
                f"loop {node.var.name!r} inside the tensorized loop {name!r} is {node.kind.value}",
                error=StructureError,
                loop=node.var,
                hint="the intrinsic takes the place of all loops inside, so they stay serial",
            )
        inside.append(node)
        node = node.body
    for held in inside:
        marks = [made for note, made in MARKS.items() if note in held.notes and note != UNIT]
        if marks:
            refuse(
                state,
                f"{marks[0]} is at loop {held.var.name!r}, which the tensorized loop {name!r} "
                f"{'is' if held is loop else 'holds'}",
                error=StructureError,
                loop=held.var,
                hint=f"{marks[0]} at a loop around {name!r}",
            )
    if not isinstance(node, Block):
        refuse(
            state,
            f"loop {name!r} is tensorized, and holds more than one computation",
            error=StructureError,
            loop=loop.var,
            hint="compute the other stage at a loop outside of it",
        )
    _require_no_condition(state, loop, node, inside)
    _require_part(state, loop, node, around, known)
    try:
        known.match(loop, "update", loop_ranges(list(around)))
    except Differs as differs:
        raise MatchError(
            f"loop {name!r} is not what {known.name!r} computes: {differs}",
            shown=f"{nest_text(state.body, mark=loop.var)}\n\n{known.name} computes\n{known}",
            hint="split and reorder so that its loops have these turns and stand inside; what is read may be packed "
            "with transform_layout",
        ) from None


def _require_no_condition(state: State, loop: For, block: Block, inside: Sequence[For]) -> None:
    """Conditions stand outside; those of a cut tail do, as soon as the tail is cut."""
    if block.within:
        refuse(
            state,
            f"points of the tensorized loop {loop.var.name!r} are padding but where {block.within[0]}, and an "
            "intrinsic makes no difference between them",
            error=DependenceError,
            loop=loop.var,
            hint="split with tail='cut' in place of 'pad', or make the padding a stage of its own",
        )
    for condition in block.where:
        spoken = free_vars(condition)
        held = [node for node in inside if node.var in spoken]
        if any(node.notes.get("tail") != "cut" for node in held):
            refuse(
                state,
                f"a point inside the tensorized loop {loop.var.name!r} is computed only where {condition}, and "
                "the intrinsic computes all of them",
                error=DependenceError,
                loop=loop.var,
                hint="split by a factor that divides, or say tail='cut', in split or here; plain loops do the last",
            )


def _require_part(state: State, loop: For, block: Block, around: Sequence[For], known: Intrinsic) -> None:
    if known.start is None or "update" in known.how:
        return
    if not block.init:
        refuse(
            state,
            f"the init of {block.name!r} is a stage of its own, and {known.name!r} has only a body, which begins from "
            "nothing",
            error=MatchError,
            loop=loop.var,
            hint=f"declare {known.name} with update=..., or leave out decompose_reduction",
        )
    reduced = [item.value for item in block.iters if item.kind is AxisKind.REDUCE]
    outer = [node for node in around if any(uses(value, node.var) for value in reduced)]
    if outer:
        refuse(
            state,
            f"loop {outer[0].var.name!r} around the tensorized loop {loop.var.name!r} runs over the reduction, and "
            f"{known.name!r} has only a body, which begins from nothing",
            error=MatchError,
            loop=loop.var,
            hint=f"declare {known.name} with update=..., or reduce all of it inside {loop.var.name!r}",
        )
