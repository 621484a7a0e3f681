"""Kernels of each kind of argument, for the tests of calls from Python."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.kernel import Kernel

SHAPE = (3, 4)


@cache
def plus(dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> Kernel:
    """``c = a + b``, or ``a and b``."""
    a, b = te.placeholder(shape, dtype, name="a"), te.placeholder(shape, dtype, name="b")
    c = te.compute(shape, lambda *i: te.all(a[i], b[i]) if dtype == "bool" else a[i] + b[i], name="c")
    return build(te.create_schedule(c), [a, b, c], name="plus")


@cache
def plus_of_any_size() -> Kernel:
    n, m = te.var("n"), te.var("m")
    a, b = te.placeholder((n, m), name="a"), te.placeholder((n, m), name="b")
    c = te.compute((n, m), lambda i, j: a[i, j] + b[i, j], name="c")
    return build(te.create_schedule(c), [a, b, c], name="plus")


@cache
def times_number(dtype: str = "float32") -> Kernel:
    alpha, a = te.scalar("alpha", dtype), te.placeholder((5,), dtype, name="a")
    c = te.compute((5,), lambda i: alpha * a[i], name="c")
    return build(te.create_schedule(c), [alpha, a, c], name="times")


@cache
def two_outputs() -> Kernel:
    a = te.placeholder((4,), name="a")
    x = te.compute((4,), lambda i: a[i] + 1, name="x")
    y = te.compute((4,), lambda i: x[i] * 2, name="y")
    return build(te.create_schedule([x, y]), [a, x, y], name="two")


def whole(dtype: Any = "float32", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)
