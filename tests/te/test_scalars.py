"""Numbers that are passed by value: in the oracle, in the interpreter, and to kernels; and sizes that are passed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.interpreter import InterpreterError, interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import DtypeError, ExpressionError, KernelError, ShapeError
from flashsched.te.evaluate import run_graph
from flashsched.testing.checks import check_meaning, check_round_trip


def axpy() -> tuple[te.Expr, te.Tensor, te.Tensor, te.Tensor]:
    n = te.var("n")
    alpha = te.scalar("alpha", "int32")
    X, Y = te.placeholder((n,), "int32", name="X"), te.placeholder((n,), "int32", name="Y")
    return alpha, X, Y, te.compute((n,), lambda i: alpha * X[i] + Y[i], name="C")


@settings(max_examples=20, deadline=None)
@given(
    alpha=st.integers(-9, 9), n=st.sampled_from([0, 1, 7, 13, 64]), how=st.sampled_from(["plain", "simd", "copy", "at"])
)
def test_a_number_among_the_arguments(alpha: int, n: int, how: str) -> None:
    a, X, Y, C = axpy()
    s = te.create_schedule(C)
    if how != "plain":
        outer, inner = s[C].split("i", factor=8, tail="cut" if how == "simd" else "guard")
        s[C].parallel(outer)
        s[C].vectorize(inner)
        copy = s.cache_read(a, "local") if how != "simd" else None  # type: ignore[arg-type]
        if how == "at":
            s[copy].compute_at(s[C], outer)
    x, y = np.arange(n, dtype="int32"), np.arange(n, dtype="int32")[::-1].copy()
    wanted = alpha * x + y
    np.testing.assert_array_equal(run_graph([C], {a: alpha, X: x, Y: y})[0], wanted)
    for args, inputs in (([a, X, Y, C], [alpha, x, y]), ([X, Y, a, C], [x, y, alpha])):
        for program in (program_of(s, args), lower(s, args)):
            np.testing.assert_array_equal(interpret(program, inputs)[0], wanted)
        np.testing.assert_array_equal(fs.build(s, args)(*inputs), wanted)
    np.testing.assert_array_equal(fs.build(s)(alpha, x, y), wanted)
    check_round_trip(s)


def test_it_is_printed_as_the_number_that_it_is() -> None:
    _, X, _, C = axpy()
    s = te.create_schedule(C)
    assert str(s).split("\n")[-1] == "    C[i] = alpha * X[i] + Y[i]"
    assert str(lower(s)).startswith("def kernel(alpha: int32, X: int32[n], Y: int32[n], C: int32[n], n: size):")
    assert repr(fs.build(s)) == "<Kernel kernel(alpha: int32, X: int32[n], Y: int32[n]) -> C: int32[n]>"
    assert te.mathematics(C).split("\n")[-1] == "C[i] = alpha · X[i] + Y[i]   (int32, n)"
    known = s.bind_sizes({X.shape[0]: 4})
    assert [op.name for op in known.inputs] == ["alpha", "X", "Y"]
    np.testing.assert_array_equal(fs.build(known)(3, *np.ones((2, 4), "int32")), [4, 4, 4, 4])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_of_each_dtype(dtype: str) -> None:
    a = te.scalar("a", dtype)
    X = te.placeholder((5,), dtype, name="X")
    C = te.compute((5,), lambda i: te.select(i < 3, a, X[i]), name="C")
    check_meaning(te.create_schedule(C), compiled=True)
    x = np.ones(5, fs.te.dtypes.numpy_dtype(dtype))
    for value in (1, np.int64(0), True) if dtype != "float16" else (1.5, np.float32(0.5), np.asarray(2.0)):
        np.testing.assert_array_equal(fs.build(te.create_schedule(C))(value, x)[:3], np.full(3, value, x.dtype))


def test_a_float_is_rounded_and_may_overflow() -> None:
    a, X = te.var("a", "float32"), te.placeholder((1,), name="X")
    C = te.compute((1,), lambda i: X[i] * a, name="C")
    f = fs.build(te.create_schedule(C), [X, a, C])
    x = np.ones(1, "float32")
    assert f(x, 0.1)[0] == np.float32(0.1)
    assert f(x, 1e300)[0] == np.inf
    assert f(x, 3)[0] == 3
    assert f.time(x, 0.5, repeat=1, min_time=1e-6).median_s > 0


def test_it_is_an_index_and_a_condition() -> None:
    n, shift, flip = te.var("n"), te.scalar("shift", "int32"), te.scalar("flip", "bool")
    X = te.placeholder((n,), "int32", name="X")
    at = lambda i: te.clip(i + shift, 0, n - 1)  # noqa: E731
    C = te.compute((n,), lambda i: te.select(flip, -X[at(i)], X[at(i)]), name="C")
    f = fs.build(te.create_schedule(C), [X, shift, flip, C])
    x = np.arange(5, dtype="int32")
    for by in (-7, -1, 0, 2):
        np.testing.assert_array_equal(f(x, by, False), x[np.clip(x + by, 0, 4)])
        np.testing.assert_array_equal(f(x, by, True), -x[np.clip(x + by, 0, 4)])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("3", r"'alpha' is a number of int32, and '3' \(str\) is none"),
        (1.5, r"'alpha' is a number of int32, and 1.5 \(float\) is none"),
        (None, r"and None \(NoneType\) is none"),
        (1j, "is none"),
        (2**31, "2147483648 is not among -2147483648 … 2147483647"),
        (np.ones(3, "int32"), r"an array of int32\[3\] is none"),
        (np.float32(2), r"\(float32\) is none"),
    ],
)
def test_what_is_no_number_of_its_kind(value: Any, says: str) -> None:
    a, X, Y, C = axpy()
    x = np.ones(3, "int32")
    with pytest.raises(KernelError, match=says):
        fs.build(te.create_schedule(C))(value, x, x)
    with pytest.raises(DtypeError, match=says):
        run_graph([C], {a: value, X: x, Y: x})
    with pytest.raises(InterpreterError, match=says):
        interpret(lower(te.create_schedule(C)), [value, x, x])


def test_declarations_that_are_refused() -> None:
    for name, dtype in (("2x", "float32"), ("x", "float99")):
        with pytest.raises(ExpressionError):
            te.scalar(name, dtype)
    a, X, Y, C = axpy()
    s = te.create_schedule(C)
    with pytest.raises(KernelError, match="alpha is not among the arguments"):
        fs.build(s, [X, Y, C])
    with pytest.raises(KernelError, match="alpha is named twice"):
        fs.build(s, [a, X, Y, a, C])
    with pytest.raises(KernelError, match="input alpha comes after output C"):
        fs.build(s, [X, Y, C, a])
    with pytest.raises(KernelError, match="a kernel's arguments are the tensors, scalars and sizes"):
        fs.build(s, [a + 1, X, Y, C])


# -- sizes


def repeated() -> tuple[te.Expr, te.Expr, te.Tensor, te.Tensor]:
    """``C[i] = sum of A[i] * k for k < m``, where no array tells m."""
    n, m = te.var("n"), te.var("m")
    A, k = te.placeholder((n,), "int32", name="A"), te.reduce_axis((0, m), name="k")
    return n, m, A, te.compute((n,), lambda i: te.sum(A[i] * k.astype("int32"), axis=k), name="C")


@pytest.mark.parametrize("how", ["plain", "split", "rfactor"])
def test_a_size_that_no_array_tells(how: str) -> None:
    _, m, A, C = repeated()
    s = te.create_schedule(C)
    if how != "plain":
        _, inner = s[C].split("k", factor=4)
        if how == "rfactor":
            s.rfactor(C, inner)
        s[C].parallel(s[C].split("i", factor=4)[0])
    a = np.arange(7, dtype="int32")
    kernel = fs.build(s, [m, A, C], specialize=[{m: 8}])
    for count in (0, 1, 3, 4, 8, 13):
        wanted = a * sum(range(count))
        np.testing.assert_array_equal(kernel(count, a), wanted)
        np.testing.assert_array_equal(kernel(np.int32(count), a[::-1]), wanted[::-1])
        np.testing.assert_array_equal(run_graph([C], {m: count, A: a})[0], wanted)
        np.testing.assert_array_equal(interpret(lower(s, [A, m, C]), [a, count])[0], wanted)


def test_a_size_that_arrays_tell_must_be_what_they_say() -> None:
    n, m, A, C = repeated()
    a = np.arange(7, dtype="int32")
    f = fs.build(te.create_schedule(C), [n, A, m, C])
    assert repr(f) == "<Kernel kernel(n: size, A: int32[n], m: size) -> C: int32[n]>"
    np.testing.assert_array_equal(f(7, a, 3), 3 * a)
    out = np.empty(7, "int32")
    assert f(7, a, 3, out) is out
    for args, says in (
        ((8, a, 3), "size n is 8 by what is passed for it, and 7 by dimension 0 of 'A'"),
        ((7, a, -1), "'m' is a size, which is a whole number from 0 up, and -1 is none"),
        ((7, a, 1.0), "and 1.0 is none"),
        ((7, a, True), "and True is none"),
        ((7, a), r"takes 3 inputs \(n: size, A: int32\[n\], m: size\), then optionally .* got 2 arguments"),
    ):
        with pytest.raises(KernelError, match=says):
            f(*args)
    with pytest.raises(ShapeError, match="size n is 8 by what is passed for it, and 7 by dimension 0 of A"):
        run_graph([C], {n: 8, m: 3, A: a})
    with pytest.raises(KernelError, match="size m can't be told from the arrays") as raised:
        fs.build(te.create_schedule(C))(a)
    assert "fs.build(s, [m, …])" in str(raised.value)


def test_a_program_with_a_scalar_is_tuned_for_sizes_that_are_numbers() -> None:
    from flashsched.tune.task import Task

    a, X, Y, C = axpy()
    with pytest.raises(fs.errors.TuneError, match="a task is tuned for sizes that are numbers, and 'axpy' speaks of n"):
        Task.from_te([a, X, Y, C], "axpy")
    n = X.shape[0]
    with pytest.raises(fs.errors.TuneError, match="takes tensors and scalars, and n is neither"):
        Task.from_te([n, X, Y, C], "axpy")
    task = Task.from_te(te.bind_sizes([a, X, Y, C], {n: 16}), "axpy")
    number, x, y = task.inputs()
    np.testing.assert_array_equal(
        fs.build(te.create_schedule(task.args()[-1]), task.args())(number, x, y), number * x + y
    )
