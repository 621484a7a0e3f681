"""Scalar expressions: immutable nodes, built by Python's operators.

A node is compared by identity; ``==`` on expressions builds a comparison, and `same` tells whether two expressions
are alike. Every node shows its parts through `children` and is remade around new ones by `rebuild`, so a traversal
(`flashsched.te.visit`) works for every node, the loop IR's own ``Load`` included.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flashsched.errors import AxisError, DtypeError, ShapeError
from flashsched.te import dtypes

__all__ = [
    "Binary",
    "Call",
    "Cast",
    "Compare",
    "Const",
    "Expr",
    "ExprLike",
    "Not",
    "Select",
    "Var",
    "as_expr",
    "binary",
    "cast",
    "compare",
    "const",
    "is_const",
    "logical_and",
    "logical_or",
    "same",
]

ExprLike: TypeAlias = "Expr | int | float | bool | np.generic"
_NUMBER = (bool, int, float, np.generic)


def _operator(op: str) -> tuple[Callable[[Expr, ExprLike], Expr], Callable[[Expr, ExprLike], Expr]]:
    """The methods of a Python operator: ``self op other``, and ``other op self``."""
    return lambda self, other: binary(op, self, other), lambda self, other: binary(op, other, self)


def _comparison(op: str) -> Callable[[Expr, ExprLike], Expr]:
    return lambda self, other: compare(op, self, other)


class Expr:
    """Base of all scalar expressions."""

    __slots__ = ()
    __array_ufunc__ = None  # so that NumPy's scalars leave `np.float32(2) * x` to this class
    dtype: str

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of, in order."""
        return ()

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        """This node around other *children* (as many as it has)."""
        return self

    def key(self) -> tuple[Any, ...]:
        """What tells this node from another of its class, its children aside."""
        return ()

    def astype(self, dtype: Any) -> Expr:
        """This value converted to *dtype*."""
        return cast(self, dtype)

    __add__, __radd__ = _operator("+")
    __sub__, __rsub__ = _operator("-")
    __mul__, __rmul__ = _operator("*")
    __truediv__, __rtruediv__ = _operator("/")
    __floordiv__, __rfloordiv__ = _operator("//")
    __mod__, __rmod__ = _operator("%")
    __and__, __rand__ = _operator("&")
    __or__, __ror__ = _operator("|")
    __xor__, __rxor__ = _operator("^")
    __lshift__, __rlshift__ = _operator("<<")
    __rshift__, __rrshift__ = _operator(">>")

    def __neg__(self) -> Expr:
        return binary("-", const(0, self.dtype), self) if not dtypes.is_float(self.dtype) else binary("*", self, -1.0)

    def __pos__(self) -> Expr:
        return self

    def __invert__(self) -> Expr:
        if dtypes.is_bool(self.dtype):
            return Not(self)
        return binary("^", self, dtypes.max_value(self.dtype) if dtypes.is_unsigned(self.dtype) else -1)

    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")

    def __eq__(self, other: object) -> Any:
        return compare("==", self, other)

    def __ne__(self, other: object) -> Any:
        return compare("!=", self, other)

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        raise AxisError(
            f"the truth of {self} is not known while the expression is being built",
            hint="use te.select(condition, a, b), te.all(...) or te.any(...) in place of if, and, or, not",
        )

    def __iter__(self) -> Any:
        raise ShapeError(f"{self} is a single value and can't be looped over", hint="use te.sum(..., axis=k)")

    def __float__(self) -> float:
        raise AxisError(
            f"the value of {self} is not known while the expression is being built",
            hint="use te's functions, such as te.exp, in place of those of math",
        )

    def __str__(self) -> str:
        from flashsched.te.printing import expr_text

        return expr_text(self)

    __repr__ = __str__


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Const(Expr):
    """A literal; *value* is a Python bool, int or float that fits *dtype*."""

    value: int | float | bool
    dtype: str

    def key(self) -> tuple[Any, ...]:
        if isinstance(self.value, float):  # tells -0.0 from 0.0, and one NaN like another
            return (self.dtype, self.value.hex())
        return (self.dtype, self.value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(Expr):
    """A named scalar: a loop's variable, a block's, or a size that is known only at run time. Known by identity."""

    name: str
    dtype: str = dtypes.INDEX

    def key(self) -> tuple[Any, ...]:
        return (id(self),)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Pair(Expr):
    """``a op b``, both sides of one dtype."""

    op: str
    a: Expr
    b: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.a, self.b)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return type(self)(self.op, children[0], children[1])

    def key(self) -> tuple[Any, ...]:
        return (self.op,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(_Pair):
    """``a op b``, both sides and the result of one dtype. ``//`` and ``%`` round to minus infinity, as in Python.

    *op* is one of ``+ - * / // % min max & | ^ << >>``, or ``and``, ``or`` on bools. Integers wrap around.
    """

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.a.dtype


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Compare(_Pair):
    """``a op b`` as a bool; *op* is one of ``< <= > >= == !=``. With NaN only ``!=`` is true."""

    dtype = "bool"

    def __bool__(self) -> bool:
        if self.op in ("==", "!="):  # so that `x in list_of_expressions` works: it asks whether they are alike
            return same(self.a, self.b) == (self.op == "==")
        return Expr.__bool__(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Not(Expr):
    """The negation of a bool."""

    value: Expr
    dtype = "bool"

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.value,)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Not(children[0])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cast(Expr):
    """*value* converted as C converts it; float to integer truncates, anything to bool compares with zero."""

    value: Expr
    dtype: str

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.value,)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Cast(children[0], self.dtype)

    def key(self) -> tuple[Any, ...]:
        return (self.dtype,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Select(Expr):
    """*a* where *condition* holds, else *b*. The side not chosen is never read from memory, so it may guard a load."""

    condition: Expr
    a: Expr
    b: Expr

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.a.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.condition, self.a, self.b)

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Select(children[0], children[1], children[2])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Expr):
    """A mathematical function of *args*, by its C name without a suffix: ``exp``, ``pow``, ``floor``, ``fma``, …"""

    func: str
    args: tuple[Expr, ...]
    dtype: str

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Call(self.func, tuple(children), self.dtype)

    def key(self) -> tuple[Any, ...]:
        return (self.func, self.dtype)


def const(value: int | float | bool, dtype: str | None = None) -> Const:
    """A literal of *dtype*; by default bool, int32 (int64 where it does not fit) or float32 as the value is.

    Raises:
        ExpressionError: the value does not fit an integer *dtype*.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float):
        raise DtypeError(f"a constant is a bool, an int or a float, not {type(value).__name__}", hint="te.const(1.5)")
    if dtype is None:
        fits = not isinstance(value, int) or -(2**31) <= value < 2**31
        dtype = "bool" if isinstance(value, bool) else "float32" if isinstance(value, float) else "int32"
        dtype = dtype if fits else "int64"
    dtype = dtypes.check_dtype(dtype)
    if dtypes.is_float(dtype):
        return Const(float(value), dtype)
    if dtypes.is_bool(dtype):
        return Const(bool(value), dtype)
    if isinstance(value, float) and (not math.isfinite(value) or value != int(value)):
        raise DtypeError(f"{value} is not an integer, and {dtype} holds nothing else", hint="cast it yourself")
    if not dtypes.min_value(dtype) <= value <= dtypes.max_value(dtype):
        raise DtypeError(f"{value} does not fit {dtype}", hint=f"give it a wider type: te.const({value}, 'int64')")
    return Const(int(value), dtype)


def as_expr(value: Any, dtype: str | None = None) -> Expr:
    """*value* as an expression; a Python number becomes a constant of *dtype*.

    Raises:
        ExpressionError: *value* is nothing that can be computed with.
    """
    if isinstance(value, Expr):
        return value
    to_expr = getattr(value, "__te_expr__", None)  # an axis stands for its variable, a rank-0 tensor for its element
    if to_expr is not None:
        found: Expr = to_expr()
        return found
    if isinstance(value, _NUMBER):
        return const(value, dtype)  # type: ignore[arg-type]
    what = f"a tensor of shape {value.shape}" if hasattr(value, "shape") else f"{type(value).__name__} {value!r}"
    raise (ShapeError if hasattr(value, "shape") else DtypeError)(
        f"{what} is not a scalar expression",
        hint="index it, as in A[i, j]" if hasattr(value, "shape") else "use elements of tensors, axes and numbers",
    )


def cast(value: ExprLike, dtype: Any) -> Expr:
    """*value* converted to *dtype*; nothing is done where it has that dtype."""
    dtype, value = dtypes.check_dtype(dtype), as_expr(value)
    if value.dtype == dtype:
        return value
    integers = dtypes.is_int(value.dtype) and dtypes.is_int(dtype)
    if integers and isinstance(value, Const) and dtypes.min_value(dtype) <= value.value <= dtypes.max_value(dtype):
        return Const(value.value, dtype)
    return Cast(value, dtype)


def _agree(a: Any, b: Any) -> tuple[Expr, Expr]:
    """Both sides in one dtype: a number (Python's or NumPy's) takes the other side's, two expressions are promoted."""
    first = isinstance(a, _NUMBER)
    if first != isinstance(b, _NUMBER):
        number, other = (a, as_expr(b)) if first else (b, as_expr(a))
        number = number.item() if isinstance(number, np.generic) else number
        dtype = other.dtype
        if isinstance(number, float) and not dtypes.is_float(dtype):
            dtype = "float32"
        elif dtypes.is_bool(dtype) and not isinstance(number, bool):
            dtype = "int32"
        other, literal = cast(other, dtype), const(number, dtype)
        return (literal, other) if first else (other, literal)
    x, y = as_expr(a), as_expr(b)
    dtype = dtypes.promote(x.dtype, y.dtype)
    return cast(x, dtype), cast(y, dtype)


def binary(op: str, a: Any, b: Any) -> Expr:
    """``a op b`` after promotion, with constants folded for indices.

    Raises:
        ExpressionError: *op* means nothing for these dtypes, e.g. ``/`` on integers.
    """
    if isinstance(a, Const) and isinstance(b, Const) and a.dtype == b.dtype == dtypes.INDEX and op != "/":
        from flashsched.te.simplify import fold  # the simplifier is built on these nodes

        return fold(op, a, b)
    x, y = _agree(a, b)
    if op in ("+", "-", "*", "//", "%", "/", "<<", ">>") and dtypes.is_bool(x.dtype):
        hint = "use & | ^ on bools, or .astype('int32') to count them"
        raise DtypeError(f"'{op}' on two bools: {x} {op} {y}", hint=hint)
    if op == "/" and not dtypes.is_float(x.dtype):
        hint = "use // (rounds down), or .astype('float32') first"
        raise DtypeError(f"'/' on integers is ambiguous: {x} / {y}", hint=hint)
    if op in ("&", "|", "^", "<<", ">>") and dtypes.is_float(x.dtype):
        hint = "cast first: .astype('int32')"
        raise DtypeError(f"'{op}' works on integers and bools, not on {x.dtype}: {x} {op} {y}", hint=hint)
    if op in ("&", "|") and dtypes.is_bool(x.dtype):
        op = "and" if op == "&" else "or"
    if op == "^" and dtypes.is_bool(x.dtype):
        return Compare("!=", x, y)
    if op in ("//", "%") and isinstance(y, Const) and y.value == 0 and not dtypes.is_float(y.dtype):
        raise DtypeError(f"division by zero: {x} {op} 0", hint="divide by something that is at least 1")
    return Binary(op, x, y)


def compare(op: str, a: Any, b: Any) -> Expr:
    """``a op b`` as a bool, after promotion."""
    x, y = _agree(a, b)
    return Compare(op, x, y)


def _conditions(name: str, terms: tuple[Any, ...]) -> Expr:
    values = [as_expr(term) for term in terms]
    if not values:
        function = "te.all" if name == "and" else "te.any"
        raise ShapeError(f"{function} needs at least one condition", hint=f"{function}(i >= 0, i < n)")
    for value in values:
        if not dtypes.is_bool(value.dtype):
            raise DtypeError(f"{value} is {value.dtype}, not a condition", hint=f"compare it: {value} != 0")
    return functools.reduce(lambda a, b: Binary(name, a, b), values)


def logical_and(*terms: Any) -> Expr:
    """True where all of *terms* are."""
    return _conditions("and", terms)


def logical_or(*terms: Any) -> Expr:
    """True where any of *terms* is."""
    return _conditions("or", terms)


def is_const(value: Expr, number: int | float | None = None) -> bool:
    """Whether *value* is a literal (equal to *number*, where it is given)."""
    return isinstance(value, Const) and (number is None or value.value == number)


def same(a: Expr, b: Expr) -> bool:
    """Whether two expressions are alike, node by node (variables by identity)."""
    if a is b:
        return True
    if type(a) is not type(b) or a.key() != b.key():
        return False
    x, y = a.children, b.children
    return len(x) == len(y) and all(same(p, q) for p, q in zip(x, y, strict=True))
