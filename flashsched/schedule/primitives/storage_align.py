"""storage_align: how far apart the rows of a stage's memory lie."""

from __future__ import annotations

from dataclasses import replace

from flashsched.errors import ArgumentError, LimitError, OutputError
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.loops import require_no_init
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["MOST_GAP", "storage_align"]

MOST_GAP = 4096
"""Elements by which a stride may have to grow: a page of bytes, and more than any cache's sets are apart."""


@primitive()
def storage_align(state: State, stage: str, axis: int, factor: int, offset: int = 0) -> Result:
    """Leave gaps in the memory of *stage* so that the stride of dimension *axis* is *offset* modulo *factor*.

    The stride is the number of elements from one index of that dimension to the next. Threads that read a column of
    shared memory meet in one bank where rows lie a multiple of 32 words apart, and in different ones where they lie
    33 apart; rows of a multiple of a page apart meet in one set of a cache.

    Rewrite, for ``axis=0, factor=8, offset=1``::

        P = alloc(float32[4, 8])    ->    P = alloc(float32[4, 8], strides=[9, 1])

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((4, 8), name="A")
    >>> P = te.compute((4, 8), lambda i, j: A[i, j] + 1, name="P")
    >>> C = te.compute((4, 8), lambda i, j: P[i, j] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].storage_align(s[P].op.axis[0], factor=8, offset=1)
    >>> print(str(lower(s)).split("\\n")[1].strip())
    P = alloc(float32[4, 8], 'global', strides=[9, 1])

    The memory is what is left after ``compute_at`` has made it small; where ``transform_layout`` gave it another order,
    *axis* counts the dimensions of that.

    Raises:
        OutputError: *stage* is an output, which lies where the caller put it.
        ArgumentError: there is no such dimension, or not ``0 <= offset < factor``.
        LimitError: *factor* is above `MOST_GAP`.
    """
    known = state.stage(stage)
    require_no_init(state, known)
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and its rows lie as far apart as the caller put them",
            error=OutputError,
            block=stage,
            hint=f"compute into a copy: cache_write({stage!r}, 'local'), and align that",
        )
    first = known.buffers[0]
    rank = len(first.layout.outputs) if first.layout else len(first.shape)
    if not 0 <= axis < rank:
        refuse(
            state,
            f"no dimension {axis}: the memory of {stage!r} has {rank}",
            error=ArgumentError,
            hint="give one of s[P].op.axis, or a number from 0",
        )
    if factor < 1 or not 0 <= offset < factor:
        refuse(
            state,
            f"a stride can't be {offset} modulo {factor}",
            error=ArgumentError,
            hint="factor is at least 1, and 0 <= offset < factor",
        )
    if factor > MOST_GAP:
        refuse(state, f"factor {factor} could leave {factor - 1} elements unused, and {MOST_GAP} is the limit",
               error=LimitError, hint="align rows to a cache line or a bank: 16 or 32")  # fmt: skip
    for buffer in known.buffers:
        kept = tuple(item for item in buffer.aligned if item[0] != axis)
        state = change_buffer(state, buffer, replace(buffer, aligned=(*kept, (axis, factor, offset))))
    return state, ()
