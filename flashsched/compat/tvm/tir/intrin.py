"""Calls by name: of the C library's mathematics, of LLVM's intrinsics, of intrinsics of one's own, of functions.

Mathematics becomes our own nodes, whatever it is called by, so that it is vectorized, folded and interpreted like any
other; another function of C, or of imported LLVM text, is called element by element. A call that takes addresses
(`Buffer.access_ptr`) is a statement, for `ir_builder`'s ``emit`` and `te.extern`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any

from flashsched import te
from flashsched.compat.tvm.tir import op as tir
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


def _call(table: dict[str, str], name: str, dtype: str, args: tuple[Any, ...]) -> Expr:
    return cast(_function(table[name])(*args), dtypes.check_dtype(dtype))


def call_pure_extern(dtype: str, func_name: str, *args: Any, span: Any = None) -> Expr:
    """A function of C's mathematics by its name, e.g. ``"expf"``; or another that this process or imported text has."""
    items = tuple(map(as_expr, args))
    if func_name in _C_NAMES:
        return _call(_C_NAMES, func_name, dtype, items)
    return te.call_pure_extern(dtype, func_name, *items)


def call_extern(dtype: str, func_name: str, *args: Any, span: Any = None) -> Any:
    """A call of a function in machine code: a statement with an address among *args*, else a value."""
    from flashsched.compat.tvm.tir.buffer import AccessPtr, Buffer

    if any(isinstance(arg, AccessPtr | Buffer) for arg in args):
        return ExternCall(dtype, func_name, args)
    if func_name in _C_NAMES:
        return call_pure_extern(dtype, func_name, *args)
    return te.call_extern(dtype, func_name, *map(as_expr, args))


def call_packed(*args: Any, span: Any = None) -> PackedCall:
    """A call of the function registered under the name that comes first, with the tensors that follow."""
    return PackedCall(str(args[0]), tuple(args[1:]))


def call_llvm_pure_intrin(dtype: str, name: str, *args: Any, span: Any = None) -> Expr:
    """An intrinsic of LLVM's, e.g. ``"llvm.exp2.f32"``; a count of types before its arguments is left out."""
    found = re.fullmatch(r"llvm\.(\w+)(\.[\w.]+)?", name)
    items = tuple(map(as_expr, args))
    if len(items) > 1 and isinstance(items[0], Const) and dtypes.is_int(items[0].dtype) and dtypes.is_float(dtype):
        items = items[1:]
    if found is not None and found.group(1) in _LLVM_NAMES:
        return _call(_LLVM_NAMES, found.group(1), dtype, items)
    return te.call_llvm_intrin(dtype, name, *items)


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
