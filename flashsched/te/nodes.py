"""The nodes of scalar expressions: immutable, built by Python's operators.

A node is compared by identity; ``==`` on expressions builds a comparison, and `same` tells whether two expressions
are alike. Every node shows its parts through `children` and is remade around new ones by `rebuild`, so a traversal
(`flashsched.te.visit`) works for every node, the loop IR's own ``Load`` included. What an operator makes of its
operands (promotion, folded constants, refusals) is told in `flashsched.te.expr`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flashsched.errors import AxisError, ShapeError
from flashsched.te import dtypes
from flashsched.te.quick import quickly_made

__all__ = [
    "Binary",
    "Call",
    "Cast",
    "Compare",
    "Const",
    "Expr",
    "ExprLike",
    "Not",
    "Operators",
    "Select",
    "SizeVar",
    "Var",
    "same",
]

ExprLike: TypeAlias = "Expr | int | float | bool | np.generic"


def _binary(op: str, a: Any, b: Any) -> Expr:
    from flashsched.te.expr import binary  # what an operator makes of its operands is built on these nodes

    return binary(op, a, b)


def _compare(op: str, a: Any, b: Any) -> Expr:
    from flashsched.te.expr import compare

    return compare(op, a, b)


def _operator(op: str) -> tuple[Callable[[Any, Any], Expr], Callable[[Any, Any], Expr]]:
    """The methods of a Python operator: ``self op other``, and ``other op self``."""
    return lambda self, other: _binary(op, self, other), lambda self, other: _binary(op, other, self)


def _comparison(op: str) -> Callable[[Any, Any], Expr]:
    return lambda self, other: _compare(op, self, other)


class Operators:
    """Python's operators of two operands, for all that is an expression or stands for one, such as a tensor's element.

    ``==`` is none of them: only on expressions it builds a comparison.
    """

    __slots__ = ()
    __array_ufunc__ = None  # so that NumPy's scalars leave `np.float32(2) * x` to this class

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

    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")


class Expr(Operators):
    """Base of all scalar expressions."""

    __slots__ = ("_structural_key",)
    """See `flashsched.te.linear.structural_key`."""

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
        from flashsched.te.expr import cast

        return cast(self, dtype)

    def equal(self, other: object) -> Any:
        """``self == other``, the comparison by its name."""
        return _compare("==", self, other)

    def __neg__(self) -> Expr:
        if dtypes.is_float(self.dtype):
            return _binary("*", self, -1.0)
        return _binary("-", Const(0, self.dtype), self)

    def __pos__(self) -> Expr:
        return self

    def __invert__(self) -> Expr:
        if dtypes.is_bool(self.dtype):
            return Not(self)
        return _binary("^", self, dtypes.max_value(self.dtype) if dtypes.is_unsigned(self.dtype) else -1)

    def __eq__(self, other: object) -> Any:
        return _compare("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _compare("!=", self, other)

    __hash__ = object.__hash__  # by identity, and not by a function of Python's: nodes are keys all the time

    def __bool__(self) -> bool:
        raise AxisError(
            f"the truth of {self} is not known while the expression is being built",
            hint="use te.select(condition, a, b), te.all(...) or te.any(...) in place of if, and, or, not",
        )

    def __iter__(self) -> Any:
        raise ShapeError(f"{self} is a single value and can't be looped over", hint="use te.sum(..., axis=k)")

    def __int__(self) -> int:
        raise ShapeError(
            f"the value of {self} is not a number while the expression is being built",
            hint="bind the sizes where a number is needed: te.bind_sizes(C, {n: 512})",
        )

    def __float__(self) -> float:
        raise AxisError(
            f"the value of {self} is not known while the expression is being built",
            hint="use te's functions, such as te.exp, in place of those of math",
        )

    def __str__(self) -> str:
        from flashsched.te.printing import expr_text

        return expr_text(self)

    __repr__ = __str__


@quickly_made
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Const(Expr):
    """A literal; *value* is a Python bool, int or float that fits *dtype*."""

    value: int | float | bool
    dtype: str

    children = ()

    def key(self) -> tuple[Any, ...]:
        if isinstance(self.value, float):  # tells -0.0 from 0.0, and one NaN like another
            return (self.dtype, self.value.hex())
        return (self.dtype, self.value)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(Expr):
    """A named scalar: a loop's variable, or a block's. Known by identity."""

    name: str
    dtype: str = dtypes.INDEX

    children = ()

    def key(self) -> tuple[Any, ...]:
        return (id(self),)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SizeVar(Var):
    """A size that is known only when a kernel is called; it is at least 0."""


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


@quickly_made
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(_Pair):
    """``a op b``, both sides and the result of one dtype. ``//`` and ``%`` round to minus infinity, as in Python.

    *op* is one of ``+ - * / // % min max & | ^ << >>``, or ``and``, ``or`` on bools. Integers wrap around.
    """

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.a.dtype


@quickly_made
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


@quickly_made
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


@quickly_made
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


def same(a: Expr, b: Expr) -> bool:
    """Whether two expressions are alike, node by node (variables by identity)."""
    if a is b:
        return True
    if type(a) is not type(b) or a.key() != b.key():
        return False
    x, y = a.children, b.children
    return len(x) == len(y) and all(same(p, q) for p, q in zip(x, y, strict=True))
