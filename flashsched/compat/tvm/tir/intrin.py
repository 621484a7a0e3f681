"""Calls by name: of the C library's mathematics, of LLVM's intrinsics, of intrinsics of one's own, of functions.

Mathematics becomes our own nodes, whatever it is called by, so that it is vectorized, folded and interpreted like any
other. A call that takes addresses (`Buffer.access_ptr`) is a statement, for `ir_builder`'s ``emit`` and `te.extern`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any

from flashsched import te
from flashsched.compat.tvm.tir import op as tir
from flashsched.errors import ExpressionError, did_you_mean
from flashsched.schedule.ir import Stmt
from flashsched.te import dtypes
from flashsched.te.expr import Call, Const, Expr, as_expr, cast

__all__ = [
    "CallEffectKind", "CallStmt", "ExternCall", "PackedCall", "call_extern", "call_intrin", "call_llvm_intrin",
    "call_llvm_pure_intrin", "call_packed", "call_pure_extern",
]  # fmt: skip


class CallEffectKind(IntEnum):
    """What a call does besides giving a value."""

    ExprAnnotation = 0
    Pure = 1
    ReadState = 2
    UpdateState = 3
    Opaque = UpdateState


class PackedCall:
    """A call of a registered Python function with whole tensors: the body of a `te.extern`."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args


class ExternCall:
    """A call of a function in machine code, with addresses and numbers, as a statement."""

    def __init__(self, dtype: str, name: str, args: tuple[Any, ...]) -> None:
        self.dtype, self.name, self.args = dtype, name, args


class CallStmt(Stmt):
    """A call that stands among statements."""

    __slots__ = ("call",)

    def __init__(self, call: ExternCall) -> None:
        self.call = call


_SAME = {name: name for name in (*te.MATH, "pow", "atan2", "fmod", "hypot", "copysign")}
_C_NAMES = {
    **{f"{name}f": name for name in _SAME}, **_SAME, "fabs": "abs", "fabsf": "abs", "rint": "nearbyint",
    "rintf": "nearbyint", "nearbyint": "nearbyint", "nearbyintf": "nearbyint", "fmax": "maximum", "fmaxf": "maximum",
    "fmin": "minimum", "fminf": "minimum", "__expf": "exp", "__logf": "log", "__sinf": "sin", "__cosf": "cos",
    "__powf": "pow", "__tanf": "tan", "__log2f": "log2", "__log10f": "log10",
}  # fmt: skip
"""Functions of C, and the faster ones of CUDA, by the function of ours that computes the same."""

_LLVM_NAMES = {
    **{name: name for name in ("exp", "exp2", "log", "log2", "log10", "sqrt", "sin", "cos", "floor", "ceil", "trunc",
                               "round", "pow", "copysign", "nearbyint")},
    "fabs": "abs", "rint": "nearbyint", "maxnum": "maximum", "minnum": "minimum", "roundeven": "nearbyint",
}  # fmt: skip


def _function(name: str) -> Any:
    return getattr(te, name) if name in ("maximum", "minimum") else getattr(tir, name)


def _call(table: dict[str, str], name: str, shown: str, dtype: str, args: tuple[Any, ...]) -> Expr:
    if name not in table:
        raise ExpressionError(
            f"no function {shown} that gives a value; {did_you_mean(name, table)}",
            hint="a function that takes addresses can be called in te.extern; an instruction is declared with "
            "flashsched's intrinsic() and used by tensorize",
        )
    return cast(_function(table[name])(*args), dtypes.check_dtype(dtype))


def call_pure_extern(dtype: str, func_name: str, *args: Any, span: Any = None) -> Expr:
    """A function of C's mathematics by its name, e.g. ``"expf"``.

    Raises:
        ExpressionError: there is no function of that name that gives a value.
    """
    return _call(_C_NAMES, func_name, func_name, dtype, tuple(map(as_expr, args)))


def call_extern(dtype: str, func_name: str, *args: Any, span: Any = None) -> Any:
    """A call of a function in machine code: with an address among *args* a statement, else as `call_pure_extern`."""
    from flashsched.compat.tvm.tir.buffer import AccessPtr

    if any(isinstance(arg, AccessPtr) for arg in args) or func_name not in _C_NAMES:
        return ExternCall(dtype, func_name, args)
    return call_pure_extern(dtype, func_name, *args)


def call_packed(*args: Any, span: Any = None) -> PackedCall:
    """A call of the function registered under the name that comes first, with the tensors that follow."""
    return PackedCall(str(args[0]), tuple(args[1:]))


def call_llvm_pure_intrin(dtype: str, name: str, *args: Any, span: Any = None) -> Expr:
    """An intrinsic of LLVM's for mathematics, e.g. ``"llvm.exp2.f32"``; a leading count of types is left out.

    Raises:
        ExpressionError: it is another intrinsic.
    """
    found = re.fullmatch(r"llvm\.(\w+)(\.[\w.]+)?", name)
    items = tuple(map(as_expr, args))
    if len(items) > 1 and isinstance(items[0], Const) and dtypes.is_int(items[0].dtype):
        items = items[1:]
    return _call(_LLVM_NAMES, found.group(1) if found else name, name, dtype, items)


call_llvm_intrin = call_llvm_pure_intrin


def call_intrin(dtype: str, func_name: Any, *args: Any, span: Any = None) -> Expr:
    """A call of an intrinsic: TVM's (``"tir.exp"``), or one's own, for which a rule is registered (see `tvm.ir`)."""
    from flashsched.compat.tvm import ir

    name = str(getattr(func_name, "name", func_name))
    short = name.removeprefix("tir.")
    if short in _SAME or short in ("abs", "fabs", "nearbyint", "round", "if_then_else", "likely", "sigmoid", "rsqrt"):
        return cast(getattr(tir, short)(*args), dtypes.check_dtype(dtype))
    ir.require_op(name)
    return Call(name, tuple(map(as_expr, args)), dtypes.check_dtype(dtype))
