"""decompose_reduction: setting a reduction's elements to the identity becomes a stage of its own."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import DependenceError, StructureError
from flashsched.schedule.default import new_stage
from flashsched.schedule.derive import derive, in_shared
from flashsched.schedule.nest import loop_chain
from flashsched.schedule.primitives.cache_read import unused_stage
from flashsched.schedule.primitives.loops import iterates, require_whole
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import Axis, AxisKind, ComputeOp
from flashsched.te.visit import substitute

__all__ = ["decompose_reduction"]


@primitive()
def decompose_reduction(state: State, stage: str, loop: str) -> Result:
    """Set the elements of the reduction *stage* to the identity in a stage of its own, right before *loop*.

    Rewrite::

        for i: for k:                         for i:
            init C[i] = 0                ->       C[i] = 0                          # C.init
            C[i] = C[i] + A[i, k]                 for k: C[i] = C[i] + A[i, k]

    Undecomposed, a reduction is begun right before the outermost loop over it, by loops like its own. The new stage has
    a loop for each dimension of the output, over what the turns inside *loop* combine; they can be split, vectorized
    and so on. It goes where *stage* goes.

    >>> from flashsched import te
    >>> A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 6), name="k")
    >>> C = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> init = s[C].decompose_reduction("i")
    >>> s[init].vectorize(s[init].op.axis[0])
    >>> print(s)
    for i in range(4):  # vectorize
      C.init(i=i):
        C[i] = 0.0
    for i in range(4):
      for k in range(6):
        C(i=i, k=k):  # reduces k
          C[i] = C[i] + A[i, k]

    Args:
        state: the schedule's state.
        stage: the reduction.
        loop: its loop before which the new stage stands: the outermost over the reduction, or one outside of it.

    Returns:
        The name of the new stage.

    Raises:
        ScheduleError: *stage* is no reduction, or decomposed already; a loop outside *loop* runs over the reduction;
            the parts that turns outside *loop* combine can't be told apart; GPU threads share what it writes.
    """
    known = state.stage(stage)
    node = state.loop(stage, loop)
    require_whole(state, known, "decompose_reduction")
    if not known.reduced:
        refuse(
            state,
            f"{stage!r} is no reduction, and sets nothing to an identity",
            error=StructureError,
            block=stage,
            hint="decompose the stage that has the reduction: after cache_write, that is the new one",
        )
    if in_shared(known):
        refuse(
            state,
            f"{stage!r} writes memory that GPU threads share, and they would not wait for its init",
            error=StructureError,
            block=stage,
            hint="set_scope('local') first, or leave the reduction whole",
        )
    if any(buffer.shape != tuple(axis.extent for axis in known.spatial) for buffer in known.buffers):
        refuse(
            state,
            f"a split of {stage!r} pads what it writes, and the padding is set to the identity with the rest",
            error=StructureError,
            block=stage,
            hint="split with tail='guard' or 'cut' instead, or leave the reduction whole",
        )
    chain = loop_chain(state.body, stage, known.loops)
    outside = chain[: chain.index(node)]
    for around in outside:
        if AxisKind.REDUCE in iterates(state, stage, around.var):
            refuse(
                state,
                f"loop {around.var.name!r} outside {loop!r} runs over the reduction, and elements would be set to the "
                "identity in each of its turns",
                error=DependenceError,
                loop=around.var,
                hint=f"decompose at {around.var.name!r}, or at a loop outside of it",
            )
    name = unused_stage(state, f"{stage}.init")
    axes = tuple(Axis(a.name, a.dtype, a.extent, a.kind, a.begin) for a in known.spatial)
    own: dict[Var, Expr] = dict(zip(known.spatial, axes, strict=True))  # a padded stage's identity depends on the place
    op = ComputeOp(name, axes, tuple(substitute(s.value, own) for s in known.block.init), known.op.where)
    init = new_stage(name, op, {}, output=known.output, outs=known.buffers)
    place = (stage, outside[-1].var.name) if outside else None
    state = state.with_stage(replace(init, init_of=stage, attach=place), before=stage)
    bare = replace(known, block=replace(known.block, init=()))
    return derive(state.with_stage(bare), stage), (name,)
