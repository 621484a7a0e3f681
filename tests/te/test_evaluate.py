"""The first oracle against NumPy itself, operation by operation and graph by graph."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ExpressionError
from flashsched.te import evaluate as module
from flashsched.te.evaluate import evaluate, run_graph
from flashsched.te.expr import Call, Expr, Var
from flashsched.te.functions import MATH
from flashsched.te.tensor import Tensor

FLOATS = ["float64", "float32", "float16", "bfloat16"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint8"]


def numpy_type(dtype: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def data(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return (rng.normal(size=shape) * 3).astype(numpy_type(dtype))


def pointwise(function: Any, *arrays: np.ndarray) -> np.ndarray:
    """*function* of expressions, applied to each element of *arrays* by the oracle."""
    n = len(arrays[0])
    inputs = [te.placeholder((n,), a.dtype.name, f"P{k}") for k, a in enumerate(arrays)]
    out = te.compute((n,), lambda i: function(*(p[i] for p in inputs)))
    return run_graph([out], dict(zip(inputs, arrays, strict=True)))[0]


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_arithmetic_is_numpys_in_each_dtype(dtype: str) -> None:
    a, b = data((300,), dtype), data((300,), dtype, seed=1)
    b[b == 0] = 1
    with np.errstate(all="ignore"):
        check(pointwise(lambda x, y: x + y, a, b), a + b)
        check(pointwise(lambda x, y: x - y, a, b), a - b)
        check(pointwise(lambda x, y: x * y, a, b), a * b)
        check(pointwise(lambda x, y: x // y, a, b), a // b)
        check(pointwise(lambda x, y: x % y, a, b), a % b)
        check(pointwise(te.minimum, a, b), np.minimum(a, b))
        check(pointwise(te.maximum, a, b), np.maximum(a, b))
        check(pointwise(lambda x, y: x < y, a, b), a < b)
        check(pointwise(lambda x, y: x <= y, a, b), a <= b)
        check(pointwise(lambda x, y: x > y, a, b), a > b)
        check(pointwise(lambda x, y: x >= y, a, b), a >= b)
        check(pointwise(lambda x, y: te.any(x == y, x != y), a, b), np.ones(300, bool))
        check(pointwise(lambda x: te.abs(x), a), np.abs(a))
        check(pointwise(lambda x: -x, a), -a)
        check(pointwise(lambda x, y: te.select(x > y, x, y), a, b), np.where(a > b, a, b))
        if dtype in FLOATS:
            check(pointwise(lambda x, y: x / y, a, b), a / b)
        else:
            check(pointwise(lambda x, y: x & y, a, b), a & b)
            check(pointwise(lambda x, y: x | y, a, b), a | b)
            check(pointwise(lambda x, y: x ^ y, a, b), a ^ b)
            check(pointwise(lambda x: ~x, a), ~a)
            check(pointwise(lambda x: x << 2, a), a << 2)
            check(pointwise(lambda x: x >> 2, a), a >> 2)


def test_floor_division_rounds_down() -> None:
    a, b = np.array([7, -7, 7, -7], "int32"), np.array([2, 2, -2, -2], "int32")
    assert pointwise(lambda x, y: x // y, a, b).tolist() == [3, -4, -4, 3]
    assert pointwise(lambda x, y: x % y, a, b).tolist() == [1, 1, -1, -1]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", MATH)
def test_mathematics_is_numpys(name: str, dtype: str) -> None:
    x = data((200,), dtype)
    if name in ("asin", "acos"):
        x = np.tanh(x).astype(x.dtype)
    if name.startswith(("log", "sqrt")):
        x = np.abs(x)
    found = pointwise(getattr(te, name), x)
    assert found.dtype == x.dtype
    if name == "erf":
        points = np.array([0, 0.5, -1, 3], x.dtype)
        wanted = [0, 0.5204998778, -0.8427007929, 0.9999779095]
        assert np.allclose(
            pointwise(te.erf, points).astype("float64"), wanted, atol=float(ml_dtypes.finfo(x.dtype).eps)
        )
        return
    spelled = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "round": "rint"}.get(name, name)
    check(found, getattr(np, spelled)(x))


def test_the_rest_of_the_mathematics() -> None:
    x, y = np.abs(data((100,))), data((100,), seed=1)
    check(pointwise(te.pow, x, y), np.power(x, y))
    check(pointwise(te.atan2, x, y), np.arctan2(x, y))
    check(pointwise(te.rsqrt, x), 1 / np.sqrt(x))
    check(pointwise(te.sigmoid, y), 1 / (1 + np.exp(y * np.float32(-1))))
    check(pointwise(lambda a, b: Call("fma", (a, b, a), "float32"), x, y), x * y + x)
    check(pointwise(lambda a: te.clip(a, -1, 0.5), y), np.clip(y, np.float32(-1), np.float32(0.5)))
    special = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1], "float32")
    check(pointwise(te.isnan, special), np.isnan(special))
    check(pointwise(te.isinf, special), np.isinf(special))
    check(pointwise(te.isfinite, special), np.isfinite(special))
    check(pointwise(te.relu, special)[:3], np.array([np.nan, np.inf, 0], "float32"))  # NaN stays NaN
    check(pointwise(lambda a: te.minimum(a, 0.0), special)[:1], special[:1])


@pytest.mark.parametrize("source", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.parametrize("target", [*FLOATS, *INTEGERS, "bool"])
def test_casts(source: str, target: str) -> None:
    x = data((100,), source)
    if source in FLOATS and target in INTEGERS:
        x = (np.abs(x) * 5).astype(x.dtype)  # within range: beyond it C leaves the result open
    with np.errstate(all="ignore"):
        check(pointwise(lambda v: v.astype(target), x), x.astype(numpy_type(target)))


def test_logic_on_bools() -> None:
    a, b = data((50,), "bool"), data((50,), "bool", seed=1)
    check(pointwise(lambda x, y: te.all(x, y), a, b), a & b)
    check(pointwise(lambda x, y: te.any(x, y), a, b), a | b)
    check(pointwise(lambda x, y: x ^ y, a, b), a ^ b)
    check(pointwise(lambda x: ~x, a), ~a)


def test_the_side_not_chosen_is_not_read() -> None:
    a = te.placeholder((4,), name="A")
    padded = te.compute((6,), lambda i: te.select(te.all(i >= 1, i < 5), a[i - 1], 0.0))
    twice = te.compute((6,), lambda i: te.select(i < 1, 0.0, te.select(te.any(i >= 5, a[i - 1] < 0), 1.0, a[i - 1])))
    x = np.abs(data((4,)))
    found = run_graph([padded, twice], {a: x})
    assert np.array_equal(found[0], np.pad(x, 1))
    assert np.array_equal(found[1], [0, *x, 1])


def test_empty_tensors() -> None:
    a = te.placeholder((0,), name="A")
    k = te.reduce_axis((0, 0), "k")
    none = te.compute((0,), lambda i: a[i] + 1)
    total = te.compute((3,), lambda i: te.sum(a[k], axis=k))
    least = te.compute((3, 0), lambda i, j: te.min(a[k] + i, axis=k))
    guarded = te.compute((3,), lambda i: te.select(i > 5, a[i], 2.0))
    shapes = [x.tolist() for x in run_graph([none, total, least, guarded], {a: np.zeros(0, "float32")})]
    assert shapes == [[], [0, 0, 0], [[], [], []], [2, 2, 2]]
    read = te.compute((5,), lambda i: a[i])
    with pytest.raises(ExpressionError, match=r"A\[i\] reads outside A, shape \[0\]"):
        run_graph([read], {a: np.zeros(0, "float32")})


def matmul(m: int, n: int, k: int, dtype: str = "float32") -> tuple[Tensor, Tensor, Tensor]:
    a, b = te.placeholder((m, k), dtype, "A"), te.placeholder((k, n), dtype, "B")
    axis = te.reduce_axis((0, k), "k")
    return a, b, te.compute((m, n), lambda i, j: te.sum(a[i, axis] * b[axis, j], axis=axis), name="C")


@given(st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from(FLOATS))
def test_matmul(shape: tuple[int, int, int], dtype: str) -> None:
    a, b, c = matmul(*shape, dtype)
    x, y = data(a.shape, dtype), data(b.shape, dtype, seed=1)
    found, exact = run_graph([c], {a: x, b: y})[0], run_graph([c], {a: x, b: y}, accumulate="float64")[0]
    reference = x.astype("float64") @ y.astype("float64")
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, reference, rtol=1e-12, atol=1e-12)
    scale = np.abs(x.astype("float64")) @ np.abs(y.astype("float64"))
    eps = float(ml_dtypes.finfo(x.dtype).eps)
    assert np.all(np.abs(found.astype("float64") - reference) <= 2 * shape[2] * eps * scale + 1e-6)


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = matmul(7, 5, 6, "int64")
    feeds = {a: data(a.shape, "int8").astype("int64"), b: data(b.shape, "int8").astype("int64")}
    whole = run_graph([c], feeds)[0]
    assert np.array_equal(whole, feeds[a] @ feeds[b])
    monkeypatch.setattr(module, "_CHUNK", 11)
    assert np.array_equal(run_graph([c], feeds)[0], whole)


def test_a_reduction_may_begin_anywhere_and_windows_overlap() -> None:
    a = te.placeholder((10,), name="A")
    k, m = te.reduce_axis((-1, 2), "k"), te.reduce_axis((2, 4), "m")
    out = te.compute((4,), lambda i: te.max(a[i + k + m], axis=[k, m]))
    x = data((10,))
    wanted = [max(x[i + p + q] for p in (-1, 0, 1) for q in (2, 3)) for i in range(4)]
    assert np.array_equal(run_graph([out], {a: x})[0], wanted)


def test_graphs_run_through_shared_stages_and_several_outputs() -> None:
    a = te.placeholder((6,), name="A")
    half = te.compute((6,), lambda i: a[i] / 2, name="half")
    p, q = te.compute((6,), lambda i: (half[i] + 1, half[5 - i].astype("int32")), name="pq")
    last = te.compute((6,), lambda i: p[i] * q[i] + half[i])
    x = data((6,)) * 10
    found = run_graph([last, q], {a: x})
    wanted_q = (x[::-1] / 2).astype("int32")
    assert np.array_equal(found[1], wanted_q)
    np.testing.assert_array_equal(found[0], (x / 2 + 1) * wanted_q.astype("float32") + x / 2)


def test_a_reducer_is_known_by_what_it_computes_not_by_its_name() -> None:
    a = te.placeholder((5,), name="A")
    k = te.reduce_axis((0, 5), "k")
    impostor = te.comm_reducer(te.maximum, lambda t: te.min_value(t), "sum")
    x = data((5,))
    assert run_graph([te.compute((), lambda: impostor(a[k], axis=k))], {a: x})[0] == x.max()
    log_sum = te.comm_reducer(lambda p, q: te.log(te.exp(p) + te.exp(q)), lambda t: te.min_value(t), "logsumexp")
    found = run_graph([te.compute((), lambda: log_sum(a[k], axis=k))], {a: x})[0]
    assert found == pytest.approx(float(np.log(np.exp(x).sum())), rel=1e-6)


def test_wide_floats_reach_every_stage_and_leave_integers_alone() -> None:
    a = te.placeholder((64,), "float16", "A")
    k = te.reduce_axis((0, 64), "k")
    third = te.compute((64,), lambda i: a[i] / 3)
    total = te.compute((), lambda: te.sum(third[k], axis=k))
    whole = te.compute((), lambda: total.astype("int32") if isinstance(total, Expr) else total().astype("int32"))
    x = np.abs(data((64,), "float16"))
    found = run_graph([total, whole], {a: x}, accumulate="float64")
    assert found[0] == pytest.approx(x.astype("float64").sum() / 3, rel=1e-12)
    assert found[1].dtype == np.int32
    assert run_graph([total], {a: x})[0].dtype == np.float16


def test_refusals() -> None:
    a, b, c = matmul(2, 3, 4)
    x, y = data(a.shape), data(b.shape)
    with pytest.raises(ExpressionError, match=r"placeholder B is given no array; given: A"):
        run_graph([c], {a: x})
    with pytest.raises(
        ExpressionError, match=r"placeholder A is float32\[2, 4\], and the array given is float32\[4, 3\]"
    ):
        run_graph([c], {a: y, b: y})
    with pytest.raises(ExpressionError, match=r"and the array given is float64\[2, 4\]"):
        run_graph([c], {a: x.astype("float64"), b: y})
    shifted = te.compute((2,), lambda i: a[i + 1, 0], name="shifted")
    with pytest.raises(ExpressionError, match=r"A\[i \+ 1, 0\] reads outside A, shape \[2, 4\]"):
        run_graph([shifted], {a: x})


def test_evaluate_broadcasts_its_variables() -> None:
    i, j = Var("i"), Var("j")
    env = {i: np.arange(3).reshape(3, 1), j: np.arange(2).reshape(1, 2)}

    def nothing(node: Expr, indices: list[np.ndarray], mask: np.ndarray | None) -> np.ndarray:
        raise AssertionError(node)

    assert evaluate(i * 10 + j, env, nothing).tolist() == [[0, 1], [10, 11], [20, 21]]
