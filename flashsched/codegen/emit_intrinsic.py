"""A tensorized loop to a call of its intrinsic's code: the features it needs, the pointers and strides it gets.

The code is LLVM text from elsewhere, or a statement that calls C functions; `flashsched.codegen.link` puts text into
the module, where it is inlined.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace

from flashsched.codegen.emit_code import Import
from flashsched.codegen.emit_convert import memory_type, register_type
from flashsched.codegen.emit_expr import Expressions
from flashsched.codegen.emit_state import Slot, State
from flashsched.codegen.target import Target
from flashsched.errors import LoweringError
from flashsched.schedule.calls import AccessPtr, CallExtern
from flashsched.schedule.intrinsic import Intrinsic, Operand, Text, find_intrinsic
from flashsched.schedule.ir import (
    Buffer,
    For,
    Load,
    Stmt,
    Store,
    map_exprs,
    rewrite_stmt,
    walk_stmt,
)
from flashsched.schedule.match import Bound, Differs, Match
from flashsched.te import dtypes
from flashsched.te.expr import Expr, Var, cast, const, is_const
from flashsched.te.visit import rewrite

__all__ = ["call_intrinsic", "write_call"]


def call_intrinsic(loop: For, state: State, expressions: Expressions, write: Callable[[Stmt], None]) -> None:
    """Write the call (or, by way of *write*, the statement) that does what the tensorized *loop* means.

    Raises:
        LoweringError: the CPU lacks a feature and there is no portable code; the arrays do not lie in memory as the
            code needs them.
    """
    known, part = find_intrinsic(loop.notes["intrinsic"]), loop.notes["part"]
    if state.lanes is not None:
        raise LoweringError(f"the tensorized loop {loop.var.name!r} stands in a vectorized loop")
    try:
        found = known.match(loop, part, state.ranges)
    except Differs as differs:
        raise LoweringError(
            f"{known.name!r} can't take these arrays: {differs}",
            hint="pass contiguous arrays, as numpy.ascontiguousarray makes them",
        ) from None
    code = _code(known, part, state.code.module.target)
    function = f"fs.intrinsic.{known.name}.{part}"
    if callable(code):
        code = code([_operand(found[buffer], expressions) for buffer in known.buffers if buffer in found])
        function += f".{zlib.crc32(code.encode()):x}"  # there may be others, for operands that lie elsewhere
    if isinstance(code, Stmt):
        _write_statement(code, known, found, state, expressions, write)
        return
    arguments: list[tuple[str, str]] = []
    for buffer in known.buffers:
        bound = found.get(buffer)
        if bound is None:  # a reset takes the output only
            continue
        arguments.append(("ptr", expressions.memory.address(bound.buffer, bound.indices).text))
        for stride in bound.strides:
            arguments.append(("i64", str(stride) if isinstance(stride, int) else expressions.value(stride).text))
    module = state.code.module
    module.imports[f"intrinsic {known.name!r}, {function.removeprefix(f'fs.intrinsic.{known.name}.')}"] = Import(
        code, function
    )
    module.declare(function, "void", [kind for kind, _ in arguments])
    state.code.line(f"call void @{function}({', '.join(f'{kind} {value}' for kind, value in arguments)})")


def _operand(bound: Bound, expressions: Expressions) -> Operand:
    """Where what takes the place of a tensor lies."""
    buffer = bound.buffer
    strides = tuple(stride if isinstance(stride, int) else None for stride in bound.strides)
    place = expressions.memory.together(buffer, bound.indices, 1)
    return Operand("lanes" if buffer.held else buffer.scope, strides, 1 if place is None else place[1])


def _write_statement(
    stmt: Stmt, known: Intrinsic, found: Match, state: State, expressions: Expressions, write: Callable[[Stmt], None]
) -> None:
    """Write *stmt* with its formal buffers where the match put them, and its strides as they are."""
    values = {
        var: cast(const(v) if isinstance(v, int) else v, var.dtype) for var, v in known.stride_values(found).items()
    }
    places: dict[Buffer, Buffer] = {}
    for item, bound in known.bound_formals(found):
        strides = tuple(s if isinstance(s, int) else 0 for s in bound.strides)
        if strides != tuple(bound.strides) and any(isinstance(node, Store) for node in walk_stmt(stmt)):
            raise LoweringError(f"{known.name} stores to {item.buffer.name}, whose strides are no numbers")
        places[item.buffer] = replace(item.buffer, strides=strides)
        pointer = expressions.memory.address(bound.buffer, bound.indices).text
        state.slots[places[item.buffer]] = Slot(pointer, max(1, dtypes.bits(item.buffer.dtype) // 8))

    def on_expr(node: Expr) -> Expr | None:
        if isinstance(node, Var):
            return values.get(node)
        if isinstance(node, Load | AccessPtr):
            return replace(node, buffer=places[node.buffer])
        return None

    def changed(expr: Expr) -> Expr:
        return rewrite(expr, on_expr)

    def on_stmt(node: Stmt) -> Stmt | None:
        if isinstance(node, CallExtern):
            return replace(node, args=tuple(changed(arg) for arg in node.args))
        return replace(node, buffer=places[node.buffer]) if isinstance(node, Store) else None

    write(rewrite_stmt(map_exprs(stmt, changed), on_stmt))
    for buffer in places.values():
        del state.slots[buffer]


def write_call(stmt: CallExtern, state: State, expressions: Expressions) -> None:
    """Write the call of a C function on addresses and scalars."""
    code = state.code
    arguments: list[tuple[str, str]] = []
    for arg in stmt.args:
        if isinstance(arg, AccessPtr):
            place = state.slot(arg.buffer).pointer
            if not is_const(arg.offset, 0):
                kind = memory_type(arg.buffer.dtype, code.module.target)
                offset = expressions.value(arg.offset)
                place = code.make(f"getelementptr {kind}, ptr {place}, i64 {offset.text}", "ptr", 1, "at").text
            arguments.append(("ptr", place))
        else:
            value = expressions.value(arg)
            arguments.append((value.kind, value.text))
    result = "void" if stmt.dtype == "void" else register_type(stmt.dtype)
    code.module.declare(stmt.symbol, result, [kind for kind, _ in arguments], "nounwind")
    call = f"call {result} @{stmt.symbol}({', '.join(f'{kind} {text}' for kind, text in arguments)})"
    if result == "void":
        code.line(call)
    else:
        code.make(call, result)


def _code(known: Intrinsic, part: str, target: Target) -> Text:
    lacking = [feature for feature in known.features if not target.has(feature)]
    if not lacking:
        return known.how[part]
    if part in known.portable:
        warnings.warn(
            f"{target.cpu} lacks {', '.join(lacking)}: the portable code of {known.name} is used", stacklevel=2
        )
        return known.portable[part]
    raise LoweringError(
        f"intrinsic {known.name!r} needs a CPU with {', '.join(lacking)}, and {target.cpu} has not",
        hint="leave out tensorize for this CPU (vectorize the loop instead), or choose an intrinsic that it has",
    )
