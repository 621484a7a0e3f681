"""`decl_tensor_intrin`: instructions and functions that take the place of loops, for ``s[C].tensorize``.

What one means is a small te program. How it does that is a call (`tir.call_extern`) for each of its parts, which
becomes LLVM text for our `flashsched.schedule.intrinsic`. The function called is found in what the schedule imports
(``s[C].pragma(x, "import_llvm", text)``), or in this process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flashsched.compat.tvm.tir.buffer import AccessPtr, Buffer
from flashsched.compat.tvm.tir.intrin import CallStmt, ExternCall
from flashsched.errors import ExpressionError
from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.schedule.ir import Buffer as OurBuffer
from flashsched.schedule.ir import Seq, Stmt
from flashsched.te import dtypes
from flashsched.te.expr import Const, as_expr

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
        ExpressionError: a part is not made of calls of functions.
        NotImplementedError: there are *scalar_params*.
    """
    if scalar_params:
        raise NotImplementedError("decl_tensor_intrin(scalar_params=…) is not there: write the numbers into the call")
    inputs, output = list(op.inputs), op.output(0)
    buffers = {id(t): _buffer(t, binds or {}, default_buffer_params or {}) for t in (*inputs, output)}
    ins, outs = [buffers[id(tensor)] for tensor in inputs], [buffers[id(output)]]
    made = fcompute(ins, outs)
    parts = list(made) if isinstance(made, tuple | list) else [made]
    reduces = op.reduction is not None
    labels = ("body", "reset", "update") if reduces and len(parts) > 1 else ("body",)
    texts = {}
    for label, part in zip(labels, parts, strict=True):
        if part is not None:
            texts[label] = _text(name, part, outs if label == "reset" else [*ins, *outs])
    strides = {t.name: [_fixed(s) for s in buffers[id(t)].strides] for t in (*inputs, output) if buffers[id(t)].strides}
    for tensor in (*inputs, output):
        if tensor.name not in strides:
            strides[tensor.name] = list(OurBuffer("", tuple(map(int, tensor.shape)), tensor.dtype).element_strides)
    ours = intrinsic(
        f"tvm.{name}.{next(_serial)}",
        output,
        body=texts.get("body"),
        update=texts.get("update"),
        reset=texts.get("reset"),
        inputs=inputs,
        strides=strides,
    )
    return TensorIntrin(name, op, ours)


def _buffer(tensor: Any, binds: Mapping[Any, Buffer], defaults: Mapping[str, Any]) -> Buffer:
    from flashsched.compat.tvm.tir.buffer import decl_buffer

    found = next((buffer for known, buffer in binds.items() if known is tensor), None)
    return found or decl_buffer(tensor.shape, tensor.dtype, tensor.name, **defaults)


def _fixed(stride: Any) -> int | None:
    """A stride that the code needs; None where it may be any."""
    expr = as_expr(stride, dtypes.INDEX)
    return int(expr.value) if isinstance(expr, Const) else None


def _text(name: str, part: Any, buffers: Sequence[Buffer]) -> str:
    """A part as an LLVM function of a pointer and strides for each of *buffers*."""
    params, slots, scalars = [], {}, {}
    for number, buffer in enumerate(buffers):
        slots[id(buffer)] = f"%p{number}"
        params.append(f"ptr %p{number}")
        for dimension in range(len(buffer.shape)):
            params.append(f"i64 %s{number}.{dimension}")
            if dimension < len(buffer.strides):
                scalars[id(buffer.strides[dimension])] = f"%s{number}.{dimension}"
    lines: list[str] = []
    declared: dict[str, str] = {}
    for call in _calls(name, part):
        arguments = [_argument(arg, slots, scalars, buffers, lines) for arg in call.args]
        result = _LLVM.get(call.dtype, "void")
        kinds = ", ".join(kind for kind, _ in arguments)
        declared[call.name] = f"declare {result} @{call.name}({kinds})"
        value = f"%r{len(lines)} = " if result != "void" else ""
        lines.append(f"{value}call {result} @{call.name}({', '.join(f'{k} {v}' for k, v in arguments)})")
    body = "\n".join(f"  {line}" for line in lines)
    heads = "\n".join(declared.values())
    return f"{heads}\n\ndefine void @part({', '.join(params)}) {{\n{body}\n  ret void\n}}\n"


_LLVM = {"int8": "i8", "int32": "i32", "int64": "i64", "float32": "float", "float64": "double", "handle": "ptr"}


def _calls(name: str, part: Any) -> list[ExternCall]:
    if isinstance(part, ExternCall):
        return [part]
    if isinstance(part, CallStmt):
        return [part.call]
    if isinstance(part, Seq):
        return [call for stmt in part.stmts for call in _calls(name, stmt)]
    what = "loops and stores" if isinstance(part, Stmt) else type(part).__name__
    raise ExpressionError(
        f"{name}: a part is {what}, and an intrinsic is made of calls of functions",
        hint="tvm.tir.call_extern with access_ptr; what loops do, the schedule's own loops do as well",
    )


def _argument(
    arg: Any, slots: Mapping[int, str], scalars: Mapping[int, str], buffers: Sequence[Buffer], lines: list[str]
) -> tuple[str, str]:
    """*arg* of a call as LLVM's type and value; what must be computed first is added to *lines*."""
    if isinstance(arg, Buffer):
        arg = arg.data
    if isinstance(arg, AccessPtr):
        pointer = slots[id(arg.buffer)]
        offset = _fixed(arg.offset)
        if offset is None:
            raise ExpressionError(f"the offset of {arg!r} is no number", hint="pass the first element's address")
        if offset == 0:
            return "ptr", pointer
        lines.append(f"%r{len(lines)} = getelementptr {_LLVM[arg.buffer.dtype]}, ptr {pointer}, i64 {offset}")
        return "ptr", f"%r{len(lines) - 1}"
    if id(arg) in scalars:  # a stride that is known at run time
        kind = "i64" if getattr(arg, "dtype", "") == "int64" else "i32"
        if kind == "i64":
            return kind, scalars[id(arg)]
        lines.append(f"%r{len(lines)} = trunc i64 {scalars[id(arg)]} to i32")
        return kind, f"%r{len(lines) - 1}"
    expr = as_expr(arg)
    if isinstance(expr, Const):
        kind = _LLVM[expr.dtype]
        if dtypes.is_float(expr.dtype):
            import struct

            return kind, "0x" + struct.pack(">d", float(expr.value)).hex()
        return kind, str(int(expr.value))
    raise ExpressionError(f"{expr} can't be passed to an intrinsic's function", hint="pass addresses, strides, numbers")
