"""What a tensor holds beyond its border: a tensor wrapped so that any index may be read.

Each helper takes a tensor and returns something that is indexed like it: ``P = te.boundary.clamp(A); P[i - 1, j]``.
What comes out is an ordinary expression (``A[max(i - 1, 0), j]``), so nothing further down knows of borders. An index
that can't leave the tensor, seen from the ranges of the axes in it, is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.errors import DtypeError, ShapeError
from flashsched.te import dtypes
from flashsched.te.expr import Expr, Var, as_expr, binary, cast, compare, const, logical_and
from flashsched.te.functions import select
from flashsched.te.simplify import Ranges, bounds, simplify
from flashsched.te.tensor import Axis, Tensor, read
from flashsched.te.visit import free_vars

__all__ = ["Bounded", "clamp", "constant", "mirror", "repeat", "wrap"]

_Place = Callable[[Expr, Any, Ranges], Expr]
"""``place(index, size, ranges)``: an index inside ``0 .. size - 1``."""


class Bounded:
    """A tensor that may be read at any index; made by the functions of this module.

    Attributes:
        tensor: what is read.
        how: the name of the rule, for messages.
    """

    def __init__(self, tensor: Tensor, how: str, place: _Place | None, value: Any = None) -> None:
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"te.boundary.{how} takes a tensor, not {type(tensor).__name__} {tensor!r}",
                hint="give the tensor itself",
            )
        if place is not None and any(_is_number(size) and size == 0 for size in tensor.shape):
            raise ShapeError(
                f"{tensor.name} of shape {list(tensor.shape)} has no element that te.boundary.{how} could give",
                hint="te.boundary.constant gives a value of its own",
            )
        self.tensor, self.how = tensor, how
        self._place, self._value = place, value

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of the tensor."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The dtype of the tensor."""
        return self.tensor.dtype

    def __getitem__(self, indices: Any) -> Expr:
        return self(*(indices if isinstance(indices, tuple) else (indices,)))

    def __call__(self, *indices: Any) -> Expr:
        tensor = self.tensor
        if len(indices) != tensor.ndim:
            return read(tensor, indices)  # which refuses, and says why
        exprs = []
        for position, index in enumerate(indices):
            expr = as_expr(index, dtypes.INDEX)
            if not dtypes.is_int(expr.dtype):
                raise DtypeError(f"{self!r}: index {position} is {expr.dtype}, not an integer", hint="cast it")
            exprs.append(cast(expr, dtypes.INDEX))
        ranges = [_ranges(expr) for expr in exprs]
        within = [_inside(e, size, r) for e, size, r in zip(exprs, tensor.shape, ranges, strict=True)]
        if self._place is not None:
            place = self._place
            placed = zip(exprs, tensor.shape, ranges, within, strict=True)
            return read(tensor, [e if inside else simplify(place(e, n, r), r) for e, n, r, inside in placed])
        tests = []
        for expr, size, known, inside in zip(exprs, tensor.shape, ranges, within, strict=True):
            if not inside:
                low, high = bounds(expr, known)
                tests += [compare(">=", expr, 0)] if low < 0 else []
                tests += [compare("<", expr, size)] if not (_is_number(size) and high < size) else []
        if not tests:
            return read(tensor, exprs)
        return select(logical_and(*tests), read(tensor, exprs), self._value)

    def __repr__(self) -> str:
        return f"te.boundary.{self.how}({self.tensor.name})"


def _ranges(expr: Expr) -> Ranges:
    """The ranges of the axes in *expr*, as far as they are numbers."""
    found: dict[Var, tuple[float, float]] = {}
    for var in free_vars(expr):
        if isinstance(var, Axis) and _is_number(var.extent) and _is_number(var.begin) and var.extent > 0:
            found[var] = (float(var.begin), float(var.begin + var.extent - 1))
    return found


def _is_number(size: Any) -> bool:
    """Whether a size is known now."""
    return isinstance(size, int)


def _inside(expr: Expr, size: Any, ranges: Ranges) -> bool:
    low, high = bounds(expr, ranges)
    return _is_number(size) and low >= 0 and high < size


def _clamped(index: Expr, size: Any, ranges: Ranges) -> Expr:
    low, high = bounds(index, ranges)
    if low < 0:
        index = binary("max", index, 0)
    if not (_is_number(size) and high < size):
        index = binary("min", index, binary("-", _size(size), 1))
    return index


def _mirrored(edge: bool) -> _Place:
    """At a border, the image of the inside; *edge* says whether the border's own element is seen in it again."""

    def place(index: Expr, size: Any, ranges: Ranges) -> Expr:
        low, high = bounds(index, ranges)
        n = _size(size)
        if _is_number(size) and size == 1:
            return const(0, dtypes.INDEX)
        last = binary("-", binary("*", n, 2), 1 if edge else 2)  # what an index beyond the end is subtracted from
        if not _is_number(size) or low < (-size if edge else 1 - size) or high > (2 * size - (1 if edge else 2)):
            index = binary("%", index, binary("*", n, 2) if edge else binary("max", last, 1))
            return binary("min", index, binary("-", last, index))  # many images: they come again and again
        if low < 0:
            index = binary("max", index, binary("-", -1 if edge else 0, index))
        return binary("min", index, binary("-", last, index)) if high >= size else index

    return place


def _wrapped(index: Expr, size: Any, ranges: Ranges) -> Expr:
    return binary("%", index, _size(size))


def _size(size: Any) -> Expr:
    return as_expr(size, dtypes.INDEX)


def clamp(tensor: Tensor) -> Bounded:
    """Beyond the border, the nearest element: ``a a|a b c|c c`` (``np.pad``'s ``"edge"``).

    >>> from flashsched import te
    >>> A = te.placeholder((8, 8), name="A")
    >>> P = te.boundary.clamp(A)
    >>> te.compute((8, 8), lambda i, j: P[i - 1, j], name="C").op.body[0]
    A[max(i - 1, 0), j]

    Raises:
        ShapeError: *tensor* is none, or has a dimension of size 0.
    """
    return Bounded(tensor, "clamp", _clamped)


def mirror(tensor: Tensor, edge: bool = True) -> Bounded:
    """Beyond the border, the image of the inside: ``b a|a b c|c b``, or ``c b|a b c|b a`` without the *edge* again.

    These are ``np.pad``'s ``"symmetric"`` and ``"reflect"``. An index further away than the tensor is long sees the
    image of the image.

    >>> from flashsched import te
    >>> P = te.boundary.mirror(te.placeholder((8,), name="A"))
    >>> te.compute((8,), lambda i: P[i - 2], name="C").op.body[0]
    A[max(i - 2, 1 - i)]

    Raises:
        ShapeError: *tensor* is none, or has a dimension of size 0.
    """
    return Bounded(tensor, "mirror", _mirrored(edge))


def wrap(tensor: Tensor) -> Bounded:
    """Beyond the border, the tensor again: ``b c|a b c|a b`` (``np.pad``'s ``"wrap"``).

    >>> from flashsched import te
    >>> P = te.boundary.wrap(te.placeholder((8,), name="A"))
    >>> te.compute((8,), lambda i: P[i - 2], name="C").op.body[0]
    A[(i + 6) % 8]

    Raises:
        ShapeError: *tensor* is none, or has a dimension of size 0.
    """
    return Bounded(tensor, "wrap", _wrapped)


repeat = wrap


def constant(tensor: Tensor, value: Any = 0) -> Bounded:
    """Beyond the border, *value* (a number or an expression): ``v v|a b c|v v``.

    >>> from flashsched import te
    >>> P = te.boundary.constant(te.placeholder((8,), name="A"), 0.0)
    >>> te.compute((8,), lambda i: P[i - 1], name="C").op.body[0]
    select(i - 1 >= 0, A[i - 1], 0.0)

    Raises:
        ShapeError: *tensor* is none.
        DtypeError: *value* has another dtype than *tensor*.
    """
    if not isinstance(tensor, Tensor):
        raise ShapeError(
            f"te.boundary.constant takes a tensor, not {type(tensor).__name__} {tensor!r}",
            hint="give the tensor itself",
        )
    expr = const(value, tensor.dtype) if isinstance(value, bool | int | float) else as_expr(value)
    if expr.dtype != tensor.dtype:
        raise DtypeError(
            f"te.boundary.constant: {expr} is {expr.dtype}, and {tensor.name} holds {tensor.dtype}", hint="cast it"
        )
    return Bounded(tensor, "constant", None, expr)
