"""prefetch: what a later turn of a loop reads is asked for ahead of time."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import UnknownNameError, did_you_mean
from flashsched.schedule.arguments import TensorName
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.loops import require_count
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["prefetch"]


@primitive(on_loops=True)
def prefetch(state: State, stage: str, tensor: TensorName, loop: str, offset: int) -> Result:
    """In each turn of *loop*, ask for the cache lines of *tensor* that the turn *offset* ahead will read.

    Rewrite, made by lowering::

        for i in range(n):     ->    for i in range(n):
            S                            if i + offset < n:
                                             prefetch each line of A that S[i := i + offset] reads
                                         S

    It changes nothing that is computed, and asks for no address outside of the tensor. It pays where the hardware can't
    foresee an access: rows far apart, or the next tile of a matrix.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((8, 16), name="A")
    >>> C = te.compute((8, 16), lambda i, j: A[i, j] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].prefetch(A, s[C].op.axis[0], offset=2)
    >>> print(lower(s))
    def kernel(A: float32[8, 16], C: float32[8, 16]):
      for i in range(8):  # prefetch={'A': 2}
        if i < 6:
          prefetch A[i + 2, 0]
          prefetch A[i + 2, 15]
        for j in range(16):
          C[i, j] = A[i, j] + 1.0

    Args:
        state: the schedule's state.
        stage: the stage that *loop* belongs to.
        tensor: what is read, by *stage* or by what is computed in the loop: an input, or another stage.
        loop: the loop.
        offset: how many turns ahead.

    Raises:
        UnknownNameError: there is no such loop or tensor.
        ArgumentError: *offset* is below 1.
        StructureError: the loop does not read *tensor*, or computes it itself; it is vectorized or bound to a GPU.
        LimitError: a turn reads more than `flashsched.schedule.marks.MOST_LINES` lines of it.
    """
    node = state.loop(stage, loop)
    require_count(state, "offset", offset)
    known = [b.name for b in state.params] + [b.name for s in state.stages.values() for b in s.buffers]
    if tensor not in known:
        refuse(state, f"no tensor named {tensor!r}", error=UnknownNameError, hint=did_you_mean(tensor, known))
    ahead = {**node.notes.get("prefetch", {}), tensor: offset}
    notes = MappingProxyType({**node.notes, "prefetch": ahead})
    return state.with_body(replace_loop(state.body, node.var, lambda old: replace(old, notes=notes))), ()
