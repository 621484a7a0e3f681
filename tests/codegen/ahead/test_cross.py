"""Kernels for machines that are not here: what is in their files, and, where an emulator is, what they compute."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.errors import DeviceError, KernelError, LibraryError

MACHINES = {"aarch64-linux-gnu": 183, "riscv64-linux-gnu+v": 243, "riscv64-linux-gnu": 243, "x86_64-linux-gnu": 62}


def network(target: str) -> fs.codegen.kernel.Kernel:
    """tanh(alpha A B) for any number of rows: parallel, vectorized, with memory of its own."""
    n, alpha = te.var("n"), te.scalar("alpha")
    A, B = te.placeholder((n, 19), name="A"), te.placeholder((19, 32), name="B")
    r = te.reduce_axis((0, 19), name="k")
    C = te.compute((n, 32), lambda i, j: te.sum(A[i, r] * B[r, j], axis=r), name="C")
    D = te.compute((n, 32), lambda i, j: te.tanh(alpha * C[i, j]), name="D")
    s = te.create_schedule(D)
    i, j = s[C].op.axis
    jo, ji = s[C].split(j, factor=16)
    s[C].reorder(i, jo, r, ji)
    s[C].vectorize(ji)
    s[D].vectorize(s[D].split(s[D].op.axis[1], factor=16)[1])
    s[D].parallel(s[D].op.axis[0])
    return fs.build(s, [A, B, alpha, D], target=target, name="network")


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((7, 19)).astype("float32"), rng.standard_normal((19, 32)).astype("float32")
    return a, b, np.tanh(0.5 * (a.astype("float64") @ b))


@pytest.mark.parametrize("target", MACHINES)
def test_an_object_file_is_for_its_machine(tmp_path: Path, target: str) -> None:
    content = network(target).save(tmp_path / "network.o").read_bytes()
    kind, machine = struct.unpack_from("<HH", content, 16)
    assert content[:6] == b"\x7fELF\x02\x01"
    assert (kind, machine) == (1, MACHINES[target])
    flags = struct.unpack_from("<I", content, 48)[0]
    assert machine != 243 or flags & 6 == 4  # RISC-V: doubles are passed in registers


def test_an_object_file_for_windows(tmp_path: Path) -> None:
    content = network("x86_64-pc-windows-msvc").save(tmp_path / "network.obj").read_bytes()
    assert struct.unpack_from("<H", content)[0] == 0x8664
    assert "This target has no threads here" in (tmp_path / "network.h").read_text()


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        ("aarch64-linux-gnu", r"\bfmla\s+v\d+\.4s"),
        ("riscv64-linux-gnu+v", r"\bvfmacc\.v[vf]\b"),
        ("wasm32-wasi", r"\bf32x4\.mul\b"),
        ("x86_64-linux-gnu:haswell", r"\bvfmadd\d+ps\s.*%ymm"),
        ("x86_64-linux-gnu:skylake-avx512", r"\bvfmadd\d+ps\s.*%zmm"),
    ],
)
def test_vectors_are_the_machines_own(target: str, instruction: str) -> None:
    kernel = network(target)
    assert re.search(instruction, kernel.asm())
    assert "define void @network(" in kernel.llvm_ir()
    assert "define void @network(" in kernel.llvm_ir(optimized=True)


def test_without_vectors_there_are_none() -> None:
    assert not re.search(r"\bv[sf]\w+\.v", network("riscv64-linux-gnu").asm())
    assert "f32x4" not in network("wasm32-wasi,-simd128").asm()


def test_a_kernel_for_another_machine_says_so() -> None:
    kernel = network("riscv64-linux-gnu")
    assert (
        repr(kernel) == "<Kernel network(A: float32[n, 19], B: float32[19, 32], alpha: float32) -> D: float32[n, 32]>"
    )
    a, b, _ = data()
    for call in (lambda: kernel(a, b, 0.5), lambda: kernel.time(a, b, 0.5), lambda: kernel.bound(a, b, 0.5)):
        with pytest.raises(KernelError, match=r"compiled for riscv64-unknown-linux-gnu \(generic-rv64\), and this"):
            call()
    with pytest.raises(KernelError, match=r"hint: write it into a file for that machine: kernel\.save\('network\.o'\)"):
        network("wasm32-wasi")(a, b, 0.5)


def test_bounds_are_checked_on_this_machine_only() -> None:
    A, at = te.placeholder((4,), name="A"), te.placeholder((4,), "int64", name="at")
    C = te.compute((4,), lambda i: A[at[i]], name="C")
    with pytest.raises(DeviceError, match="check_bounds is for kernels that are called from Python"):
        fs.build(te.create_schedule(C), [A, at, C], target="wasm32-wasi", check_bounds=True)


def test_no_shared_library_for_webassembly(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"no shared libraries are made for wasm32-unknown-wasi(.|\n)*object file"):
        network("wasm32-wasi").save(tmp_path / "libnetwork.so")


# -- run


PROGRAM = """
#include "network.h"
#include <stdio.h>
%s
int main(void) {
  static float d[7 * 32];
  int i;
  if (network(a, b, 0.5f, d, -1) != FLASHSCHED_BAD_SIZE) return 1;
  network_set_num_threads(3);
  for (i = 0; i < 20; i++) if (network(a, b, 0.5f, d, 7) != FLASHSCHED_DONE) return 2;
  for (i = 0; i < 7 * 32; i++) printf("%%.9g\\n", d[i]);
  return 0;
}
"""

EMULATED = {
    "aarch64-linux-gnu": ("aarch64-linux-gnu-gcc", ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
    "riscv64-linux-gnu": ("riscv64-linux-gnu-gcc", ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"]),
    "riscv64-linux-gnu+v": (
        "riscv64-linux-gnu-gcc",
        ["qemu-riscv64", "-cpu", "rv64,v=true,vext_spec=v1.0,vlen=256", "-L", "/usr/riscv64-linux-gnu"],
    ),
    "x86_64-linux-gnu": ("x86_64-linux-gnu-gcc", []),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("target", EMULATED)
def test_another_machine_computes_what_numpy_does(tmp_path: Path, run_c, target: str, shared: bool) -> None:
    compiler, machine = EMULATED[target]
    missing = [name for name in (compiler, *machine[:1]) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    kernel = network(target)
    kernel.save(tmp_path / ("libnetwork.so" if shared else "network.o"))
    a, b, wanted = data()
    arrays = "".join(
        f"static const float {name}[] = {{{', '.join(map(repr, values.ravel().tolist()))}}};\n"
        for name, values in (("a", a), ("b", b))
    )
    words = ["-L.", "-lnetwork", "-Wl,-rpath,$ORIGIN"] if shared else ["network.o"]
    printed = run_c(PROGRAM % arrays, *words, compiler=compiler, machine=machine)
    np.testing.assert_allclose(np.array(printed.split(), "float32").reshape(7, 32), wanted, rtol=1e-4, atol=1e-5)


class WebAssembly:
    """An object file for WebAssembly, run as it is: its host gives it what a linker would, memory and a stack.

    Data begin at address 0, as in the file; the stack ends at 1 MiB, and the heap begins there.
    """

    def __init__(self, content: bytes) -> None:
        wasmtime = pytest.importorskip("wasmtime")
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
            given.get(item.name) or wasmtime.Func(self.store, item.type, functions[item.name])
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


@pytest.mark.parametrize("target", ["wasm32-wasi", "wasm32-wasi,-simd128"])
def test_webassembly_computes_what_numpy_does(tmp_path: Path, target: str) -> None:
    content = network(target).save(tmp_path / "network.o").read_bytes()
    assert content[:8] == b"\0asm\1\0\0\0"
    told = " ".join((tmp_path / "network.h").read_text().split())
    assert "This target has no threads here: what is parallel elsewhere runs on the thread that calls." in told
    machine = WebAssembly(content)
    a, b, wanted = data()
    at = [machine.put(a), machine.put(b), machine.put(np.zeros((7, 32), "float32"))]
    assert machine.call("network", at[0], at[1], 0.5, at[2], -1) == 2
    assert machine.call("network", at[0], at[1], 0.5, at[2], 2**40) == 1  # more than an address can be
    assert machine.freed == 0
    assert machine.call("network", at[0], at[1], 0.5, at[2], 7) == 0
    assert machine.freed == 1
    got = np.frombuffer(machine.memory.read(machine.store, at[2], at[2] + 7 * 32 * 4), "float32").reshape(7, 32)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
