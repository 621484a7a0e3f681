"""Conversions that LLVM leaves to a library, against NumPy and ml_dtypes, on a CPU level that has none of them."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
import pytest

from flashsched.codegen.jit import compile_module
from flashsched.codegen.target import Target, host_target
from flashsched.te.dtypes import numpy_dtype

pytestmark = pytest.mark.skipif(host_target().arch != "x86_64", reason="other CPUs have instructions for these")

LLVM = {"float16": "half", "bfloat16": "bfloat", "float32": "float", "float64": "double"}


def converted(source: np.ndarray, to: str) -> np.ndarray:
    name = source.dtype.name
    operation = "fptrunc" if source.dtype.itemsize > numpy_dtype(to).itemsize else "fpext"
    host = host_target()
    target = Target(host.triple, "x86-64-v2", "", 128, 1)
    text = f"""
define void @convert(ptr %in, ptr %out, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %from = getelementptr {LLVM[name]}, ptr %in, i64 %i
  %x = load {LLVM[name]}, ptr %from
  %y = {operation} {LLVM[name]} %x to {LLVM[to]}
  %to = getelementptr {LLVM[to]}, ptr %out, i64 %i
  store {LLVM[to]} %y, ptr %to
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    module = compile_module(text, target)
    result = np.empty(source.shape, numpy_dtype(to))
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(module.address("convert"))
    run(source.ctypes.data, result.ctypes.data, source.size)
    return result


def hard_numbers(wide: str, narrow: str) -> np.ndarray:
    """Every number of the narrow format, the points halfway between them, their neighbours, and random bits."""
    dtype = np.dtype(wide)
    every = np.arange(65536, dtype=np.uint16).view(numpy_dtype(narrow)).astype(dtype)
    finite = np.unique(every[np.isfinite(every)])
    halfway = finite[:-1] + (finite[1:] - finite[:-1]) / 2
    near = [np.nextafter(halfway, np.inf, dtype=dtype), np.nextafter(halfway, -np.inf, dtype=dtype)]
    word = np.dtype(f"u{dtype.itemsize}")
    random = np.random.default_rng(0).integers(0, np.iinfo(word).max, 20000, word, endpoint=True).view(dtype)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.99, 65520.0, 3.3961775e38], dtype)
    return np.concatenate([every, halfway, *near, random, edges])


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_narrowing_rounds_to_nearest_even(wide: str, narrow: str) -> None:
    with np.errstate(all="ignore"):
        source = hard_numbers(wide, narrow)
        if (wide, narrow) == ("float64", "bfloat16"):  # ml_dtypes rounds twice, by way of float32
            expected = once(source)
        else:
            expected = source.astype(numpy_dtype(narrow))
    got = converted(source, narrow)
    numbers = ~np.isnan(source)
    assert np.array_equal(got[numbers].view(np.uint16), expected[numbers].view(np.uint16))
    assert np.isnan(got[~numbers].astype(np.float32)).all()


def once(source: np.ndarray) -> np.ndarray:
    """float64 to bfloat16 in one rounding: to odd in float32 first, which leaves ties apart."""
    single = source.astype(np.float32)
    bits = single.view(np.uint32).copy()
    above = np.abs(single.astype(np.float64)) > np.abs(source)
    inexact = single.astype(np.float64) != source
    bits[above & np.isfinite(source)] -= 1  # towards zero
    bits[inexact & np.isfinite(source)] |= 1
    return bits.view(np.float32).astype(ml_dtypes.bfloat16)


def test_every_half_widens_exactly() -> None:
    source = np.arange(65536, dtype=np.uint16).view(np.float16)
    numbers = ~np.isnan(source)
    got = converted(source, "float32")
    assert np.array_equal(got[numbers].view(np.uint32), source[numbers].astype(np.float32).view(np.uint32))
    assert np.isnan(got[~numbers]).all()
