"""Expressions compiled, against what `te.evaluate` says they are: all dtypes, alone and in vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.codegen.emit import emit
from flashsched.codegen.target import Target, host_target
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Buffer, For, Load, LoopKind, Store
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, Var, const
from flashsched.te.visit import substitute

N = 45
KINDS = [LoopKind.SERIAL, LoopKind.VECTORIZE]
FLOATS = [t for t in dtypes.DTYPES if dtypes.is_float(t)]
INTS = [t for t in dtypes.DTYPES if dtypes.is_int(t)]


def index(value: int) -> Const:
    return Const(value, "int64")


def over_arrays(value: Expr, arrays: dict[Var, np.ndarray], kind: LoopKind) -> Program:
    """``out[i] = value``, its variables standing for elements ``i`` of arrays."""
    i = Var("i")
    inputs = {var: Buffer(var.name, (N,), var.dtype) for var in arrays}
    out = Buffer("out", (N,), value.dtype)
    stored = substitute(value, {var: Load(buffer, (i,)) for var, buffer in inputs.items()})
    return Program("value", tuple(inputs.values()), (out,), For(i, index(N), Store(out, (i,), stored), kind))


def check(run_nest, value: Expr, arrays: dict[Var, np.ndarray], kind: LoopKind, target: Target | None = None) -> None:
    (got,) = run_nest(over_arrays(value, arrays, kind), *arrays.values(), target=target)
    want = np.broadcast_to(evaluate(value, arrays, lambda *_: np.zeros(1)), N)
    both_nan = np.isnan(got.astype(np.float64)) & np.isnan(want.astype(np.float64))
    wrong = ~both_nan & (got != want)
    assert not wrong.any(), f"{value}: {got[wrong]} and not {want[wrong]}"


def values_of(dtype: str, seed: int) -> np.ndarray:
    """Values whose sums and products of a few are exact, so that fused multiply-adds change nothing."""
    rng = np.random.default_rng(seed)
    if dtypes.is_bool(dtype):
        return rng.integers(0, 2, N).astype(bool)
    if dtypes.is_float(dtype):
        return (rng.integers(-9, 10, N) / 2).astype(dtypes.numpy_dtype(dtype))
    return rng.integers(dtypes.min_value(dtype), dtypes.max_value(dtype), N, dtype, endpoint=True)


INPUTS = {t: [Var(f"{t}_{n}", t) for n in range(2)] for t in dtypes.DTYPES}
ARRAYS = {var: values_of(t, 2 * k + n) for k, (t, pair) in enumerate(INPUTS.items()) for n, var in enumerate(pair)}


def expressions(dtype: str, depth: int) -> st.SearchStrategy[Expr]:
    small = st.integers(0, 1).map(bool) if dtypes.is_bool(dtype) else st.integers(0, 9)
    leaves: st.SearchStrategy[Expr] = st.one_of(st.sampled_from(INPUTS[dtype]), small.map(lambda n: const(n, dtype)))
    if depth == 0:
        return leaves
    inner = expressions(dtype, depth - 1)
    others = st.deferred(lambda: st.sampled_from(dtypes.DTYPES).flatmap(lambda t: expressions(t, depth - 1)))
    conditions = st.deferred(lambda: expressions("bool", depth - 1))
    choices = [leaves, st.builds(Select, conditions, inner, inner)]
    if dtypes.is_bool(dtype):
        pair = st.sampled_from(dtypes.DTYPES).flatmap(lambda t: st.tuples(*[expressions(t, depth - 1)] * 2))
        order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
        choices += [st.builds(lambda op, ab: Compare(op, *ab), order, pair), st.builds(Not, inner)]
        choices += [st.builds(Binary, st.sampled_from(["and", "or", "min", "max"]), inner, inner)]
        choices += [others.map(lambda e: Cast(e, "bool"))]
    elif dtypes.is_int(dtype):
        ops = st.sampled_from(["+", "-", "*", "//", "%", "min", "max", "&", "|", "^", "<<", ">>"])
        choices += [st.builds(Binary, ops, inner, inner)]
        choices += [others.filter(lambda e: not dtypes.is_float(e.dtype)).map(lambda e: Cast(e, dtype))]
    else:
        choices += [st.builds(Binary, st.sampled_from(["+", "-", "min", "max"]), inner, inner)]
        choices += [inner.map(lambda e: Binary("*", e, const(-2, dtype)))]
        choices += [inner.map(lambda e: Binary("/", e, const(4, dtype)))]
        choices += [others.filter(lambda e: dtypes.bits(e.dtype) <= 16).map(lambda e: Cast(e, dtype))]
    return st.one_of(choices)


@settings(max_examples=120, deadline=None)
@given(value=st.sampled_from(dtypes.DTYPES).flatmap(lambda t: expressions(t, 3)), kind=st.sampled_from(KINDS))
def test_expressions_are_what_te_says(run_nest, value: Expr, kind: LoopKind) -> None:
    used = {var: array for var, array in ARRAYS.items() if f"{var.name}" in str(value)}
    check(run_nest, value, used, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", INTS)
def test_division_rounds_down_for_every_divisor(run_nest, dtype: str, kind: LoopKind) -> None:
    x, y = INPUTS[dtype]
    least, most = dtypes.min_value(dtype), dtypes.max_value(dtype)
    edges = np.array([least, least, least + 1, most, 0, 1, 2, 3, 5, 7, most, 6, 9], dtype)
    others = np.array([2, most, 3, least, 0, 0, 1, most, 3, 2, 7, 4, 5], dtype)
    if not dtypes.is_unsigned(dtype):
        edges[5:9] *= -1
        others[[0, 8, 9]] = -1, -3, -2
    arrays = {x: np.resize(edges, N), y: np.resize(others, N)}
    for op in ("//", "%"):
        check(run_nest, Binary(op, x, y), arrays, kind)
        for divisor in (1, 2, 3, 7, 16, most):
            check(run_nest, Binary(op, x, const(divisor, dtype)), {x: arrays[x]}, kind)


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_division_and_remainder_are_numpys(run_nest, dtype: str) -> None:
    x, y = INPUTS[dtype]
    some = [0.0, -0.0, 1.0, -1.0, 0.3, -0.3, 5.0, -7.5, 100.0, np.inf, -np.inf, np.nan, 3.0]
    others = [1.0, 3.0, -3.0, 0.1, 0.0, -0.0, np.inf, -np.inf, np.nan, 2.5, -2.5]
    arrays = {x: np.resize(some, N).astype(dtypes.numpy_dtype(dtype)), y: np.resize(others, N).astype(
        dtypes.numpy_dtype(dtype))}  # fmt: skip
    for op in ("//", "%", "/"):
        if dtype == "bfloat16" and op != "/":
            continue  # ml_dtypes goes its own way with zeros and infinities
        check(run_nest, Binary(op, x, y), arrays, LoopKind.VECTORIZE)


@pytest.mark.parametrize("dtype", INTS)
def test_shifts_by_any_count(run_nest, dtype: str) -> None:
    x, y = INPUTS[dtype]
    counts = np.resize(np.array([0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127], dtype), N)
    for op in ("<<", ">>"):
        check(run_nest, Binary(op, x, y), {x: ARRAYS[x], y: counts}, LoopKind.VECTORIZE)
        check(run_nest, Binary(op, x, const(3, dtype)), {x: ARRAYS[x]}, LoopKind.VECTORIZE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["min", "max"])
def test_a_nan_wins_every_minimum_and_maximum(run_nest, op: str, dtype: str, kind: LoopKind) -> None:
    x, y = INPUTS[dtype]
    some = np.resize([np.nan, 1.0, -2.0, np.inf, -np.inf], N).astype(dtypes.numpy_dtype(dtype))
    other = np.resize([3.0, np.nan, -1.0], N).astype(dtypes.numpy_dtype(dtype))
    check(run_nest, Binary(op, x, y), {x: some, y: other}, kind)
    check(run_nest, Binary(op, x, const(0.5, dtype)), {x: some}, kind)
    check(run_nest, Binary(op, const(0.5, dtype), x), {x: some}, kind)
    check(run_nest, Binary(op, x, const(float("nan"), dtype)), {x: some}, kind)


def test_relu_is_one_instruction() -> None:
    x, i = Buffer("X", (64,), "float32"), Var("i")
    out = Buffer("Y", (64,), "float32")
    body = For(i, index(64), Store(out, (i,), Binary("max", Load(x, (i,)), const(0.0))), LoopKind.VECTORIZE)
    text = emit(Program("relu", (x,), (out,), body), host_target())
    assert "fcmp uno" not in text


@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_floats_round_after_every_operation(run_nest, op: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    x, y = INPUTS[dtype]
    z = Var("z", dtype)
    kind = dtypes.numpy_dtype(dtype)
    arrays = {v: (rng.normal(size=N) * 10.0 ** rng.integers(-4, 4, N)).astype(kind) for v in (x, y, z)}
    check(run_nest, Binary("+", Binary(op, x, y), z), arrays, LoopKind.VECTORIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_absolute_values(run_nest, kind: LoopKind) -> None:
    for dtype in (*FLOATS, "int8", "int16", "int32", "int64"):
        x = INPUTS[dtype][0]
        check(run_nest, Call("abs", (x,), dtype), {x: ARRAYS[x]}, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_side_not_chosen_is_never_read(run_nest, kind: LoopKind) -> None:
    """Elements far outside the buffer, which would end the process if they were touched."""
    x, out, i = Buffer("X", (N,), "float32"), Buffer("out", (N,), "float32"), Var("i")
    far = Load(x, ((i - 5) * 1_000_000_000,))
    near = Compare("==", i, index(5))
    value = Select(near, far, Select(Binary("and", near, Compare(">", far, const(0.0))), far, const(1.5)))
    lazy = Select(Binary("or", Not(near), Compare(">", far, const(0.0))), const(2.0), const(3.0))
    data = np.arange(N, dtype=np.float32) + 9
    for chosen, want in ((value, np.where(np.arange(N) == 5, 9, 1.5)), (lazy, np.full(N, 2.0))):
        program = Program("guarded", (x,), (out,), For(i, index(N), Store(out, (i,), chosen), kind))
        np.testing.assert_array_equal(run_nest(program, data)[0], want)


def test_padding_reads_only_what_exists(run_nest) -> None:
    """A scalar condition around a vector, a vector condition, and both, as a padded convolution has them."""
    h, w, pad = 6, 21, 2
    x, out = Buffer("X", (h, w), "float32"), Buffer("out", (h + 4, w + 4), "float32")
    i, j = Var("i"), Var("j")
    rows = Binary("and", Compare(">=", i, index(pad)), Compare("<", i, index(h + pad)))
    columns = Binary("and", Compare(">=", j, index(pad)), Compare("<", j, index(w + pad)))
    value = Select(Binary("and", rows, columns), Load(x, (i - pad, j - pad)), const(-1.0))
    inner = For(j, index(w + 4), Store(out, (i, j), value), LoopKind.VECTORIZE)
    program = Program("pad", (x,), (out,), For(i, index(h + 4), inner))
    data = np.random.default_rng(0).normal(size=(h, w)).astype(np.float32)
    np.testing.assert_array_equal(run_nest(program, data)[0], np.pad(data, pad, constant_values=-1))


def test_safe_sides_are_chosen_without_a_branch() -> None:
    x, out, i = Buffer("X", (N,), "float32"), Buffer("out", (N,), "float32"), Var("i")
    value = Select(Compare("<", i, index(9)), Load(x, (i,)), const(0.0))
    text = emit(Program("f", (x,), (out,), For(i, index(N), Store(out, (i,), value))), host_target())
    assert "yes" not in text
    assert "select" in text


@pytest.mark.parametrize(("value", "says"), [
    (Var("n"), "'n' is used outside the loop"),
    (Call("gamma", (const(1.0),), "float32"), "no function 'gamma'"),
    (Call("exp", (Const(1, "int32"),), "int32"), "exp\\(\\) of int32"),
    (Binary("@", const(1.0), const(1.0)), "no '@' on float32"),
])  # fmt: skip
def test_refusals(value: Expr, says: str) -> None:
    out = Buffer("out", (1,), value.dtype)
    with pytest.raises(LoweringError, match=says):
        emit(Program("f", (), (out,), Store(out, (index(0),), value)), host_target())
