"""Mathematical functions: their errors in units of the last place, and what they do at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.emit_math import known_functions
from flashsched.codegen.target import Target, host_target
from flashsched.schedule.ir import Buffer, For, Load, LoopKind, Store
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Call, Const, Var
from flashsched.te.functions import MATH

N = 4096


def elementwise(function: str, dtype: str, kind: LoopKind, arity: int = 1, n: int = N) -> Program:
    inputs = tuple(Buffer(f"X{k}", (n,), dtype) for k in range(arity))
    out, i, lane = Buffer("Y", (n,), dtype), Var("i"), Var("lane")
    at = i * 16 + lane
    value = Call(function, tuple(Load(x, (at,)) for x in inputs), dtype)
    body = For(lane, Const(16, "int64"), Store(out, (at,), value), kind)
    return Program(f"{function}_{dtype}", inputs, (out,), For(i, Const(n // 16, "int64"), body))


def samples(dtype: str, low: float, high: float, seed: int = 0) -> np.ndarray:
    """Half of the values spread evenly, half by magnitude."""
    rng = np.random.default_rng(seed)
    even = rng.uniform(low, high, N // 2)
    sizes = 10.0 ** rng.uniform(-30, math.log10(max(abs(low), abs(high))), N // 2)
    by_size = np.where(rng.integers(0, 2, N // 2) > 0, sizes, -sizes)
    return np.concatenate([even, np.clip(by_size, low, high)]).astype(dtype)


def exact(function: str, x: np.ndarray) -> np.ndarray:
    """The function in a wider type than that of *x*."""
    wide = x.astype(np.longdouble if x.dtype == np.float64 else np.float64)
    if function == "erf":
        return erf_long(wide)
    return np.asarray(getattr(np, function)(wide))


def erf_long(x: np.ndarray) -> np.ndarray:
    """erf in the precision of *x*: its series, which loses digits by cancellation only above where erf is 1."""
    if x.dtype == np.float64:
        return np.vectorize(math.erf)(x)
    size = np.abs(x)
    # erf(x) = 2 / sqrt(pi) * exp(-x**2) * sum(2**n x**(2n+1) / (2n+1)!!), all terms positive
    term = np.minimum(size, 7)
    square, total = term * term, term.copy()
    for n in range(1, 250):
        term = term * 2 * square / (2 * n + 1)
        total += term
    root_pi = np.sqrt(np.longdouble("3.14159265358979323846264338327950288"))
    return np.copysign(np.minimum(2 / root_pi * np.exp(-square) * total, 1), x)


def ulps(got: np.ndarray, want: np.ndarray) -> float:
    finite = np.isfinite(want) & (np.abs(want) <= np.finfo(got.dtype).max)
    spacing = np.spacing(np.abs(want[finite]).astype(got.dtype)).astype(want.dtype)
    return float(np.max(np.abs(got[finite].astype(want.dtype) - want[finite]) / spacing, initial=0))


LIMITS = {
    "exp": (1.25, {"float32": (-104, 88.7), "float64": (-745, 709.7)}),
    "exp2": (1.25, {"float32": (-150, 127.9), "float64": (-1074, 1023.9)}),
    "expm1": (2.0, {"float32": (-20, 88.7), "float64": (-40, 709.7)}),
    "log": (1.0, {"float32": (1e-45, 3e38), "float64": (5e-324, 1e308)}),
    "tanh": (1.5, {"float32": (-12, 12), "float64": (-22, 22)}),
    "erf": (1.5, {"float32": (-5, 5), "float64": (-7, 7)}),
}


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs a long double wider than double")
@pytest.mark.parametrize("kind", [LoopKind.SERIAL, LoopKind.VECTORIZE])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", LIMITS)
def test_own_functions_are_accurate(run_nest, function: str, dtype: str, kind: LoopKind) -> None:
    allowed, spans = LIMITS[function]
    x = samples(dtype, *spans[dtype])
    if function == "log":
        near_one = np.linspace(0.6, 1.6, N // 4).astype(dtype)
        x = np.concatenate([np.abs(x[: N // 4 * 3]), near_one])
        x[x == 0] = 1
    (got,) = run_nest(elementwise(function, dtype, kind), x)
    with np.errstate(all="ignore"):
        assert ulps(got, exact(function, x)) <= allowed


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("function", LIMITS)
def test_accuracy_does_not_need_fma(run_nest, monkeypatch, function: str, level: str) -> None:
    if host_target().arch != "x86_64":
        pytest.skip("levels of x86-64")
    monkeypatch.setenv("FLASHSCHED_TARGET", level)
    target: Target = host_target()
    allowed, spans = LIMITS[function]
    x = samples("float32", *spans["float32"])
    x = np.abs(x) + np.float32(1e-40) if function == "log" else x
    (got,) = run_nest(elementwise(function, "float32", LoopKind.VECTORIZE), x, target=target)
    with np.errstate(all="ignore"):
        assert ulps(got, exact(function, x)) <= allowed


@pytest.mark.parametrize("kind", [LoopKind.SERIAL, LoopKind.VECTORIZE])
@pytest.mark.parametrize("function", ["tanh", "erf", "exp"])
def test_no_step_stands_between_two_polynomials(run_nest, function: str, kind: LoopKind) -> None:
    """Around each number at which another interval of a table, or another formula, begins."""
    edges = np.array([(1 + m / 4) * 2**e - 1 for e in range(4) for m in range(4)] + [0.625, 14.5, 15, 16], np.float32)
    steps = np.arange(-50, 51, dtype=np.int32)
    x = (edges.view(np.int32)[:, None] + steps).clip(0).view(np.float32).ravel()
    x = np.resize(np.concatenate([x, -x]), N).astype(np.float32)
    (got,) = run_nest(elementwise(function, "float32", kind), x)
    assert ulps(got, exact(function, x)) <= LIMITS[function][0]


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 15, 16, 17, 40, 64])
@pytest.mark.parametrize("function", ["tanh", "erf", "exp"])
def test_any_number_of_lanes_gives_the_same_bits(function: str, lanes: int) -> None:
    x = np.linspace(-6, 6, 5 * lanes).astype("float32").reshape(5, lanes)
    X = te.placeholder(x.shape, name="X")
    Y = te.compute(x.shape, lambda i, j: getattr(te, function)(X[i, j]), name="Y")
    one, many = te.create_schedule(Y), te.create_schedule(Y)
    many[Y].vectorize("j")
    np.testing.assert_array_equal(build(one)(x), build(many)(x))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("function", MATH)
def test_every_function_agrees_with_numpy_at_the_edges(run_nest, function: str, dtype: str) -> None:
    numpy_dtype = dtypes.numpy_dtype(dtype)
    edges = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-3, 100.0, -100.0, 1e4, -1e4]
    x = np.resize(np.array(edges), N).astype(numpy_dtype)
    (got,) = run_nest(elementwise(function, dtype, LoopKind.VECTORIZE), x)
    var = Var("x", dtype)
    want = evaluate(Call(function, (var,), dtype), {var: x}, lambda *_: x)
    loose = {"float64": 1e-14, "float32": 1e-6, "float16": 1.1e-3, "bfloat16": 9e-3}[dtype]
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=loose, atol=0)
    same_sign = np.signbit(got) == np.signbit(want)
    assert np.all(same_sign | np.isnan(want.astype(np.float64)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("function", "arity"), [("pow", 2), ("atan2", 2), ("fma", 3), ("abs", 1)])
def test_functions_of_several_values(run_nest, function: str, arity: int, dtype: str) -> None:
    rng = np.random.default_rng(1)
    args = [rng.uniform(0.1, 3, N).astype(dtype) for _ in range(arity)]
    (got,) = run_nest(elementwise(function, dtype, LoopKind.VECTORIZE, arity), *args)
    variables = [Var(f"x{k}", dtype) for k in range(arity)]
    call = Call(function, tuple(variables), dtype)
    want = evaluate(call, dict(zip(variables, args, strict=True)), lambda *_: args[0])
    np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize(("dtype", "least"), [("float32", -149), ("float64", -1074)])
def test_exp_underflows_gradually(run_nest, dtype: str, least: int) -> None:
    x = np.linspace((least - 2) * math.log(2), (least + 30) * math.log(2), N).astype(dtype)
    (got,) = run_nest(elementwise("exp", dtype, LoopKind.VECTORIZE), x)
    want = np.exp(x.astype(np.longdouble))
    assert ulps(got, want) <= 1
    assert np.any((got > 0) & (got < np.finfo(dtype).tiny))


def test_a_float_gives_the_same_bits_in_vectors_and_alone(run_nest) -> None:
    x = samples("float32", -80, 80)
    for function in LIMITS:
        (one,) = run_nest(elementwise(function, "float32", LoopKind.SERIAL), x)
        (many,) = run_nest(elementwise(function, "float32", LoopKind.VECTORIZE), x)
        np.testing.assert_array_equal(one, many)


def test_every_function_of_te_is_known() -> None:
    assert {*MATH, "abs", "pow", "atan2", "fma"} <= set(known_functions())
