"""Functions from elsewhere as expressions: meant by the oracles, called by kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import ArgumentError, DtypeError, ExpressionError, LoweringError, UnknownNameError
from flashsched.te.evaluate import run_graph
from flashsched.testing.checks import check_meaning


def run(value: Any, *arrays: Any, lanes: int = 0, name: str = "foreign") -> Any:
    """What the kernel computes, once the oracles agreed with it on *value* of the arrays' elements."""
    tensors = [te.placeholder(x.shape, str(x.dtype), name=f"A{n}") for n, x in enumerate(arrays)]
    c = te.compute(arrays[0].shape, lambda i: value(*(t[i] for t in tensors)), name="C")
    s = te.create_schedule(c)
    if lanes:
        _, inner = s[c].split("i", factor=lanes)
        s[c].vectorize(inner)
    found = fs.build(s, name=name)(*arrays)
    (meant,) = run_graph([c], dict(zip(tensors, arrays, strict=True)))
    np.testing.assert_allclose(found, meant, rtol=1e-6)
    for program in (program_of(s), lower(s)):
        (again,) = interpret(program, list(arrays))
        np.testing.assert_allclose(found, again, rtol=1e-6)
    return found


X = np.linspace(0.5, 3, 19).astype("float32")


@pytest.mark.parametrize("lanes", [0, 4, 8])
@pytest.mark.parametrize("call", [te.call_pure_extern, te.call_extern])
def test_a_function_of_the_c_library(call: Any, lanes: int) -> None:
    found = run(lambda x: call("float32", "cbrtf", x) + 1, X, lanes=lanes)
    np.testing.assert_allclose(found, np.cbrt(X) + 1, rtol=1e-6)


def test_several_arguments_of_several_types() -> None:
    n = np.arange(19).astype("int32")
    found = run(lambda x, k: te.call_pure_extern("float64", "ldexp", x.astype("float64"), k), X, n, lanes=4)
    np.testing.assert_array_equal(found, np.ldexp(X.astype("float64"), n))


def test_literals_take_the_type_of_the_result() -> None:
    found = run(lambda x: te.call_pure_extern("float32", "fmodf", x, 1.0), X)
    np.testing.assert_array_equal(found, np.fmod(X, np.float32(1)))


@pytest.mark.parametrize("lanes", [0, 8])
def test_an_intrinsic_of_llvm(lanes: int) -> None:
    found = run(lambda x: te.call_llvm_intrin("float32", "llvm.fma.f32", x, x, 1.0), X, lanes=lanes)
    np.testing.assert_allclose(found, X * X + 1, rtol=1e-6)


def test_it_takes_whole_vectors_where_it_works_element_by_element() -> None:
    a = te.placeholder((16,), name="A")
    c = te.compute((16,), lambda i: te.call_llvm_intrin("float32", "llvm.fma.f32", a[i], a[i], 2.0), name="C")
    s = te.create_schedule(c)
    s[c].vectorize("i")
    assert "call <" in fs.build(s, name="vectors").llvm_ir()
    assert "@llvm.fma.f32(" not in fs.build(s, name="vectors").llvm_ir()


def test_an_intrinsic_of_llvm_that_has_no_vectors_is_called_lane_by_lane() -> None:
    te.register_intrin("power", lambda x: x * x * x, {"float32": POWER})
    found = run(lambda x: te.call_intrin("float32", "power", x), X, lanes=8)
    np.testing.assert_allclose(found, X**3, rtol=1e-6)


POWER = """
declare float @llvm.powi.f32.i32(float, i32)
define float @anything(float %x) {
  %y = call float @llvm.powi.f32.i32(float %x, i32 3)
  ret float %y
}"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_of_ones_own(dtype: str) -> None:
    te.register_intrin("mylog", np.log, {"float32": "logf", "float64": "log"})
    found = run(lambda x: te.call_intrin(dtype, "mylog", x), X.astype(dtype), lanes=4)
    np.testing.assert_allclose(found, np.log(X.astype(dtype)), rtol=1e-6)


def test_it_is_tensorized_vectorized_and_reduced_over_like_any_other() -> None:
    te.register_intrin("twice", lambda x: x + x, {"float32": TWICE})
    a = te.placeholder((6, 5), name="A")
    k = te.reduce_axis((0, 5), name="k")
    c = te.compute((6,), lambda i: te.sum(te.call_intrin("float32", "twice", a[i, k]), axis=k), name="C")
    s = te.create_schedule(c)
    s[c].reorder("k", "i")
    s[c].vectorize("i")
    check_meaning(s, compiled=True)


TWICE = """
define float @twice(float %x) {
  %y = fadd float %x, %x
  ret float %y
}"""

CALLS: list[float] = []


def test_what_may_do_something_is_called_just_where_an_element_is_computed() -> None:
    kind = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)

    @kind
    def noted(x: float) -> float:
        CALLS.append(x)
        return x + 1

    address = ctypes.cast(noted, ctypes.c_void_p).value
    text = f"""
define float @noted(float %x) {{
  %f = inttoptr i64 {address} to ptr
  %y = call float %f(float %x)
  ret float %y
}}"""
    a = te.placeholder((10,), name="A")
    c = te.compute((10,), lambda i: te.select(a[i] > 4, te.call_extern("float32", "noted", a[i]), 0.0), name="C")
    s = te.create_schedule(c)
    outer, inner = s[c].split("i", factor=4)
    s[c].vectorize(inner)
    s[c].pragma(outer, "import_llvm", text)
    x = np.arange(10).astype("float32")
    found = fs.build(s, name="noting")(x)
    np.testing.assert_array_equal(found, np.where(x > 4, x + 1, 0))
    assert CALLS == [5, 6, 7, 8, 9]


# -- refusals


def test_dtypes_that_no_c_function_takes() -> None:
    a = te.placeholder((4,), "float16", name="A")
    with pytest.raises(DtypeError, match=r"expf\(\) with float16: a foreign function takes and gives float32, float64"):
        te.compute((4,), lambda i: te.call_pure_extern("float32", "expf", a[i]))
    with pytest.raises(DtypeError, match=r"expf\(\) with int8"):
        te.call_pure_extern("int8", "expf", 1)
    te.register_intrin("onlyf", np.exp, {"float32": "expf"})
    with pytest.raises(DtypeError, match=r"onlyf\(\) giving float64: it is registered for float32"):
        te.call_intrin("float64", "onlyf", te.const(1.0, "float64"))


def test_names_that_are_none() -> None:
    with pytest.raises(ArgumentError, match="'exp f' is no symbol"):
        te.call_pure_extern("float32", "exp f", 1.0)
    with pytest.raises(ArgumentError, match=r"'fma.f32' is no intrinsic of LLVM"):
        te.call_llvm_intrin("float32", "fma.f32", 1.0)
    te.register_intrin("mylog", np.log, {"float32": "logf"})
    with pytest.raises(UnknownNameError, match="no function 'mylgo' is registered"):
        te.call_intrin("float32", "mylgo", 1.0)
    with pytest.raises(ArgumentError, match="mylog has no symbol for any dtype"):
        te.register_intrin("mylog", np.log, {})


def test_a_symbol_that_is_nowhere() -> None:
    a = te.placeholder((4,), name="A")
    c = te.compute((4,), lambda i: te.call_pure_extern("float32", "no_such_function_f", a[i]), name="C")
    s = te.create_schedule(c)
    with pytest.raises(
        LoweringError, match=r"calls no_such_function_f, which this process does not have\n(.*\n)*.*imp"
    ):
        fs.build(s)
    with pytest.raises(ExpressionError, match=r"what no_such_function_f\(\) computes is not known here"):
        run_graph([c], {a: np.ones(4, "float32")})
    with pytest.raises(ExpressionError, match=r"te.register_intrin\('no_such_function_f'"):
        interpret(program_of(s), [np.ones(4, "float32")])


def test_it_prints_as_a_call() -> None:
    a = te.placeholder((4,), name="A")
    c = te.compute((4,), lambda i: te.call_pure_extern("float32", "cbrtf", a[i] * 2), name="C")
    assert str(te.create_schedule(c)).endswith("C[i] = cbrtf(A[i] * 2.0)")
