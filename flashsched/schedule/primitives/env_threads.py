"""env_threads: the threads of a block go through a nest together."""

from __future__ import annotations

from flashsched.errors import ArgumentError, StructureError, UnknownNameError, counted, did_you_mean
from flashsched.schedule.ir import For, LoopKind, Stmt, walk_stmt
from flashsched.schedule.nest import find_block, loop_chain
from flashsched.schedule.primitives.loops import block_of, put_around, require_count
from flashsched.schedule.primitives.opaque import require_te
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.schedule.threads import PREDICATE

__all__ = ["env_threads"]

_AXES = {kind.value: kind for kind in LoopKind if kind.is_thread}


@primitive(on_loops=True)
def env_threads(state: State, stage: str, axes: list[str], extents: list[int]) -> Result:
    r"""Launch threads around the nest of *stage*: each of *axes* is a loop around it, of that many turns.

    Rewrite::

        for t in range(n):                        for threadIdx.x in range(64):  # threadIdx.x
            for i in range(64): S  # threadIdx.x      for t in range(n):
                                          ->              for i in range(64): S  # threadIdx.x

    The loops in it that are bound to the same axis are cooperative then: all threads go through the nest together, and
    share the turns of these loops, with barriers in between. So a recurrence has its threads launched once, not once
    for each row. What stands in no such loop each thread computes for itself.

    The new loops are called as the axes are. Nothing in the nest depends on them, so running it once for each thread
    must change nothing: each stage in it whose memory outlives the nest has a loop that is bound, and so does each
    that shares its memory, and reductions begin inside. That is looked at after each step.

    >>> from flashsched import te
    >>> X, state = te.placeholder((6, 4), name="X"), te.placeholder((6, 4), name="state")
    >>> first = te.compute((1, 4), lambda t, i: X[t, i], name="first")
    >>> step = te.compute((6, 4), lambda t, i: state[t - 1, i] + X[t, i], name="step")
    >>> s = te.create_schedule(te.scan(first, step, state, name="S"))
    >>> s[step].set_scope("shared")
    >>> for stage in ("S", "step"):
    ...     s[stage].bind("i", "threadIdx.x")
    >>> s["S"].env_threads([te.thread_axis((0, 4), "threadIdx.x")])
    >>> print("\n".join(str(s).split("\n")[-9:]))
    for threadIdx.x in range(4):  # threadIdx.x
      for t in range(5):
        for t_1 in range(1):
          for i in range(4):  # threadIdx.x
            step(t=t + 1, i=i):
              step[t, i] = S[t - 1, i] + X[t, i]
        for i in range(4):  # threadIdx.x
          S(t=1 + t, i=i):  # t in order
            S[t, i] = step[t, i]

    Raises:
        ArgumentError: there are no axes, one is named twice, or not each has a number of threads.
        UnknownNameError: there is no such axis.
        StructureError: an axis is one of blocks, which do not wait for each other; a loop around the nest is bound to
            it already, or one in it with another number of turns; *stage* is extern.
        DependenceError: each thread would store what all of them share, or combine it again.
    """
    known = state.stage(stage)
    require_te(state, known, "run by threads together")
    if not axes or len(set(axes)) < len(axes) or len(axes) != len(extents):
        refuse(
            state,
            f"axes must be named once, each with its number of threads, got {axes} and {extents}",
            error=ArgumentError,
            hint='env_threads([te.thread_axis((0, 64), "threadIdx.x")])',
        )
    chain = loop_chain(state.body, stage, known.loops)
    nest: Stmt = chain[0] if chain else block_of(state, stage)
    for axis, extent in reversed([*zip(axes, extents, strict=True)]):  # the last one innermost
        _require_free(state, stage, nest, axis, require_count(state, f"the extent of {axis}", extent))
        state = put_around(state, stage, nest, axis, extent, _AXES[axis])
        nest = state.loop(stage, axis)
    return state, ()


def _require_free(state: State, stage: str, nest: Stmt, axis: str, extent: int) -> None:
    """Refuse an *axis* that can't be launched around *nest* with *extent* threads."""
    if axis.startswith("blockIdx"):
        refuse(
            state,
            f"{axis} is an axis of blocks, and blocks do not wait for each other, so they can't share the turns of one "
            "nest",
            error=StructureError,
            block=stage,
            hint=f"bind a loop whose turns are independent to {axis}",
        )
    if axis not in _AXES:
        refuse(state, f"no thread axis {axis!r}", error=UnknownNameError, hint=did_you_mean(axis, _AXES))
    kind = _AXES[axis]
    path = find_block(state.body, stage)
    around = [node for node in path[: path.index(nest)] if isinstance(node, For)]
    twice = next((loop for loop in around if loop.kind is kind), None)
    if axis in state.stages[stage].loops or twice is not None:
        refuse(
            state,
            f"the threads of {axis} are there already, around the nest of {stage!r}",
            error=StructureError,
            loop=twice.var if twice is not None else state.stages[stage].loops[axis],
            hint=f"bind a loop of {stage!r} to {axis}, and they share its turns",
        )
    for found in walk_stmt(around[0] if around else nest):
        if isinstance(found, For) and found.kind is kind and found.turns != extent and PREDICATE not in found.notes:
            refuse(
                state,
                f"loop {found.var.name!r} is bound to {axis} with {counted(found.extent, 'turn')}, and "
                f"{extent} threads are to be "
                "launched",
                error=StructureError,
                loop=found.var,
                hint=f"launch {found.extent}, or split the loop so that the part that is bound has "
                f"{counted(extent, 'turn')}",
            )
