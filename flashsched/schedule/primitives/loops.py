"""What the primitives on loops share: checking a loop's kind, what it iterates, and swapping names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flashsched.errors import ArgumentError, DependenceError, StructureError
from flashsched.schedule.ir import Block, For, LoopKind, Stmt, rewrite_stmt, walk_stmt
from flashsched.schedule.marks import MARKS
from flashsched.schedule.nest import find_block, path_to_loop, replace_loop
from flashsched.schedule.recurrence import require_ordered
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Var
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import free_vars, uses, walk

__all__ = [
    "block_of",
    "iterates",
    "loops_around",
    "loops_inside",
    "pragmas_of",
    "put_around",
    "renamed",
    "require_count",
    "require_independent",
    "require_no_init",
    "require_none_inside",
    "require_number",
    "require_serial",
    "require_whole",
    "require_unmarked",
    "set_kind",
]


PRAGMA_NOTES = ("auto_unroll_max_step", "unroll_explicit", "parallel_launch_point", "parallel_barrier_when_finish")
"""The notes of a loop that pragmas made: any loop may have them."""


def block_of(state: State, stage: str) -> Block:
    """The bound block of *stage*."""
    found = find_block(state.body, state.stage(stage).name)[-1]
    assert isinstance(found, Block)
    return found


def iterates(state: State, stage: str, var: Var) -> set[AxisKind]:
    """The kinds of the iteration variables of *stage* that the loop over *var* drives."""
    return {item.kind for item in block_of(state, stage).iters if uses(item.value, var)}


def require_serial(state: State, loop: For, name: str, verb: str, hint: str) -> None:
    """Refuse a loop that already has a kind."""
    if loop.kind is not LoopKind.SERIAL:
        refuse(
            state,
            f"loop {name!r} is {_KIND_WORDS.get(loop.kind, 'bound to ' + loop.kind.value)}, "
            f"and only a serial loop can be {verb}",
            error=StructureError,
            loop=loop.var,
            hint=hint,
        )


def require_unmarked(state: State, loop: For, name: str, verb: str) -> None:
    """Refuse a loop whose turns something counts on: it would not be known which of the new loops is meant."""
    for mark, word in MARKS.items():
        if mark in loop.notes:
            refuse(
                state,
                f"loop {name!r} is marked with {word}, and can't be {verb} any more",
                error=StructureError,
                loop=loop.var,
                hint=f"call {word} last, on the new loop",
            )


_KIND_WORDS = {
    LoopKind.UNROLL: "unrolled",
    LoopKind.VECTORIZE: "vectorized",
    LoopKind.PARALLEL: "parallel",
    LoopKind.TENSORIZE: "tensorized",
    LoopKind.VTHREAD: "made of virtual threads",
}


def require_count(state: State, what: str, value: int) -> int:
    """*value*, which must be at least 1."""
    if value < 1:
        refuse(state, f"{what} must be at least 1, got {value}", error=ArgumentError, hint=f"it counts turns: {what}=4")
    return value


def require_number(state: State, loop: For, name: str, verb: str) -> None:
    """Refuse a loop whose extent is known only when the kernel is called."""
    if loop.turns is None:
        refuse(
            state,
            f"loop {name!r} has {loop.extent} turns, and only a loop whose turns are a number can be {verb}",
            error=StructureError,
            loop=loop.var,
            hint=f"split it by a number first, and take the inner loop: split({name!r}, factor=8)",
        )


def require_independent(state: State, stage: str, loop: For, name: str, kind: LoopKind) -> None:
    """Refuse a loop whose turns combine values into the same element, or write an element that another turn writes."""
    require_ordered(state, stage, loop, kind.value if kind is not LoopKind.VECTORIZE else "vectorized")
    if AxisKind.REDUCE in iterates(state, stage, loop.var):
        refuse(
            state,
            f"loop {name!r} runs over a reduction: its turns add to the same elements, and running them at once "
            f"({kind.value}) would lose some",
            error=DependenceError,
            loop=loop.var,
            hint="choose a loop over the output, or make parts of the reduction (rfactor) and take the loop over them",
        )
    if _overlaps(state, stage, loop.var, kind):
        refuse(
            state,
            f"loop {name!r} has a shifted tail: its last tile writes elements that the one before writes too, and "
            f"running them at once ({kind.value}) is a race",
            error=DependenceError,
            loop=loop.var,
            hint="split with tail='cut' or 'guard' instead, or choose another loop",
        )


def _overlaps(state: State, stage: str, var: Var, kind: LoopKind) -> bool:
    """Whether turns of the loop over *var* may write one element, because a split of it, or of its axis, is shifted.

    Such a binding holds ``min(outer * factor, n - factor) + inner``. The lanes of a vector are turns of the inner
    loop alone, which do not meet; in other loops inner turns meet as soon as the outer loop stands inside.
    """
    own = set(state.stage(stage).loops.values())
    for item in block_of(state, stage).iters:
        if not uses(item.value, var):
            continue
        shifted = [n for n in walk(item.value) if isinstance(n, Binary) and n.op == "min" and free_vars(n) & own]
        if shifted:
            return kind is not LoopKind.VECTORIZE or any(uses(node, var) for node in shifted)
    return False


def require_no_init(state: State, known: Stage) -> None:
    """Refuse the init of a decomposed reduction where it can't be taken alone."""
    if known.init_of is not None:
        refuse(
            state,
            f"{known.name!r} is the init of {known.init_of!r}, and stands where its reduction was decomposed",
            error=StructureError,
            block=known.name,
            hint=f"move {known.init_of!r}, and its init goes along",
        )


def require_whole(state: State, known: Stage, step: str) -> None:
    """Refuse a reduction whose init is a stage of its own, for a *step* that takes both."""
    require_no_init(state, known)
    if any(other.init_of == known.name for other in state.stages.values()):
        refuse(
            state,
            f"the reduction of {known.name!r} was decomposed, and {step} needs it whole",
            error=StructureError,
            block=known.name,
            hint=f"call {step} before decompose_reduction",
        )


def require_none_inside(state: State, stage: str) -> None:
    """Refuse a *stage* that others are computed in, for a step that takes its loops away."""
    held = state.attached_to(stage)
    if held:
        refuse(
            state,
            f"stage {held[0].name!r} is computed at a loop of {stage!r}, and those loops would be gone",
            error=StructureError,
            block=stage,
            hint=f"move {held[0].name!r} first: compute_at or compute_root",
        )


def renamed(
    state: State, stage: str, old: Sequence[str], new: Mapping[str, Var], step: str, attach: str | None
) -> State:
    """*state* in which the loops *old* of *stage* gave way to *new*, and what was computed at them is at *attach*."""
    known = state.stages[stage]
    loops: dict[str, Var] = {}
    for name, var in known.loops.items():
        if name in old:
            if name == old[0]:
                loops.update(new)
        else:
            loops[name] = var
    gone = {**known.gone, **dict.fromkeys(old, step)}
    state = state.with_stage(replace(known, loops=MappingProxyType(loops), gone=MappingProxyType(gone)))
    for inner in state.attached_to(stage):
        if inner.attach is not None and inner.attach[1] in old and attach is not None:
            state = state.with_stage(replace(inner, attach=(stage, attach)))
    for kept in state.stages.values():
        if kept.store is not None and kept.store[0] == stage and kept.store[1] in old and attach is not None:
            state = state.with_stage(replace(kept, store=(stage, attach)))
    return state


def put_around(
    state: State,
    stage: str,
    target: Stmt,
    name: str,
    extent: int,
    kind: LoopKind = LoopKind.SERIAL,
    notes: Mapping[str, Any] = MappingProxyType({}),
) -> State:
    """*state* with a new loop of *stage*, called *name*, around *target*: a loop of the stage, or its block."""
    var = Var(name)

    def wrap(body: Stmt) -> Stmt:
        return For(var, Const(extent, dtypes.INDEX), body, kind, MappingProxyType({**notes}))

    if isinstance(target, For):
        body = replace_loop(state.body, target.var, wrap)
    else:
        body = rewrite_stmt(state.body, lambda node: wrap(node) if node is target else None)
    known = state.stages[stage]
    loops: dict[str, Var] = {}
    for old, inner in known.loops.items():
        if isinstance(target, For) and inner is target.var:
            loops[name] = var
        loops[old] = inner
    loops.setdefault(name, var)
    return state.with_body(body).with_stage(replace(known, loops=MappingProxyType(loops)))


def pragmas_of(loop: For) -> dict[str, object]:
    """What pragmas say of *loop*."""
    return {key: value for key, value in loop.notes.items() if key in PRAGMA_NOTES}


def set_kind(state: State, loop: For, kind: LoopKind) -> State:
    """*state* with the kind of *loop* changed."""
    return state.with_body(replace_loop(state.body, loop.var, lambda node: node.of_kind(kind)))


def loops_around(state: State, loop: For) -> list[For]:
    """The loops outside *loop*, outermost first."""
    return [n for n in path_to_loop(state.body, loop)[:-1] if isinstance(n, For)]


def loops_inside(loop: For) -> list[For]:
    """The loops in the body of *loop*."""
    body: Stmt = loop.body
    return [node for node in walk_stmt(body) if isinstance(node, For)]
