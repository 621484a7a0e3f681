"""Targets by name, this machine or another: ``aarch64-linux-gnu``, ``riscv64-linux-gnu+v``, ``x86-64-v3``.

It stands apart from `target` because there LLVM is asked about the CPU that it runs on, and here about any other.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from typing import Final

from flashsched.codegen.cpu_features import ask_cpu
from flashsched.codegen.instruction_sets import INSTRUCTION_SETS
from flashsched.codegen.target import Target, host_target
from flashsched.errors import DeviceError

__all__ = ["target_for"]

_CPUS: Final = {"x86_64": "x86-64", "aarch64": "generic", "arm64": "apple-m1", "riscv64": "generic-rv64"}
_CPUS["wasm32"] = "generic"
_ALWAYS: Final = {"riscv64": "+m,+a,+f,+d,+c", "wasm32": "+simd128"}
"""What is taken for granted: the RISC-V that Linux distributions ask for, and vectors in WebAssembly."""

_SYSTEMS = ("linux", "darwin", "macosx", "ios", "wasi", "windows", "freebsd", "none")
_TEXT = re.compile(r"(?P<triple>[\w.-]+)(:(?P<cpu>[\w.-]+))?(?P<changes>(,?\+[\w.-]+|,-[\w.-]+)*)")
_HINT = "as in aarch64-linux-gnu, riscv64-linux-gnu+v, x86_64-linux-gnu:haswell, wasm32-wasi, or x86-64-v3"


def target_for(text: str) -> Target | None:
    """The target that *text* names; None for ``"cpu"``, this machine as `host_target` finds it.

    Args:
        text: ``TRIPLE``, then ``:CPU`` for another than the plainest CPU of that architecture, then ``+NAME`` for each
            feature that it has besides and ``,-NAME`` for each that it has not, all by LLVM's names. A level of x86-64
            (``x86-64-v3``) is short for such a CPU under this system.

    Raises:
        DeviceError: it is no such text, or LLVM has no such architecture, CPU or feature.
    """
    if text == "cpu":
        return None
    if re.fullmatch(r"x86-64(-v[234])?", text):
        here = host_target()
        triple = here.triple if here.arch == "x86_64" else "x86_64-unknown-linux-gnu"
        return _target(triple, text, "")
    found = _TEXT.fullmatch(text)
    if found is None or found["triple"].split("-")[0] not in _CPUS:
        raise DeviceError(
            f"kernels are compiled for 'cpu' or for a CPU of {', '.join(_CPUS)}, not for {text!r}",
            hint=f"name it {_HINT}; fs.simulate(schedule, device=...) tells how a device that is not here would run it",
        )
    parts = found["triple"].split("-")
    if len(parts) > 1 and parts[1].startswith(_SYSTEMS):  # a triple without its vendor, as people write it
        parts.insert(1, "unknown")
    changes = ",".join(re.findall(r"[+-][^,+]+", found["changes"]))
    return _target("-".join(parts), found["cpu"] or _CPUS[parts[0]], changes)


@functools.lru_cache(maxsize=64)
def _target(triple: str, cpu: str, changes: str) -> Target:
    arch = triple.split("-")[0]
    asked = ",".join(filter(None, [_ALWAYS.get(arch, ""), changes]))
    wanted = tuple(INSTRUCTION_SETS[arch.replace("arm64", "aarch64")])
    known = ask_cpu(triple, cpu, asked, wanted)
    if known is None:
        raise DeviceError(f"LLVM refuses {cpu} with the features {asked} for {triple}", hint=f"name a target {_HINT}")
    if known.has is None:
        raise DeviceError(f"LLVM has no CPU {cpu!r} for {arch}", hint=_nearest(cpu, known.cpus))
    for change in filter(None, changes.split(",")):
        if change[1:] not in known.features:
            raise DeviceError(
                f"LLVM has no feature {change[1:]!r} for {arch}", hint=_nearest(change[1:], known.features)
            )
    signs = dict.fromkeys(sorted(known.has), "+") | {c[1:]: c[0] for c in asked.split(",") if c}
    features = ",".join(f"{sign}{name}" for name, sign in signs.items())
    return Target(triple, cpu, features, _vector_bits(arch, known.has), 1)


def _nearest(name: str, known: Sequence[str]) -> str:
    """LLVM knows hundreds of names: those that are meant, or a few."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(close)}?" if close else f"it has {len(known)}, among them {', '.join(known[-8:])}"
    )


def _vector_bits(arch: str, has: frozenset[str]) -> int:
    """Bits of the vectors that code should use; 64, a word, where there are none."""
    if arch == "x86_64":
        wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= has
        return 512 if wide else 256 if "avx" in has else 128
    if arch == "riscv64":  # the least length of a vector register that the target promises, up to 512
        lengths = [bits for bits in (512, 256) if f"zvl{bits}b" in has]
        return max(lengths, default=128) if "v" in has else 64
    if arch == "wasm32":
        return 128 if "simd128" in has else 64
    return 128
