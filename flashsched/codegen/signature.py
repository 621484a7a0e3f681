"""What a kernel takes: its arrays, and how they must be for the sizes that they have.

Apart from `flashsched.codegen.kernel`, which checks and calls: here a signature with sizes becomes one with numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flashsched.codegen.arrays import Array, element_strides
from flashsched.errors import KernelError, ShapeError
from flashsched.schedule.buffer import Buffer
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.expr import Expr, SizeVar, Var
from flashsched.te.sizes import Shape, Sizes, infer_sizes, numbers, size_value

__all__ = [
    "CONTIGUOUS",
    "Fit",
    "Param",
    "Signature",
    "Strides",
    "fit",
    "fit_shapes",
    "flags_of",
    "param_of",
    "pattern",
    "scalar_values",
    "strides_of_arrays",
]

Strides = tuple[Shape | None, ...]
"""For each parameter its strides in elements, or None where it is contiguous."""

CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # NumPy's flag bits


@dataclass(frozen=True, slots=True)
class Param:
    """One array that a kernel takes.

    Attributes:
        name: what messages call it.
        shape: its exact shape; a size may be 0, or an expression of sizes that the arrays of a call decide.
        dtype: its element type's name, e.g. ``float32`` or ``bfloat16``.
        is_output: whether the kernel writes it.
        strides: how far apart its elements lie along each axis, in elements; None means contiguous, row by row. A
            variable stands for a stride that is passed with each call.
        by_value: whether the caller passes a number.
    """

    name: str
    shape: Shape
    dtype: str
    is_output: bool = False
    strides: Shape | None = None
    by_value: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes from its first element to its last, were it contiguous; its shape must be numbers."""
        return math.prod(numbers(self.shape, self.name)) * numpy_dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}" + ("" if self.by_value else f"[{', '.join(map(str, self.shape))}]")


def param_of(buffer: Buffer, *, output: bool) -> Param:
    """What a caller passes for *buffer*."""
    return Param(buffer.name, buffer.shape, buffer.dtype, output, buffer.strides, buffer.by_value)


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a kernel takes, and what it may answer.

    Attributes:
        params: inputs, then outputs.
        scalars: what its code is passed after the arrays: sizes, and strides that are no numbers.
        needs: expressions of sizes that must not be below 0.
        passed: sizes that a caller passes, each with its place among the arguments.
        may_lack_memory: whether it asks for memory of its own.
    """

    params: tuple[Param, ...]
    scalars: tuple[Var, ...] = ()
    needs: tuple[Expr, ...] = ()
    passed: tuple[tuple[int, SizeVar], ...] = ()
    may_lack_memory: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """How arrays must be for one choice of sizes.

    Attributes:
        params: the parameters, their shapes numbers.
        slots: of each parameter its shape, its dtype and the flags that NumPy must show.
        rivals: each output with each array that it must not share memory with: both their indexes, both their bytes.
        sizes: the number of each size, in the order in which they are passed.
    """

    params: tuple[Param, ...]
    slots: tuple[tuple[tuple[int, ...], np.dtype, int], ...]
    rivals: tuple[tuple[int, int, int, int], ...]
    sizes: dict[SizeVar, int]


def fit(params: Sequence[Param], sizes: dict[SizeVar, int]) -> Fit:
    """How arrays for *params* must be where the sizes are *sizes*.

    Raises:
        KernelError: a dimension would be below 0.
    """
    known = []
    for param in params:
        shape = tuple(size_value(size, sizes) for size in param.shape)
        if min(shape, default=0) < 0:
            raise KernelError(
                f"{param.name!r} would have a dimension below 0: {param} = {list(shape)}, as the sizes are "
                f"{_said(sizes)}",
                hint="pass larger arrays",
            )
        known.append(replace(param, shape=shape))
    slots = tuple((numbers(p.shape, p.name), numpy_dtype(p.dtype), flags_of(p)) for p in known)
    return Fit(tuple(known), slots, tuple(_rivals(known)), sizes)


def fit_shapes(
    params: Sequence[Param], scalars: Sequence[Var], needs: Sequence[Expr], shapes: Sequence[Sequence[int]], told: Sizes
) -> Fit:
    """How arrays must be whose sizes are told by *shapes*: those of all parameters, or of the inputs only.

    Args:
        params: the parameters.
        scalars: what is passed besides, sizes first.
        needs: expressions of sizes that must not be below 0.
        shapes: of the arrays that are given.
        told: sizes that are passed themselves.

    Raises:
        KernelError: a size can't be told, or two shapes contradict each other; a dimension would be below 0.
    """
    wanted = [scalar for scalar in scalars if isinstance(scalar, SizeVar)]
    known = [(repr(param.name), param.shape, shape) for param, shape in zip(params, shapes, strict=False)]
    try:
        found = infer_sizes(known, wanted, told)
    except ShapeError as error:
        raise KernelError(error.reason, hint=error.hint) from None
    sizes = {size: found[size] for size in wanted}
    for need in needs:
        if size_value(need, sizes) < 0:
            raise KernelError(
                f"a dimension inside the kernel is {need}, and would be {size_value(need, sizes)}: the sizes are "
                f"{_said(sizes)}",
                hint="pass larger arrays",
            )
    return fit(params, sizes)


def _said(sizes: dict[SizeVar, int]) -> str:
    return ", ".join(f"{size.name} = {number}" for size, number in sizes.items())


def scalar_values(
    scalars: Sequence[Var], sizes: dict[SizeVar, int], params: Sequence[Param], arrays: Sequence[Array]
) -> list[int]:
    """The numbers that go with a call: the sizes, and the strides that the parameters leave open."""
    open_strides: dict[Var, int] = {}
    for param, array in zip(params, arrays, strict=True):
        for step, number in zip(param.strides or (), element_strides(array) if param.strides else (), strict=True):
            if isinstance(step, Var):
                open_strides[step] = number
    return [sizes[scalar] if isinstance(scalar, SizeVar) else open_strides[scalar] for scalar in scalars]


def strides_of_arrays(params: Sequence[Param], arrays: Sequence[Array], leave_open: bool) -> Strides:
    """The strides of *arrays* where they matter: None if one is contiguous and may be.

    With *leave_open* a stride other than the 1 of a last axis is a variable, so that one kernel takes them all.
    """
    return tuple(_strides(param, array, leave_open) for param, array in zip(params, arrays, strict=True))


def _strides(param: Param, array: Array, leave_open: bool) -> Shape | None:
    if array.flags.c_contiguous and param.strides is None:
        return None
    strides = element_strides(array)
    if not leave_open:
        return param.strides if strides == param.strides else strides
    last = len(strides) - 1
    return tuple(1 if n == last and step == 1 else Var(f"{param.name}.stride{n}") for n, step in enumerate(strides))


def pattern(strides: Strides) -> tuple[tuple[int | None, ...] | None, ...]:
    """What tells two choices of strides apart, if those that are left open count as one."""
    return tuple(None if s is None else tuple(step if isinstance(step, int) else None for step in s) for s in strides)


def flags_of(param: Param) -> int:
    return (CONTIGUOUS if param.strides is None else 0) | _ALIGNED | (_WRITEABLE if param.is_output else 0)


def _rivals(params: Sequence[Param]) -> list[tuple[int, int, int, int]]:
    return [
        (output, other, params[output].nbytes, params[other].nbytes)
        for output in range(len(params))
        for other in range(len(params))
        if params[output].is_output and params[output].nbytes and params[other].nbytes
        if other < output or (other > output and not params[other].is_output)
    ]
