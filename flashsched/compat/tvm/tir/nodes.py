"""The names of TVM's expression nodes, for ``isinstance`` and for making one.

Our nodes are fewer than TVM's (one `Binary` where TVM has Add, Sub, …), so each name here tells which of ours it means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.compat.tvm.ir import CallSeen
from flashsched.compat.tvm.te.axes import IterVar, Size
from flashsched.te import dtypes
from flashsched.te import expr as ours
from flashsched.te.tensor import Read, Reduce

__all__ = [
    "And", "Add", "Call", "Cast", "Div", "EQ", "FloatImm", "FloorDiv", "FloorMod", "GE", "GT", "IntImm", "IterVar",
    "LE", "LT", "Max", "Min", "Mul", "NE", "Not", "Or", "PrimExpr", "ProducerLoad", "Reduce", "StringImm", "Sub", "Var",
]  # fmt: skip


class _Kind(type):
    """A class whose instances are those of our nodes that *means* accepts."""

    means: Callable[[Any], bool]

    def __instancecheck__(cls, node: Any) -> bool:
        return cls.means(node)


def _binary(name: str, op: str) -> Any:
    def make(cls: Any, a: Any, b: Any, span: Any = None) -> Any:
        return ours.binary(op, a, b)

    def means(node: Any) -> bool:
        return isinstance(node, ours.Binary) and node.op == op

    return _Kind(name, (), {"__new__": make, "means": staticmethod(means), "__doc__": f"``a {op} b``."})


def _compare(name: str, op: str) -> Any:
    def make(cls: Any, a: Any, b: Any, span: Any = None) -> Any:
        return ours.compare(op, a, b)

    def means(node: Any) -> bool:
        return isinstance(node, ours.Compare) and node.op == op

    return _Kind(name, (), {"__new__": make, "means": staticmethod(means), "__doc__": f"``a {op} b``."})


Add, Sub, Mul, Div = _binary("Add", "+"), _binary("Sub", "-"), _binary("Mul", "*"), _binary("Div", "/")
FloorDiv, FloorMod = _binary("FloorDiv", "//"), _binary("FloorMod", "%")
Min, Max, And, Or = _binary("Min", "min"), _binary("Max", "max"), _binary("And", "and"), _binary("Or", "or")
LT, LE, GT, GE = _compare("LT", "<"), _compare("LE", "<="), _compare("GT", ">"), _compare("GE", ">=")
EQ, NE = _compare("EQ", "=="), _compare("NE", "!=")
PrimExpr, Not, ProducerLoad = ours.Expr, ours.Not, Read
Call = (ours.Call, CallSeen)  # what `isinstance` takes; a rule of `tvm.ir.register_intrin_lowering` gets the latter
Reduce = Reduce


class IntImm(metaclass=_Kind):
    """An integer literal."""

    def __new__(cls, dtype: str, value: int, span: Any = None) -> Any:
        return ours.const(int(value), dtype)

    @staticmethod
    def means(node: Any) -> bool:
        """Whether *node* is one."""
        return isinstance(node, Size) or (isinstance(node, ours.Const) and not dtypes.is_float(node.dtype))


class FloatImm(metaclass=_Kind):
    """A literal of a float."""

    def __new__(cls, dtype: str, value: float, span: Any = None) -> Any:
        return ours.const(float(value), dtype)

    @staticmethod
    def means(node: Any) -> bool:
        """Whether *node* is one."""
        return isinstance(node, ours.Const) and dtypes.is_float(node.dtype)


class StringImm(str):
    """A string, for intrinsics and pragmas."""

    @property
    def value(self) -> str:
        """The string."""
        return str(self)


class Cast(metaclass=_Kind):
    """*value* converted to *dtype*."""

    def __new__(cls, dtype: str, value: Any, span: Any = None) -> Any:
        return ours.cast(value, dtype)

    @staticmethod
    def means(node: Any) -> bool:
        """Whether *node* is one."""
        return isinstance(node, ours.Cast)


class Var(metaclass=_Kind):
    """A variable."""

    def __new__(cls, name: str, dtype: str = "int32", span: Any = None) -> Any:
        return ours.Var(name, dtypes.check_dtype(dtype))

    @staticmethod
    def means(node: Any) -> bool:
        """Whether *node* is one."""
        return isinstance(node, ours.Var)
