"""Axes as TVM has them: 32-bit variables in expressions, `IterVar` handles in schedules.

TVM's indices are int32, ours int64. A function given to `compute` gets an `IndexVar`, which is int32, so that every
expression has the dtype that TVM gives it; `settle` then writes the axis itself in its place. Positions in tensors and
comparisons of positions are settled in 64 bits, where they cannot overflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flashsched.errors import ExpressionError, ShapeError
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Select, Var, as_expr, binary, cast
from flashsched.te.tensor import Axis, AxisKind, Read
from flashsched.te.visit import walk

__all__ = [
    "BoundAxis",
    "IndexVar",
    "IterVar",
    "Lanes",
    "Operand",
    "Range",
    "ReduceAxis",
    "Size",
    "ThreadAxis",
    "position",
    "settle",
    "sized",
]


class Size(int):
    """An integer that also answers to ``.value`` and ``.dtype``, as the sizes in a TVM shape do.

    >>> Size(3) + 1, Size(3).value, Size(3).dtype
    (4, 3, 'int32')
    """

    dtype = "int32"

    @property
    def value(self) -> int:
        """The number."""
        return int(self)


class Range(NamedTuple):
    """``min <= axis < min + extent``."""

    min: Any
    extent: Any


def fixed(size: Any) -> Any:
    """One size as our te takes it: a number, or an expression of sizes in 64 bits."""
    if isinstance(size, int) or (isinstance(size, float) and size.is_integer()):
        return int(size)  # TVM takes N / bn, where it is a whole number
    found = position(as_expr(size, dtypes.INDEX))
    return int(found.value) if isinstance(found, Const) else found


def shape_of(shape: Any) -> tuple[Any, ...]:
    """A shape as our te takes it."""
    return tuple(map(fixed, shape)) if isinstance(shape, tuple | list) else (fixed(shape),)


def sized(value: Any) -> Any:
    """A number as a `Size`, anything else as it is."""
    return Size(value) if isinstance(value, int) else value


def _range(begin: Any, extent: Any) -> Range:
    return Range(sized(begin), sized(extent))


class IterVar:
    """What stands for a loop in a schedule: an axis, or what a primitive returned. Has ``var`` and ``dom``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IndexVar(Var):
    """An axis as a function given to `compute` sees it: int32. *axis* is what it stands for."""

    axis: Var | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lanes(Expr):
    """A vector of *count* elements: *value* for each *lane*. What stores it is a loop over the lanes."""

    value: Expr
    count: int
    lane: IndexVar

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.value.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.value,)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Lanes(children[0], self.count, self.lane)

    def key(self) -> tuple[Any, ...]:
        return (self.count, id(self.lane))

    def astype(self, dtype: Any) -> Expr:
        """Each element converted; ``"float32x4"`` means ``"float32"`` of a vector of four."""
        name, _, count = str(dtype).partition("x")
        if count and count != str(self.count):
            raise ShapeError(f"a vector of {self.count} lanes as {dtype}")
        return Lanes(cast(self.value, name), self.count, self.lane)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BoundAxis(Axis, IterVar):
    """An axis of an operation."""

    @property
    def var(self) -> Var:
        """The variable, for expressions."""
        return IndexVar(self.name, "int32", self)

    @property
    def dom(self) -> Range:
        """Its range."""
        return _range(self.begin, self.extent)

    @property
    def iter_type(self) -> int:
        """TVM's number for the sort of axis: 0 spatial, 2 reduce."""
        return 2 if self.kind is AxisKind.REDUCE else 0


class Operand:
    """What stands for a scalar in expressions, without being one of our nodes: it says which in ``__te_expr__``."""

    def __te_expr__(self) -> Expr:
        raise NotImplementedError

    def astype(self, dtype: Any) -> Expr:
        """Its value, converted."""
        return self.__te_expr__().astype(dtype)

    def equal(self, other: Any) -> Expr:
        """``self == other``."""
        return self.__te_expr__().equal(other)  # type: ignore[no-any-return]

    def __neg__(self) -> Expr:
        return -self.__te_expr__()

    def __hash__(self) -> int:
        return id(self)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(Operand, _method, getattr(Expr, _method))
for _method in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
    setattr(Operand, _method, getattr(Expr, _method))


class ReduceAxis(Operand, IterVar):
    """An axis to reduce over; *axis* is the one that the operation has. In an expression it is its int32 ``var``."""

    iter_type = 2

    def __init__(self, axis: BoundAxis) -> None:
        self.axis = axis
        self.var = IndexVar(axis.name, "int32", axis)

    @property
    def name(self) -> str:
        """Its name."""
        return self.axis.name

    @property
    def dom(self) -> Range:
        """Its range."""
        return self.axis.dom

    def __te_expr__(self) -> Expr:
        return self.var

    def __repr__(self) -> str:
        return f"iter_var({self.name}, {tuple(self.dom)})"


class ThreadAxis(IterVar):
    """A GPU's axis of blocks or threads, by its name, e.g. ``threadIdx.x``."""

    iter_type = 1

    def __init__(self, name: str, extent: int | None) -> None:
        self.name = self.thread_tag = name
        self.var = Var(name, "int32")
        self.dom = None if extent is None else _range(0, extent)

    def __te_expr__(self) -> Expr:
        return self.var

    def __repr__(self) -> str:
        return f"thread_axis({self.name!r})"


_ARITHMETIC = ("+", "-", "*", "//", "%", "min", "max")


def _is_position(expr: Expr) -> bool:
    """Whether *expr* is made of axes, sizes and integer literals only."""
    return all(
        isinstance(node, Var | Const)
        or (isinstance(node, Binary) and node.op in _ARITHMETIC)
        or (isinstance(node, Cast) and node.dtype in ("int32", "int64"))
        for node in _numbers(expr)
    )


def _numbers(expr: Expr) -> Iterator[Expr]:
    for node in walk(expr):
        yield node if node.dtype in ("int32", "int64") else Compare("==", node, node)


def position(expr: Expr) -> Expr:
    """An integer *expr* that says where something lies, in 64 bits."""
    match expr:
        case IndexVar() if expr.axis is not None:
            return expr.axis
        case Const() if dtypes.is_int(expr.dtype):
            return Const(expr.value, dtypes.INDEX)
        case Cast() if dtypes.is_int(expr.value.dtype) and expr.dtype in ("int32", "int64"):
            return position(expr.value) if expr.value.dtype in ("int32", "int64") else cast(settle(expr), dtypes.INDEX)
        case Binary() if expr.op in _ARITHMETIC and expr.dtype in ("int32", "int64"):
            return binary(expr.op, position(expr.a), position(expr.b))
        case Select() if expr.dtype in ("int32", "int64"):
            return Select(settle(expr.condition), position(expr.a), position(expr.b))
        case _:
            return cast(settle(expr), dtypes.INDEX)


def settle(expr: Expr) -> Expr:
    """*expr* with each `IndexVar` replaced by the axis that it stands for; its dtype stays.

    >>> i = IndexVar("i", "int32", Axis("i", "int64", 8))
    >>> settle(i + 1), settle(i + 1).dtype
    (int32(i + 1), 'int32')
    """
    if isinstance(expr, Lanes):
        raise ExpressionError(
            f"a vector of {expr.count} lanes is used where one value is needed: {expr.value}",
            hint="store it, buffer.vstore(i, vector); in te.compute, vectorize a loop of the schedule",
        )
    if expr.dtype in ("int32", "int64") and _is_position(expr) and any(isinstance(n, IndexVar) for n in walk(expr)):
        return cast(position(expr), expr.dtype)
    if isinstance(expr, Read):
        return Read(expr.tensor, tuple(position(index) for index in expr.indices))
    if (
        isinstance(expr, Compare)
        and expr.a.dtype in ("int32", "int64")
        and _is_position(expr.a)
        and _is_position(expr.b)
    ):
        return Compare(expr.op, position(expr.a), position(expr.b))
    if not expr.children:
        return expr
    return expr.rebuild([settle(child) for child in expr.children])
