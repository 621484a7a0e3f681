"""transform_layout: where the elements of an intermediate tensor lie."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from flashsched.errors import ArgumentError, LayoutError, OutputError, StructureError
from flashsched.schedule.disjoint import digit
from flashsched.schedule.layout import IndexMap
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.opaque import require_plain_readers
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Var, is_const
from flashsched.te.sizes import Shape

__all__ = ["require_one_place_each", "transform_layout"]


@primitive()
def transform_layout(state: State, stage: str, layout: str) -> Result:
    """Store what *stage* writes in another order, as *layout* says: ``"k, j -> j // 32, k, j % 32"``.

    The nest goes on speaking of the tensor's own indices; lowering applies the map. Where the map rounds a dimension
    up, the memory is larger than the tensor, and the rest of it is never read.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].transform_layout(lambda i: (i % 2, i // 2))
    >>> s.state.stages["P"].buffers[0].layout.shape((8,))
    (2, 4)

    Raises:
        ScheduleError: *stage* is an output; the map does not fit its rank, puts two elements in one place, or is not
            made of quotients and remainders of single indices.
    """
    known = state.stage(stage)
    require_plain_readers(state, known, "stored in another order")
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller expects it in its own order",
            error=OutputError,
            block=stage,
            hint=f"give its readers a copy in another order: cache_read({stage!r}, 'global')",
        )
    if any(buffer.aligned for buffer in known.buffers):
        refuse(
            state,
            f"the memory of {stage!r} has aligned strides, and a new layout would have other dimensions",
            error=StructureError,
            block=stage,
            hint="call transform_layout first, then storage_align for a dimension of the new layout",
        )
    for buffer in known.buffers:
        fresh = IndexMap.parse(layout)
        if len(fresh.inputs) != len(buffer.shape):
            refuse(
                state,
                f"the layout takes {len(fresh.inputs)} indices, and {stage!r} has {len(buffer.shape)} dimensions",
                error=ArgumentError,
                hint="name one index for each dimension before the arrow",
            )
        require_one_place_each(state, stage, fresh, buffer.shape)
        state = change_buffer(state, buffer, replace(buffer, layout=fresh))
    return state, ()


def require_one_place_each(state: State, stage: str, layout: IndexMap, shape: Shape) -> None:
    """Refuse a map whose outputs are not the digits of each index in some mixed radix, every digit once."""
    digits: dict[Var, list[tuple[int, float]]] = {var: [] for var in layout.inputs}
    for expr in layout.outputs:
        if is_const(expr, 0):
            continue  # a dimension of one element
        part = digit(expr)
        if part is None:
            refuse(
                state,
                f"the layout {layout} has {expr}, and each of its indices must be a part of one index of the tensor",
                error=LayoutError,
                hint="use i, i // 8, i % 8, or i // 8 % 4 for an index i",
            )
        digits[part[0]].append(part[1:])
    for (var, found), extent in zip(digits.items(), shape, strict=True):
        reach: float = 1
        for low, high in sorted(found):
            if low != reach:
                break
            reach = high
        enough = inf if not isinstance(extent, int) else extent
        if reach < enough or len({low for low, _ in found}) != len(found):
            refuse(
                state,
                f"the layout {layout} does not give each element of {stage!r} a place of its own: "
                f"{var.name} takes {extent} values, and its parts tell {int(min(reach, enough))} apart",
                error=LayoutError,
                hint=f"{var.name} // c and {var.name} % c with one c keep all of it",
            )
