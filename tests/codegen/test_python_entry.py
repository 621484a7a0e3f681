"""Calls that never meet Python code: they mean what the slow ones mean, and leave nothing behind."""

from __future__ import annotations

import inspect
import sys
from array import array as buffer_array
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen import python_entry
from flashsched.codegen.build import build
from flashsched.codegen.jit import compile_module
from flashsched.codegen.kernel import Kernel, Param
from flashsched.codegen.target import host_target
from flashsched.errors import KernelError
from flashsched.te.dtypes import DTYPES

from .entry_kernels import SHAPE, plus, plus_of_any_size, times_number, two_outputs, whole

# what does not need Python, and what does


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_is_plain(dtype: str, slow: list[int]) -> None:
    a, c = whole(dtype), np.zeros(SHAPE, whole(dtype).dtype)
    expected = a & a if dtype == "bool" else a + a
    assert plus(dtype)(a, a, c) is c
    fresh = plus(dtype)(a, a)
    assert fresh.dtype == a.dtype
    np.testing.assert_array_equal(c, expected)
    np.testing.assert_array_equal(fresh, expected)
    assert slow == []


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 4), (2, 1, 3), (1, 2, 1, 2, 1)])
def test_each_shape_is_plain(shape: tuple[int, ...], slow: list[int]) -> None:
    a, c = np.asarray(whole(shape=shape)), np.zeros(shape, np.float32)
    assert plus(shape=shape)(a, a, c) is c
    np.testing.assert_array_equal(c, a + a)
    np.testing.assert_array_equal(plus(shape=shape)(a, a), a + a)
    assert slow == []


def test_what_python_sees_to(slow: list[int]) -> None:
    a, c = whole(), np.zeros(SHAPE, np.float32)
    f = plus()
    for calls, odd in enumerate(
        [a.T.copy().T, a.view(Sub), memoryview(a), np.frombuffer(a.tobytes(), "f4").reshape(SHAPE)]
    ):
        c[:] = 0
        assert f(a, odd, c) is c
        np.testing.assert_array_equal(c, a + a)
        assert len(slow) == min(calls + 1, 3)


def test_sizes_are_read_from_the_shapes(slow: list[int]) -> None:
    f = plus_of_any_size()
    for shape in [(3, 4), (1, 1), (0, 7), (7, 0), (17, 33)]:
        a, c = whole(shape=shape), np.zeros(shape, np.float32)
        assert f(a, a, c) is c
        np.testing.assert_array_equal(c, a + a)
    assert slow == []
    np.testing.assert_array_equal(f(whole(), whole()), 2 * whole())
    with pytest.raises(KernelError, match="size n is 3 by dimension 0 of 'a', and 4"):
        f(whole(), whole(shape=(4, 4)), whole())
    assert slow == [2, 3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(st.floats() | st.floats(width=32) | st.sampled_from([3.5e38, -1e-46, 1 + 2**-24]))
def test_floats_are_numbers_of_the_kernel(dtype: str, number: float) -> None:
    a = whole(dtype, (5,))
    with np.errstate(all="ignore"):
        assert_same(times_number(dtype)(number, a), times_number(dtype).caller(number, a))


def test_other_numbers(slow: list[int]) -> None:
    a = whole(shape=(5,))
    assert times_number()(2.0, a).tolist() == [2, 4, 6, 8, 10]
    assert slow == []
    for number in (2, np.float32(2), np.float64(2), np.int64(2), True, np.array(2.0)):
        assert times_number()(number, a)[0] == float(number)
    assert len(slow) == 6
    assert times_number()(np.array(2, "f4"), a)[0] == 2
    assert len(slow) == 6
    for wrong in ("2", None, [2.0], a):
        with pytest.raises(KernelError, match="'alpha' is a number of float32"):
            times_number()(wrong, a)
    assert times_number("int32")(3, whole("int32", (5,))).tolist() == [3, 6, 9, 12, 15]


# one meaning, whatever comes


class Sub(np.ndarray):
    """A subclass of NumPy's arrays."""


def shifted(a: np.ndarray) -> np.ndarray:
    """*a* at an address that its elements are not aligned to."""
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


def read_only(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


ARGUMENTS: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda a: a,
    "wrong dtype": lambda a: a.astype("float64"),
    "as many bytes": lambda a: a.view("i4" if a.itemsize == 4 else "f8"),
    "long long": lambda a: a.view(np.longlong) if a.itemsize == 8 else a.view(np.intc),
    "byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "dtype with notes": lambda a: a.view(np.dtype(a.dtype, metadata={"unit": "m"})),
    "record": lambda a: a.view([("x", a.dtype)]),
    "more rows": lambda a: np.vstack([a, a]),
    "turned": lambda a: a.reshape(a.shape[::-1]),
    "flat": lambda a: a.reshape(-1),
    "one more axis": lambda a: a[None],
    "no axis": lambda a: a[0, 0, ...],
    "column by column": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1],
    "one row": lambda a: np.broadcast_to(a[0], a.shape),
    "misaligned": shifted,
    "read-only": read_only,
    "subclass": lambda a: a.view(Sub),
    "matrix": lambda a: a.view(np.recarray),
    "masked": np.ma.masked_array,
    "memoryview": lambda a: memoryview(a.view("u2") if a.dtype == ml_dtypes.bfloat16 else a),
    "array.array": lambda a: buffer_array("f", a.astype("f4").ravel().tolist()),
    "bytes": lambda a: a.tobytes(),
    "list": lambda a: a.tolist(),
    "None": lambda a: None,
    "number": lambda a: 2.5,
    "NumPy's number": lambda a: a[0, 0],
}


def arguments(dtype: str, kinds: list[str], joined: str) -> list[Any]:
    """New arguments of *kinds*; *joined* says how the last array lies beside the first."""
    arrays = [whole(dtype) + np.array(n, whole(dtype).dtype) for n in range(len(kinds))]
    if len(arrays) > 1:
        line = np.arange(40).astype(arrays[0].dtype)
        if joined == "same":
            arrays[-1] = arrays[0]
        elif joined in ("overlapping", "neighbours"):
            second = 12 if joined == "neighbours" else 8
            arrays[0], arrays[-1] = line[:12].reshape(SHAPE), line[second : second + 12].reshape(SHAPE)
    return [ARGUMENTS[kind](array) for kind, array in zip(kinds, arrays, strict=True)]


def outcome(call: Callable[..., Any], args: list[Any]) -> tuple[Any, ...]:
    """All that a call does: what it raises or returns, and what it writes."""
    try:
        result = call(*args)
        told = ("returned", type(result).__name__, next((n for n, arg in enumerate(args) if arg is result), None))
    except Exception as error:
        result, told = None, ("raised", type(error).__name__, str(error))
    return *told, *(_bytes(thing) for thing in (result, *args))


def _bytes(thing: Any) -> Any:
    return thing.tobytes() if hasattr(thing, "tobytes") else thing


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert one.tobytes() == other.tobytes()


KERNELS = {
    "float32": lambda: plus(),
    "int64": lambda: plus("int64"),
    "bfloat16": lambda: plus("bfloat16"),
    "any size": plus_of_any_size,
}


@settings(deadline=None, max_examples=200)
@given(
    kernel=st.sampled_from(sorted(KERNELS)),
    kinds=st.lists(st.one_of(st.just("plain"), st.sampled_from(sorted(ARGUMENTS))), min_size=1, max_size=4),
    joined=st.sampled_from(["apart", "apart", "same", "overlapping", "neighbours"]),
)
@example(kernel="float32", kinds=["plain", "plain", "plain"], joined="same")
@example(kernel="float32", kinds=["plain", "plain", "plain"], joined="overlapping")
@example(kernel="float32", kinds=["plain", "plain", "plain"], joined="neighbours")
@example(kernel="int64", kinds=["plain", "long long", "long long"], joined="apart")
@example(kernel="any size", kinds=["plain", "plain", "more rows"], joined="apart")
def test_a_fast_call_means_what_a_slow_one_means(kernel: str, kinds: list[str], joined: str) -> None:
    f, dtype = KERNELS[kernel](), "float32" if kernel == "any size" else kernel
    fast, slow = (outcome(call, arguments(dtype, kinds, joined)) for call in (f, f.caller))
    assert fast == slow


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", sorted(ARGUMENTS))
def test_each_argument_at_each_place(kind: str, place: int) -> None:
    kinds = ["plain"] * 3
    kinds[place] = kind
    fast, slow = (outcome(call, arguments("float32", kinds, "apart")) for call in (plus(), plus().caller))
    assert fast == slow


@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_too_few_and_too_many(count: int) -> None:
    with pytest.raises(KernelError, match=rf"plus\(a, b, c\): takes 2 inputs .*; got {count} argument"):
        plus()(*[whole()] * count)
    with pytest.raises(TypeError, match="no keyword arguments"):
        plus()(whole(), whole(), c=whole())


def test_outputs_may_not_meet(slow: list[int]) -> None:
    a, line = whole(shape=(4,)), np.zeros(9, np.float32)
    f = two_outputs()
    x, y = f(a, line[:4], line[4:8])
    assert (x.tolist(), y.tolist()) == ([2, 3, 4, 5], [4, 6, 8, 10])
    assert slow == []
    with pytest.raises(KernelError, match="output 'y' shares memory with 'x'"):
        f(a, line[:4], line[3:7])
    assert [out.tolist() for out in f(a)] == [[2, 3, 4, 5], [4, 6, 8, 10]]


# looking at it, and doing without it


def test_what_a_function_says_of_itself() -> None:
    call = plus().__call__
    assert call.__name__ == "plus"
    assert str(inspect.signature(call)) == "(*args)"
    assert callable(plus())
    assert python_entry.reason() is None


def test_without_it(monkeypatch: pytest.MonkeyPatch, slow: list[int]) -> None:
    monkeypatch.setattr(python_entry, "reason", lambda: "no such thing here")
    a = te.placeholder((2,), name="a")
    f = build(te.create_schedule(te.compute((2,), lambda i: a[i] + 7, name="b")), name="without")
    one, out = whole(shape=(2,)), np.zeros(2, np.float32)
    assert f(one).tolist() == [8.0, 9.0]
    assert f(one, out) is out
    assert len(slow) == 2
    one[0] = 5
    assert f.bind(one, out)() is out
    assert out.tolist() == [12.0, 9.0]
    with pytest.raises(KernelError, match="got 0 arguments"):
        f()


def test_another_layout_of_arrays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(python_entry._FIELDS, "DTYPE", 32)
    python_entry._misread.cache_clear()
    assert "lays arrays out in another way (dtype)" in str(python_entry.reason())
    monkeypatch.setitem(python_entry._FIELDS, "DTYPE", 40)
    monkeypatch.setitem(python_entry._FIELDS, "DIMENSIONS", 24)
    python_entry._misread.cache_clear()
    assert "(dimensions)" in str(python_entry.reason())
    monkeypatch.undo()
    python_entry._misread.cache_clear()
    assert python_entry.reason() is None
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert "this is pypy" in str(python_entry.reason())


def test_bound_calls_return_what_a_call_returns(slow: list[int]) -> None:
    a, line = whole(), whole(shape=(4,))
    out = np.zeros(SHAPE, np.float32)
    assert plus().bind(a, a, out)() is out
    np.testing.assert_array_equal(out, a + a)
    strided = plus().bind(a.T.copy().T, a)
    np.testing.assert_array_equal(strided(), a + a)
    assert strided() is strided()
    x, y = two_outputs().bind(line)()
    assert (x.tolist(), y.tolist()) == ([2, 3, 4, 5], [4, 6, 8, 10])
    np.testing.assert_array_equal(plus_of_any_size().bind(a, a)(), a + a)
    assert times_number().bind(2.5, line.repeat(2)[:5])().tolist() == [2.5, 2.5, 5, 5, 7.5]
    assert slow == []
    with pytest.raises(KernelError, match="'b' has dtype float64"):
        plus().bind(a, whole("float64"))
    with pytest.raises(TypeError, match="takes no arguments"):
        plus().bind(a, a)(a)


def test_a_size_that_no_array_tells() -> None:
    module = compile_module("define void @f(ptr %a, ptr %b, i64 %n) {\n  ret void\n}", host_target())
    n = te.var("n")
    f = Kernel(module, [Param("a", (2,), "int64"), Param("b", (2,), "int64", True)], "f", scalars=[n])
    with pytest.raises(KernelError, match="size n"):
        f(np.zeros(2, np.int64), np.zeros(2, np.int64))
