"""pad_einsum: a product of tensors is computed over axes that are multiples of a tile, with zeros beyond the ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flashsched.errors import ArgumentError, DependenceError, StructureError
from flashsched.schedule.ir import Buffer, Load
from flashsched.schedule.primitives.cache_read import copied
from flashsched.schedule.primitives.cache_write import taken_over
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.primitives.widened import widened
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Cast, Expr, const
from flashsched.te.sizes import Size, alike, rounded_up
from flashsched.te.tensor import Axis
from flashsched.te.visit import uses

__all__ = ["pad_einsum"]


@primitive()
def pad_einsum(state: State, stage: str, padding: list[int]) -> Result:
    """Compute the product of tensors *stage* over axes made longer, each to a multiple of its number in *padding*.

    Rewrite, for a product of 6 x 5 x 7 and ``padding=[4, 4, 4]``::

        A.pad[i, k] = A[i, k] where it exists, else 0          # 8 x 8
        B.pad[k, j] = B[k, j] where it exists, else 0          # 8 x 8
        C.pad[i, j] += A.pad[i, k] * B.pad[k, j]               # 8 x 8, k < 8: full tiles everywhere
        C[i, j] = C.pad[i, j]                                  # 6 x 5

    The copies and the product are stages like all others: compute the copies at tiles, or inline them.

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
        stage: a sum of a product of tensors, each read at axes of the stage.
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
    longer = {axis.name: extents[axis] for axis in axes}
    made = [name]
    for buffer, indices in sources.items():
        wide = [longer[axis.name] for axis in indices]
        if not alike(wide, [axis.extent for axis in indices]):
            state, (copy,) = copied(state, buffer.name, "global", [name], f"{buffer.name}.pad")
            state = _begun(widened(state, copy, wide, const(0, buffer.dtype)), copy)
            made.append(copy)
    return _begun(widened(state, name, list(extents.values()), None), name), tuple(made)


def _begun(state: State, stage: str) -> State:
    """*state* in which the new *stage* never had other axes than those that it has now."""
    known = state.stages[stage]
    return state.with_stage(replace(known, op=known.now, remade=None))


def _factors(state: State, known: Stage, extents: Mapping[Axis, Size]) -> dict[Buffer, tuple[Axis, ...]]:
    """The tensors that are multiplied, each with the axes that it is read at."""

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
    found: dict[Buffer, tuple[Axis, ...]] = {}
    for load in loads or ():
        indices = tuple(index for index in load.indices if isinstance(index, Axis))
        if len(indices) < len(load.indices) or len(set(indices)) < len(indices) or not set(indices) <= extents.keys():
            no(f"{known.name!r} reads {load}, and its indices are not all axes, each once")
        if found.setdefault(load.buffer, indices) != indices:
            no(f"{known.name!r} reads {load.buffer.name!r} in two ways", "give it two copies: cache_read")
        if any(axis.begin for axis in indices) or not alike([axis.extent for axis in indices], load.buffer.shape):
            no(f"{known.name!r} reads just a part of {load.buffer.name!r}", "give the axes the length of the tensor")
        _require_zeros(state, known, load, extents)
    for axis in known.reduced:
        if not alike([extents[axis]], [axis.extent]) and not any(axis in indices for indices in found.values()):
            no(f"{known.name!r} adds up the same for each {axis.name!r}", f"leave {axis.name!r} as it is: padding 1")
    return found


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
    if isinstance(value, Binary) and value.op == "*":
        a, b = _multiplied(value.a), _multiplied(value.b)
        return None if a is None or b is None else a + b
    return None
