"""Element-wise functions of arrays of any rank."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flashsched.errors import KernelError
from flashsched.functions.kernels import Array, again, as_arrays, run

__all__ = ["add", "relu"]


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


def _by_rows(op: str, arrays: list[Array], out: Any) -> Array:
    shape = arrays[0].shape
    rows = (prod(shape[:-1]), shape[-1]) if shape else (1, 1)
    if rows == shape and (out is None or (isinstance(out, np.ndarray) and out.shape == shape)):
        return run(op, rows, (), arrays, out)
    flat = [array.reshape(rows) for array in arrays]
    if out is None:
        return run(op, rows, (), flat, None).reshape(shape)
    (target,) = as_arrays(op, out=out)
    if target.shape != shape:
        raise KernelError(f"{op}: out has shape {target.shape}, and the result has {shape}")
    view = target.reshape(rows)
    run(op, rows, (), flat, view)
    if not np.may_share_memory(view, target):  # its rows do not lie evenly apart: that was a copy
        target[...] = view.reshape(shape)
    return target
