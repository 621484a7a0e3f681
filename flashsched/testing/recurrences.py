"""Random scans for the graphs of `flashsched.testing.graphs`: states of several shapes, and stages between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from flashsched import te
from flashsched.te.expr import Expr, const
from flashsched.te.tensor import Axis, Tensor

if TYPE_CHECKING:
    from flashsched.testing.graphs import Maker

__all__ = ["recurrence"]


def recurrence(maker: Maker, near: Tensor, name: str) -> Any:
    """One or two states over time, their updates computed directly or through a stage between."""
    steps, draw = maker.one_of(1, 2, 3, 5), maker.draw
    rows = draw(st.integers(1, min(2, steps)))
    dtype = str(maker.one_of("int32", "int64", "float32"))
    shapes = [maker.shape(maker.one_of(0, 1, 1, 2)) for _ in range(maker.one_of(1, 1, 2))]
    shapes = [tuple(min(size, 7) for size in shape) for shape in shapes]
    states = [te.placeholder((steps, *shape), dtype, f"{name}_s{n}") for n, shape in enumerate(shapes)]

    def earlier(*axes: Axis) -> Expr:
        """An element of a state at a time before the first of *axes*."""
        maker.begin(axes)
        whole = [state for state in states if 0 not in state.shape]
        if not whole or maker.empty:
            return const(2, dtype)
        state = maker.one_of(*whole)
        places = [maker.index(size) for size in state.shape[1:]]
        return maker.tame(state[(axes[0] - draw(st.integers(1, rows)), *places)], False, dtype)

    def first(*axes: Axis) -> Expr:
        maker.begin(axes)
        return maker.value(near, dtype)

    between: Tensor | None = None
    if draw(st.booleans()):
        between = te.compute((steps, *maker.shape(1)), lambda *axes: earlier(*axes) + earlier(*axes), f"{name}_m")

    def further(*axes: Axis) -> Expr:
        value = earlier(*axes)
        if between is not None and 0 not in between.shape and not maker.empty:
            value = value + maker.tame(between[axes[0], maker.index(between.known_shape[1])], False, dtype)
        chosen: Expr = maker.one_of(
            value, te.maximum(value, maker.value(near, dtype)), value + maker.element(near, dtype)
        )
        return chosen

    init = [te.compute((rows, *shape), first, f"{name}_i{n}") for n, shape in enumerate(shapes)]
    update = [te.compute((steps, *shape), further, f"{name}_u{n}") for n, shape in enumerate(shapes)]
    return te.scan(init, update, states, name=name)
