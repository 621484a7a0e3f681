"""The functions on an older CPU, which ``FLASHSCHED_TARGET`` makes of this one: right, and of its instructions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flashsched.hw import probe_host

pytestmark = pytest.mark.skipif(probe_host().isa not in ("avx2", "avx512"), reason="needs AVX2")

START = """
import ml_dtypes
import numpy as np
import flashsched as fs
from flashsched import functions

RNG = np.random.default_rng(0)
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11, "bfloat16": 2.0**-8}

def normal(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)

def close(got, want, sums=1):
    want = np.asarray(want)
    allowed = UNIT[str(got.dtype)] * (8 + sums)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=allowed, atol=allowed * np.abs(want).max(initial=0))
"""

PRODUCTS = """
SIZES = [(1, 1, 1), (5, 3, 0), (1, 300, 70), (300, 1, 70), (40, 4, 90), (6, 16, 9), (97, 101, 103), (256, 272, 320)]
for m, n, k in SIZES:
    for dtype in ("float32", "float64", "float16", ml_dtypes.bfloat16):
        a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
        close(fs.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), k)
    for left, right in (("int8", "int8"), ("uint8", "int8")):
        a, b = RNG.integers(0, 127, (m, k), left), RNG.integers(-128, 128, (k, n), right)
        np.testing.assert_array_equal(fs.matmul(a, b), a.astype(np.int32) @ b.astype(np.int32))
a, b, v = normal(64, 48), normal(80, 48), normal(80)
close(fs.matmul(a, b.T, v, "relu"), np.maximum(a.astype(np.float64) @ b.T + v, 0), 48)
close(fs.matmul(a, fs.prepack(b.T)), a.astype(np.float64) @ b.T, 48)
"""

CONVOLUTIONS = """
def exact(x, w, stride, padding):
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("ncyxij,ocij->noyx", seen, w.astype(np.float64))

for channels, size, filters, window, stride, padding in [
    (3, 17, 20, 7, 2, 3), (16, 14, 32, 3, 1, 1), (64, 12, 64, 3, 1, 1), (20, 9, 24, 1, 1, 0), (5, 8, 7, 3, 2, 0),
]:
    x, w = normal(2, channels, size, size), normal(filters, channels, window, window)
    want, sums = exact(x, w, stride, padding), channels * window**2
    close(fs.conv2d(x, w, stride=stride, padding=padding), want, sums)
    nhwc = fs.conv2d(
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)), np.ascontiguousarray(w.transpose(2, 3, 1, 0)),
        stride=stride, padding=padding, layout="NHWC",
    )
    close(nhwc, want.transpose(0, 2, 3, 1), sums)
"""

ROWS = """
for rows, columns in [(1, 1), (3, 5), (7, 64), (33, 257), (4, 5000)]:
    for dtype in ("float32", "float64", "float16", ml_dtypes.bfloat16):
        x = normal(rows, columns, dtype=dtype)
        e = np.exp(x.astype(np.float64) - x.astype(np.float64).max(1, keepdims=True))
        close(fs.softmax(x), e / e.sum(1, keepdims=True), 8)
for heads, length, depth in [(1, 1, 8), (2, 37, 16), (3, 128, 64)]:
    q, k, v = (normal(1, heads, length, depth) for _ in range(3))
    scores = (q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2)) / np.sqrt(depth)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    close(fs.attention(q, k, v), e / e.sum(-1, keepdims=True) @ v.astype(np.float64), depth + length)
"""

END = """
wide = [key for key, kernel in functions.kernels._kernels.items() if WIDER in kernel.asm()]
assert functions.kernels._kernels and not wide, f"{WIDER} in the code of {wide}"
"""


@pytest.mark.parametrize(("level", "wider"), [("x86-64-v2", "%ymm"), ("x86-64-v3", "%zmm")])
@pytest.mark.parametrize("part", [PRODUCTS, CONVOLUTIONS, ROWS], ids=["products", "convolutions", "rows"])
def test_functions_of_an_older_cpu_are_right(part: str, level: str, wider: str, tmp_path) -> None:
    environment = {
        **os.environ,
        "FLASHSCHED_TARGET": level,
        "FLASHSCHED_LOGS": "",
        "XDG_DATA_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", START + f"WIDER = {wider!r}\n" + part + END],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
