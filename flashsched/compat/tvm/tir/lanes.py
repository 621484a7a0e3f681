"""Vectors in loops that are written out: `Ramp`, `Broadcast`, and loads and stores of several elements at once.

Our expressions are scalars, and a loop says whether its turns are lanes. So a vector here is the value of one lane,
with a variable that says which. Storing it makes a vectorized loop over the lanes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flashsched.compat.tvm.te.axes import IndexVar, Lanes, position, settle
from flashsched.errors import DtypeError, ShapeError
from flashsched.schedule.ir import Buffer, For, Let, Load, LoopKind, Stmt, Store, seq
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, as_expr, cast, same
from flashsched.te.visit import rewrite, substitute, walk

__all__ = ["Broadcast", "Ramp", "count_of", "element_type", "place", "read", "store"]


def Ramp(base: Any, stride: Any, lanes: int, span: Any = None) -> Expr:  # noqa: N802  (as TVM spells it)
    """The integers ``base``, ``base + stride``, …, one in each of *lanes*."""
    lane = _lane()
    return Lanes(as_expr(base) + lane * as_expr(stride), int(lanes), lane)


def Broadcast(value: Any, lanes: int, span: Any = None) -> Expr:  # noqa: N802
    """*value* in each of *lanes*."""
    return Lanes(as_expr(value), int(lanes), _lane())


def _lane() -> IndexVar:
    return IndexVar("lane", "int32", Var("lane"))


def element_type(dtype: str) -> tuple[str, int | None]:
    """The type of an element and how many there are: ``"float32x4"`` is four float32; None for a plain type."""
    found = re.fullmatch(r"([a-z]+\d*)x(\d+)", dtype)
    return (found.group(1), int(found.group(2))) if found else (dtype, None)


def count_of(*exprs: Any) -> int | None:
    """How many lanes *exprs* have together; None where they are scalars.

    Raises:
        ShapeError: one has more than another.
    """
    counts = {node.count for expr in exprs for node in walk(as_expr(expr)) if isinstance(node, Lanes)}
    if len(counts) > 1:
        raise ShapeError(f"vectors of {' and '.join(map(str, sorted(counts)))} lanes in one expression")
    return counts.pop() if counts else None


def _of_lane(expr: Any, lane: IndexVar) -> Expr:
    """What *expr* is in *lane*."""

    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Lanes):
            return None
        assert lane.axis is not None
        assert node.lane.axis is not None
        return substitute(node.value, {node.lane: lane, node.lane.axis: lane.axis})

    return rewrite(as_expr(expr), change)


def place(buffer: Buffer, indices: Any) -> tuple[Expr, ...]:
    """*indices* as a place in *buffer*; a single one counts the elements row by row.

    Raises:
        ShapeError: there are more or fewer than the buffer has dimensions.
    """
    at = [position(as_expr(index, dtypes.INDEX)) for index in _items(indices)]
    if len(at) == 1 and len(buffer.shape) != 1:
        flat, found = at[0], []
        for size in reversed(buffer.shape):
            found.append(flat % size)
            flat = flat // size
        return tuple(reversed(found))
    if len(at) != len(buffer.shape):
        raise ShapeError(f"{buffer.name} has {len(buffer.shape)} dimensions, and {len(at)} indices are given")
    return tuple(at)


def _items(indices: Any) -> tuple[Any, ...]:
    return tuple(indices) if isinstance(indices, tuple | list) else (indices,)


def _along(indices: Sequence[Any], lane: IndexVar) -> list[Expr]:
    """*indices*, from which the elements of a vector lie one after another."""
    return [*map(as_expr, indices[:-1]), as_expr(indices[-1]) + lane]


def read(buffer: Buffer, indices: Any, lanes: int | None = None) -> Expr:
    """The element of *buffer* at *indices*, or *lanes* elements from there on; those at a `Ramp` of indices.

    Raises:
        ShapeError: there are more or fewer indices than the buffer has dimensions.
    """
    items, lane = _items(indices), _lane()
    count = lanes or count_of(*items)
    if count is None:
        return Load(buffer, place(buffer, items))
    at = _along(items, lane) if lanes is not None else [_of_lane(index, lane) for index in items]
    return Lanes(Load(buffer, place(buffer, at)), count, lane)


def store(buffer: Buffer, indices: Any, value: Any) -> Stmt:
    """The statement that stores *value*, an integer of another width converted, in *buffer*.

    A vector is stored from *indices* on, or at a `Ramp` of indices; all of it is computed before any is stored.

    Raises:
        ShapeError: there are more or fewer indices than the buffer has dimensions.
        DtypeError: *value* has another dtype.
    """
    items = _items(indices)
    given = as_expr(value, buffer.dtype if isinstance(value, bool | int | float) else None)
    count = count_of(*items, given)
    if count is None:
        return Store(buffer, place(buffer, items), _converted(given, buffer))
    lane = _lane()
    assert lane.axis is not None
    at = _along(items, lane) if count_of(*items) is None else [_of_lane(index, lane) for index in items]
    where, what = place(buffer, at), _converted(_of_lane(given, lane), buffer)
    if _reads_elsewhere(what, buffer, where):
        return _at_once(buffer, where, what, lane.axis, count)
    return For(lane.axis, Const(count, dtypes.INDEX), Store(buffer, where, what), LoopKind.VECTORIZE)


def _converted(value: Expr, buffer: Buffer) -> Expr:
    found = settle(value)
    if found.dtype == buffer.dtype:
        return found
    if not (dtypes.is_int(found.dtype) and dtypes.is_int(buffer.dtype)):
        raise DtypeError(
            f"{buffer.name} holds {buffer.dtype}, and the value stored is {found.dtype}: {found}",
            hint=f"cast it: value.astype({buffer.dtype!r})",
        )
    return cast(found, buffer.dtype)


def _reads_elsewhere(value: Expr, buffer: Buffer, where: Sequence[Expr]) -> bool:
    """Whether *value* reads of *buffer* what another lane stores."""
    loads = [node for node in walk(value) if isinstance(node, Load) and node.buffer is buffer]
    return any(not all(map(same, load.indices, where)) for load in loads)


def _at_once(buffer: Buffer, where: Sequence[Expr], value: Expr, lane: Var, count: int) -> Stmt:
    lanes = [{lane: Const(n, dtypes.INDEX)} for n in range(count)]
    held = [Var(f"lane{n}", value.dtype) for n in range(count)]
    body = seq([Store(buffer, tuple(substitute(i, at) for i in where), v) for v, at in zip(held, lanes, strict=True)])
    for var, at in zip(reversed(held), reversed(lanes), strict=True):
        body = Let(var, substitute(value, at), body)
    return body
