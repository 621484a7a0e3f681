"""Which kernel a function on arrays calls, and how it is found again in next to no time.

A function uses the best record that the logs hold for its shapes, else the schedule that the templates choose with no
tuning. Logs are looked for in ``./tuning_logs``, in ``$FLASHSCHED_LOGS`` (a folder or several) and in the user's data
folder. The first call of a shape compiles, and the next is a dictionary look-up and a call: `again`, which each
function asks first.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import KernelError, LogError, NoRecordError

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = [
    "Array",
    "Options",
    "again",
    "as_arrays",
    "clear_kernels",
    "kernel_for",
    "log_files",
    "on_clear",
    "remember",
    "run",
]

Array = NDArray[Any]
Options = tuple[tuple[str, Any], ...]

_kernels: dict[tuple[Any, ...], Kernel] = {}
_remembered: dict[tuple[Any, ...], Kernel] = {}
_more: list[dict[Any, Any]] = []
_lock = threading.Lock()


def as_arrays(function: str, **given: Any) -> tuple[Array, ...]:
    """What a *function* was *given*, by name, as arrays of one dtype; memory of other libraries is borrowed.

    Raises:
        KernelError: something is no array in this machine's memory, or dtypes differ.
    """
    from flashsched.codegen.arrays import borrow

    arrays = []
    for name, thing in given.items():
        try:
            arrays.append(thing if isinstance(thing, np.ndarray) else borrow(thing))
        except KernelError as error:
            raise KernelError(f"{function}: {name} {error.reason}", hint=error.hint) from None
    for name, array in zip(given, arrays, strict=True):
        if array.dtype != arrays[0].dtype:
            first = next(iter(given))
            raise KernelError(
                f"{function}: {first} is {arrays[0].dtype} and {name} is {array.dtype}", hint="cast one of them"
            )
    return tuple(arrays)


def again(op: str, seen: Hashable, inputs: tuple[Any, ...], out: Any = None) -> Array | None:
    """What the kernel makes of *inputs* that was `remember`-ed for such arrays and *seen*; None if none was.

    This is what a function costs besides its kernel, some 0.4 µs, so it looks at nothing that the kernel looks at.
    """
    try:
        if out is None and len(inputs) == 2:  # the same without a loop, which takes as long as all the rest
            a, b = inputs
            kernel = _remembered.get((op, seen, a.shape, a.dtype, b.shape, b.dtype))
        else:
            kernel = _remembered.get(_key(op, seen, inputs, out))
    except AttributeError:  # something is no array; it will be told
        return None
    if kernel is None:
        return None
    result: Array = kernel(*inputs) if out is None else kernel(*inputs, out)
    return result


def remember(kernel: Kernel, op: str, seen: Hashable, inputs: Sequence[Array], out: Array | None = None) -> None:
    """Let `again` call *kernel*, which took *inputs* and *out* as a caller gave them and made what he gets.

    *seen* is what else decided that it was this kernel.
    """
    _remembered[_key(op, seen, inputs, out)] = kernel


def _key(op: str, seen: Hashable, inputs: Sequence[Array], out: Array | None) -> tuple[Any, ...]:
    given = inputs if out is None else (*inputs, out)
    parts = [part for array in given for part in (array.shape, array.dtype)]
    return (op, seen, *parts) if out is None else (op, seen, *parts, "out")


def run(op: str, shape: tuple[int, ...], options: Options, inputs: list[Array], out: Any, seen: Hashable = ()) -> Array:
    """Run the kernel for *inputs*, and remember it by *seen* for the next call."""
    kernel = kernel_for(op, shape, str(inputs[0].dtype), options)
    result: Array = kernel(*inputs) if out is None else kernel(*inputs, out)
    if out is None or isinstance(out, np.ndarray):
        remember(kernel, op, seen, inputs, out)
    return result


def kernel_for(op: str, shape: tuple[int, ...], dtype: str, options: Options = ()) -> Kernel:
    """The kernel of an operator for one shape: tuned where the logs know it, else of the template's first choice.

    Raises:
        TuneError: the operator does not take the shape, dtype or options.
    """
    key = (op, shape, dtype, options)
    found = _kernels.get(key)
    if found is None:
        with _lock:
            found = _kernels.get(key)
            if found is None:
                found = _kernels[key] = _make(op, shape, dtype, dict(options))
    return found


def on_clear(kernels: dict[Any, Any]) -> dict[Any, Any]:
    """*kernels*, which `clear_kernels` is to forget too."""
    _more.append(kernels)
    return kernels


def clear_kernels() -> None:
    """Forget all kernels, so that the logs are looked at again."""
    for kernels in (_kernels, _remembered, *_more):
        kernels.clear()
    log_files.cache_clear()


def _make(op: str, shape: tuple[int, ...], dtype: str, options: dict[str, Any]) -> Kernel:
    from flashsched.codegen.build import build
    from flashsched.hw import devices
    from flashsched.tune.load import load
    from flashsched.tune.logs.log import LogWarning
    from flashsched.tune.search.knobs import FirstKnobs
    from flashsched.tune.task import Task

    task = Task(op, shape, dtype, **options)
    files = log_files()
    if files:
        try:
            return load(files, task)
        except NoRecordError:
            pass  # nothing was tuned for this shape: the template's own choice serves
        except LogError as error:
            warnings.warn(f"{op} runs untuned, for a log that can't be used: {error}", LogWarning, stacklevel=4)
    candidate = task.candidate(FirstKnobs(), devices["cpu"])
    return build(candidate.schedule, candidate.args, name=op)


@functools.cache
def log_files() -> tuple[Path, ...]:
    """The tuning logs that the functions look in."""
    from flashsched.tune.logs.places import log_places

    return tuple(log_places())
