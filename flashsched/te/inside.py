"""Whether an operation reads inside the tensors that it reads: what certainly does not is a mistake, told at once.

Only what is certain is refused: an index that is a sum of axes, in a read that no condition guards. An index that is
read from memory is the caller's to keep in range (or a checked build's, ``fs.build(check_bounds=True)``).
"""

from __future__ import annotations

from collections.abc import Iterator

from flashsched.errors import ShapeError, counted
from flashsched.te.bounds import linear
from flashsched.te.expr import Binary, Expr, Select, Var
from flashsched.te.tensor import Axis, ComputeOp, Read

__all__ = ["require_inside"]


def require_inside(op: ComputeOp) -> None:
    """Refuse *op* if one of its points reads an element that a tensor does not have.

    Raises:
        ShapeError: that is so.
    """
    axes = (*op.axis, *op.reduce_axis)
    if not all(isinstance(axis.extent, int) and axis.extent > 0 for axis in axes):
        return
    for value in op.body:
        for read in _unguarded(value):
            for index, size in zip(read.indices, read.tensor.shape, strict=True):
                found = _extremes(index, axes)
                if found is None or not isinstance(size, int) or (found[0] >= 0 and found[1] < size):
                    continue
                low, high = found
                raise ShapeError(
                    f"{op.name} reads {read}: {index} runs from {low} to {high}, and the dimension has "
                    f"{counted(size, 'element')}",
                    shown=f"{op.name} = {value}",
                    where=op.where,
                    hint="compute fewer points, or say what lies beyond: te.select(…) or te.boundary.clamp(A)",
                )


def _unguarded(expr: Expr) -> Iterator[Read]:
    """The reads that take place at each point."""
    if isinstance(expr, Read):
        yield expr
    inner = expr.children
    if isinstance(expr, Select) or (isinstance(expr, Binary) and expr.op in ("and", "or")):
        inner = inner[:1]  # the rest is not looked at everywhere
    for child in inner:
        yield from _unguarded(child)


def _extremes(index: Expr, axes: tuple[Axis, ...]) -> tuple[int, int] | None:
    """The least and the largest value of *index*, where it is a sum of *axes*: both are taken by some point."""
    form = linear(index)
    low = high = form.constant
    for atom, factor in form.terms.values():
        if not isinstance(atom, Var) or not isinstance(atom, Axis) or atom not in axes:
            return None
        assert isinstance(atom.extent, int)
        ends = factor * atom.begin, factor * (atom.begin + atom.extent - 1)
        low, high = low + min(ends), high + max(ends)
    return low, high
