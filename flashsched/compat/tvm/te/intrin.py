"""`decl_tensor_intrin`: functions and loops that take the place of a schedule's loops, for ``s[C].tensorize``.

What one means is a small te program. How it does that is a statement over formal buffers, as our
`flashsched.schedule.formal` takes it: calls of functions (`tir.call_extern`) that the schedule imports
(``s[C].pragma(x, "import_llvm", text)``) or that this process has, stores and loops.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from flashsched.compat.tvm.te.axes import IndexVar, settle
from flashsched.compat.tvm.tir.buffer import AccessPtr, Buffer, decl_buffer
from flashsched.compat.tvm.tir.intrin import CallStmt, ExternCall
from flashsched.errors import ExpressionError
from flashsched.schedule.calls import AccessPtr as OurAccessPtr
from flashsched.schedule.calls import CallExtern
from flashsched.schedule.formal import Formal
from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.schedule.ir import Stmt, rewrite_stmt
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, as_expr, cast

__all__ = ["TensorIntrin", "decl_tensor_intrin"]

_serial = itertools.count()


class TensorIntrin:
    """What `decl_tensor_intrin` gives; *ours* is the intrinsic of flashsched."""

    def __init__(self, name: str, op: Any, ours: Intrinsic) -> None:
        self.name, self.op, self.ours = name, op, ours

    def __repr__(self) -> str:
        return f"TensorIntrin({self.name})"


def decl_tensor_intrin(
    op: Any,
    fcompute: Callable[[list[Buffer], list[Buffer]], Any],
    name: str = "tensor_intrin",
    binds: Mapping[Any, Buffer] | None = None,
    scalar_params: Any = None,
    default_buffer_params: Mapping[str, Any] | None = None,
) -> TensorIntrin:
    """Declare what takes the place of loops that compute *op*.

    Args:
        op: a `compute` of placeholders: what it means.
        fcompute: ``fcompute(ins, outs)`` gives how: a statement that does all of it; or for a reduction three, the
            second of which sets the elements to the identity (or is None), and the third combines into them.
        name: its name.
        binds: the form in memory of each tensor, from `tir.decl_buffer`; strides that are variables may be any.
        scalar_params: there are none.
        default_buffer_params: arguments of `tir.decl_buffer` for tensors without one.

    Raises:
        ExpressionError: a part is no statement.
        NotImplementedError: there are *scalar_params*.
    """
    if scalar_params:
        raise NotImplementedError("decl_tensor_intrin(scalar_params=…) is not there: write the numbers into the call")
    inputs, output = list(op.inputs), op.output(0)
    buffers = {id(t): _buffer(t, binds or {}, default_buffer_params or {}) for t in (*inputs, output)}
    made = fcompute([buffers[id(tensor)] for tensor in inputs], [buffers[id(output)]])
    several = isinstance(made, tuple | list)
    labels = ("body", "reset", "update") if several else ("body",)
    given = zip(labels, made if several else [made], strict=False)
    parts = {label: _code(name, part) for label, part in given if part is not None}
    ours = intrinsic(
        f"tvm.{name}.{next(_serial)}",
        output,
        body=parts.get("body"),
        update=parts.get("update"),
        reset=parts.get("reset"),
        inputs=inputs,
        formals=[_formal(tensor, buffers[id(tensor)]) for tensor in (*inputs, output)],
    )
    return TensorIntrin(name, op, ours)


def _buffer(tensor: Any, binds: Mapping[Any, Buffer], defaults: Mapping[str, Any]) -> Buffer:
    found = next((buffer for known, buffer in binds.items() if known is tensor), None)
    return found or decl_buffer(tensor.shape, tensor.dtype, tensor.name, **defaults)


def _formal(tensor: Any, buffer: Buffer) -> Formal:
    strides = buffer.strides or buffer.ours.element_strides
    return Formal(tensor, buffer.ours, tuple(map(_stride, strides)))


def _stride(stride: Any) -> int | Var:
    """A stride as a formal buffer has it: a number that is needed, or a variable that may be any."""
    expr = as_expr(stride, dtypes.INDEX)
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, IndexVar) and expr.axis is not None:
        return expr.axis
    if isinstance(expr, Var):
        return expr
    raise ExpressionError(f"a stride is a number or a te.var, and {expr} is neither")


def _code(name: str, part: Any) -> Stmt:
    """A part as a statement of ours.

    Raises:
        ExpressionError: it is none.
    """
    part = CallStmt(part) if isinstance(part, ExternCall) else part
    if not isinstance(part, Stmt):
        raise ExpressionError(
            f"{name}: a part is {type(part).__name__}, and a statement is needed",
            hint="tvm.tir.call_extern with access_ptr, or ib.get() of an ir_builder",
        )
    return rewrite_stmt(part, lambda stmt: _call(stmt.call) if isinstance(stmt, CallStmt) else None)


def _call(call: ExternCall) -> Stmt:
    return CallExtern(call.name, tuple(map(_argument, call.args)), "void" if call.dtype == "handle" else call.dtype)


def _argument(arg: Any) -> Expr:
    arg = arg.data if isinstance(arg, Buffer) else arg
    if isinstance(arg, AccessPtr):
        return OurAccessPtr(arg.buffer.ours, cast(settle(as_expr(arg.offset, dtypes.INDEX)), dtypes.INDEX), arg.mask)
    return settle(as_expr(arg))
