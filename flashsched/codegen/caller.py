"""What becomes of a call's arguments: looked at by every rule, then handed to machine code.

Machine code trusts the pointers it gets: everything that could make it read or write the wrong memory is refused here,
with a sentence. How foreign arrays become NumPy arrays is told in `arrays`, how a signature with sizes becomes one with
numbers in `signature`. A call whose arguments need none of this never comes here: see `python_entry`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.codegen.arrays import Array, borrow, element_strides, fresh_array, overlaps_itself, pointer
from flashsched.codegen.signature import (
    Fit,
    Param,
    Strides,
    fit,
    fit_shapes,
    pattern,
    scalar_values,
    strides_of_arrays,
)
from flashsched.errors import ExpressionError, KernelError, WorkspaceError, counted
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.expr import Expr, SizeVar, Var
from flashsched.te.scalars import taken
from flashsched.te.sizes import Sizes

if TYPE_CHECKING:
    from flashsched.codegen.externs import Externs
    from flashsched.codegen.jit import CompiledModule
    from flashsched.codegen.kernel import Kernel

__all__ = ["Caller"]

_SHARING_WORK = 100_000  # bound on NumPy's exact search for a shared element; beyond it, arrays count as overlapping
_MOST_FITS = 512  # choices of sizes that a kernel remembers


class Caller:
    """Calls a kernel with any arguments; `flashsched.codegen.kernel.Kernel` says what its own mean.

    It stands apart from the kernel so that the function object that a kernel is called by can hold it without holding
    the kernel, which holds that object: a kernel is freed when its last name goes.
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
        brief: bool = False,
    ) -> None:
        self.module = module
        self.params = tuple(params)
        self.told = self.params  # those that a caller passes
        self.name = name
        self.inputs = sum(not param.is_output for param in self.params)
        if any(param.is_output for param in self.params[: self.inputs]):
            raise KernelError(f"kernel {name!r}: outputs come after inputs, got {', '.join(map(str, self.params))}")
        self.scalars, self.needs = tuple(scalars), tuple(needs)
        kinds = [ctypes.c_void_p] * len(self.params) + [ctypes.c_int64] * len(self.scalars)
        kinds += [ctypes.c_void_p] if may_lack_memory else []
        self._entry: Any = ctypes.CFUNCTYPE(None, *kinds)(module.address(name))
        self.may_lack_memory = may_lack_memory
        self.brief = brief
        self.passed = tuple(passed)
        self._takes_numbers = bool(self.passed) or any(param.by_value for param in self.params)
        self.fixed = None if self.scalars else fit(self.params, {})
        self._fits: dict[tuple[Any, ...], Fit] = {}
        self._strides = tuple(param.strides for param in self.params)
        self.plain = not any(self._strides)
        self._specialize = specialize
        self.externs = externs if externs is not None and externs.symbols else None
        self.variants: dict[Any, Caller] = {}

    def __call__(self, *args: Any) -> Any:
        """Run the kernel."""
        return self.called(*self.fitted(args))

    def called(self, args: tuple[Any, ...], fit: Fit) -> Any:
        """Run the kernel on what `fitted` gave."""
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
            if self.plain and not _meet(fit, pointers):
                self.run(pointers, fit.sizes.values())
                return self.returned(args)
        caller, arrays = self.examine(args, fit)
        caller.run(map(pointer, arrays), caller.scalar_values(fit, arrays))
        return self.returned(args)

    def run(self, pointers: Iterable[int], scalars: Iterable[int]) -> None:
        """Run the machine code, without a look at what it gets."""
        if self.may_lack_memory:
            lacking = ctypes.c_int64(0)
            self._entry(*pointers, *scalars, ctypes.addressof(lacking))
            if lacking.value:
                raise self.lacks(lacking.value)
        else:
            self._entry(*pointers, *scalars)
        if self.externs is not None:
            self.externs.raise_pending()

    def lacks(self, size: int) -> WorkspaceError:
        """What is raised where the kernel could not have *size* bytes."""
        return WorkspaceError(
            f"the kernel computes something on the way that needs {size} bytes, and they are not to be had",
            step=self._call_text(),
            hint="compute that stage at a loop of its reader (compute_at), or pass smaller arrays",
        )

    def scalar_values(self, fit: Fit, arrays: Sequence[Array]) -> list[int]:
        """The numbers that go with *arrays*."""
        return scalar_values(self.scalars, fit.sizes, self.params, arrays) if self.scalars else []

    def fitted(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Fit]:
        """The arrays among *args*, fresh outputs if there are none, and how they must be.

        Raises:
            KernelError: there are too few or too many, or one is no number where one is taken.
        """
        more = len(args) - len(self.passed)
        if more != self.inputs and more != len(self.params):
            raise self.refusal(self._count_reason(len(args)))
        told: Sizes = {}
        if self._takes_numbers:
            try:
                args, told = taken(self.params, self.passed, args)
            except ExpressionError as error:
                raise self.refusal(error.reason, error.hint or "") from None
        fit = self.fixed or self._fit_of(args, told)
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
                raise self.refusal(f"{param.name!r} has shape {shape}, and the kernel takes {param}")
            shapes.append(shape)
        key = (*shapes, *told.values())
        found = self._fits.get(key)
        if found is None:
            if len(self._fits) >= _MOST_FITS:
                self._fits.clear()
            try:
                found = self._fits[key] = fit_shapes(self.params, self.scalars, self.needs, shapes, told)
            except KernelError as error:
                raise self.refusal(error.reason, error.hint or "") from None
        return found

    def _fresh_outputs(self, fit: Fit) -> tuple[Array, ...]:
        fresh = []
        for param, (shape, dtype, _) in zip(self.params[self.inputs :], fit.slots[self.inputs :], strict=True):
            if param.strides is None:
                fresh.append(fresh_array(shape, dtype))
            else:
                raise self.refusal(
                    f"output {param.name!r} has strides {param.strides}, and a fresh array would be contiguous",
                    "pass the output",
                )
        return tuple(fresh)

    def returned(self, args: tuple[Any, ...]) -> Any:
        """What a call with *args* returns: its output, or a tuple of them."""
        outputs = args[self.inputs : len(self.told)]
        return outputs[0] if len(outputs) == 1 else outputs

    def examine(self, args: tuple[Any, ...], fit: Fit) -> tuple[Caller, list[Array]]:
        """What takes *args*, and the arrays in them, every rule checked; the slow half of a call.

        Raises:
            KernelError: an argument breaks a rule; the message says which and what would be right.
        """
        arrays = [self._array(param, arg, fit) for param, arg in zip(fit.params, args, strict=True)]
        self._refuse_overlap(arrays, fit)
        strides = strides_of_arrays(fit.params, arrays, leave_open=bool(self.scalars))
        if strides == self._strides:
            return self, arrays
        wrong = next(i for i in range(len(strides)) if strides[i] != self._strides[i])
        param = self.params[wrong]
        if self._specialize is None:
            raise self.refusal(
                f"{param.name!r} has strides {element_strides(arrays[wrong])} in elements, and the kernel takes "
                + (f"strides {param.strides}" if param.strides is not None else "contiguous arrays"),
                "" if param.strides is not None else f"pass np.ascontiguousarray({param.name})",
            )
        key = pattern(strides)
        if key not in self.variants:
            self.variants[key] = self._specialize(strides).caller
        return self.variants[key], arrays

    def _borrowed(self, param: Param, arg: Any) -> Array:
        try:
            return borrow(arg)
        except KernelError as error:
            raise self.refusal(f"{param.name!r} {error.reason}", error.hint or "") from None

    def _array(self, param: Param, arg: Any, fit: Fit) -> Array:
        array = self._borrowed(param, arg)
        dtype = numpy_dtype(param.dtype)
        if array.dtype != dtype:
            raise self.refusal(
                f"{param.name!r} has dtype {array.dtype.name if array.dtype.isnative else array.dtype.str}, "
                f"and the kernel takes {param.dtype}",
                f"pass {param.name}.astype({param.dtype!r})" if not param.is_output else "",
            )
        if array.shape != param.shape:
            raise self.refusal(f"{param.name!r} has shape {array.shape}, and the kernel takes {self._said(param, fit)}")
        if param.is_output and not array.flags.writeable:
            raise self.refusal(f"{param.name!r} is an output, and the array is read-only")
        if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
            raise self.refusal(
                f"{param.name!r} is not aligned to its elements of {array.itemsize} bytes", f"pass {param.name}.copy()"
            )
        if param.is_output and overlaps_itself(array):
            raise self.refusal(
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
                raise self.refusal(
                    f"output {self.params[output].name!r} shares memory with {self.params[other].name!r}",
                    f"pass a separate array for {self.params[output].name!r}, or none and take the fresh one",
                )

    def _count_reason(self, got: int) -> str:
        inputs, outputs = self.told[: self.inputs], self.told[self.inputs :]
        return (
            f"takes {counted(len(inputs) + len(self.passed), 'input')} ({self.inputs_text()}), then optionally its "
            f"{counted(len(outputs), 'output')} ({', '.join(map(str, outputs))}); got {counted(got, 'argument')}"
        )

    def refusal(self, reason: str, hint: str = "") -> KernelError:
        """What is raised for arguments that the kernel can't take."""
        return KernelError(reason, step=self._call_text(), hint=hint or None)

    def _call_text(self) -> str:
        names = [param.name for param in self.told]
        for place, size in self.passed:
            names.insert(place, size.name)
        return f"{self.name}({', '.join(names)})"

    def inputs_text(self) -> str:
        """What the kernel takes before its outputs."""
        texts = [*map(str, self.params[: self.inputs])]
        for place, size in self.passed:
            texts.insert(place, f"{size.name}: size")
        return ", ".join(texts)


def _meet(fit: Fit, pointers: list[int]) -> bool:
    """Whether an output shares bytes with another array, all of them contiguous."""
    for output, other, output_bytes, other_bytes in fit.rivals:
        if pointers[output] < pointers[other] + other_bytes and pointers[other] < pointers[output] + output_bytes:
            return True
    return False
