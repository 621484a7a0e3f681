"""Python functions that a kernel calls: their addresses, and the way back for what they raise.

The kernel's text names each as ``fs_extern_0``, ``fs_extern_1``, …, so it is the same in every process, and so is the
object code that the cache keeps; an address is given to the name when the code is loaded. The function runs on the
thread that called the kernel, between its loops. What it raises is kept, the kernel ends at once, and the exception
goes on from where the kernel was called.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flashsched.errors import KernelError
from flashsched.schedule.ir import Extern, walk_stmt
from flashsched.schedule.program import Program
from flashsched.te.dtypes import bits, numpy_dtype
from flashsched.te.evaluate import Array
from flashsched.te.expr import Expr
from flashsched.te.external import call_extern
from flashsched.te.sizes import Shape

__all__ = ["Externs", "extern_calls", "open_sizes", "symbol"]

_Callback = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))
_KEPT = 2  # references to an array that the function did not keep: the list's, and getrefcount's own argument


def extern_calls(program: Program) -> list[Extern]:
    """The calls of Python functions in a lowered *program*, in the order of the text."""
    return [stmt for stmt in walk_stmt(program.body) if isinstance(stmt, Extern)]


def open_sizes(call: Extern) -> list[Expr]:
    """What the code passes after the arrays' addresses: dimensions and strides that are no numbers."""
    found = (size for buffer in (*call.inputs, *call.outputs) for size in (*buffer.shape, *buffer.element_strides))
    return [size for size in found if not isinstance(size, int)]


def symbol(number: int) -> str:
    """What the text calls the function of the call number *number*."""
    return f"fs_extern_{number}"


class Externs:
    """The functions that one kernel calls; they live as long as this does.

    Attributes:
        symbols: the address of each, by the name that the text has for it.
    """

    def __init__(self, program: Program) -> None:
        self._raised = threading.local()
        self._callbacks = [_Callback(self._entry(call)) for call in extern_calls(program)]
        self.symbols: Mapping[str, int] = {
            symbol(number): int(ctypes.cast(callback, ctypes.c_void_p).value or 0)
            for number, callback in enumerate(self._callbacks)
        }

    def raise_pending(self) -> None:
        """Raise what a function raised in the kernel that this thread called last, if one did."""
        error: BaseException | None = getattr(self._raised, "error", None)
        if error is not None:
            self._raised.error = None
            raise error

    def _entry(self, call: Extern) -> Callable[[Any], int]:
        def entry(pointers: Any) -> int:
            try:
                _run(call, pointers)
            except BaseException as error:  # of any kind: nothing may unwind through machine code
                if getattr(self._raised, "error", None) is None:
                    self._raised.error = error
                return 1
            return 0

        return entry


def _run(call: Extern, pointers: Any) -> None:
    buffers = (*call.inputs, *call.outputs)
    sizes = (ctypes.c_int64(pointers[len(buffers) + n] or 0).value for n in range(len(open_sizes(call))))

    def known(shape: Shape) -> list[int]:
        return [size if isinstance(size, int) else next(sizes) for size in shape]

    arrays = [
        _view(buffer.dtype, pointers[number], known(buffer.shape), known(buffer.element_strides))
        for number, buffer in enumerate(buffers)
    ]
    call_extern(call.name, call.function, arrays[: len(call.inputs)], arrays[len(call.inputs) :])
    for collected in (False, True):
        kept = [b.name for b, n in zip(buffers, map(sys.getrefcount, arrays), strict=True) if n > _KEPT]
        if not kept:
            return
        if not collected:
            gc.collect()  # a cycle that is garbage holds nothing
    raise KernelError(
        f"extern stage {call.name!r}: its function keeps {', '.join(kept)}, whose memory ends with the call",
        hint="keep a copy: array.copy()",
    )


def _view(kind: str, address: int | None, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """The memory at *address* as an array of *kind*."""
    dtype, size = numpy_dtype(kind), bits(kind) // 8
    if 0 in shape or address is None:
        return np.empty(shape, dtype)
    steps = list(zip(shape, strides, strict=True))
    below = sum((extent - 1) * stride for extent, stride in steps if stride < 0) * size
    above = sum((extent - 1) * stride for extent, stride in steps if stride > 0) * size
    memory: Any = (ctypes.c_char * (above - below + size)).from_address(address + below)
    return np.ndarray(shape, dtype, memory, -below, tuple(stride * size for _, stride in steps))
