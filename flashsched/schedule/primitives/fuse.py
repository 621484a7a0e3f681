"""fuse: adjacent loops become one."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError, StructureError
from flashsched.schedule.ir import For, Stmt
from flashsched.schedule.nest import loop_ranges, path_to_loop, replace_loop, simplified, substituted
from flashsched.schedule.primitives.compute_at import rolled_anew
from flashsched.schedule.primitives.loops import iterates, pragmas_of, renamed, require_serial, require_unmarked
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_ordered
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Var, is_const
from flashsched.te.simplify import simplify

__all__ = ["fuse"]


@primitive(on_loops=True)
def fuse(state: State, stage: str, loops: list[str]) -> Result:
    """Make one loop of *loops*, each directly inside the one named before it.

    Rewrite::

        for i in range(n):        ->    for i.j in range(n * m):
            for j in range(m):              S[i := i.j // m, j := i.j % m]
                S

    >>> from flashsched import te
    >>> A = te.placeholder((4, 6), name="A")
    >>> C = te.compute((4, 6), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].fuse("i", "j")
    C.i.j
    >>> print(s)
    for i.j in range(24):
      C(i=i.j // 6, j=i.j % 6):
        C[i, j] = A[i, j] + 1.0

    Returns:
        The name of the new loop.

    Raises:
        ScheduleError: a loop is absent or not serial; the loops are not directly nested in this order; one is over
            the output and another over a reduction; a stage is computed between them.
    """
    if not loops:
        refuse(
            state, "no loop is named", error=ArgumentError, hint="name adjacent loops from the outside in: fuse(i, j)"
        )
    name = loops[0]
    between: list[str] = []
    for inner in loops[1:]:
        state, name = _fuse_two(state, stage, name, inner, f"fuse({', '.join(map(repr, loops))})")
        between.append(name)
    if len(loops) == 1:
        state.loop(stage, name)
    return _never_named(state, stage, between[:-1]), (name,)


def _never_named(state: State, stage: str, names: list[str]) -> State:
    """*state* where loops that nobody saw, of some of those to be fused, keep no *names* from others."""
    known = state.stage(stage)
    gone = {name: step for name, step in known.gone.items() if name not in names}
    return state.with_stage(replace(known, gone=MappingProxyType(gone))) if names else state


def _fuse_two(state: State, stage: str, first: str, second: str, step: str) -> tuple[State, str]:
    outer, inner = state.loop(stage, first), state.loop(stage, second)
    for node, name in ((outer, first), (inner, second)):
        require_serial(state, node, name, "fused", "fuse first, then mark the fused loop")
        require_unmarked(state, node, name, "fused")
    if outer.body is not inner:
        between = [s.name for s in state.attached_to(stage) if s.attach is not None and s.attach[1] == first]
        if between:
            refuse(
                state,
                f"stage {between[0]!r} is computed at loop {first!r}, between {first!r} and {second!r}",
                error=StructureError,
                loop=outer.var,
                hint=f"compute {between[0]!r} at {second!r} or further out first",
            )
        inverted = inner.body is outer
        refuse(
            state,
            f"loop {second!r} is not directly inside {first!r}, and only adjacent loops can be fused",
            error=StructureError,
            loop=outer.var,
            hint=f"name them from the outside in: fuse({second!r}, {first!r})" if inverted else "reorder them first",
        )
    kinds = iterates(state, stage, outer.var) | iterates(state, stage, inner.var)
    if len(kinds) > 1:
        require_ordered(state, stage, outer, f"fused with {second!r}")
        require_ordered(state, stage, inner, f"fused with {first!r}")
        refuse(
            state,
            f"one of {first!r} and {second!r} runs over the output and the other over a reduction",
            error=StructureError,
            loop=inner.var,
            hint="fuse loops of one sort only",
        )
    known = state.stage(stage)
    name = known.unused_name(f"{first}.{second}")
    var = Var(name)
    m = inner.extent
    around = loop_ranges(path_to_loop(state.body, outer)[:-1])

    said = {key: value for key, value in outer.notes.items() if key.startswith("@")}  # what `annotate` put there
    notes = {**said, **pragmas_of(outer), **inner.notes}

    def rewrite(_: For) -> Stmt:
        body = substituted(
            inner.body,
            {outer.var: var, inner.var: var} if is_const(m, 0) else {outer.var: var // m, inner.var: var % m},
        )
        whole = For(var, simplify(outer.extent * m), body, notes=notes)
        return simplified(whole, around)

    state = state.with_body(replace_loop(state.body, outer.var, rewrite))
    state = renamed(state, stage, [first, second], {name: var}, step, name)
    return rolled_anew(state, stage, name), name
