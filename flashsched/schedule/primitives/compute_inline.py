"""compute_inline: a stage's expression moves into its readers."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import OutputError, StructureError
from flashsched.schedule.derive import detached
from flashsched.schedule.ir import Load
from flashsched.schedule.primitives.blocks import map_loads
from flashsched.schedule.primitives.loops import require_no_init, require_none_inside
from flashsched.schedule.primitives.opaque import require_plain_readers
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Expr, Var
from flashsched.te.visit import substitute

__all__ = ["compute_inline"]


@primitive()
def compute_inline(state: State, stage: str) -> Result:
    """Put the expression of *stage* in place of each read of it; the stage needs no memory and no loops any more.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            P[i] = f(i)                            S[i] = g(f(i))
        for i in range(n):
            S[i] = g(P[i])

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_inline()
    >>> print(s)
    for i in range(8):
      C(i=i):
        C[i] = (A[i] + 1.0) * 2.0

    Raises:
        ScheduleError: *stage* is a reduction (its value is no expression) or an output, or another stage is computed
            at one of its loops.
    """
    known = state.stage(stage)
    require_plain_readers(state, known, "inlined")
    require_unscanned(state, known, "inlined")
    require_no_init(state, known)
    if known.reduced:
        refuse(
            state,
            f"{stage!r} is a reduction, and has no expression to put in its place",
            error=StructureError,
            block=stage,
            hint="compute it at a loop of its reader: compute_at",
        )
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller wants it in memory",
            error=OutputError,
            block=stage,
            hint="inline what it reads into it",
        )
    require_none_inside(state, stage)
    values = {store.buffer: store.value for store in known.block.stores}
    axes: tuple[Var, ...] = known.spatial
    state = detached(state, stage)

    def inlined(load: Load) -> Expr:
        return substitute(values[load.buffer], dict(zip(axes, load.indices, strict=True)))

    state = map_loads(state, values, inlined)
    return state.with_stage(replace(known, inlined=True, attach=None, follows=False, store=None, loops={})), ()
