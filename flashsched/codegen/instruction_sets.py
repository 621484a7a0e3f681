"""The instruction sets that code may use, by LLVM's name and by the system's, and whether this machine has them.

LLVM is not asked here, so that a library of kernels can be checked and loaded where there is no LLVM: Linux tells what
a processor has in /proc/cpuinfo. Sets that only special instructions use (of cryptography, say, or of systems) are left
out, since no kernel comes to them by itself.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Final

__all__ = ["INSTRUCTION_SETS", "host_arch", "lacking_here"]

INSTRUCTION_SETS: Final[dict[str, dict[str, str]]] = {
    "x86_64": {
        "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt", "cx16": "cx16",
        "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm",
        "movbe": "movbe", "avx512f": "avx512f", "avx512cd": "avx512cd", "avx512bw": "avx512bw", "avx512dq": "avx512dq",
        "avx512vl": "avx512vl", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2", "avx512ifma": "avx512ifma",
        "avx512vnni": "avx512_vnni", "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq",
        "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16", "avxvnni": "avx_vnni", "avxifma": "avx_ifma",
        "avxvnniint8": "avx_vnni_int8", "gfni": "gfni", "vpclmulqdq": "vpclmulqdq", "xop": "xop", "fma4": "fma4",
        "tbm": "tbm",
    },
    "aarch64": {
        "neon": "asimd", "fp-armv8": "fp", "dotprod": "asimddp", "fullfp16": "asimdhp", "fp16fml": "asimdfhm",
        "bf16": "bf16", "i8mm": "i8mm", "lse": "atomics", "lse2": "uscat", "rdm": "asimdrdm", "rcpc": "lrcpc",
        "sve": "sve", "sve2": "sve2", "crc": "crc32", "jsconv": "jscvt", "complxnum": "fcma", "flagm": "flagm",
        "altnzcv": "flagm2", "fptoint": "frint", "sha3": "sha3", "cssc": "cssc", "mops": "mops",
    },
    "riscv64": {
        name: name
        for name in (
            *("m", "a", "f", "d", "c", "v", "zba", "zbb", "zbc", "zbs", "zfh", "zfhmin", "zvfh", "zvfhmin", "zicond"),
            *("zvbb", "zvl256b", "zvl512b", "zvl1024b"),
        )
    },
    "wasm32": {
        name: name
        for name in ("simd128", "relaxed-simd", "bulk-memory", "sign-ext", "nontrapping-fptoint", "multivalue")
    },
}  # fmt: skip
"""By architecture: LLVM's name of each, and what Linux calls it. WebAssembly's are its engines'."""


def host_arch() -> str:
    """This machine's architecture, as targets call it: ``x86_64``, ``aarch64``, ``riscv64``."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def lacking_here(needs: Collection[str]) -> list[str]:
    """Those of the sets *needs*, of this machine's architecture, that it lacks; none where the system does not tell."""
    told, names = _told(), INSTRUCTION_SETS.get(host_arch(), {})
    return [name for name in sorted(needs) if told and names.get(name, name) not in told]


@functools.cache
def _told() -> frozenset[str]:
    """What /proc/cpuinfo lists of the first processor; nothing elsewhere than on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
        if key.strip() == "isa":  # rv64imafdcv_zicsr_zba
            base, *longer = value.strip().lower().split("_")
            return frozenset([*base.removeprefix("rv64").replace("g", "imafd"), *longer])
    return frozenset()
