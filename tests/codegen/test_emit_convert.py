"""Conversions between all dtypes, bit for bit those of NumPy and ml_dtypes, on CPUs with and without help for them."""

from __future__ import annotations

import numpy as np
import pytest

from flashsched.codegen.target import Target, host_target
from flashsched.schedule.ir import Buffer, For, Load, LoopKind, Store
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Cast, Const, Var

N = 20_000


def levels() -> list[str]:
    return ["native", "x86-64-v2", "x86-64-v3"] if host_target().arch == "x86_64" else ["native"]


@pytest.fixture(params=levels())
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv("FLASHSCHED_TARGET", request.param)
    return host_target()


def cast_program(source: str, dtype: str, n: int = N, kind: LoopKind = LoopKind.VECTORIZE) -> Program:
    x, out, i = Buffer("X", (n,), source), Buffer("out", (n,), dtype), Var("i")
    body = For(i, Const(n, "int64"), Store(out, (i,), Cast(Load(x, (i,)), dtype)), kind)
    return Program(f"{source}_to_{dtype}", (x,), (out,), body)


def values_of(source: str, dtype: str) -> np.ndarray:
    """Values of *source*: any for a float or bool result, and such as a float's that fit an integer one."""
    rng = np.random.default_rng(5)
    if dtypes.is_bool(source):
        return rng.integers(0, 2, N).astype(bool)
    if not dtypes.is_float(source):
        some = rng.integers(dtypes.min_value(source), dtypes.max_value(source), N, source, endpoint=True)
        return np.where(rng.integers(0, 2, N) > 0, some, some % 100).astype(source)
    if dtypes.is_int(dtype):
        low, high = (0 if dtypes.is_unsigned(dtype) else -100), 120
        if dtypes.is_unsigned(dtype) and dtypes.bits(source) >= 32:  # up to the largest that a float32 holds
            high = int(np.nextafter(np.float32(2.0 ** dtypes.bits(dtype)), np.float32(0)))
        return rng.uniform(low, high, N).astype(dtypes.numpy_dtype(source))
    if dtypes.bits(source) == 16:
        return rng.permutation(2**16)[:N].astype(np.uint16).view(dtypes.numpy_dtype(source))
    wide = rng.normal(size=N) * 2.0 ** rng.integers(-160, 140, N)
    halves = np.arange(N, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = (halves + np.nextafter(halves.astype(np.float16), np.float16(np.inf)).astype(np.float64)) / 2
    nudged = middles * (1 + rng.integers(-1, 2, N) * 2.0**-40)
    mixed = np.select([np.arange(N) % 3 == 0, np.arange(N) % 3 == 1], [wide, middles], nudged)
    mixed[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.999]
    with np.errstate(over="ignore"):
        return mixed.astype(source)


@pytest.mark.filterwarnings("ignore:.*encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("source", dtypes.DTYPES)
def test_casts_are_numpys(run_nest, target: Target, source: str) -> None:
    for dtype in dtypes.DTYPES:
        if dtype == source:
            continue
        x = values_of(source, dtype)
        (got,) = run_nest(cast_program(source, dtype), x, target=target)
        if dtypes.is_int(source) and dtypes.is_int(dtype):
            want = x.astype(dtype)
        else:
            want = x.astype(dtypes.numpy_dtype(dtype))
        if dtypes.is_float(dtype):
            nan = np.isnan(want.astype(np.float64))
            assert np.array_equal(np.isnan(got.astype(np.float64)), nan), (source, dtype)
            got, want = got[~nan], want[~nan]
        wrong = got.view(np.uint8).reshape(len(got), -1) != want.view(np.uint8).reshape(len(want), -1)
        rows = wrong.any(axis=1)
        assert not rows.any(), f"{source} to {dtype}: {got[rows][:5]} and not {want[rows][:5]}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_small_float_survives_a_round_trip(run_nest, target: Target, dtype: str) -> None:
    n = 2**16
    bits = np.arange(n, dtype=np.uint16)
    x = bits.view(dtypes.numpy_dtype(dtype))
    (wide,) = run_nest(cast_program(dtype, "float32", n), x, target=target)
    (back,) = run_nest(cast_program("float32", dtype, n), wide, target=target)
    nan = np.isnan(wide)
    assert np.array_equal(back.view(np.uint16)[~nan], bits[~nan])
    assert np.all(np.isnan(back[nan].astype(np.float32)))


@pytest.mark.parametrize("kind", [LoopKind.SERIAL, LoopKind.VECTORIZE])
def test_a_float_outside_an_integers_range_gives_something(run_nest, kind: LoopKind) -> None:
    x = np.array([1e30, -1e30, np.nan, np.inf] * 10, np.float32)
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        run_nest(cast_program("float32", dtype, len(x), kind), x)  # no trap, and no claim on the value
