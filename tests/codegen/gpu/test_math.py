"""Functions on GPUs: what has no C library there, its code run on the CPU against NumPy, and all of them as PTX."""

from __future__ import annotations

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen import emit_math
from flashsched.codegen.emit_math_wide import WIDE
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.target import host_target
from flashsched.errors import LoweringError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor

TWO = ("pow", "atan2")
OWN = ("exp", "exp2", "expm1", "log", "tanh", "erf", "sqrt", "floor", "abs")
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 1e-30, -1e-30, 1e-42, 88.0, 1e30, -1e30, np.inf, -np.inf, np.nan],
    "float32",
)
NUMPY = {"pow": "power", "atan2": "arctan2", "asin": "arcsin", "acos": "arccos", "atan": "arctan"}


def elementwise(function: str, n: int, dtype: str = "float32") -> tuple[Schedule, list[Tensor]]:
    inputs = [te.placeholder((n,), dtype, name=name) for name in ("XY" if function in TWO else "X")]
    C = te.compute((n,), lambda i: getattr(te, function)(*(x[i] for x in inputs)), name="C")
    s = te.create_schedule(C)
    block, thread = s[C].split("i", factor=32)
    s[C].bind(block, "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    return s, [*inputs, C]


def on_cpu(monkeypatch: pytest.MonkeyPatch, function: str, *arrays: np.ndarray) -> np.ndarray:
    """The code that a GPU gets, run here."""
    monkeypatch.setattr(emit_math, "_WITHOUT_LIBRARY", (host_target().arch,))
    s, args = elementwise(function, len(arrays[0]))
    return np.asarray(fs.build(s, args)(*arrays))


def exact(function: str, *arrays: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(getattr(np, NUMPY.get(function, function))(*(x.astype("float64") for x in arrays)))


def samples(function: str, n: int = 4096) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-12, {"sin": 15, "cos": 15, "tan": 15}.get(function, 3), n)
    x = np.where(rng.integers(0, 2, n) > 0, sizes, -sizes)
    if function in ("asin", "acos"):
        x = rng.uniform(-1, 1, n)
    if function in ("log2", "log10", "pow", "log1p"):
        x = np.abs(x)
    return [x.astype("float32"), rng.uniform(-12, 12, n).astype("float32")][: 2 if function in TWO else 1]


@pytest.mark.parametrize("function", WIDE)
def test_it_is_the_function_rounded(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = samples(function)
    got, wanted = on_cpu(monkeypatch, function, *arrays), exact(function, *arrays)
    with np.errstate(over="ignore"):
        rounded = wanted.astype("float32")
    inside = np.isfinite(rounded)
    error = np.abs(got[inside].astype("float64") - wanted[inside])
    assert np.all(error <= 0.5005 * np.spacing(np.abs(rounded[inside])).astype("float64"))
    np.testing.assert_array_equal(got[~inside], rounded[~inside])


@pytest.mark.parametrize("function", WIDE)
def test_edges_are_as_the_c_standard_has_them(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [EDGES]
    if function in TWO:
        arrays = [x.ravel() for x in np.meshgrid(EDGES, EDGES)]
    got, wanted = on_cpu(monkeypatch, function, *arrays), exact(function, *arrays)
    with np.errstate(over="ignore"):
        wanted = wanted.astype("float32")
    if function in ("sin", "cos", "tan"):  # no whole number of turns is told apart there
        assert np.isnan(got[np.abs(arrays[0]) > 4e15]).all()
        wanted[np.abs(arrays[0]) > 4e15] = np.nan
    np.testing.assert_allclose(got, wanted, rtol=2e-7)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(wanted[known]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("function", OWN)
def test_functions_have_code(function: str, dtype: str, ptxas: str) -> None:
    s, args = elementwise(function, 100, dtype)
    build_gpu(s, args, GpuArch("sm_80")).resources()


@pytest.mark.parametrize("function", WIDE)
def test_wide_functions_have_code(function: str, ptxas: str) -> None:
    for dtype in ("float32", "bfloat16"):
        s, args = elementwise(function, 100, dtype)
        kernel = build_gpu(s, args, GpuArch("sm_80"))
        assert "fma.rn.f64" in kernel.ptx()
        assert not kernel.resources()["kernel"].stack_bytes
    s, args = elementwise(function, 100)
    assert "v_fma_f64" in build_gpu(s, args, GpuArch("gfx90a")).asm()


def test_a_function_without_code_is_refused() -> None:
    s, args = elementwise("sin", 100, "float64")
    with pytest.raises(LoweringError, match=r"sin\(\) of float64 has no code on a GPU"):
        build_gpu(s, args, GpuArch("sm_80"))
