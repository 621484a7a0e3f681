"""The CPU that code is generated for: its name for LLVM, what it can do, and how wide its vectors are.

This is the code generator's view of a machine. `hw` describes machines by figures (caches, clocks, peaks) and knows
nothing of LLVM.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Set
from dataclasses import dataclass

from flashsched.codegen.cpu_features import features_of
from flashsched.codegen.instruction_sets import INSTRUCTION_SETS, lacking_here
from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.host_probe import probe_host

__all__ = ["Target", "host_target", "target_named"]


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU to compile for.

    Attributes:
        triple: LLVM's name of architecture, system and ABI, e.g. ``x86_64-unknown-linux-gnu``.
        cpu: LLVM's name of the CPU model, e.g. ``znver5`` or ``x86-64-v3``.
        features: instruction sets on top of the model's own, LLVM's way: ``+avx2,-amx-tile``, sorted.
        vector_bits: width of the widest vector register that code should use: 512, 256 or 128.
        cores: how many physical cores this process may use, after affinity and the container's quota.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    cores: int

    @property
    def arch(self) -> str:
        """The first part of the triple: ``x86_64``, ``aarch64``, ``arm64``."""
        return self.triple.split("-")[0]

    @property
    def system(self) -> str:
        """The system's part of the triple, without a version: ``linux``, ``darwin``, ``wasi``, ``none``."""
        named = (self.triple.split("-") + ["unknown"] * 2)[2]
        return re.sub(r"[\d.]+$|p\d+$", "", named).replace("macosx", "darwin") or "unknown"

    @property
    def pointer_bits(self) -> int:
        """Bits of an address, and of C's ``size_t``."""
        return 32 if self.arch == "wasm32" else 64

    @property
    def instruction_sets(self) -> tuple[str, ...]:
        """Those of LLVM's features that code for it may come to use, sorted: what a machine must have to run it."""
        known = INSTRUCTION_SETS.get(self.arch.replace("arm64", "aarch64"), {})
        return tuple(sorted(filter(self.has, known)))

    @property
    def runs_here(self) -> bool:
        """Whether this machine and this system run code for it."""
        here = host_target()
        kin = {"arm64": "aarch64"}
        same = kin.get(self.arch, self.arch) == kin.get(here.arch, here.arch) and self.system == here.system
        return same and not lacking_here(self.instruction_sets)

    def has(self, feature: str) -> bool:
        """Whether code for this CPU may use *feature*, by LLVM's name of it: ``avx512vnni``, a GPU's ``sm_80``."""
        if feature.startswith("sm_"):
            return self.arch == "nvptx64" and int(self.cpu[3:]) >= int(feature[3:])
        return feature in _features(self)

    def to_json(self) -> dict[str, object]:
        """What a tuning log records of the CPU that a time was measured on; caches in bytes by level."""
        return {
            "triple": self.triple,
            "cpu": self.cpu,
            "features": self.features,
            "vector_bits": self.vector_bits,
            "cores": self.cores,
            "caches": {level: size for level, (size, _) in probe_host().caches.items()},
        }


def host_target() -> Target:
    """This machine's CPU, or the lesser one that ``FLASHSCHED_TARGET`` asks for.

    The variable holds ``native``, a level of x86-64 (``x86-64-v2``, ``-v3``, ``-v4``) or any CPU name that LLVM has for
    this architecture (``haswell``, ``neoverse-v1``).

    Raises:
        DeviceError: LLVM has no such CPU, or this machine lacks an instruction set that it has.
    """
    return _target_named(os.environ.get("FLASHSCHED_TARGET", "").strip() or "native", probe_host().cores)


def target_named(name: str) -> Target:
    """This machine as a CPU called *name*, which it must include; names are those of `host_target`.

    Raises:
        DeviceError: LLVM has no such CPU, or this machine lacks an instruction set that it has.
    """
    return _target_named(name, probe_host().cores, "the CPU")


@functools.lru_cache(maxsize=16)
def _target_named(name: str, cores: int, said: str = "FLASHSCHED_TARGET") -> Target:
    import llvmlite.binding as binding

    triple = binding.get_process_triple()
    host = frozenset(feature for feature, present in binding.get_host_cpu_features().items() if present)
    if name == "native":
        features = binding.get_host_cpu_features().flatten()
        return Target(triple, binding.get_host_cpu_name(), features, _vector_bits(triple, host), cores)
    has: Set[str] | None = _LEVELS.get(name) if triple.startswith("x86_64") else None
    if has is None:
        has = features_of(name)
    if has is None:
        raise DeviceError(
            f"{said}={name!r}: LLVM has no CPU of that name for {triple.split('-')[0]}; "
            + did_you_mean(name, ["native", binding.get_host_cpu_name(), *_LEVELS]),
            hint=f"leave {said} unset to compile for this machine",
        )
    lacking = has - host
    needed = sorted(feature for feature in lacking if feature.startswith(_ORDINARY))
    if needed:
        raise DeviceError(
            f"{said}={name!r}: this machine ({binding.get_host_cpu_name()}) cannot run code for it; "
            f"it lacks {', '.join(needed)}",
            hint=f"name a CPU that this machine includes, or leave {said} unset",
        )
    return Target(triple, name, ",".join(f"-{f}" for f in sorted(lacking)), _vector_bits(triple, has), cores)


@functools.lru_cache(maxsize=16)
def _features(target: Target) -> frozenset[str]:
    said = target.features.split(",")
    plus = {feature[1:] for feature in said if feature.startswith("+")}
    own: Set[str] = frozenset()
    if not plus:  # a native target lists all it has
        own = _LEVELS.get(target.cpu) or features_of(target.cpu) or own
    return frozenset((own | plus) - {feature[1:] for feature in said if feature.startswith("-")})


_V2 = {"64bit", "cmov", "crc32", "cx16", "cx8", "fxsr", "mmx", "popcnt", "sahf"}
_V2 |= {"sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""The levels of the x86-64 psABI, section 3.1.1."""

_ORDINARY = (
    *("sse", "ssse", "avx", "fma", "f16c", "bmi", "lzcnt", "popcnt", "movbe", "cx16"),
    *("neon", "fp-armv8", "fullfp16", "fp16fml", "dotprod", "bf16", "i8mm", "lse", "rdm", "sve"),
)
"""Prefixes of the features that ordinary code may use. A virtual machine often hides others of its CPU (``amx-tile``,
``pku``, ``enqcmd``): code does without them, so they are switched off rather than missed."""


def _vector_bits(triple: str, features: Set[str]) -> int:
    if triple.startswith("x86_64"):
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= features:
            return 512
        if "avx" in features:
            return 256
    return 128
