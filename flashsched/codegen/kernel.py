"""A compiled function that is called with arrays.

This file is the border between Python's arrays and machine code, which trusts the pointers it gets: everything that
could make it read or write the wrong memory is refused here, with a sentence. How foreign arrays become NumPy arrays
is told in `arrays`, how text becomes machine code in `jit`.
"""

from __future__ import annotations

import ctypes
import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.codegen.arrays import Array, borrow, element_strides, overlaps_itself, pointer
from flashsched.errors import KernelError
from flashsched.te.dtypes import numpy_dtype

if TYPE_CHECKING:
    from flashsched.codegen.externs import Externs
    from flashsched.codegen.jit import CompiledModule
    from flashsched.codegen.target import Target

__all__ = ["Kernel", "Param", "Strides", "Timing"]

Strides = tuple[tuple[int, ...] | None, ...]
"""For each parameter its strides in elements, or None where it is contiguous."""

_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flag bits
_SHARING_WORK = 100_000  # bound on NumPy's exact search for a shared element; beyond it, arrays count as overlapping


@dataclass(frozen=True, slots=True)
class Param:
    """One array that a kernel takes.

    Attributes:
        name: what messages call it.
        shape: its exact shape; a size may be 0.
        dtype: its element type's name, e.g. ``float32`` or ``bfloat16``.
        is_output: whether the kernel writes it.
        strides: how far apart its elements lie along each axis, in elements; None means contiguous, row by row.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_output: bool = False
    strides: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes from its first element to its last, were it contiguous."""
        return math.prod(self.shape) * numpy_dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a kernel took.

    Attributes:
        times_s: seconds for one call, one figure for each sample.
        calls: calls in a sample, over which its figure is the mean.
    """

    times_s: tuple[float, ...]
    calls: int

    @property
    def median_s(self) -> float:
        """The median sample, in seconds for one call."""
        return statistics.median(self.times_s)

    def __str__(self) -> str:
        return f"{self.median_s * 1e6:.3g} us (median of {len(self.times_s)} samples of {self.calls} calls)"


class Kernel:
    """A compiled function over arrays of fixed shapes.

    ``f(a, b, c)`` fills the output ``c`` and returns it; ``f(a, b)`` returns a fresh one. Inputs come first, then
    outputs; several outputs are returned as a tuple. An array is anything in CPU memory that speaks the buffer
    protocol or DLPack. The GIL is released while the kernel runs.

    Args:
        module: the machine code; kept alive for as long as the kernel is.
        params: inputs, then outputs, in the order of the entry function's pointers.
        name: the entry function, ``void name(ptr, ptr, ...)`` with one pointer for each parameter.
        specialize: makes the kernel for arrays that are not contiguous, given the strides of each parameter; it is
            asked once for each combination. Without it, such arrays are refused.
        externs: the Python functions that the code calls.

    Raises:
        KernelError: on a call, for arguments that the kernel cannot take safely.
    """

    def __init__(
        self,
        module: CompiledModule,
        params: Sequence[Param],
        name: str,
        specialize: Callable[[Strides], Kernel] | None = None,
        externs: Externs | None = None,
    ) -> None:
        self.module = module
        self.params = tuple(params)
        self.name = name
        self._inputs = sum(not param.is_output for param in self.params)
        if any(param.is_output for param in self.params[: self._inputs]):
            raise KernelError(f"kernel {name!r}: outputs come after inputs, got {', '.join(map(str, self.params))}")
        self._entry: Any = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(self.params))(module.address(name))
        self._slots = [(param.shape, numpy_dtype(param.dtype), _flags(param)) for param in self.params]
        self._rivals = _rivals(self.params)
        self._strides = tuple(param.strides for param in self.params)
        self._plain = not any(self._strides)
        self._specialize = specialize
        self._externs = externs if externs is not None and externs.symbols else None
        self._variants: dict[Strides, Kernel] = {}

    @property
    def target(self) -> Target:
        """The CPU it was compiled for."""
        return self.module.target

    def __call__(self, *args: Any) -> Any:
        """Run the kernel; see the class."""
        if len(args) == self._inputs:
            args += self._fresh_outputs()
        elif len(args) != len(self.params):
            raise self._refusal(self._count_reason(len(args)))
        pointers = []
        for (shape, dtype, flags), array in zip(self._slots, args, strict=True):
            if (
                type(array) is not np.ndarray
                or array.shape != shape
                or array.dtype != dtype
                or array.flags.num & flags != flags
            ):
                break
            pointers.append(pointer(array))
        else:
            if self._plain and not self._meet(pointers):
                self._entry(*pointers)
                if self._externs is not None:
                    self._externs.raise_pending()
                return self._returned(args)
        kernel, arrays = self._examine(args)
        kernel._entry(*map(pointer, arrays))
        if kernel._externs is not None:
            kernel._externs.raise_pending()
        return self._returned(args)

    def time(self, *args: Any, repeat: int = 10, min_time: float = 2e-3) -> Timing:
        """Time the kernel on *args*, outputs given or not, after one call that warms the caches and the threads up.

        Each of *repeat* samples calls the kernel in a compiled loop for at least *min_time* seconds, so what a sample
        holds besides the kernel is one indirect call a turn, about 1 ns. Nothing is subtracted.

        Raises:
            KernelError: as for a call, or *repeat* is below 1.
        """
        if repeat < 1:
            raise self._refusal(f"repeat must be at least 1, got {repeat}")
        run = self.bound(*args)
        calls = 1
        run(1)
        while (seconds := run(calls)) < min_time:
            calls = max(2 * calls, min(1000 * calls, math.ceil(1.2 * calls * min_time / max(seconds, 1e-9))))
        samples = [seconds] + [run(calls) for _ in range(repeat - 1)]
        return Timing(tuple(sample / calls for sample in samples), calls)

    def bound(self, *args: Any) -> Callable[[int], float]:
        """The kernel bound to *args*, as ``run(calls) -> seconds`` for that many calls in a compiled loop.

        Raises:
            KernelError: as for a call.
        """
        if len(args) == self._inputs:
            args += self._fresh_outputs()
        elif len(args) != len(self.params):
            raise self._refusal(self._count_reason(len(args)))
        kernel, arrays = self._examine(args)
        entry = kernel.module.address(kernel.name)
        pointers = (ctypes.c_void_p * len(arrays))(*map(pointer, arrays))
        repeat = _repeater(len(arrays), self.target)

        held = (kernel, arrays)  # code and data live as long as the function that has their addresses

        def run(calls: int) -> float:
            assert held
            seconds = _seconds(repeat, entry, pointers, calls)
            if kernel._externs is not None:
                kernel._externs.raise_pending()
            return seconds

        return run

    def llvm_ir(self, *, optimized: bool = False) -> str:
        """The LLVM text the kernel was compiled from, or what LLVM's passes made of it."""
        return self.module.optimized_ir if optimized else self.module.ir_text

    def asm(self) -> str:
        """The machine code, as assembler text."""
        return self.module.asm()

    def __repr__(self) -> str:
        inputs, outputs = self.params[: self._inputs], self.params[self._inputs :]
        return f"<Kernel {self.name}({', '.join(map(str, inputs))}) -> {', '.join(map(str, outputs))}>"

    def _fresh_outputs(self) -> tuple[Array, ...]:
        fresh = []
        for param, (shape, dtype, _) in zip(self.params[self._inputs :], self._slots[self._inputs :], strict=True):
            if param.strides is None:
                fresh.append(np.empty(shape, dtype))
            else:
                raise self._refusal(
                    f"output {param.name!r} has strides {param.strides}, and a fresh array would be contiguous",
                    "pass the output",
                )
        return tuple(fresh)

    def _returned(self, args: tuple[Any, ...]) -> Any:
        outputs = args[self._inputs :]
        return outputs[0] if len(outputs) == 1 else outputs

    def _meet(self, pointers: list[int]) -> bool:
        """Whether an output shares bytes with another array, all of them contiguous."""
        for output, other, output_bytes, other_bytes in self._rivals:
            if pointers[output] < pointers[other] + other_bytes and pointers[other] < pointers[output] + output_bytes:
                return True
        return False

    def _examine(self, args: tuple[Any, ...]) -> tuple[Kernel, list[Array]]:
        """The kernel for *args* and the arrays in them, every rule checked; the slow half of a call.

        Raises:
            KernelError: an argument breaks a rule; the message says which and what would be right.
        """
        arrays = [self._array(param, arg) for param, arg in zip(self.params, args, strict=True)]
        self._refuse_overlap(arrays)
        strides = tuple(map(_strides, self.params, arrays))
        if strides == self._strides:
            return self, arrays
        wrong = next(i for i in range(len(strides)) if strides[i] != self._strides[i])
        param = self.params[wrong]
        if self._specialize is None:
            raise self._refusal(
                f"{param.name!r} has strides {element_strides(arrays[wrong])} in elements, and the kernel takes "
                + (f"strides {param.strides}" if param.strides is not None else "contiguous arrays"),
                "" if param.strides is not None else f"pass np.ascontiguousarray({param.name})",
            )
        if strides not in self._variants:
            self._variants[strides] = self._specialize(strides)
        return self._variants[strides], arrays

    def _array(self, param: Param, arg: Any) -> Array:
        try:
            array = borrow(arg)
        except KernelError as error:
            raise self._refusal(f"{param.name!r} {error.reason}", error.hint or "") from None
        dtype = numpy_dtype(param.dtype)
        if array.dtype != dtype:
            raise self._refusal(
                f"{param.name!r} has dtype {array.dtype.name if array.dtype.isnative else array.dtype.str}, "
                f"and the kernel takes {param.dtype}",
                f"pass {param.name}.astype({param.dtype!r})" if not param.is_output else "",
            )
        if array.shape != param.shape:
            raise self._refusal(f"{param.name!r} has shape {array.shape}, and the kernel takes {param.shape}")
        if param.is_output and not array.flags.writeable:
            raise self._refusal(f"{param.name!r} is an output, and the array is read-only")
        if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
            raise self._refusal(
                f"{param.name!r} is not aligned to its elements of {array.itemsize} bytes", f"pass {param.name}.copy()"
            )
        if param.is_output and overlaps_itself(array):
            raise self._refusal(
                f"{param.name!r} is an output, and elements of it share memory (strides {array.strides})"
            )
        return array

    def _refuse_overlap(self, arrays: list[Array]) -> None:
        for output, other, _, _ in self._rivals:
            if not np.may_share_memory(arrays[output], arrays[other]):
                continue
            try:
                shared = np.shares_memory(arrays[output], arrays[other], max_work=_SHARING_WORK)  # type: ignore[arg-type]
            except np.exceptions.TooHardError:
                shared = True
            if shared:
                raise self._refusal(
                    f"output {self.params[output].name!r} shares memory with {self.params[other].name!r}",
                    f"pass a separate array for {self.params[output].name!r}, or none and take the fresh one",
                )

    def _count_reason(self, got: int) -> str:
        inputs, outputs = self.params[: self._inputs], self.params[self._inputs :]
        return (
            f"takes {len(inputs)} inputs ({', '.join(map(str, inputs))}), then optionally its "
            f"{len(outputs)} outputs ({', '.join(map(str, outputs))}); got {got} arguments"
        )

    def _refusal(self, reason: str, hint: str = "") -> KernelError:
        call = f"{self.name}({', '.join(param.name for param in self.params)})"
        return KernelError(reason, step=call, hint=hint or None)


def _flags(param: Param) -> int:
    return (_CONTIGUOUS if param.strides is None else 0) | _ALIGNED | (_WRITEABLE if param.is_output else 0)


def _strides(param: Param, array: Array) -> tuple[int, ...] | None:
    """The strides of *array*, in elements, where they matter: None if it is contiguous and may be."""
    if array.flags.c_contiguous and param.strides is None:
        return None
    strides = element_strides(array)
    return param.strides if strides == param.strides else strides


def _rivals(params: tuple[Param, ...]) -> list[tuple[int, int, int, int]]:
    """Each output with each array that it must not share memory with: both their indexes, both their bytes."""
    return [
        (output, other, params[output].nbytes, params[other].nbytes)
        for output in range(len(params))
        for other in range(len(params))
        if params[output].is_output and params[output].nbytes and params[other].nbytes
        if other < output or (other > output and not params[other].is_output)
    ]


@functools.cache
def _repeater(arity: int, target: Target) -> Any:
    """A compiled loop that calls a kernel of *arity* pointers a number of times."""
    from flashsched.codegen.jit import compile_module

    load = "  %slot{0} = getelementptr ptr, ptr %arguments, i64 {0}\n  %a{0} = load ptr, ptr %slot{0}"
    loads = "\n".join(load.format(i) for i in range(arity))
    text = f"""
define void @repeat(ptr %kernel, ptr %arguments, i64 %times) {{
entry:
{loads}
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %kernel({", ".join(f"ptr %a{i}" for i in range(arity))})
  %next = add i64 %turn, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    module = compile_module(text, target)
    run: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(module.address("repeat"))
    run.module = module  # its code must live as long as the function that points at it
    return run


def _seconds(run: Any, entry: int, pointers: Any, calls: int) -> float:
    start = time.perf_counter()
    run(entry, pointers, calls)
    return time.perf_counter() - start
