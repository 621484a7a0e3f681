"""Calls of functions from elsewhere: C symbols, LLVM's intrinsics, functions that a user gave as LLVM text.

A C function is called lane by lane; one that may do something besides is called for active lanes only. LLVM's
intrinsics that work element by element take whole vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flashsched.codegen.emit_code import Code, Import, Value
from flashsched.codegen.emit_convert import register_type
from flashsched.codegen.emit_state import State
from flashsched.te.foreign import Foreign

__all__ = ["call"]

_ELEMENTWISE: Final = {
    "fma", "fmuladd", "sqrt", "fabs", "floor", "ceil", "trunc", "rint", "nearbyint", "roundeven", "round", "copysign",
    "minnum", "maxnum", "minimum", "maximum", "smin", "smax", "umin", "umax", "ctpop", "bitreverse", "bswap",
}  # fmt: skip
_SUFFIX: Final = {"float": "f32", "double": "f64", "i32": "i32", "i64": "i64"}


def call(state: State, node: Foreign, args: Sequence[Value]) -> Value:
    """What *node* gives for *args*, scalar where none of them is a vector and the call is pure."""
    code, kind = state.code, register_type(node.dtype)
    if node.code is not None:
        code.module.imports[f"function {node.name!r} for {node.dtype}"] = Import(node.code, node.symbol)
    lanes = max((value.lanes for value in args), default=1)
    if not node.pure and state.lanes is not None:
        lanes = state.lanes.width
    whole = _vector_name(node.symbol, kind, lanes, args)
    if whole is not None:
        of = f"<{lanes} x {kind}>"
        code.module.declare(whole, of, [of] * len(args))
        shown = ", ".join(f"{of} {code.broadcast(value, lanes).text}" for value in args)
        return code.make(f"call {of} @{whole}({shown})", kind, lanes)
    llvm = node.symbol.startswith("llvm.")
    attributes = "" if llvm else "nounwind willreturn memory(none)" if node.pure else "nounwind"
    code.module.declare(node.symbol, kind, [value.kind for value in args], attributes)
    if lanes == 1:
        return _one(code, node.symbol, kind, args)
    result = Value("poison", kind, lanes)
    for lane in range(lanes):
        result = _lane(state, node, kind, args, lane, result)
    return result


def _vector_name(symbol: str, kind: str, lanes: int, args: Sequence[Value]) -> str | None:
    """The intrinsic for whole vectors, where there is one: ``llvm.fma.v16f32``."""
    parts = symbol.split(".")
    fits = lanes > 1 and len(parts) == 3 and parts[0] == "llvm" and parts[1] in _ELEMENTWISE
    same = all(value.kind == kind for value in args)
    return f"llvm.{parts[1]}.v{lanes}{_SUFFIX[kind]}" if fits and same and parts[2] == _SUFFIX[kind] else None


def _one(code: Code, symbol: str, kind: str, args: Sequence[Value]) -> Value:
    return code.make(f"call {kind} @{symbol}({', '.join(f'{a.kind} {a.text}' for a in args)})", kind)


def _lane(state: State, node: Foreign, kind: str, args: Sequence[Value], lane: int, result: Value) -> Value:
    """*result* with *lane* set; where the function may do something, only if the lane is active."""
    code = state.code

    def put() -> Value:
        parts = [value if value.lanes == 1 else code.extract(value, lane) for value in args]
        one = _one(code, node.symbol, kind, parts)
        text = f"insertelement {result.type} {result.text}, {kind} {one.text}, i64 {lane}"
        return code.make(text, kind, result.lanes)

    if node.pure or state.mask is None:
        return put()
    active = code.extract(state.mask, lane)
    before, inside, after = code.label, code.fresh("active"), code.fresh("idle")
    code.line(f"br i1 {active.text}, label %{inside}, label %{after}")
    with code.branch():
        code.enter(inside)
        value = put()
        code.start(after)
    return code.phi([(result, before), (value, inside)])
