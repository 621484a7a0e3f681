"""Random te graphs, for hypothesis: what is computed, on sizes that are 0, 1 or prime as often as not.

Most graphs are *exact*: their inputs are small whole numbers and their operations keep floats whole and small, so that
no order of a sum and no fused multiply-add may change a bit. The others use the mathematics and the 16-bit floats on
well-conditioned values, and are compared within a tolerance that is counted from the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from hypothesis import strategies as st

from flashsched import te
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Expr, SizeVar, const
from flashsched.te.scalars import scalar_tensor
from flashsched.te.simplify import bounds
from flashsched.te.sizes import Shape, Size, as_size, extent_expr, is_static
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Tensor, graph
from flashsched.testing.drawn import Graph, most_of, some_sizes
from flashsched.testing.products import product
from flashsched.testing.recurrences import recurrence

__all__ = ["REDUCERS", "Graph", "graphs", "some_sizes", "sum_and_least"]

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

_SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17)
_MOST_ELEMENTS = 500  # of one tensor
_MOST_REDUCED = 60  # points that are combined into one element
_WHOLE = (
    "float32",
    "float32",
    "float64",
    "int32",
    "int32",
    "int64",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_LIMIT = 8  # what a whole number read from a stage is clipped to, before floats are made of it


@st.composite
def graphs(draw: Draw, most_stages: int = 4, sized: bool = False) -> Graph:
    """A graph of up to *most_stages* stages: element-wise, broadcasts, reductions, stencils, gathers, casts.

    Where they may be *sized*, one in four speaks of sizes that are known only when its inputs are.
    """
    exact = draw(st.integers(0, 3)) > 0
    names = draw(st.sampled_from(("", "", "", "", "", "", "n", "nm"))) if sized else ""
    maker = Maker(draw, exact, tuple(te.var(name) for name in names))
    for _ in range(draw(st.integers(1, 3))):
        maker.placeholder()
    for _ in range(draw(st.integers(1, most_stages))):
        maker.stage()
    made = [tensor for tensor in maker.tensors if isinstance(tensor.op, ComputeOp)]
    outputs = [made[-1], *(tensor for tensor in made[:-1] if draw(st.integers(0, 4)) == 0)]
    inputs = [op.output(0) for op in graph(outputs) if isinstance(op, PlaceholderOp)]
    if maker.sizes and maker.tensors[0] not in inputs:
        inputs.insert(0, maker.tensors[0])  # which says what the sizes are
    return Graph(tuple(inputs), tuple(outputs), exact, maker.sizes)


class Maker:
    """Draws one tensor after another; each may read all before it."""

    def __init__(self, draw: Draw, exact: bool, sizes: tuple[SizeVar, ...]) -> None:
        self.draw = draw
        self.exact = exact
        self.sizes = sizes
        self.tensors: list[Tensor] = []
        self.axes: tuple[Axis, ...] = ()  # those of the stage that is being drawn
        self.empty = False  # whether it has no points at all, so that nothing is read

    def one_of(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def size(self) -> Size:
        """The extent of a dimension: a number, or something of the graph's sizes."""
        if self.sizes and self.draw(st.booleans()):
            var = self.one_of(*self.sizes)
            chosen: Size = self.one_of(var, var, var, var + 1, 2 * var)
            return chosen
        return 0 if self.draw(st.integers(0, 24)) == 0 else int(self.one_of(*_SIZES))

    def shape(self, rank: int) -> Shape:
        sizes: list[Size] = []
        for _ in range(rank):
            room = _MOST_ELEMENTS // max(1, math.prod(map(most_of, sizes)))
            size = self.size()
            sizes.append(size if most_of(size) <= room else 1)
        return tuple(sizes)

    def dtype(self) -> str:
        return str(self.one_of(*(_WHOLE if self.exact else _FLOATS)))

    def placeholder(self) -> None:
        first = self.sizes and not self.tensors
        shape = self.sizes if first else self.shape(self.one_of(0, 1, 1, 2, 2, 3, 4))
        dtype, name = self.dtype(), f"P{len(self.tensors)}"
        by_value = not shape and self.draw(st.booleans())
        self.tensors.append(scalar_tensor(te.scalar(name, dtype)) if by_value else te.placeholder(shape, dtype, name))

    def stage(self) -> None:
        near = self.tensors[-1] if self.draw(st.booleans()) else self.one_of(*self.tensors)
        kinds = [self.pointwise, self.pointwise, self.several, self.reduction, self.reduction, self.stencil]
        kind = self.one_of(*kinds, self.window, self.window, self.scan, self.product)
        made = kind(near, f"S{len(self.tensors)}")
        self.tensors += made if isinstance(made, tuple) else (made,)

    # Reading

    def begin(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.empty = any(isinstance(axis.extent, int) and axis.extent == 0 for axis in axes)

    def sized_index(self, size: Size) -> tuple[Expr, bool]:
        """An index that lies in ``0 .. size - 1`` at each point of the stage, and whether it does even if *size* is 0.

        As `index`, where *size* or the extent of an axis may be no number.
        """
        last = extent_expr(size) - 1
        forms = [(const(0, dtypes.INDEX), False), (last, False)] if not isinstance(size, int) or size else []
        for axis in self.axes:
            offset = axis - axis.begin if axis.begin else axis
            room = as_size(extent_expr(size) - axis.extent)
            if bounds(extent_expr(room), {})[0] >= 0:
                forms += [(offset, True)] * 6 + [(last - offset, True), (offset + room, True)]
            if not isinstance(size, int) or size:
                forms += [(te.clip(offset - 1, 0, last), False), (offset % size, False)]
        expr, safe = self.one_of(*forms)
        return expr, safe or isinstance(size, int)

    def index(self, size: int) -> Expr:
        """An index that lies in ``0 .. size - 1`` at each point of the stage."""
        forms: list[Expr] = [const(self.draw(st.integers(0, size - 1)), dtypes.INDEX)] if size else []
        for axis in self.axes:
            offset = axis - axis.begin if axis.begin else axis
            last = axis.count - 1
            if self.empty or last < size:
                forms += [offset] * 4
            if last < size and size:
                forms += [size - 1 - offset]
            if 0 <= last < size - 1:
                forms += [offset + (size - 1 - last)]
            if size:
                forms += [offset % size, te.minimum(offset, size - 1)]
                divisor = -(-axis.count // size)
                forms += [offset // divisor] if divisor > 1 else []
            if last > 0 and (stride := (size - 1) // last) > 1:
                forms.append(offset * stride)
        for a, b in combinations(self.axes, 2):
            if 0 < a.count + b.count - 1 <= size and a.count and b.count:
                forms.append((a - a.begin if a.begin else a) + (b - b.begin if b.begin else b))
        chosen: Expr = self.one_of(*forms)
        return chosen

    def sized_element(self, tensor: Tensor, *known: Expr) -> Expr:
        """An element of *tensor* (its sizes may be no numbers) at indices that begin with *known*; 1 if it has none."""
        found = [(index, True) for index in known] + [self.sized_index(size) for size in tensor.shape[len(known) :]]
        value = tensor[tuple(index for index, _ in found)]
        tests = [extent_expr(size) > 0 for size, (_, safe) in zip(tensor.shape, found, strict=True) if not safe]
        return te.select(te.all(*tests), value, const(1, value.dtype)) if tests else value

    def element(self, tensor: Tensor, dtype: str) -> Expr:
        """An element of *tensor* as *dtype*, small enough to be computed with."""
        first = isinstance(tensor.op, PlaceholderOp)
        if any(isinstance(size, int) and size == 0 for size in tensor.shape) and not (self.empty and self.axes):
            return const(3, dtype)
        if not is_static((*tensor.shape, *(axis.extent for axis in self.axes))):
            if self.empty:
                return const(3, dtype)
            return self.tame(self.sized_element(tensor), first, dtype)
        indices = [self.index(size) for size in tensor.known_shape]
        tables = [
            t for t in self.tensors if t.dtype in ("int32", "int64", "int8") and t.ndim == 1 and t.shape[0] in _SIZES
        ]
        if tables and indices and tensor.shape[0] and self.draw(st.integers(0, 7)) == 0:  # an index read from memory
            table = self.one_of(*tables)
            indices[0] = te.clip(table[self.index(table.known_shape[0])], 0, min(tensor.known_shape[0] - 1, 100))
        return self.tame(tensor[tuple(indices)], first, dtype)

    def tame(self, value: Expr, first: bool, dtype: str) -> Expr:
        """*value* as *dtype*, whole and small where that is a float, or near 1 in a graph that is not exact."""
        if not self.exact:
            return (value if first else value / (value + 1) + 0.5).astype(dtype)
        source = value.dtype
        if dtypes.is_bool(dtype):
            return value if dtypes.is_bool(source) else value > 0
        if dtypes.is_bool(source):
            return value.astype(dtype)
        if dtypes.is_float(source) or dtypes.is_float(dtype):
            negative = not (dtypes.is_unsigned(source) or dtypes.is_unsigned(dtype))
            value = te.clip(value, -_LIMIT if negative else 0, _LIMIT) if not first or not negative else value
        return value.astype(dtype)

    def operand(self, near: Tensor, dtype: str) -> Expr:
        if self.draw(st.integers(0, 5)) == 0:
            if dtypes.is_bool(dtype):
                return const(self.draw(st.booleans()), dtype)
            return const(self.one_of(1, 2, 3) if self.exact else self.one_of(0.5, 1.25, 2.0), dtype)
        return self.element(near if self.draw(st.booleans()) else self.one_of(*self.tensors), dtype)

    # Computing

    def value(self, near: Tensor, dtype: str) -> Expr:
        """An expression of one or two elements, or of an index."""
        a, b = self.element(near, dtype), self.operand(near, dtype)
        if dtypes.is_bool(dtype):
            logic: Expr = self.one_of(te.all(a, b), te.any(a, ~b), a ^ b, te.select(self.condition(), a, b))
            return logic
        if not self.exact:
            return self.mathematics(a, b)
        forms = [a + b, a * b, te.minimum(a, b), te.maximum(a, b), te.select(self.condition(), a, b), te.abs(a) + b]
        forms += [te.select(a < b, a, b + 1), te.relu(a)]
        if not dtypes.is_unsigned(dtype):
            forms += [a - b, -a]
        if dtypes.is_int(dtype):
            forms += [a // 3, a % 3 + b, a & b, a | b, a ^ b, ~a, a >> 1, a << 1]
            forms += [a + axis.astype(dtype) for axis in self.axes[:1]]
        chosen: Expr = self.one_of(*forms)
        return chosen

    def mathematics(self, a: Expr, b: Expr) -> Expr:
        """Of values in about 0.4 .. 2, a value in about 0.1 .. 8, without cancellation."""
        forms = [a + b, a * b, a / b, te.maximum(a, b), te.minimum(a, b), te.sqrt(a) + b, te.exp(a), te.tanh(a) * b]
        forms += [te.sigmoid(a), te.log1p(a), te.erf(a), te.pow(a, 1.5), te.rsqrt(a), te.sin(a) + 2, te.cos(b) + 2]
        forms += [te.select(self.condition(), a, b), te.atan2(a, b), Binary("+", te.abs(a), te.relu(b))]
        chosen: Expr = self.one_of(*forms)
        return chosen

    def condition(self) -> Expr:
        """A condition on the indices."""
        if not self.axes:
            return const(self.draw(st.booleans()))
        axis = self.one_of(*self.axes)
        extent = axis.extent
        within = self.draw(st.integers(0, extent)) if isinstance(extent, int) else extent - self.draw(st.integers(0, 2))
        bound = axis.begin + within
        condition: Expr = self.one_of(axis < bound, axis >= bound, axis % 2 == 0, te.all(axis >= 1, axis < bound))
        return condition

    def output_shape(self, near: Tensor) -> Shape:
        return near.shape if self.draw(st.integers(0, 2)) else self.shape(self.one_of(0, 1, 2, 3))

    def pointwise(self, near: Tensor, name: str) -> Any:
        dtype = self.dtype()

        def body(*axes: Axis) -> Expr:
            self.begin(axes)
            value = self.value(near, dtype)
            if self.draw(st.integers(0, 3)) == 0:  # a cast at the end, or a second operation
                value = self.tame(value, False, self.dtype())
            return value

        return te.compute(self.output_shape(near), body, name)

    def several(self, near: Tensor, name: str) -> Any:
        first, second = self.dtype(), self.dtype()

        def body(*axes: Axis) -> tuple[Expr, Expr]:
            self.begin(axes)
            return self.value(near, first), self.value(near, second)

        return te.compute(self.output_shape(near), body, name)

    def scan(self, near: Tensor, name: str) -> Any:
        return recurrence(self, near, name) if self.exact else self.pointwise(near, name)

    def product(self, near: Tensor, name: str) -> Any:
        return product(self, near, name)

    def stencil(self, near: Tensor, name: str) -> Any:
        """A sum over neighbours, with nothing (or a constant) beyond the border."""
        dtype = self.dtype()
        if dtypes.is_bool(dtype):
            dtype = "int32"
        if near.ndim == 0:
            return self.pointwise(near, name)
        dimension = self.draw(st.integers(0, near.ndim - 1))
        offsets = self.draw(st.lists(st.integers(-2, 2), min_size=1, max_size=3, unique=True))
        beyond = self.one_of(0, 1) if self.exact else 0.75
        bounded = self.one_of(None, te.boundary.clamp, te.boundary.mirror, te.boundary.wrap, te.boundary.constant)
        if bounded is te.boundary.constant:
            bounded = lambda tensor: te.boundary.constant(tensor, const(beyond, tensor.dtype))  # noqa: E731
        if 0 in near.shape or (dtypes.is_bool(near.dtype)) or not self.exact:
            bounded = None

        def body(*axes: Axis) -> Expr:
            self.begin(axes)
            total: Expr | None = None
            for offset in offsets:
                at = axes[dimension] + offset if offset else axes[dimension]
                indices = [at if n == dimension else axis for n, axis in enumerate(axes)]
                if bounded is not None:
                    read = self.tame(bounded(near)[tuple(indices)], isinstance(near.op, PlaceholderOp), dtype)
                    total = read if total is None else total + read
                    continue
                inside = te.all(at >= 0, at < near.shape[dimension])
                read = self.tame(near[tuple(indices)], isinstance(near.op, PlaceholderOp), dtype)
                term = te.select(inside, read, const(beyond, dtype))
                total = term if total is None else total + term
            assert total is not None
            return total

        return te.compute(near.shape, body, name)

    def window(self, near: Tensor, name: str) -> Any:
        """A window that slides along one dimension and stays inside: what turns next to each other share."""
        wide = [(n, size) for n, size in enumerate(near.shape) if isinstance(size, int) and size > 1]
        if not wide or 0 in near.shape or dtypes.is_bool(near.dtype):
            return self.stencil(near, name)
        if isinstance(near.op, PlaceholderOp):  # schedules differ in what they do with windows over what is computed
            read = near
            near = te.compute(read.shape, lambda *at: self.tame(read[at], True, read.dtype) + 1, f"{name}n")
            self.tensors.append(near)
        dimension, size = self.one_of(*wide)
        width, step = self.draw(st.integers(2, min(4, size))), self.one_of(1, 1, 1, 2)
        shape = tuple((size - width) // step + 1 if n == dimension else s for n, s in enumerate(near.shape))

        def slid(at: Sequence[Expr], within: Expr) -> Expr:
            return source[tuple(step * axis + within if n == dimension else axis for n, axis in enumerate(at))]

        source, within, element = near, te.reduce_axis((0, width), "k0"), slid
        reducer = self.one_of(te.max, te.min, te.sum)
        if not self.draw(st.booleans()):
            unfolded = te.compute((*shape, width), lambda *at: slid(at[:-1], at[-1]), f"{name}u")
            self.tensors.append(unfolded)
            element = lambda at, within: unfolded[(*at, within)]  # noqa: E731
        return te.compute(shape, lambda *at: reducer(self.tame(element(at, within), False, source.dtype), within), name)

    def reduction(self, near: Tensor, name: str) -> Any:
        dtype = self.dtype() if self.exact else str(self.one_of("float32", "float64"))
        axes, points = [], 1
        for number in range(self.one_of(1, 1, 2)):
            size = self.size()
            size = size if points * most_of(size) <= _MOST_REDUCED else 1
            points *= max(most_of(size), 1)
            begin = self.one_of(0, 0, 0, 1, 3, -2)
            axes.append(te.reduce_axis((begin, begin + size), f"k{number}"))
        reducers = ["min", "max"]
        if not dtypes.is_bool(dtype):
            reducers += ["sum", "sum", "sum"]
        if dtypes.is_int(dtype):
            reducers += ["prod"]
        reducer = self.one_of(*reducers)
        if not self.exact and any(not isinstance(axis.extent, int) or axis.extent == 0 for axis in axes):
            reducer = "sum"  # whose identity a later stage may read
        tuples = self.exact and not dtypes.is_bool(dtype) and self.draw(st.integers(0, 5)) == 0

        def body(*spatial: Axis) -> Any:
            self.begin((*spatial, *axes))
            value = self.value(near, dtype)
            if dtypes.is_float(dtype) and self.exact:
                value = te.clip(value, -_LIMIT * _LIMIT, _LIMIT * _LIMIT)
            if tuples:
                return sum_and_least((value, self.element(near, "int32")), axis=axes)
            where = self.condition() if self.draw(st.integers(0, 5)) == 0 else None
            return getattr(te, reducer)(value, axis=axes, where=where)

        return te.compute(self.output_shape(near), body, name)


sum_and_least = te.comm_reducer(
    lambda a, b: (a[0] + b[0], te.minimum(a[1], b[1])), lambda s, t: (const(0, s), te.max_value(t)), "sum_and_least"
)

REDUCERS = {"sum_and_least": sum_and_least}
"""The reducers of drawn graphs that are none of te's own, by name."""
