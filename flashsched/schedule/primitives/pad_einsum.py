"""pad_einsum: a product of tensors is computed over axes that are multiples of a tile, with zeros beyond the ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from flashsched.errors import ArgumentError, DependenceError, StructureError
from flashsched.schedule.ir import Buffer, Load
from flashsched.schedule.primitives.cache_read import copied
from flashsched.schedule.primitives.cache_write import taken_over
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.primitives.widened import widened
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Expr, Var, const
from flashsched.te.simplify import bounds, structural_key
from flashsched.te.sizes import Size, alike, rounded_up
from flashsched.te.tensor import Axis
from flashsched.te.visit import uses, walk

__all__ = ["pad_einsum"]


@primitive()
def pad_einsum(state: State, stage: str, padding: list[int]) -> Result:
    """Compute the product of tensors *stage* over axes made longer, each to a multiple of its number in *padding*.

    Rewrite, for a product of 6 x 5 x 7 and ``padding=[4, 4, 4]``::

        A.pad[i, k] = A[i, k] where it exists, else 0          # 8 x 8
        B.pad[k, j] = B[k, j] where it exists, else 0          # 8 x 8
        C.pad[i, j] += A.pad[i, k] * B.pad[k, j]               # 8 x 8, k < 8: full tiles everywhere
        C[i, j] = C.pad[i, j]                                  # 6 x 5

    A tensor may be read at sums of axes, as a window is, if none of those is a reduce axis that gets longer: its copy
    has zeros as far as they reach then. The copies and the product are stages like all others: compute the copies at
    tiles, or inline them.

    >>> from flashsched import te
    >>> A, k = te.placeholder((3, 5), name="A"), te.reduce_axis((0, 5), name="k")
    >>> C = te.compute((3,), lambda i: te.sum(A[i, k], axis=k), name="C")
    >>> s = te.create_schedule(C)
    >>> s.pad_einsum(C, [2, 4])
    (Tensor(C.pad, shape=[4], float32), Tensor(A.pad, shape=[4, 8], float32))
    >>> print(s)
    for i0 in range(4):
      for i1 in range(8):
        A.pad(i0=i0, i1=i1):
          A.pad[i0, i1] = select(i0 < 3 and i1 < 5, A[i0, i1], 0.0)
    for i in range(4):
      for k in range(8):
        C.pad(i=i, k=k):  # reduces k
          init C.pad[i] = 0.0
          C.pad[i] = C.pad[i] + A.pad[i, k]
    for i in range(3):
      C(i=i):
        C[i] = C.pad[i]

    Args:
        state: the schedule's state.
        stage: a sum of a product of tensors, each read at axes of the stage, or at expressions of them.
        padding: for each axis, those of the output first, what its length becomes a multiple of; 1 leaves it.

    Returns:
        The names of the new stages: the product, then the copies.

    Raises:
        ScheduleError: *stage* is no such sum, or has been scheduled; *padding* does not fit its axes; a factor has no
            zeros where a reduce axis is longer, and might be infinite there.
    """
    known = state.stage(stage)
    axes = known.axes
    if len(padding) != len(axes) or any(number < 1 for number in padding):
        refuse(
            state,
            f"padding {padding} does not fit the axes of {stage!r}: {', '.join(a.name for a in axes)}",
            error=ArgumentError,
            block=stage,
            hint=f"give {len(axes)} numbers from 1 up",
        )
    extents = {axis: rounded_up(axis.extent, number) for axis, number in zip(axes, padding, strict=True)}
    sources = _factors(state, known, extents)
    state, (name,) = taken_over(state, stage, "pad_einsum", "global", f"{stage}.pad")
    made = [name]
    for buffer, wide in sources.items():
        if not alike(wide, buffer.shape):
            state, (copy,) = copied(state, buffer.name, "global", [name], f"{buffer.name}.pad")
            state = _begun(widened(state, copy, wide, const(0, buffer.dtype)), copy)
            made.append(copy)
    return _begun(widened(state, name, list(extents.values()), None), name), tuple(made)


def _begun(state: State, stage: str) -> State:
    """*state* in which the new *stage* never had other axes than those that it has now."""
    known = state.stages[stage]
    return state.with_stage(replace(known, op=known.now, remade=None))


def _factors(state: State, known: Stage, extents: Mapping[Axis, Size]) -> dict[Buffer, list[Size]]:
    """The tensors that are multiplied, each with the shape that is read of it where the axes have *extents*."""

    def no(reason: str, hint: str = "pad it by te.compute stages of your own") -> None:
        refuse(state, reason, error=StructureError, block=known.name, hint=hint)

    if len(known.block.stores) != 1 or not known.block.init:
        no(f"{known.name!r} is no sum of products", "pad a reduction by te.sum with one output")
    (store,), (start,) = known.block.stores, known.block.init
    value = store.value
    own = isinstance(value, Binary) and isinstance(value.a, Load) and value.a.buffer is store.buffer
    if not own or not isinstance(value, Binary) or value.op != "+" or getattr(start.value, "value", None) != 0:
        no(f"{known.name!r} does not add up its points: {value}", "pad a reduction by te.sum")
    assert isinstance(value, Binary)
    loads = _multiplied(value.b)
    if loads is None:
        no(f"{known.name!r} adds up {value.b}, which is no product of elements")
    found: dict[Buffer, Load] = {}
    shapes: dict[Buffer, list[Size]] = {}
    for load in loads or ():
        if structural_key(found.setdefault(load.buffer, load)) != structural_key(load):
            no(f"{known.name!r} reads {load.buffer.name!r} in two ways", "give it two copies: cache_read")
        axes = [index for index in load.indices if isinstance(index, Axis)]
        if len(set(axes)) < len(axes):
            no(f"{known.name!r} reads {load}, at one axis twice")
        if any(a.begin or not alike([a.extent], [n]) for a, n in zip(load.indices, load.buffer.shape, strict=True)
               if isinstance(a, Axis)):  # fmt: skip
            no(f"{known.name!r} reads just a part of {load.buffer.name!r}", "give the axes the length of the tensor")
        _require_zeros(state, known, load, extents)
        shapes[load.buffer] = [
            extents[index] if isinstance(index, Axis) else _reach(state, known, load, place, extents)
            for place, index in enumerate(load.indices)
        ]
    for axis in known.reduced:
        if _longer(axis, extents) and not any(index is axis for load in found.values() for index in load.indices):
            no(f"{known.name!r} adds up the same for each {axis.name!r}", f"leave {axis.name!r} as it is: padding 1")
    return shapes


def _longer(axis: Axis, extents: Mapping[Axis, Size]) -> bool:
    return not alike([extents[axis]], [axis.extent])


def _reach(state: State, known: Stage, load: Load, place: int, extents: Mapping[Axis, Size]) -> Size:
    """How many elements there must be along a dimension that *load* reads at an expression of axes."""
    index, size = load.indices[place], load.buffer.shape[place]
    longer = [axis for axis in extents if uses(index, axis) and _longer(axis, extents)]
    if not longer:
        return size
    reduced = next((axis for axis in longer if axis in known.reduced), None)
    if reduced is not None:
        refuse(
            state,
            f"{known.name!r} reads {load}, and where {reduced.name!r} is longer that is another element, and not 0",
            error=StructureError,
            block=known.name,
            hint=f"leave {reduced.name!r} as it is: padding 1",
        )
    low, high = -inf, inf
    ranges: dict[Var, tuple[float, float]] = {}
    for axis in extents:
        extent = extents[axis]
        if uses(index, axis) and isinstance(extent, int):
            ranges[axis] = axis.begin, axis.begin + extent - 1
    if isinstance(size, int) and not any(isinstance(node, Load) for node in walk(index)):
        low, high = bounds(index, ranges)
    if low < 0 or high == inf:
        refuse(
            state,
            f"{known.name!r} reads {load}, and how far {index} goes where {longer[0].name!r} is longer is not known",
            error=StructureError,
            block=known.name,
            hint=f"leave {longer[0].name!r} as it is: padding 1",
        )
    assert isinstance(size, int)
    return max(size, int(high) + 1)


def _require_zeros(state: State, known: Stage, load: Load, extents: Mapping[Axis, Size]) -> None:
    """Refuse a factor that is not zero in the padding of a reduce axis, where another one's zero may not hide it."""
    for axis in known.reduced:
        longer = not alike([extents[axis]], [axis.extent])
        if longer and not any(uses(i, axis) for i in load.indices) and dtypes.is_float(load.dtype):
            refuse(
                state,
                f"{load} does not depend on {axis.name!r}: in the padding it meets a zero, and if it is infinite that "
                "gives NaN",
                error=DependenceError,
                block=known.name,
                hint=f"leave {axis.name!r} as it is: padding 1 for it",
            )


def _multiplied(value: Expr) -> list[Load] | None:
    """The elements that *value* is the product of; None where it is none."""
    if isinstance(value, Load):
        return [value]
    if isinstance(value, Cast):
        return _multiplied(value.value)
    if isinstance(value, Call) and value.func == "tf32":  # it rounds, and 0 to 0
        return _multiplied(value.args[0])
    if isinstance(value, Binary) and value.op == "*":
        a, b = _multiplied(value.a), _multiplied(value.b)
        return None if a is None or b is None else a + b
    return None
