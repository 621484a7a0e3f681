"""Tensors and the operations that make them; `flashsched.te.declare` is how a person declares them.

A `Tensor` is an output of an `Operation`; the graph of a program is held by the ``inputs`` of its operations, and is
never changed by a schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flashsched.errors import DtypeError, ShapeError, counted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, ExprLike, Var, as_expr, cast
from flashsched.te.nodes import Operators
from flashsched.te.sizes import as_size, numbers
from flashsched.te.visit import walk

__all__ = [
    "Axis",
    "AxisKind",
    "ComputeOp",
    "Operation",
    "PlaceholderOp",
    "Read",
    "Reduce",
    "Reducer",
    "Tensor",
    "graph",
]


class AxisKind(Enum):
    """What an axis is for: its turns are independent (spatial), are combined (reduce), or come in order (ordered)."""

    SPATIAL = "spatial"
    REDUCE = "reduce"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Axis(Var):
    """A variable with a range, ``begin <= axis < begin + extent``; usable as an index and as a handle in a schedule."""

    extent: int | Expr = 0
    kind: AxisKind = AxisKind.SPATIAL
    begin: int = 0

    @property
    def count(self) -> int:
        """The extent, which must be a number.

        Raises:
            ShapeError: it speaks of sizes.
        """
        return numbers((self.extent,), f"what is asked of axis {self.name}")[0]

    @property
    def end(self) -> int | Expr:
        """What comes after its last value."""
        return as_size(self.begin + self.extent)

    def __repr__(self) -> str:
        return f"{self.name} in {self.begin}..{self.end}"


class Operation:
    """Base of the operations; each has a name, its outputs, and the line that made it."""

    name: str
    where: str
    outputs: tuple[Tensor, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the operation reads, in the order in which it first reads them."""
        raise NotImplementedError

    @property
    def together(self) -> tuple[Operation, ...]:
        """The operations that are computed with this one, itself among them."""
        return (self,)

    def output(self, index: int) -> Tensor:
        """Its output number *index*."""
        return self.outputs[index]


@dataclass(eq=False)
class Tensor(Operators):
    """A multi-dimensional array of one dtype: output number *index* of *op*.

    One of rank 0 stands for its element in expressions; all others are indexed first.
    """

    op: Operation
    index: int
    shape: tuple[int | Expr, ...]
    dtype: str

    @property
    def name(self) -> str:
        """The operation's name, numbered where it has several outputs."""
        return self.op.name if len(self.op.outputs) == 1 else f"{self.op.name}.v{self.index}"

    @property
    def known_shape(self) -> tuple[int, ...]:
        """The shape, which must be numbers.

        Raises:
            ShapeError: it speaks of sizes.
        """
        return numbers(self.shape, f"what is asked of {self.name}")

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __getitem__(self, indices: Any) -> Expr:
        items = indices if isinstance(indices, tuple) else (indices,)
        return read(self, items)

    def __call__(self, *indices: ExprLike) -> Expr:
        return read(self, indices)

    def __te_expr__(self) -> Expr:
        if self.shape:
            indices = ", ".join("ijklmn"[: self.ndim])
            raise ShapeError(
                f"tensor {self.name} of shape {list(self.shape)} is not a scalar expression",
                hint=f"index it: {self.name}[{indices}]",
            )
        return read(self, ())

    def __neg__(self) -> Expr:
        return -self.__te_expr__()

    def __pos__(self) -> Expr:
        return self.__te_expr__()

    def __invert__(self) -> Expr:
        return ~self.__te_expr__()

    def __iter__(self) -> Any:
        indices = ", ".join("ijklmn"[: self.ndim])
        raise ShapeError(f"tensor {self.name} can't be looped over", hint=f"index it: {self.name}[{indices}]")

    def __repr__(self) -> str:
        return f"Tensor({self.name}, shape={list(self.shape)}, {self.dtype})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Read(Expr):
    """The element of *tensor* at *indices* (all of dtype int64)."""

    tensor: Tensor
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.tensor.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.indices

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Read(self.tensor, tuple(children))

    def key(self) -> tuple[Any, ...]:
        return (id(self.tensor),)

    def text(self, indices: Sequence[str]) -> str:
        """The read as it is printed, around its printed indices."""
        if isinstance(self.tensor.op, PlaceholderOp) and self.tensor.op.by_value:
            return self.tensor.name
        return f"{self.tensor.name}[{', '.join(indices)}]"


def read(tensor: Tensor, indices: Sequence[Any]) -> Expr:
    """``tensor[indices]``, checked for rank, dtype and constants out of range."""
    parts = (f"{i.start or ''}:{i.stop or ''}" if isinstance(i, slice) else str(i) for i in indices)
    shown = f"{tensor.name}[{', '.join(parts)}]"
    if any(isinstance(index, slice) or index is Ellipsis for index in indices):
        raise ShapeError(
            f"{shown}: an index is one position, not a slice", hint="write a te.compute over the part that you mean"
        )
    if len(indices) != tensor.ndim:
        raise ShapeError(
            f"{shown} has {len(indices)} {'index' if len(indices) == 1 else 'indices'}, "
            f"and {tensor.name} has {counted(tensor.ndim, 'dimension')} {list(tensor.shape)}",
            hint=f"give one index for each dimension: {tensor.name}[{', '.join('ijklmn'[: tensor.ndim])}]",
        )
    exprs = []
    for position, (index, size) in enumerate(zip(indices, tensor.shape, strict=True)):
        expr = as_expr(index, dtypes.INDEX)
        if not dtypes.is_int(expr.dtype):
            raise DtypeError(f"{shown}: index {position} is {expr.dtype}, not an integer", hint="cast it")
        if isinstance(expr, Const) and isinstance(size, int) and not 0 <= expr.value < size:
            raise ShapeError(
                f"{shown}: index {position} is {expr.value}, and the dimension has {counted(size, 'element')}",
                hint="indices count from 0, and none from the end",
            )
        exprs.append(cast(expr, dtypes.INDEX))
    return Read(tensor, tuple(exprs))


@dataclass(frozen=True, eq=False)
class Reducer:
    """How values are combined: ``lhs, rhs -> result``, starting from *identity*; several at once for tuples."""

    name: str
    lhs: tuple[Var, ...]
    rhs: tuple[Var, ...]
    result: tuple[Expr, ...]
    identity: tuple[Const, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reduce(Expr):
    """*values* combined over *axes*; this node is output number *index* of the combination."""

    reducer: Reducer
    values: tuple[Expr, ...]
    axes: tuple[Axis, ...]
    index: int = 0

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.values[self.index].dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.values

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Reduce(self.reducer, tuple(children), self.axes, self.index)

    def key(self) -> tuple[Any, ...]:
        return (id(self.reducer), self.index, *(id(axis) for axis in self.axes))

    def text(self, values: Sequence[str]) -> str:
        """The reduction as it is printed, around its printed values."""
        inner = values[0] if len(values) == 1 else f"({', '.join(values)})"
        axes = self.axes[0].name if len(self.axes) == 1 else f"[{', '.join(a.name for a in self.axes)}]"
        return f"{self.reducer.name}({inner}, axis={axes})" + (f"[{self.index}]" if len(values) > 1 else "")


@dataclass(eq=False)
class PlaceholderOp(Operation):
    """A tensor that the caller passes in (*by_value*: a number); or the state of a *scan*, rows that are computed."""

    name: str
    shape: tuple[int | Expr, ...]
    dtype: str
    where: str = ""
    scan: Any = None
    by_value: bool = False
    outputs: tuple[Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.outputs = (Tensor(self, 0, self.shape, self.dtype),)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return ()


@dataclass(eq=False)
class ComputeOp(Operation):
    """Tensors defined element by element: ``outputs[n][axis] = body[n]``."""

    name: str
    axis: tuple[Axis, ...]
    body: tuple[Expr, ...]
    where: str = ""
    outputs: tuple[Tensor, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(axis.extent for axis in self.axis)
        self.outputs = ()
        self.outputs = tuple(Tensor(self, n, shape, value.dtype) for n, value in enumerate(self.body))

    @property
    def reduction(self) -> Reduce | None:
        """The reduction that the body is, if it is one."""
        return self.body[0] if isinstance(self.body[0], Reduce) else None

    @property
    def reduce_axis(self) -> tuple[Axis, ...]:
        """The axes that are combined; empty where the body is no reduction."""
        return () if self.reduction is None else self.reduction.axes

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        found: dict[int, Tensor] = {}
        for value in self.body:
            for node in walk(value):
                if isinstance(node, Read):
                    found.setdefault(id(node.tensor), node.tensor)
        return tuple(found.values())


def graph(outputs: Sequence[Tensor]) -> list[Operation]:
    """All operations that *outputs* depend on, each after those that it reads; states of scans are none."""
    done: dict[int, Operation] = {}
    stack: list[tuple[Operation, bool]] = [(tensor.op, False) for tensor in reversed(outputs)]
    while stack:
        op, ready = stack.pop()
        if id(op) in done or (isinstance(op, PlaceholderOp) and op.scan is not None):
            continue
        if ready:
            done[id(op)] = op
            stack.extend((other, False) for other in reversed(op.together) if other is not op)
            continue
        stack.append((op, True))
        stack.extend((tensor.op, False) for tensor in reversed(op.inputs) if id(tensor.op) not in done)
    return list(done.values())
