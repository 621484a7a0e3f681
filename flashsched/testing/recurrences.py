"""Random scans for the graphs of `flashsched.testing.graphs`: states of several shapes, and stages between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from flashsched import te
from flashsched.te.expr import Expr, const
from flashsched.te.sizes import Size
from flashsched.te.tensor import Axis, Tensor

if TYPE_CHECKING:
    from flashsched.testing.graphs import Maker

__all__ = ["recurrence"]


def recurrence(maker: Maker, near: Tensor, name: str) -> Any:
    """One or two states over time, their updates computed directly or through a stage between."""
    draw = maker.draw
    rows = draw(st.integers(1, 2))
    steps: Size = rows + maker.one_of(*maker.sizes, 0, 1, 3)
    dtype = str(maker.one_of("int32", "int64", "float32"))
    shapes = [maker.shape(maker.one_of(0, 1, 1, 2)) for _ in range(maker.one_of(1, 1, 2))]
    shapes = [tuple(min(size, 7) if isinstance(size, int) else size for size in shape) for shape in shapes]
    states = [te.placeholder((steps, *shape), dtype, f"{name}_s{n}") for n, shape in enumerate(shapes)]

    def earlier(*axes: Axis) -> Expr:
        """An element of a state at a time before the first of *axes*."""
        maker.begin(axes)
        whole = [state for state in states if not _is_empty(state)]
        if not whole or maker.empty:
            return const(2, dtype)
        state = maker.one_of(*whole)
        return maker.tame(maker.sized_element(state, axes[0] - draw(st.integers(1, rows))), False, dtype)

    def first(*axes: Axis) -> Expr:
        maker.begin(axes)
        return maker.value(near, dtype)

    between: Tensor | None = None
    if draw(st.booleans()):
        between = te.compute((steps, *maker.shape(1)), lambda *axes: earlier(*axes) + earlier(*axes), f"{name}_m")

    def further(*axes: Axis) -> Expr:
        value = earlier(*axes)
        if between is not None and not _is_empty(between) and not maker.empty:
            value = value + maker.tame(maker.sized_element(between, axes[0]), False, dtype)
        chosen: Expr = maker.one_of(
            value, te.maximum(value, maker.value(near, dtype)), value + maker.element(near, dtype)
        )
        return chosen

    init = [te.compute((rows, *shape), first, f"{name}_i{n}") for n, shape in enumerate(shapes)]
    update = [te.compute((steps, *shape), further, f"{name}_u{n}") for n, shape in enumerate(shapes)]
    return te.scan(init, update, states, name=name)


def _is_empty(tensor: Tensor) -> bool:
    """Whether it has no element, whatever the sizes are."""
    return any(isinstance(size, int) and size == 0 for size in tensor.shape)
