"""The NumPy-like face: ``fs.add(x, y)``, ``fs.conv2d(x, w)`` and their like, on arrays.

A function uses the best record that the logs hold for its shapes, else the schedule that the templates choose with no
tuning. Logs are looked for in ``./tuning_logs``, in ``$FLASHSCHED_LOGS`` (a folder or several) and in the user's data
folder. The first call of a shape compiles, and the next is a dictionary look-up and a call: `again`, which each
function asks first.
"""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import Hashable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import KernelError, LogError, NoRecordError

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel

__all__ = [
    "Options",
    "add",
    "again",
    "as_arrays",
    "clear_kernels",
    "conv2d",
    "kernel_for",
    "log_files",
    "on_clear",
    "relu",
    "remember",
]

Array = NDArray[Any]
Options = tuple[tuple[str, Any], ...]

_kernels: dict[tuple[Any, ...], Kernel] = {}
_remembered: dict[tuple[Any, ...], Kernel] = {}
_more: list[dict[tuple[Any, ...], Any]] = []
_lock = threading.Lock()


def add(x: Any, y: Any, out: Any = None) -> Array:
    """``x + y`` of two arrays of one shape.

    Raises:
        KernelError: the shapes or dtypes differ.
    """
    done = again("add", (), (x, y), out)
    if done is not None:
        return done
    a, b = as_arrays("add", x=x, y=y)
    if a.shape != b.shape:
        raise KernelError(f"add takes two arrays of one shape, and got {a.shape} and {b.shape}")
    return _by_rows("add", [a, b], out)


def relu(x: Any, out: Any = None) -> Array:
    """``max(x, 0)``; NaN stays NaN."""
    done = again("relu", (), (x,), out)
    return _by_rows("relu", list(as_arrays("relu", x=x)), out) if done is None else done


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: int = 1,
    padding: int = 1,
    groups: int = 1,
    dilation: int = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Array:
    """Filter a batch of images by a bank of square kernels.

    Args:
        x: shape (N, C, H, W); with layout NHWC (N, H, W, C).
        w: shape (O, C / groups, KH, KH); with layout NHWC (KH, KH, C / groups, O).
        bias: shape (O,), or None.
        stride: step between windows.
        padding: zeros added on each side.
        groups: parts that channels are divided into, each filtered by its own kernels.
        dilation: distance between the elements of a window.
        layout: ``"NCHW"`` or ``"NHWC"``, of the images.
        algorithm: ``"direct"``, ``"winograd2"`` or ``"winograd4"``, the last two for windows of 3 x 3 with stride,
            groups and dilation 1. ``"winograd2"`` errs no more than the direct sum, and ``"auto"`` takes it where it
            should be faster; ``"winograd4"`` is faster still, and errs some 8 times as much.
        out: the array to fill; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together, or there is no such layout.
        TuneError: the algorithm is not for such a convolution.
    """
    shapes = {"NCHW": "(N, C, H, W) and (O, C / groups, KH, KH)", "NHWC": "(N, H, W, C) and (KH, KH, C / groups, O)"}
    if layout not in shapes:
        raise KernelError(f"conv2d takes layout 'NCHW' or 'NHWC', not {layout!r}")
    seen = (layout, algorithm, dilation, groups, stride, padding)
    done = again("conv2d", seen, (x, w) if bias is None else (x, w, bias), out)
    if done is not None:
        return done
    a, b = as_arrays("conv2d", x=x, w=w)
    image, kernel = a.shape, b.shape
    if layout == "NHWC" and a.ndim == b.ndim == 4:
        image, kernel = tuple(image[at] for at in (0, 3, 1, 2)), tuple(kernel[at] for at in (3, 2, 0, 1))
    if a.ndim != 4 or b.ndim != 4 or kernel[2] != kernel[3] or image[1] != kernel[1] * groups:
        raise KernelError(
            f"conv2d takes shapes {shapes[layout]} in layout {layout}, and got {a.shape} and {b.shape} "
            f"with groups={groups}"
        )
    if algorithm == "auto":
        from flashsched.ops.conv2d import best_algorithm

        ways: dict[str, Any] = {
            "stride": stride,
            "groups": groups,
            "dilation": dilation,
            "layout": layout,
            "dtype": str(a.dtype),
        }
        algorithm = best_algorithm(image, kernel[0], kernel[2], padding, **ways)
    arrays = [a, b]
    options: list[tuple[str, Any]] = [("dilation", dilation), ("groups", groups), ("layout", layout)]
    if bias is not None:
        arrays += as_arrays("conv2d", bias=bias)
        options.insert(0, ("bias", True))
    options.insert(0, ("algorithm", algorithm))
    return _run("conv2d", (*image, kernel[0], kernel[2], stride, padding), tuple(options), arrays, out, seen)


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


def _by_rows(op: str, arrays: list[Array], out: Any) -> Array:
    shape = arrays[0].shape
    rows = (prod(shape[:-1]), shape[-1]) if shape else (1, 1)
    if rows == shape and (out is None or (isinstance(out, np.ndarray) and out.shape == shape)):
        return _run(op, rows, (), arrays, out)
    flat = [array.reshape(rows) for array in arrays]
    if out is None:
        return _run(op, rows, (), flat, None).reshape(shape)
    (target,) = as_arrays(op, out=out)
    if target.shape != shape:
        raise KernelError(f"{op}: out has shape {target.shape}, and the result has {shape}")
    view = target.reshape(rows)
    _run(op, rows, (), flat, view)
    if not np.may_share_memory(view, target):  # its rows do not lie evenly apart: that was a copy
        target[...] = view.reshape(shape)
    return target


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


def _run(
    op: str, shape: tuple[int, ...], options: Options, inputs: list[Array], out: Any, seen: Hashable = ()
) -> Array:
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


def on_clear(kernels: dict[tuple[Any, ...], Any]) -> dict[tuple[Any, ...], Any]:
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
    from flashsched.tune.knobs import FirstKnobs
    from flashsched.tune.load import load
    from flashsched.tune.log import LogWarning
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
    return tuple(_find_logs())


def _find_logs() -> Iterator[Path]:
    import platformdirs

    folders = [Path("tuning_logs")]
    folders += [Path(item) for item in os.environ.get("FLASHSCHED_LOGS", "").split(os.pathsep) if item]
    folders.append(Path(platformdirs.user_data_dir("flashsched")) / "tuning_logs")
    for folder in folders:
        if folder.is_file():
            yield folder
        elif folder.is_dir():
            yield from sorted(folder.rglob("*.jsonl"))
