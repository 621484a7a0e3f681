"""`var` and `size_var`: what is known only when a function is called."""

from __future__ import annotations

from typing import Any

from flashsched import te
from flashsched.compat.tvm.te.axes import IndexVar, Operand
from flashsched.te import dtypes
from flashsched.te.expr import Expr
from flashsched.te.scalars import scalar_tensor
from flashsched.te.tensor import Tensor

__all__ = ["ScalarVar", "size_var", "var"]


class ScalarVar(Operand):
    """A float that is passed to the function; *tensor* is the rank-0 tensor that it is inside."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name, self.dtype = name, dtype
        self._value = te.scalar(name, dtype)

    @property
    def tensor(self) -> Tensor:
        """The rank-0 tensor."""
        found: Tensor = scalar_tensor(self._value)
        return found

    def __te_expr__(self) -> Expr:
        return self._value

    def __repr__(self) -> str:
        return self.name


def var(name: str = "tindex", dtype: str = "int32", span: Any = None) -> Any:
    """A size that a call's arrays decide, or with a *dtype* of floats a number that is passed.

    A size is int32 in expressions, as in TVM, and at least 0.
    """
    kind = dtypes.check_dtype(dtype)
    if dtypes.is_float(kind):
        return ScalarVar(name, kind)
    return IndexVar(name, "int64" if kind == "int64" else "int32", te.var(name))


def size_var(name: str = "size", dtype: str = "int32", span: Any = None) -> Any:
    """A size that a call's arrays decide."""
    return var(name, dtype)
