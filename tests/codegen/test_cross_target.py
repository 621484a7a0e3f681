"""Targets by name: what a text means, what LLVM knows of it, and what is refused before LLVM ends the process."""

from __future__ import annotations

import platform

import pytest

from flashsched.codegen.cross_target import target_for
from flashsched.codegen.instruction_sets import INSTRUCTION_SETS, host_arch, lacking_here
from flashsched.codegen.target import Target, host_target
from flashsched.errors import DeviceError

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 CPUs")


@pytest.mark.parametrize(
    ("text", "triple", "cpu", "system", "bits", "has"),
    [
        ("aarch64-linux-gnu", "aarch64-unknown-linux-gnu", "generic", "linux", 128, "neon"),
        ("aarch64-linux-gnu:neoverse-v1", "aarch64-unknown-linux-gnu", "neoverse-v1", "linux", 128, "sve"),
        ("aarch64-linux-musl+dotprod", "aarch64-unknown-linux-musl", "generic", "linux", 128, "dotprod"),
        ("arm64-apple-macosx13", "arm64-apple-macosx13", "apple-m1", "darwin", 128, "fullfp16"),
        ("riscv64-linux-gnu", "riscv64-unknown-linux-gnu", "generic-rv64", "linux", 64, "d"),
        ("riscv64-linux-gnu+v", "riscv64-unknown-linux-gnu", "generic-rv64", "linux", 128, "v"),
        ("riscv64-linux-gnu+v+zvl256b", "riscv64-unknown-linux-gnu", "generic-rv64", "linux", 256, "v"),
        ("riscv64-linux-gnu:sifive-x280", "riscv64-unknown-linux-gnu", "sifive-x280", "linux", 512, "zvl512b"),
        ("wasm32-wasi", "wasm32-unknown-wasi", "generic", "wasi", 128, "simd128"),
        ("wasm32-wasip1,-simd128", "wasm32-unknown-wasip1", "generic", "wasi", 64, "sign-ext"),
        ("x86_64-linux-gnu", "x86_64-unknown-linux-gnu", "x86-64", "linux", 128, ""),
        ("x86_64-pc-linux-gnu:haswell", "x86_64-pc-linux-gnu", "haswell", "linux", 256, "fma"),
        ("x86_64-linux-gnu:skylake-avx512", "x86_64-unknown-linux-gnu", "skylake-avx512", "linux", 512, "avx512f"),
        ("x86_64-linux-gnu:haswell,-avx2,-fma", "x86_64-unknown-linux-gnu", "haswell", "linux", 256, "avx"),
    ],
)
def test_what_a_text_means(text: str, triple: str, cpu: str, system: str, bits: int, has: str) -> None:
    target = target_for(text)
    assert (target.triple, target.cpu, target.system, target.vector_bits) == (triple, cpu, system, bits)
    assert not has or has in target.instruction_sets
    assert target.pointer_bits == (32 if text.startswith("wasm32") else 64)


def test_what_is_switched_off() -> None:
    target = target_for("x86_64-linux-gnu:haswell,-avx2,-fma")
    assert not {"avx2", "fma"} & set(target.instruction_sets)
    assert "simd128" not in target_for("wasm32-wasi,-simd128").instruction_sets


def test_this_machine() -> None:
    assert target_for("cpu") is None
    assert host_target().runs_here
    assert set(host_target().instruction_sets) <= set(INSTRUCTION_SETS[host_arch()])


@x86
def test_a_level_runs_here_if_this_machine_has_it() -> None:
    level = target_for("x86-64-v2")
    assert level.triple == host_target().triple
    assert level.runs_here
    assert not target_for("aarch64-linux-gnu").runs_here
    assert not target_for("x86_64-linux-gnu:bdver4").runs_here  # AMD's xop and tbm are on no other CPU
    assert not target_for("x86_64-apple-darwin").runs_here or host_target().system == "darwin"


@x86
def test_levels_have_what_linux_says_of_them() -> None:
    """LLVM and Linux name the sets differently: a CPU that runs code for a level lists all of the level's sets."""
    for level, width in (("x86-64-v2", 128), ("x86-64-v3", 256), ("x86-64-v4", 512)):
        if width <= host_target().vector_bits:
            assert lacking_here(target_for(level).instruction_sets) == []
    assert lacking_here(["avx2", "xop"])[-1] == "xop"


def test_pause_instructions_and_half_floats_follow_the_architecture() -> None:
    from flashsched.codegen.emit_convert import memory_type
    from flashsched.codegen.threads import runtime_text

    arm, risc = target_for("aarch64-linux-gnu"), target_for("riscv64-linux-gnu")
    assert "@llvm.aarch64.hint(i32 1)" in runtime_text(arm)
    assert "@llvm.sideeffect()" in runtime_text(risc)
    assert [memory_type("float16", target) for target in (arm, risc)] == ["half", "i16"]


def test_a_triple_of_two_parts() -> None:
    assert Target("wasm32-wasi", "generic", "", 128, 1).system == "unknown"
    assert target_for("wasm32-unknown-unknown").system == "unknown"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "cuda",
            r"kernels are compiled for 'cpu' or for a CPU of x86_64, .*, not for 'cuda'(.|\n)*riscv64-linux-gnu\+v",
        ),
        ("a100-sim", "not for 'a100-sim'(.|\n)*fs.simulate"),
        ("aarch64-linux-gnu:", "not for 'aarch64-linux-gnu:'"),
        ("mips64-linux-gnu", "not for 'mips64-linux-gnu'"),
        ("x86_64-linux-gnu:zorkmid", "LLVM has no CPU 'zorkmid' for x86_64"),
        ("x86_64-linux-gnu:hasvell", "no CPU 'hasvell'(.|\n)*did you mean .*haswell"),
        ("x86_64-linux-gnu:help", "no CPU 'help'"),
        ("aarch64-linux-gnu:zen4", "no CPU 'zen4' for aarch64"),
        ("riscv64-linux-gnu+zork", "LLVM has no feature 'zork' for riscv64"),
        ("riscv64-linux-gnu,-v+zvl256b", "LLVM refuses generic-rv64 with the features"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        target_for(text)
