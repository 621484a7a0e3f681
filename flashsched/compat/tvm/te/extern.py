"""`extern`: stages computed by a registered function, by loops written out, or by a function in machine code."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flashsched import te
from flashsched.codegen.extern_nest import extern_nest
from flashsched.compat.tvm.runtime.ndarray import NDArray
from flashsched.compat.tvm.runtime.packed_func import get_global_func
from flashsched.compat.tvm.te.axes import shape_of
from flashsched.compat.tvm.te.tensor import adopt
from flashsched.compat.tvm.tir.buffer import AccessPtr, Buffer
from flashsched.compat.tvm.tir.intrin import CallStmt, ExternCall, PackedCall
from flashsched.errors import ExpressionError, KernelError
from flashsched.schedule.external import nest_over
from flashsched.schedule.ir import Buffer as OurBuffer
from flashsched.schedule.ir import Stmt, walk_stmt
from flashsched.te.expr import Const

__all__ = ["extern"]


def extern(
    shape: Any,
    inputs: Any,
    fcompute: Callable[..., Any],
    name: str = "extern",
    dtype: Any = None,
    in_buffers: Any = None,
    out_buffers: Any = None,
    tag: str = "",
    attrs: Mapping[str, Any] | None = None,
) -> Any:
    """Tensors that are computed outside of te: ``fcompute(ins, outs)`` says how, given a buffer for each.

    It returns `tir.call_packed` (a Python function, registered by name, gets the arrays when the program runs),
    `tir.call_extern` (a C function that this process has gets their addresses), or the statement that an `ir_builder`
    gives (loops, which are compiled with the rest).

    Args:
        shape: of the output; or a list of shapes, for several outputs.
        inputs: the tensors that are read.
        fcompute: says how, as above.
        name: the stage's name.
        dtype: of the output, or a list of them; by default that of the inputs, where they have one.
        in_buffers: buffers for *inputs* (one or a list), by default new ones.
        out_buffers: buffers for the outputs.
        tag: kept as ``op.tag``.
        attrs: kept as ``op.attrs``.

    Returns:
        The tensor, or a list of them where there are several.

    Raises:
        ExpressionError: *fcompute* gives none of these.
    """
    tensors = [inputs] if isinstance(inputs, te.Tensor) else list(inputs)
    shapes = _shapes(shape)
    outs_given = _as_list(out_buffers)
    types = [buffer.dtype for buffer in outs_given] if outs_given and dtype is None else _types(dtype, tensors, shapes)
    ins = _as_list(in_buffers) or [Buffer(OurBuffer(t.name, shape_of(t.shape), t.dtype)) for t in tensors]
    outs = outs_given or [
        Buffer(OurBuffer(name if len(shapes) == 1 else f"{name}.v{n}", size, kind))
        for n, (size, kind) in enumerate(zip(shapes, types, strict=True))
    ]
    body = fcompute(ins, outs)
    body = body.call if isinstance(body, CallStmt) else body
    if isinstance(body, PackedCall | ExternCall):
        made = te.extern(shapes, tensors, _runner(body, [*ins, *outs]), dtype=types, name=name)
    elif isinstance(body, Stmt):
        _require_plain(name, body)
        nest = nest_over(body, [buffer.ours for buffer in ins], [buffer.ours for buffer in outs])
        made = extern_nest(shapes, tensors, nest, types, name=name)
    else:
        raise ExpressionError(
            f"{name}: the function returned {type(body).__name__}, and a call or a statement is needed",
            hint="tvm.tir.call_packed(…), tvm.tir.call_extern(…), or ib.get() of an ir_builder",
        )
    op = made[0].op
    op.tag, op.attrs = tag, dict(attrs or {})
    found = adopt(op)
    return found[0] if len(found) == 1 else list(found)


def _require_plain(name: str, body: Stmt) -> None:
    if any(isinstance(stmt, CallStmt) for stmt in walk_stmt(body)):
        raise NotImplementedError(
            f"{name}: a call among loops is not there; let the call be the whole body, in a te.extern of its own"
        )


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, tuple | list) else [value]


def _shapes(shape: Any) -> list[tuple[Any, ...]]:
    items = list(shape) if isinstance(shape, tuple | list) else [shape]
    several = bool(items) and all(isinstance(item, tuple | list) for item in items)
    return [shape_of(part) for part in (items if several else [items])]


def _types(dtype: Any, tensors: Sequence[Any], shapes: Sequence[Any]) -> list[str]:
    if isinstance(dtype, tuple | list):
        return list(dtype)
    if dtype is None:
        known = {tensor.dtype for tensor in tensors}
        if len(known) != 1:
            raise ExpressionError(f"the inputs have dtypes {sorted(known)}: say which the output has", hint="dtype=…")
        (dtype,) = known
    return [dtype] * len(shapes)


def _runner(call: PackedCall | ExternCall, buffers: Sequence[Buffer]) -> Callable[..., None]:
    """The function of arrays, one for each of *buffers*, that makes *call* with them."""

    def run(*arrays: Any) -> None:
        known = {id(buffer): array for buffer, array in zip(buffers, arrays, strict=True)}
        if isinstance(call, PackedCall):
            get_global_func(call.name)(*(_packed(arg, known) for arg in call.args))
        else:
            _in_process(call.name)(*(_machine(arg, known) for arg in call.args))

    run.__name__ = call.name
    return run


def _packed(arg: Any, known: Mapping[int, Any]) -> Any:
    if isinstance(arg, AccessPtr):
        arg = arg.buffer
    if isinstance(arg, Buffer):
        return NDArray(known[id(arg)])
    return arg.value if isinstance(arg, Const) else arg


def _machine(arg: Any, known: Mapping[int, Any]) -> Any:
    """*arg* as C takes it: addresses, 32-bit integers, doubles, floats by their dtype."""
    if isinstance(arg, Buffer):
        arg = arg.data
    if isinstance(arg, AccessPtr):
        array = known[id(arg.buffer)]
        offset = int(arg.offset.value if isinstance(arg.offset, Const) else arg.offset)
        return ctypes.c_void_p(array.ctypes.data + offset * array.itemsize)
    if isinstance(arg, Const):
        kinds: dict[str, Any] = {"int64": ctypes.c_int64, "float32": ctypes.c_float, "float64": ctypes.c_double}
        return kinds.get(arg.dtype, ctypes.c_int32)(arg.value)
    if isinstance(arg, bool | int | np.integer):
        return ctypes.c_int32(int(arg)) if -(2**31) <= int(arg) < 2**31 else ctypes.c_int64(int(arg))
    if isinstance(arg, float):
        return ctypes.c_float(arg)
    raise KernelError(f"{arg!r} can't be passed to a function in machine code")


def _in_process(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except AttributeError:
        raise KernelError(
            f"this process has no function {name!r}",
            hint="load its library first: ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)",
        ) from None
