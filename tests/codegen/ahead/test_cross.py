"""Kernels for machines that are not here: what is in their files, and, where an emulator is, what they compute."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.ahead.wrapper import c_arguments
from flashsched.codegen.build import build_program
from flashsched.codegen.cross_target import target_for
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.lower import lower
from flashsched.errors import DeviceError, KernelError, LibraryError
from flashsched.te.expr import SizeVar
from flashsched.testing.checks import garbage
from flashsched.testing.graphs import graphs, some_sizes
from flashsched.testing.schedules import CPU_PRIMITIVES, schedules

MACHINES = {"aarch64-linux-gnu": 183, "riscv64-linux-gnu+v": 243, "riscv64-linux-gnu": 243, "x86_64-linux-gnu": 62}


def network(target: str) -> Kernel:
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


@pytest.mark.parametrize("target", ["wasm32-wasi", "wasm32-wasi,-simd128"])
def test_webassembly_computes_what_numpy_does(tmp_path: Path, webassembly, target: str) -> None:
    content = network(target).save(tmp_path / "network.o").read_bytes()
    assert content[:8] == b"\0asm\1\0\0\0"
    told = " ".join((tmp_path / "network.h").read_text().split())
    assert "This target has no threads here: what is parallel elsewhere runs on the thread that calls." in told
    machine = webassembly(content)
    a, b, wanted = data()
    at = [machine.put(a), machine.put(b), machine.put(np.zeros((7, 32), "float32"))]
    assert machine.call("network", at[0], at[1], 0.5, at[2], -1) == 2
    assert machine.call("network", at[0], at[1], 0.5, at[2], 2**40) == 1  # more than an address can be
    assert machine.freed == 0
    assert machine.call("network", at[0], at[1], 0.5, at[2], 7) == 0
    assert machine.freed == 1
    got = np.frombuffer(machine.memory.read(machine.store, at[2], at[2] + 7 * 32 * 4), "float32").reshape(7, 32)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def number_for_c(array: np.ndarray) -> float:
    """The array's one element as C passes it: small floats as their bits, and WebAssembly calls all integers signed."""
    if array.dtype.name in ("float16", "bfloat16"):
        return array.view(np.uint16).item()
    return array.item() if array.dtype.kind == "f" else array.astype(f"int{max(32, 8 * array.itemsize)}").item()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_schedule_computes_the_same_in_webassembly(webassembly, tmp_path_factory, data: st.DataObject) -> None:
    """And is translated for the others without a complaint of LLVM's, which would end the process."""
    drawn = data.draw(graphs(sized=True))
    schedule = data.draw(schedules(drawn.outputs, primitives=CPU_PRIMITIVES))
    sizes = data.draw(some_sizes(drawn)) if drawn.sizes else {}
    lowered = lower(schedule, [*drawn.inputs, *drawn.outputs])
    note(f"{drawn!r}\n{schedule.to_python()}")
    folder = tmp_path_factory.mktemp("drawn")
    for target in ("aarch64-linux-gnu", "riscv64-linux-gnu+v", "wasm32-wasi,-simd128", "wasm32-wasi"):
        kernel = build_program(lowered, target_for(target))
        fs.save_library(folder / "drawn.o", {"drawn": kernel}, header=False)
    machine = webassembly((folder / "drawn.o").read_bytes())
    feeds, outputs = drawn.feeds(0, sizes), [garbage(tensor, sizes) for tensor in drawn.outputs]
    arrays = [*map(np.ascontiguousarray, feeds.values()), *outputs]
    at = {number: machine.put(array) for number, array in enumerate(arrays)}
    passed = []
    for what in c_arguments(kernel.signature):
        if isinstance(what, SizeVar):
            passed.append(sizes[what])
        else:
            passed.append(number_for_c(arrays[what]) if kernel.params[what].by_value else at[what])
    assert machine.call("drawn", *passed) == 0
    for number, output in enumerate(outputs, len(feeds)):
        memory = machine.memory.read(machine.store, at[number], at[number] + output.nbytes)
        output[...] = np.frombuffer(bytes(memory), output.dtype).reshape(output.shape)
    drawn.check(outputs, feeds)
