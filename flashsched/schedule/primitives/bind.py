"""bind: a loop's turns become the blocks or the threads of a GPU."""

from __future__ import annotations

from flashsched.errors import StructureError, UnknownNameError, counted, did_you_mean
from flashsched.schedule.derive import derive, in_shared
from flashsched.schedule.ir import For, LoopKind, blocks, walk_stmt
from flashsched.schedule.primitives.loops import (
    iterates,
    loops_around,
    require_independent,
    require_number,
    require_serial,
    set_kind,
)
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.primitives.unroll import require_short
from flashsched.schedule.recurrence import require_ordered
from flashsched.schedule.state import State, refuse
from flashsched.schedule.threads import PREDICATE
from flashsched.te.expr import same
from flashsched.te.tensor import AxisKind

__all__ = ["bind"]

_AXES = {kind.value: kind for kind in LoopKind if kind.is_block or kind.is_thread or kind is LoopKind.VTHREAD}


@primitive(on_loops=True)
def bind(state: State, stage: str, loop: str, axis: str, extent: int | None = None) -> Result:
    """Give each turn of *loop* to a block (``blockIdx.x``, …), thread (``threadIdx.x``, …) or virtual thread of a GPU.

    A loop bound to a thread axis inside a loop that is bound to the same axis is cooperative: the threads of the block
    share its turns, with a barrier before and after.

    A thread axis over a reduction has the threads combine what each of them has into the same element, once
    (cross-thread reduction): a GPU does it as a tree, so it may round otherwise, as any order of a reduction may; the
    interpreter and a CPU combine in the order of the turns. Blocks do not wait for each other, so none of their axes
    runs over a reduction.

    The turns of a ``"vthread"`` loop are virtual threads: independent, each with memory of its own, and one thread runs
    them interleaved. They are written out around each statement inside, so what stands between them is done once
    for all. Bound outside the threads, they give a thread several tiles that lie apart. A loop with a pragma is written
    out where it stands.

    >>> from flashsched import te
    >>> A = te.placeholder((4, 6), name="A")
    >>> C = te.compute((4, 6), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].bind("i", "blockIdx.x")
    >>> s[C].bind("j", "threadIdx.x")
    >>> print(s)
    for i in range(4):  # blockIdx.x
      for j in range(6):  # threadIdx.x
        C(i=i, j=j):
          C[i, j] = A[i, j] + 1.0

    Raises:
        ScheduleError: *loop* is absent, has a kind already; there is no such *axis*; the loop
            has not *extent* turns, or another loop on the same axis has another number of them; a block axis would
            stand inside a thread axis or run over a reduction; a thread axis runs over a reduction and the output at
            once, or stands inside the same axis; virtual threads are no number of turns, or more than can be written
            out.
    """
    node = state.loop(stage, loop)
    if axis not in _AXES:
        refuse(
            state,
            f"no thread axis {axis!r}",
            error=UnknownNameError,
            loop=node.var,
            hint=did_you_mean(axis, _AXES),
        )
    if extent is not None and extent != node.turns:
        refuse(
            state,
            f"{axis} is to have {extent}, and loop {loop!r} has {counted(node.turns, 'turn')}",
            error=StructureError,
            loop=node.var,
            hint=f"split({loop!r}, factor={extent}) gives a loop of {counted(extent, 'turn')}",
        )
    kind = _AXES[axis]
    require_serial(state, node, loop, "bound", "a loop has one kind; split it to give each part its own")
    if kind.is_thread and iterates(state, stage, node.var) == {AxisKind.REDUCE}:
        require_ordered(state, stage, node, kind.value)
    else:
        require_independent(state, stage, node, loop, kind)
    if kind.is_thread or kind is LoopKind.VTHREAD:
        require_number(state, node, loop, "bound to the threads of a block")
    if kind is LoopKind.VTHREAD:
        require_short(state, node, loop)
    around = loops_around(state, node)
    root = around[0] if around else node
    for found in walk_stmt(root) if kind is not LoopKind.VTHREAD else ():
        if not isinstance(found, For) or found.kind is not kind or PREDICATE in found.notes:
            continue
        if not same(found.extent, node.extent):
            refuse(
                state,
                f"loop {found.var.name!r} is bound to {axis} with {counted(found.extent, 'turn')}, and "
                f"{loop!r} has {node.extent}",
                error=StructureError,
                loop=found.var,
                hint=f"split {loop!r} so that one part has {counted(found.extent, 'turn')}, and bind that part",
            )
    state = set_kind(state, node, kind)
    inside = {block.name for block in blocks(node.body)} - {stage} if kind.is_thread else set()
    for name in [n for n in reversed(list(state.stages)) if n in inside and in_shared(state.stages[n])]:
        state = derive(state, name)  # it now serves all turns of this loop
    return state, ()
