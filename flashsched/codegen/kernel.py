"""A compiled function that is called with arrays.

This file is the border between Python's arrays and machine code, which trusts the pointers it gets: everything that
could make it read or write the wrong memory is refused here, with a sentence. How foreign arrays become NumPy arrays
is told in `arrays`, how text becomes machine code in `jit`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.codegen.arrays import Array, borrow, element_strides, overlaps_itself, pointer
from flashsched.codegen.repeat import Timing, repeater, seconds_of
from flashsched.codegen.signature import (
    Fit,
    Param,
    Signature,
    Strides,
    fit,
    fit_shapes,
    pattern,
    scalar_values,
    strides_of_arrays,
)
from flashsched.errors import ExpressionError, KernelError, WorkspaceError
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.expr import Expr, SizeVar, Var
from flashsched.te.scalars import taken
from flashsched.te.sizes import Sizes

if TYPE_CHECKING:
    from pathlib import Path

    from flashsched.codegen.externs import Externs
    from flashsched.codegen.jit import CompiledModule
    from flashsched.codegen.target import Target

__all__ = ["Kernel", "Param", "Strides", "Timing"]

_SHARING_WORK = 100_000  # bound on NumPy's exact search for a shared element; beyond it, arrays count as overlapping
_MOST_FITS = 512  # choices of sizes that a kernel remembers


class Kernel:
    """A compiled function over arrays, whose shapes are fixed but for the sizes that a call's arrays decide.

    ``f(a, b, c)`` fills the output ``c`` and returns it; ``f(a, b)`` returns a fresh one. Inputs come first, then
    outputs; several outputs are returned as a tuple. An array is anything in CPU memory that speaks the buffer
    protocol or DLPack. The GIL is released while the kernel runs.

    Args:
        module: the machine code; kept alive for as long as the kernel is.
        params: inputs, then outputs, in the order of the entry function's pointers.
        name: the entry function, ``void name(ptr, ptr, ..., i64, ...)`` with one pointer for each parameter, then
            *scalars*, then, if it *may_lack_memory*, a pointer to where it says how many bytes it could not have.
        specialize: makes the kernel for arrays that are not contiguous, given the strides of each parameter; it is
            asked once for each combination. Without it, such arrays are refused.
        externs: the Python functions that the code calls.
        scalars: sizes, found in the shapes of the arrays, and strides that are no numbers.
        needs: expressions of sizes that must not be below 0.
        passed: sizes that a call passes, too, each with its place among the arguments, before the outputs.
        may_lack_memory: whether the function asks for memory of its own.

    Raises:
        KernelError: on a call, for arguments that the kernel cannot take safely.
        WorkspaceError: on a call, where the kernel can't have the memory for what it computes on the way; the outputs
            then hold anything.
    """

    def __init__(
        self,
        module: CompiledModule,
        params: Sequence[Param],
        name: str,
        specialize: Callable[[Strides], Kernel] | None = None,
        externs: Externs | None = None,
        *,
        scalars: Sequence[Var] = (),
        needs: Sequence[Expr] = (),
        passed: Sequence[tuple[int, SizeVar]] = (),
        may_lack_memory: bool = False,
    ) -> None:
        self.module = module
        self.params = tuple(params)
        self._told = self.params  # those that a caller passes
        self.name = name
        self._inputs = sum(not param.is_output for param in self.params)
        if any(param.is_output for param in self.params[: self._inputs]):
            raise KernelError(f"kernel {name!r}: outputs come after inputs, got {', '.join(map(str, self.params))}")
        self._scalars, self._needs = tuple(scalars), tuple(needs)
        kinds = [ctypes.c_void_p] * len(self.params) + [ctypes.c_int64] * len(self._scalars)
        kinds += [ctypes.c_void_p] if may_lack_memory else []
        self._entry: Any = ctypes.CFUNCTYPE(None, *kinds)(module.address(name))
        self._may_lack_memory = may_lack_memory
        self._passed = tuple(passed)
        self._takes_numbers = bool(self._passed) or any(param.by_value for param in self.params)
        self._fixed = None if self._scalars else fit(self.params, {})
        self._fits: dict[tuple[Any, ...], Fit] = {}
        self._strides = tuple(param.strides for param in self.params)
        self._plain = not any(self._strides)
        self._specialize = specialize
        self._externs = externs if externs is not None and externs.symbols else None
        self._variants: dict[Any, Kernel] = {}

    @property
    def target(self) -> Target:
        """The CPU it was compiled for."""
        return self.module.target

    def __call__(self, *args: Any) -> Any:
        """Run the kernel; see the class."""
        return self._called(*self._fitted(args))

    def _called(self, args: tuple[Any, ...], fit: Fit) -> Any:
        pointers = []
        for (shape, dtype, flags), array in zip(fit.slots, args, strict=True):
            if (
                type(array) is not np.ndarray
                or array.shape != shape
                or array.dtype != dtype
                or array.flags.num & flags != flags
            ):
                break
            pointers.append(pointer(array))
        else:
            if self._plain and not _meet(fit, pointers):
                self._run(pointers, fit.sizes.values())
                return self._returned(args)
        kernel, arrays = self._examine(args, fit)
        kernel._run(map(pointer, arrays), kernel._scalar_values(fit, arrays))
        return self._returned(args)

    def _run(self, pointers: Iterable[int], scalars: Iterable[int]) -> None:
        if self._may_lack_memory:
            lacking = ctypes.c_int64(0)
            self._entry(*pointers, *scalars, ctypes.addressof(lacking))
            if lacking.value:
                raise self._lacks(lacking.value)
        else:
            self._entry(*pointers, *scalars)
        if self._externs is not None:
            self._externs.raise_pending()

    def _lacks(self, size: int) -> WorkspaceError:
        return WorkspaceError(
            f"the kernel computes something on the way that needs {size} bytes, and they are not to be had",
            step=self._call_text(),
            hint="compute that stage at a loop of its reader (compute_at), or pass smaller arrays",
        )

    def _scalar_values(self, fit: Fit, arrays: Sequence[Array]) -> list[int]:
        return scalar_values(self._scalars, fit.sizes, self.params, arrays) if self._scalars else []

    def _fitted(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Fit]:
        """The arrays among *args*, fresh outputs if there are none, and how they must be.

        Raises:
            KernelError: there are too few or too many, or one is no number where one is taken.
        """
        more = len(args) - len(self._passed)
        if more != self._inputs and more != len(self.params):
            raise self._refusal(self._count_reason(len(args)))
        told: Sizes = {}
        if self._takes_numbers:
            try:
                args, told = taken(self.params, self._passed, args)
            except ExpressionError as error:
                raise self._refusal(error.reason, error.hint or "") from None
        fit = self._fixed or self._fit_of(args, told)
        return args + self._fresh_outputs(fit) if more < len(self.params) else args, fit

    def _fit_of(self, args: Sequence[Any], told: Sizes) -> Fit:
        """How arrays of the sizes of *args* must be.

        Raises:
            KernelError: an argument is no array, a size can't be told, or two contradict each other.
        """
        shapes = []
        for param, arg in zip(self.params, args, strict=False):
            shape = getattr(arg, "shape", None)
            shape = tuple(shape) if isinstance(shape, tuple | list) else self._borrowed(param, arg).shape
            if len(shape) != len(param.shape):
                raise self._refusal(f"{param.name!r} has shape {shape}, and the kernel takes {param}")
            shapes.append(shape)
        key = (*shapes, *told.values())
        found = self._fits.get(key)
        if found is None:
            if len(self._fits) >= _MOST_FITS:
                self._fits.clear()
            try:
                found = self._fits[key] = fit_shapes(self.params, self._scalars, self._needs, shapes, told)
            except KernelError as error:
                raise self._refusal(error.reason, error.hint or "") from None
        return found

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
        args, fit = self._fitted(args)
        kernel, arrays = self._examine(args, fit)
        entry = kernel.module.address(kernel.name)
        lacking = ctypes.c_int64(0)
        words = [*map(pointer, arrays), *kernel._scalar_values(fit, arrays)]
        words += [ctypes.addressof(lacking)] if kernel._may_lack_memory else []
        given = (ctypes.c_int64 * len(words))(*words)
        scalars = len(kernel._scalars)
        repeat = repeater(len(arrays), scalars, kernel._may_lack_memory, self.target)

        held = (kernel, arrays)  # code and data live as long as the function that has their addresses

        def run(calls: int) -> float:
            assert held
            seconds = seconds_of(repeat, entry, given, calls)
            if kernel._externs is not None:
                kernel._externs.raise_pending()
            if lacking.value:
                raise self._lacks(lacking.value)
            return seconds

        return run

    @property
    def signature(self) -> Signature:
        """All that it takes, and what it may answer."""
        return Signature(self.params, self._scalars, self._needs, self._passed, self._may_lack_memory)

    def save(
        self, path: str | PathLike[str], *, header: bool | str | PathLike[str] = True, link: Sequence[str] = ()
    ) -> Path:
        """Write it into a ``.so``, ``.o``, ``.bc``, ``.ll`` or ``.s`` for C and for `load_library`, with a C header.

        See `flashsched.save_library` for what the arguments mean and which errors are raised.
        """
        from flashsched.codegen.ahead.save import save_kernel

        return save_kernel(self, path, header=header, link=link)

    def llvm_ir(self, *, optimized: bool = False) -> str:
        """The LLVM text the kernel was compiled from, or what LLVM's passes made of it."""
        return self.module.optimized_ir if optimized else self.module.ir_text

    def asm(self) -> str:
        """The machine code, as assembler text."""
        return self.module.asm()

    def __repr__(self) -> str:
        return f"<Kernel {self.name}({self._inputs_text()}) -> {', '.join(map(str, self._told[self._inputs :]))}>"

    def _fresh_outputs(self, fit: Fit) -> tuple[Array, ...]:
        fresh = []
        for param, (shape, dtype, _) in zip(self.params[self._inputs :], fit.slots[self._inputs :], strict=True):
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

    def _examine(self, args: tuple[Any, ...], fit: Fit) -> tuple[Kernel, list[Array]]:
        """The kernel for *args* and the arrays in them, every rule checked; the slow half of a call.

        Raises:
            KernelError: an argument breaks a rule; the message says which and what would be right.
        """
        arrays = [self._array(param, arg, fit) for param, arg in zip(fit.params, args, strict=True)]
        self._refuse_overlap(arrays, fit)
        strides = strides_of_arrays(fit.params, arrays, leave_open=bool(self._scalars))
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
        key = pattern(strides)
        if key not in self._variants:
            self._variants[key] = self._specialize(strides)
        return self._variants[key], arrays

    def _borrowed(self, param: Param, arg: Any) -> Array:
        try:
            return borrow(arg)
        except KernelError as error:
            raise self._refusal(f"{param.name!r} {error.reason}", error.hint or "") from None

    def _array(self, param: Param, arg: Any, fit: Fit) -> Array:
        array = self._borrowed(param, arg)
        dtype = numpy_dtype(param.dtype)
        if array.dtype != dtype:
            raise self._refusal(
                f"{param.name!r} has dtype {array.dtype.name if array.dtype.isnative else array.dtype.str}, "
                f"and the kernel takes {param.dtype}",
                f"pass {param.name}.astype({param.dtype!r})" if not param.is_output else "",
            )
        if array.shape != param.shape:
            raise self._refusal(
                f"{param.name!r} has shape {array.shape}, and the kernel takes {self._said(param, fit)}"
            )
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

    def _said(self, param: Param, fit: Fit) -> str:
        """The shape that *param* must have, and why."""
        if not fit.sizes:
            return str(param.shape)
        declared = next(other for other in self.params if other.name == param.name)
        sizes = ", ".join(f"{size.name} = {number}" for size, number in fit.sizes.items())
        return f"{param.shape}, that is {declared} where {sizes}"

    def _refuse_overlap(self, arrays: list[Array], fit: Fit) -> None:
        for output, other, _, _ in fit.rivals:
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
        inputs, outputs = self._told[: self._inputs], self._told[self._inputs :]
        return (
            f"takes {len(inputs) + len(self._passed)} inputs ({self._inputs_text()}), then optionally its "
            f"{len(outputs)} outputs ({', '.join(map(str, outputs))}); got {got} arguments"
        )

    def _refusal(self, reason: str, hint: str = "") -> KernelError:
        return KernelError(reason, step=self._call_text(), hint=hint or None)

    def _call_text(self) -> str:
        names = [param.name for param in self._told]
        for place, size in self._passed:
            names.insert(place, size.name)
        return f"{self.name}({', '.join(names)})"

    def _inputs_text(self) -> str:
        texts = [*map(str, self.params[: self._inputs])]
        for place, size in self._passed:
            texts.insert(place, f"{size.name}: size")
        return ", ".join(texts)


def _meet(fit: Fit, pointers: list[int]) -> bool:
    """Whether an output shares bytes with another array, all of them contiguous."""
    for output, other, output_bytes, other_bytes in fit.rivals:
        if pointers[output] < pointers[other] + other_bytes and pointers[other] < pointers[output] + output_bytes:
            return True
    return False
