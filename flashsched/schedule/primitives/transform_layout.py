"""transform_layout: where the elements of an intermediate tensor lie."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from flashsched.errors import ArgumentError, ExpressionError, LayoutError, OutputError, StructureError, counted
from flashsched.schedule.disjoint import digit
from flashsched.schedule.layout import IndexMap
from flashsched.schedule.primitives.blocks import change_buffer
from flashsched.schedule.primitives.loops import require_whole
from flashsched.schedule.primitives.opaque import require_plain_readers
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import State, refuse
from flashsched.te.expr import Var, const, is_const
from flashsched.te.sizes import Shape, Size, alike, rounded_up

__all__ = ["require_one_place_each", "transform_layout"]


@primitive()
def transform_layout(state: State, stage: str, layout: str, pad_value: float | bool | None = None) -> Result:
    """Store what *stage* writes in another order, as *layout* says: ``"k, j -> j // 32, k, j % 32"``.

    The nest goes on speaking of the tensor's own indices; lowering applies the map. Where the map rounds a dimension
    up, the memory is larger than the tensor, and the rest of it is never read; with *pad_value* the stage is computed
    over all of the memory, and that value is what lies in the rest of it.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].transform_layout(lambda i: (i % 2, i // 2))
    >>> s.state.stages["P"].buffers[0].layout.shape((8,))
    (2, 4)

    >>> t = te.create_schedule(C)
    >>> t[P].transform_layout(lambda i: (i // 3, i % 3), pad_value=0.0)
    >>> print(t)
    for i in range(9):
      P(i=i):
        P[i] = select(i < 8, A[i] + 1.0, 0.0)
    for i in range(8):
      C(i=i):
        C[i] = P[i] * 2.0

    Raises:
        ScheduleError: *stage* is an output; the map does not fit its rank, puts two elements in one place, or is not
            made of quotients and remainders of single indices; the outputs have no such *pad_value*.
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
                f"the layout takes {counted(len(fresh.inputs), 'index', 'indices')}, "
                f"and {stage!r} has rank {len(buffer.shape)}",
                error=ArgumentError,
                hint="name one index for each dimension before the arrow",
            )
        require_one_place_each(state, stage, fresh, buffer.shape)
        state = change_buffer(state, buffer, replace(buffer, layout=fresh))
    if pad_value is not None:
        state = _padded(state, stage, IndexMap.parse(layout), pad_value)
    return state, ()


def _padded(state: State, stage: str, layout: IndexMap, pad_value: float | bool) -> State:
    """*state* in which *stage* fills all places of its *layout*, those of no element with *pad_value*."""
    from flashsched.schedule.primitives.widened import widened  # built on primitives that are built on this one

    known = state.stage(stage)
    require_whole(state, known, "transform_layout(pad_value=…)")
    require_unscanned(state, known, "padded")
    dtypes_of = {buffer.dtype for buffer in known.buffers}
    try:
        (beyond,) = (const(pad_value, dtype) for dtype in dtypes_of)
    except (ExpressionError, ValueError):
        refuse(
            state,
            f"{pad_value!r} is no value of {' and '.join(sorted(dtypes_of))}, and can't fill up {stage!r}",
            error=ArgumentError,
            block=stage,
            hint="give a number that the dtype holds exactly",
        )
    sizes = [axis.extent for axis in known.spatial]
    extents = [_rounded(layout, var, size) for var, size in zip(layout.inputs, sizes, strict=True)]
    if alike(extents, sizes):
        return state
    return widened(state, stage, [*extents, *(axis.extent for axis in known.reduced)], beyond)


def _rounded(layout: IndexMap, var: Var, extent: Size) -> Size:
    """How many values of *var* have a place in *layout* that holds *extent* of them."""
    whole = [part for part in (digit(expr) for expr in layout.outputs) if part is not None and part[0] is var]
    last = max((part[1:] for part in whole), default=(1, inf))
    whole_parts = rounded_up(extent, last[0])
    return min(int(last[1]), whole_parts) if last[1] < inf and isinstance(whole_parts, int) else whole_parts


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
                f"the layout {layout} does not give each element of {stage!r} a place of its own, or leaves places "
                f"unused: {_fault(var, reach, enough)}",
                error=LayoutError,
                hint=f"{var.name} // c and {var.name} % c with one c keep all of it",
            )


def _fault(var: Var, reach: float, enough: float) -> str:
    if reach < enough:
        return f"{var.name} = 0 and {var.name} = {int(reach)} lie in one"
    return f"two of its indices tell the same part of {var.name}"
