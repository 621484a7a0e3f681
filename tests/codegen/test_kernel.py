"""Calling kernels: what they accept, what they return, and every refusal."""

from __future__ import annotations

import ctypes
from array import array as buffer_array
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.codegen.jit import compile_module
from flashsched.codegen.kernel import Kernel, Param, Strides
from flashsched.codegen.target import host_target
from flashsched.errors import KernelError

SHAPE = (3, 4)
F32 = "float32"


def text(strides: Sequence[Sequence[int]], kind: str = "float", shape: Sequence[int] = SHAPE) -> str:
    """``c[i, j] = a[i, j] + b[i, j]``, each array with strides of its own."""
    places = [f"{r} {c}".split() for r, c in strides]
    lines = []
    for name, (row, column) in zip("abc", places, strict=True):
        lines.append(f"  %{name}.r = mul i64 %i, {row}\n  %{name}.c = mul i64 %j, {column}")
        lines.append(f"  %{name}.o = add i64 %{name}.r, %{name}.c")
        lines.append(f"  %{name}.p = getelementptr {kind}, ptr %{name}, i64 %{name}.o")
    size = shape[0] * shape[1]
    add = "fadd" if kind == "float" else "add"
    body = "\n".join(lines)
    return f"""
define void @sum(ptr noalias %a, ptr noalias %b, ptr noalias %c) {{
entry:
  %some = icmp sgt i64 {size}, 0
  br i1 %some, label %loop, label %done
loop:
  %t = phi i64 [ 0, %entry ], [ %next, %loop ]
  %i = udiv i64 %t, {max(shape[1], 1)}
  %j = urem i64 %t, {max(shape[1], 1)}
{body}
  %x = load {kind}, ptr %a.p
  %y = load {kind}, ptr %b.p
  %z = {add} {kind} %x, %y
  store {kind} %z, ptr %c.p
  %next = add i64 %t, 1
  %more = icmp slt i64 %next, {size}
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def kernel(dtype: str = F32, kind: str = "float", shape: tuple[int, int] = SHAPE, specialize: Any = None) -> Kernel:
    module = compile_module(text([(shape[1], 1)] * 3, kind, shape), host_target())
    params = [Param("a", shape, dtype), Param("b", shape, dtype), Param("c", shape, dtype, is_output=True)]
    return Kernel(module, params, "sum", specialize)


@pytest.fixture(scope="module")
def plus() -> Kernel:
    return kernel()


def numbers(shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


class Lender:
    """An array that speaks DLPack only."""

    def __init__(self, array: np.ndarray, old: bool = False, device: int = 1) -> None:
        self.array, self.old, self.device = array, old, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)

    def __dlpack__(self, **request: Any) -> object:
        if self.old and request:
            raise TypeError("unexpected keyword")
        return self.array.__dlpack__(**request)


def test_it_fills_the_output_and_returns_it(plus: Kernel) -> None:
    a, b, c = numbers(), numbers() * 2, np.empty(SHAPE, np.float32)
    assert plus(a, b, c) is c
    assert np.array_equal(c, a + b)


def test_without_an_output_it_returns_a_fresh_one(plus: Kernel) -> None:
    a = numbers()
    first, second = plus(a, a), plus(a, a)
    assert first is not second
    assert first.dtype == np.float32
    assert np.array_equal(first, 2 * a)


@pytest.mark.parametrize("old", [False, True])
def test_dlpack_both_ways(plus: Kernel, old: bool) -> None:
    a, c = numbers(), np.zeros(SHAPE, np.float32)
    out = Lender(c, old)
    assert plus(Lender(a, old), a, out) is out
    assert np.array_equal(c, 2 * a)


def test_buffers() -> None:
    f = kernel(shape=(1, 4))
    a = memoryview(numbers((1, 4)))
    c = memoryview(bytearray(16)).cast("B").cast("f", (1, 4))
    f(a, a, c)
    assert c.tolist() == [[2.0, 4.0, 6.0, 8.0]]


def test_subclasses_of_ndarray(plus: Kernel) -> None:
    a = numbers()
    assert np.array_equal(plus(a.view(np.recarray), a), 2 * a)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("int8", "i8"),
        ("int64", "i64"),
        ("uint8", "i8"),
        ("uint16", "i16"),
        ("uint32", "i32"),
        ("uint64", "i64"),
        ("bfloat16", "i16"),
        ("bool", "i8"),
    ],
)
def test_element_types(dtype: str, kind: str) -> None:
    f = kernel(dtype, kind)
    numpy_dtype = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    a = numbers(dtype=numpy_dtype)
    c = f(a, np.zeros(SHAPE, numpy_dtype))
    assert c.dtype == numpy_dtype
    assert np.array_equal(c, a)


def test_no_elements() -> None:
    f = kernel(shape=(0, 4))
    empty = np.empty((0, 4), np.float32)
    assert f(empty, empty, empty).shape == (0, 4)
    assert f(Lender(empty), empty).shape == (0, 4)


def test_several_outputs() -> None:
    stores = "  store float 1.0, ptr %x\n  store float 2.0, ptr %y\n"
    module = compile_module(f"define void @two(ptr %a, ptr %x, ptr %y) {{\n{stores}  ret void\n}}", host_target())
    f = Kernel(module, [Param("a", (), F32), Param("x", (), F32, True), Param("y", (), F32, True)], "two")
    x, y = f(np.zeros((), np.float32))
    assert (float(x), float(y)) == (1.0, 2.0)


REFUSED = [
    ((1,), r"takes 2 inputs \(a: float32\[3, 4\], b: float32\[3, 4\]\), then optionally its 1 output .*; got 1 arg"),
    ((numbers(), numbers(), numbers(), numbers()), "got 4 arguments"),
    ((numbers(), None), "'b' is None, and a kernel takes arrays"),
    ((numbers(), [[1.0]]), "'b' is a list, and a kernel takes arrays"),
    ((numbers(), 3.0), "'b' is a float"),
    ((numbers(), object()), "'b' is a object, and a kernel takes arrays"),
    ((numbers(), numbers((4, 3))), r"'b' has shape \(4, 3\), and the kernel takes \(3, 4\)"),
    ((numbers(), numbers((12,))), r"'b' has shape \(12,\)"),
    ((numbers(), numbers(dtype=np.float64)), "'b' has dtype float64, and the kernel takes float32"),
    ((numbers(), numbers().astype(">f4")), "'b' has dtype >f4, and the kernel takes float32"),
    ((numbers(), Lender(numbers(), device=2)), r"'b' is a Lender on another device \(CUDA\)"),
    ((numbers(), numbers(), np.broadcast_to(np.float32(0), SHAPE)), "'c' is an output, and the array is read-only"),
    ((numbers(), numbers((4, 3)).T), r"'b' has strides \(1, 3\) in elements, and the kernel takes contiguous arrays"),
]


@pytest.mark.parametrize(("args", "says"), REFUSED)
def test_refusals(plus: Kernel, args: tuple[Any, ...], says: str) -> None:
    with pytest.raises(KernelError, match=says) as caught:
        plus(*args)
    assert str(caught.value).startswith("sum(a, b, c): ")
    with pytest.raises(KernelError, match=says):
        plus.time(*args)


def test_hints(plus: Kernel) -> None:
    with pytest.raises(KernelError) as caught:
        plus(numbers(), numbers(dtype=np.float64))
    assert caught.value.hint == "pass b.astype('float32')"
    with pytest.raises(KernelError) as caught:
        plus(numbers(), numbers((3, 8))[:, ::2])
    assert caught.value.hint == "pass np.ascontiguousarray(b)"


def test_an_output_may_not_share_memory(plus: Kernel) -> None:
    a, b = numbers(), numbers()
    with pytest.raises(KernelError, match="output 'c' shares memory with 'a'"):
        plus(a, b, a)
    line = np.zeros(20, np.float32)
    with pytest.raises(KernelError, match="output 'c' shares memory with 'b'"):
        plus(a, line[:12].reshape(SHAPE), line[8:].reshape(SHAPE))
    line = np.ones(24, np.float32)  # neighbours do not share
    assert np.array_equal(plus(a, line[:12].reshape(SHAPE), line[12:].reshape(SHAPE)), a + 1)
    assert np.array_equal(plus(a, a), 2 * a)  # inputs may


def test_two_outputs_may_not_share_memory() -> None:
    module = compile_module("define void @two(ptr %x, ptr %y) {\n  ret void\n}", host_target())
    f = Kernel(module, [Param("x", (2,), F32, True), Param("y", (2,), F32, True)], "two")
    x = np.zeros(2, np.float32)
    with pytest.raises(KernelError, match="output 'y' shares memory with 'x'"):
        f(x, x)


def test_misaligned(plus: Kernel) -> None:
    raw = np.zeros(49, np.uint8)[1:]
    with pytest.raises(KernelError, match="'b' is not aligned to its elements of 4 bytes"):
        plus(numbers(), raw.view(np.float32).reshape(SHAPE))


def test_strides_that_are_no_whole_elements(plus: Kernel) -> None:
    pairs = np.zeros(SHAPE, np.dtype([("x", np.float32), ("y", np.int16)]))
    with pytest.raises(KernelError, match="not aligned"):
        plus(numbers(), pairs["x"])


def test_inputs_come_first() -> None:
    module = compile_module("define void @f(ptr %x, ptr %y) {\n  ret void\n}", host_target())
    with pytest.raises(KernelError, match="outputs come after inputs"):
        Kernel(module, [Param("x", (2,), F32, True), Param("y", (2,), F32)], "f")
    with pytest.raises(KernelError, match="no function 'g' in this module; it has f"):
        Kernel(module, [Param("x", (2,), F32)], "g")


# strided arguments


def specializing(asked: list[Strides]) -> Kernel:
    def specialize(strides: Strides) -> Kernel:
        asked.append(strides)
        steps = [(4, 1) if one is None else one for one in strides]
        module = compile_module(text(steps), host_target())
        params = [Param(n, SHAPE, F32, n == "c", s) for n, s in zip("abc", strides, strict=True)]
        return Kernel(module, params, "sum")

    return kernel(specialize=specialize)


def test_a_strided_input_gets_a_kernel_of_its_own_once() -> None:
    asked: list[Strides] = []
    f = specializing(asked)
    a, b = numbers(), numbers((4, 3)).T
    for _ in range(3):
        assert np.array_equal(f(a, b), a + b)
    assert asked == [(None, (1, 3), None)]
    assert np.array_equal(f(b, a), a + b)
    assert asked[1:] == [((1, 3), None, None)]
    assert f.time(a, b, repeat=2).median_s > 0


VIEWS = {
    "transposed": lambda: numbers((4, 3)).T,
    "every second": lambda: numbers((6, 8))[::2, ::2],
    "backwards": lambda: numbers()[::-1, ::-1],
    "one row": lambda: np.broadcast_to(numbers((4,)), SHAPE),
    "one number": lambda: np.broadcast_to(np.float32(3), SHAPE),
    "whole": lambda: numbers(),
}


@given(a=st.sampled_from(sorted(VIEWS)), b=st.sampled_from(sorted(VIEWS)), through=st.booleans())
def test_any_strides(a: str, b: str, through: bool) -> None:
    x, y = VIEWS[a](), VIEWS[b]()
    f = specializing([])
    expected = x + y
    lent = Lender(np.array(x, subok=False, copy=None)) if through and x.flags.writeable else x
    out = np.zeros((3, 8), np.float32)[:, ::2]
    assert np.array_equal(f(lent, y), expected)
    assert np.array_equal(f(lent, y, out), expected)


def test_interleaved_arrays_do_not_share_memory() -> None:
    both = np.zeros((3, 8), np.float32)
    both[:, ::2] = numbers()
    f = specializing([])
    f(both[:, ::2], numbers(), both[:, 1::2])
    assert np.array_equal(both[:, 1::2], 2 * numbers())
    with pytest.raises(KernelError, match="output 'c' shares memory with 'a'"):
        f(both[:, ::2], numbers(), both[:, 2:6])


def test_an_output_whose_elements_share_memory() -> None:
    out = np.lib.stride_tricks.as_strided(np.zeros(10, np.float32), SHAPE, (4, 4))
    with pytest.raises(KernelError, match="'c' is an output, and elements of it share memory"):
        specializing([])(numbers(), numbers(), out)


def test_an_axis_of_one_element_has_no_stride() -> None:
    f = kernel(shape=(1, 4))
    column = np.zeros((4, 1), np.float32)
    assert np.array_equal(f(numbers((1, 4)), column.T), numbers((1, 4)))


# timing and looking inside


def test_time(plus: Kernel) -> None:
    a, c = numbers(), np.empty(SHAPE, np.float32)
    timing = plus.time(a, a, c, repeat=5, min_time=1e-4)
    assert len(timing.times_s) == 5
    assert timing.calls > 10
    assert 0 < timing.median_s < 1e-4
    assert np.array_equal(c, 2 * a)
    assert "median of 5 samples" in str(timing)
    with pytest.raises(KernelError, match="repeat must be at least 1, got 0"):
        plus.time(a, a, repeat=0)


def test_looking_inside(plus: Kernel) -> None:
    assert "fadd float" in plus.llvm_ir()
    assert "target triple" in plus.llvm_ir(optimized=True)
    assert "sum:" in plus.asm()
    assert repr(plus) == "<Kernel sum(a: float32[3, 4], b: float32[3, 4]) -> c: float32[3, 4]>"


def test_a_bound_kernel_lives_without_its_name() -> None:
    """The compiled code must not go when nothing but the bound function is left."""
    import gc

    from flashsched import te
    from flashsched.codegen.build import build

    x = te.placeholder((4,), name="x")
    y = te.compute((4,), lambda i: x[i] + 1, name="y")
    out = np.zeros(4, np.float32)
    run = build(te.create_schedule(y), [x, y]).bound(np.ones(4, np.float32), out)
    gc.collect()
    assert run(3) >= 0
    assert out.tolist() == [2.0] * 4


def test_the_gil_is_released(waiting: Callable[..., Kernel]) -> None:
    """A kernel that waits for Python to write: with the GIL held it would never end."""
    import threading

    f = waiting()
    a = np.zeros(1, np.int64)
    threading.Timer(0.02, lambda: a.fill(9)).start()
    assert f(a).tolist() == [9]


def test_read_only_inputs_and_kept_alive_memory(plus: Kernel) -> None:
    a = numbers()
    a.flags.writeable = False
    assert np.array_equal(plus(a, Lender(numbers())), 2 * a)
    assert np.array_equal(plus(a, buffer(numbers())), 2 * a)


def buffer(array: np.ndarray) -> memoryview:
    return memoryview(buffer_array("f", array.ravel().tolist())).cast("B").cast("f", SHAPE)


def test_the_pointer_is_what_ctypes_says() -> None:
    from flashsched.codegen.arrays import pointer

    for a in (numbers(), numbers()[1:, 1:], numbers().T, numbers()[::-1], np.zeros(())):
        assert pointer(a) == a.ctypes.data == ctypes.c_void_p(a.ctypes.data).value
