"""What the tests of saved kernels share: C programs compiled against them, and a machine for WebAssembly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def tool(*names: str) -> str:
    """The path of the first of these programs that is there; without any, the test is skipped."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}")
    return found


@pytest.fixture(scope="session")
def cc() -> str:
    return tool("cc", "gcc", "clang")


@pytest.fixture
def run_c(tmp_path: Path, cc: str) -> Callable[..., str]:
    """``run_c(text, "mm.o", …)`` compiles a C99 program with the files of the test's folder, runs it, gives its output.

    *compiler* and *machine* are other commands to compile and to run with.
    """

    def run(
        text: str,
        *words: str,
        compiler: str = cc,
        machine: Sequence[str] = (),
        env: dict[str, str] | None = None,
        standard: str = "c99",
    ) -> str:
        source = tmp_path / ("program.c" if standard.startswith("c9") else "program.cpp")
        source.write_text(text)
        command = [
            compiler,
            f"-std={standard}",
            *STRICT,
            "-O1",
            source.name,
            *words,
            "-o",
            "program",
            "-lm",
            "-pthread",
        ]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        done = subprocess.run(
            [*machine, str(tmp_path / "program")],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


class WebAssembly:
    """An object file for WebAssembly, run as it is: its host gives it what a linker would, memory and a stack.

    Data begin at address 0, as in the file; the stack ends at 1 MiB, and the heap begins there.
    """

    def __init__(self, content: bytes) -> None:
        import wasmtime

        self.store = wasmtime.Store()
        module = wasmtime.Module(self.store.engine, content)
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(64, 64)))
        self.top, self.freed = 1 << 20, 0
        stack = wasmtime.GlobalType(wasmtime.ValType.i32(), True)
        given = {
            "__linear_memory": self.memory,
            "__stack_pointer": wasmtime.Global(self.store, stack, wasmtime.Val.i32(self.top)),
        }
        functions = {"aligned_alloc": self.allocate, "free": self.free, "__multi3": self.multiply}
        imports = [
            given.get(item.name)
            or wasmtime.Func(self.store, item.type, functions.get(item.name) or mathematical(item.name))
            for item in module.imports
        ]
        self.exports = wasmtime.Instance(self.store, module, imports).exports(self.store)

    def allocate(self, alignment: int, size: int) -> int:
        at = -(-self.top // alignment) * alignment
        if size % 2**32 > 2**20:
            return 0
        self.top = at + size
        return at

    def free(self, at: int) -> None:
        self.freed += 1

    def multiply(self, at: int, a: int, a_high: int, b: int, b_high: int) -> None:
        """The compiler's own library has this product of 128-bit numbers."""
        low = 2**64 - 1
        product = (a & low | a_high << 64) * (b & low | b_high << 64) % 2**128
        self.memory.write(self.store, product.to_bytes(16, "little"), at)

    def put(self, array: np.ndarray) -> int:
        at = self.allocate(64, array.nbytes)
        self.memory.write(self.store, array.tobytes(), at)
        return at

    def call(self, name: str, *args: float) -> int:
        return self.exports[name](self.store, *args)


NUMPY = {"pow": "power", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "fmod": "fmod"}


def mathematical(name: str) -> Callable[..., float]:
    """A function of C's math.h, by way of NumPy's."""
    kind = np.float64 if hasattr(np, NUMPY.get(name, name)) else np.float32
    plain = name if kind is np.float64 else name.removesuffix("f")
    function = getattr(np, NUMPY.get(plain, plain))

    def call(*args: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(*map(kind, args)))

    return call


@pytest.fixture
def webassembly() -> type[WebAssembly]:
    """The class of machines that run an object file for WebAssembly."""
    pytest.importorskip("wasmtime")
    return WebAssembly
