"""set_store_predicate: one thread stores for all."""

from __future__ import annotations

import ast

from flashsched.errors import ArgumentError, DependenceError, StructureError, UnknownNameError, did_you_mean
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.nest import find_block
from flashsched.schedule.primitives.add_unit_loop import require_outside_vectors
from flashsched.schedule.primitives.loops import block_of, iterates, put_around
from flashsched.schedule.primitives.opaque import require_te
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.schedule.threads import PREDICATE, depends
from flashsched.te.tensor import AxisKind

__all__ = ["set_store_predicate"]

_AXES = {kind.value: kind for kind in LoopKind if kind.is_thread}
_HINT = "write it like 'threadIdx.x == 0' or 'threadIdx.x == 0 and threadIdx.y == 0'"


@primitive(on_loops=True)
def set_store_predicate(state: State, stage: str, condition: str) -> Result:
    """Have only the first thread of an axis store what *stage* computes, as *condition*, ``threadIdx.x == 0``, says.

    Rewrite::

        for t in range(n):  # threadIdx.x         for t in range(n):  # threadIdx.x
            S                              ->         for unit in range(1):  # threadIdx.x
                                                          S

    The threads share the turns of the new loop, as of each that is bound to their axis inside them: there is one turn,
    so one thread does it, with a barrier before and after. All threads would have stored the same, so nothing that is
    computed changes. Where the threads of the axis combine what each of them has, or there is one thread only, the
    stage is stored once as it is, and no loop is made.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((1,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: A[i] * P[0], name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].set_scope("shared")
    >>> s[C].bind("i", "threadIdx.x")
    >>> s[P].compute_at(s[C], "i")
    >>> s[P].set_store_predicate("threadIdx.x == 0")
    >>> print(s)
    for i in range(8):  # threadIdx.x
      for i_1 in range(1):
        for unit in range(1):  # threadIdx.x, store_predicate=threadIdx.x == 0
          P(i=0):
            P[i] = A[i] + 1.0
      C(i=i):
        C[i] = A[i] * P[0]

    Raises:
        ArgumentError: *condition* is no such condition, or asks for another thread than the first.
        UnknownNameError: it names no axis of threads.
        StructureError: no loop around *stage* is bound to the axis; the loop inside which the new one would stand is a
            vector; *stage* is extern.
        DependenceError: each thread has another part of *stage* to store, or memory of its own for it.
    """
    require_te(state, state.stage(stage), "stored by one thread")
    for axis in _axes(state, condition):
        state = _by_the_first(state, stage, axis)
    return state, ()


def _axes(state: State, condition: str) -> list[str]:
    """The axes of whose threads *condition* means the first."""
    try:
        node = ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        node = ast.Constant(None)
    terms = node.values if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else [node]
    axes: list[str] = []
    for term in terms:
        match term:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=int() as turn)]):
                axis = ast.unparse(left)
            case _:
                refuse(
                    state,
                    f"{ast.unparse(term) if terms != [node] else condition!r} is no condition on a thread",
                    error=ArgumentError,
                    hint=_HINT,
                )
        if axis not in _AXES:
            refuse(state, f"no axis of threads {axis!r}", error=UnknownNameError, hint=did_you_mean(axis, _AXES))
        if turn != 0 or isinstance(turn, bool):
            refuse(
                state,
                f"{axis} == {turn} asks for another thread than the first, which does the turn of a loop that has one",
                error=ArgumentError,
                hint=f"all threads have the same to store: '{axis} == 0'",
            )
        axes.append(axis)
    return axes


def _by_the_first(state: State, stage: str, axis: str) -> State:
    """*state* with the block of *stage* in a loop of one turn that the threads of *axis* share."""
    kind, own = _AXES[axis], state.stages[stage].loops.values()
    block = block_of(state, stage)
    bound = [node for node in find_block(state.body, stage) if isinstance(node, For) and node.kind is kind]
    if not bound:
        refuse(
            state,
            f"no loop around {stage!r} is bound to {axis}",
            error=StructureError,
            block=stage,
            hint=f"bind one first, or launch threads around the nest: env_threads with {axis}",
        )
    for loop in bound:
        if loop.var in own and (loop.turns == 1 or AxisKind.REDUCE in iterates(state, stage, loop.var)):
            return state  # it is stored once
    for loop in bound:
        if depends(block, loop):
            refuse(
                state,
                f"each turn of loop {loop.var.name!r} ({axis}) has another part of {stage!r} to store, and with one "
                "thread storing only one would be there",
                error=DependenceError,
                loop=loop.var,
                hint=f"leave it out: no two threads store one element of {stage!r}",
            )
    require_outside_vectors(state, stage, block)
    name = state.stages[stage].unused_name("unit")
    return put_around(state, stage, block, name, 1, kind, {PREDICATE: f"{axis} == 0"})
