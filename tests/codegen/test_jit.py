"""Text to callable code: attributes, refusals, inspection."""

from __future__ import annotations

import ctypes
import gc
import math
import subprocess
import sys

import pytest

from flashsched.codegen import jit
from flashsched.codegen.jit import compile_module
from flashsched.codegen.target import host_target
from flashsched.errors import KernelError, LoweringError

TWICE = """
define i64 @twice(i64 %x) {
  %y = shl i64 %x, 1
  ret i64 %y
}
define internal i64 @hidden(i64 %x) {
  ret i64 %x
}
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("FLASHSCHED_CACHE", str(tmp_path))


def call(text: str, name: str, *args: object, result: object = ctypes.c_int64) -> object:
    module = compile_module(text, host_target())
    types = [ctypes.c_double if isinstance(arg, float) else ctypes.c_int64 for arg in args]
    return ctypes.CFUNCTYPE(result, *types)(module.address(name))(*args)


def test_it_runs() -> None:
    assert call(TWICE, "twice", 21) == 42


def test_names_are_those_that_can_be_called() -> None:
    module = compile_module(TWICE, host_target())
    assert module.names == ("twice",)
    with pytest.raises(KernelError, match="no function 'hidden' in this module; it has twice"):
        module.address("hidden")


def test_the_second_time_it_comes_from_the_cache() -> None:
    first = compile_module(TWICE, host_target())
    second = compile_module(TWICE, host_target())
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.address("twice") != second.address("twice")
    assert first.asm() == second.asm()


def test_code_lives_as_long_as_its_module() -> None:
    module = compile_module(TWICE, host_target())
    twice = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(module.address("twice"))
    for _ in range(50):
        compile_module(TWICE, host_target())
    gc.collect()
    assert twice(4) == 8


def test_the_c_library_and_libm_are_there() -> None:
    text = """
declare double @erf(double)
define double @f(double %x) {
  %y = call double @erf(double %x)
  ret double %y
}"""
    assert call(text, "f", 0.5, result=ctypes.c_double) == pytest.approx(math.erf(0.5), rel=1e-15)


def test_nothing_is_vectorised_that_the_text_does_not_vectorise() -> None:
    text = """
define void @f(ptr noalias %a, ptr noalias %b) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr float, ptr %a, i64 %i
  %q = getelementptr float, ptr %b, i64 %i
  %x = load float, ptr %p
  %y = fadd float %x, %x
  store float %y, ptr %q
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, 1024
  br i1 %more, label %loop, label %done
done:
  ret void
}"""
    module = compile_module(text, host_target())
    assert "x float>" not in module.optimized_ir
    assert module.optimized_ir.count("fadd") == 1


@pytest.mark.skipif(host_target().vector_bits < 512, reason="needs AVX-512")
def test_wide_vectors_stay_whole() -> None:
    text = """
define void @f(ptr %a) {
  %x = load <16 x float>, ptr %a, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %a, align 4
  ret void
}"""
    assert "%zmm" in compile_module(text, host_target()).asm()


def test_a_syntax_error_shows_its_line() -> None:
    with pytest.raises(LoweringError, match=r"use of undefined value '%z'") as caught:
        compile_module("define i64 @f(i64 %x) {\n  %y = add i64 %x, %z\n  ret i64 %y\n}\n", host_target())
    assert "2:   %y = add i64 %x, %z   <--" in str(caught.value)


def test_code_that_does_not_verify() -> None:
    text = """
define i64 @f(i64 %x) {
a:
  br label %b
b:
  %p = phi i64 [ 0, %a ], [ 1, %c ]
  ret i64 %p
c:
  ret i64 0
}"""
    with pytest.raises(LoweringError, match="LLVM refuses the code"):
        compile_module(text, host_target())


def test_a_function_that_is_nowhere() -> None:
    text = "declare void @nowhere()\ndefine void @f() {\n  call void @nowhere()\n  ret void\n}"
    with pytest.raises(LoweringError, match="calls nowhere, which this process does not have"):
        compile_module(text, host_target())


def test_too_long_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "MAX_LINES", 5)
    with pytest.raises(LoweringError, match="would be 8 lines of LLVM text, and 5 is the limit") as caught:
        compile_module(TWICE, host_target())
    assert caught.value.hint is not None
    assert "unroll less" in caught.value.hint


def test_a_module_and_its_context_go_in_order_however_the_garbage_collector_finds_them() -> None:
    """In a process of its own: it crashed."""
    program = f"""
import gc
from flashsched.codegen import llvm
from flashsched.codegen.target import host_target
for number in range(60):
    module = llvm.optimize({TWICE!r}, host_target())
    llvm.emit_object(module, host_target())
    for part in (module, module.ref, module._context):
        part.others = [module, module.ref, module._context]
    del module, part
    gc.collect()
print("all gone")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("all gone\n", 0), done.stderr
