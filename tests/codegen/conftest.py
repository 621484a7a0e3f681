"""What the tests of the code generator share: running a lowered nest on NumPy arrays, without the passes before it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from flashsched.codegen.caller import Caller
from flashsched.codegen.emit import emit, entry_name
from flashsched.codegen.emit_storage import may_lack_memory
from flashsched.codegen.jit import compile_module
from flashsched.codegen.kernel import Kernel, Param
from flashsched.codegen.target import Target, host_target
from flashsched.schedule.program import Program
from flashsched.te import dtypes

Run = Callable[..., list[np.ndarray]]


@pytest.fixture(scope="session")
def run_nest() -> Run:
    """``run_nest(program, *inputs, target=None)`` compiles a lowered nest and returns its outputs, dense arrays that
    hold 7s (or True) before the call."""

    def run(program: Program, *inputs: np.ndarray, target: Target | None = None) -> list[np.ndarray]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLASHSCHED_CACHE", "off")
            module = compile_module(emit(program, target or host_target()), target or host_target())
        outputs = [np.full(b.shape, 7, dtypes.numpy_dtype(b.dtype)) for b in program.outputs]
        arrays = [*inputs, *outputs]
        lacking = np.zeros(1, np.int64)  # where the function says that it could not have memory
        given = [*arrays, lacking] if may_lack_memory(program.body) else arrays
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(given))(module.address(entry_name(program.name)))
        function(*[array.ctypes.data for array in given])
        assert not lacking[0]
        return outputs

    return run


@pytest.fixture(scope="session")
def waiting() -> Callable[..., Kernel]:
    """``waiting(**known)`` makes a kernel that waits until its input is no longer 0."""
    text = """define void @wait(ptr %a, ptr %b) {
entry:
  br label %loop
loop:
  %x = load volatile i64, ptr %a
  %zero = icmp eq i64 %x, 0
  br i1 %zero, label %loop, label %done
done:
  store i64 %x, ptr %b
  ret void
}"""
    params = [Param("a", (1,), "int64"), Param("b", (1,), "int64", True)]
    return lambda **known: Kernel(compile_module(text, host_target()), params, "wait", **known)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each call that Python code has to see to."""
    seen: list[int] = []
    real = Caller.__call__
    monkeypatch.setattr(Caller, "__call__", lambda self, *args: seen.append(len(args)) or real(self, *args))
    return seen
