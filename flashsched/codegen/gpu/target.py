"""The GPUs that code is made for, by LLVM's names of their architectures, and which one a device has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flashsched.codegen.gpu.driver import cuda_available, open_cuda
from flashsched.codegen.target import Target
from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw import DeviceSpec, devices

__all__ = ["GpuArch", "arch_of", "gpu_arch"]

DEFAULT_NVIDIA, DEFAULT_AMD = "sm_80", "gfx90a"
_VECTOR_BITS = 128  # the widest load and store of one thread (PTX ``ld.global.v4.b32``; PTX ISA manual)

_PTX: Final = {
    "sm_52": 50, "sm_60": 50, "sm_61": 50, "sm_70": 60, "sm_72": 61, "sm_75": 63, "sm_80": 70, "sm_86": 71, "sm_87": 74,
    "sm_89": 78, "sm_90": 78, "sm_100": 86, "sm_103": 88, "sm_120": 87,
}  # fmt: skip
"""The first version of PTX that has an architecture: the older the version, the older a driver may be
(PTX ISA manual, release notes)."""

_SHARED: Final = {
    "sm_52": 48, "sm_60": 48, "sm_61": 48, "sm_70": 96, "sm_72": 96, "sm_75": 64, "sm_80": 163, "sm_86": 99,
    "sm_87": 163, "sm_89": 99, "sm_90": 227, "sm_100": 227, "sm_103": 227, "sm_120": 99,
}  # fmt: skip
"""KiB of shared memory that a block may have (CUDA C++ Programming Guide, technical specifications)."""

_AMD: Final = {"gfx900": 64, "gfx908": 64, "gfx90a": 64, "gfx942": 64, "gfx950": 160, "gfx1030": 64, "gfx1100": 64}
"""KiB of LDS that a workgroup may have, by architecture."""

_FAMILIES: Final = {  # by word of a device's architecture: data centre, and consumer where that differs
    "maxwell": ("sm_52", "sm_52"), "pascal": ("sm_60", "sm_60"), "volta": ("sm_70", "sm_70"),
    "turing": ("sm_75", "sm_75"),
    "ampere": ("sm_80", "sm_86"), "ada": ("sm_89", "sm_89"), "hopper": ("sm_90", "sm_90"),
    "blackwell": ("sm_100", "sm_120"), "cdna 2": ("gfx90a", "gfx90a"), "cdna2": ("gfx90a", "gfx90a"),
    "cdna 3": ("gfx942", "gfx942"), "cdna3": ("gfx942", "gfx942"), "cdna 4": ("gfx950", "gfx950"),
    "cdna4": ("gfx950", "gfx950"), "rdna 2": ("gfx1030", "gfx1030"), "rdna2": ("gfx1030", "gfx1030"),
    "rdna 3": ("gfx1100", "gfx1100"), "rdna3": ("gfx1100", "gfx1100"), "cdna": ("gfx908", "gfx908"),
    "gcn 5": ("gfx900", "gfx900"),
}  # fmt: skip
_CONSUMER_SHARED = 132 << 10  # a unit of a consumer GPU has less shared memory than that, of a data centre's more


@dataclass(frozen=True, slots=True)
class GpuArch:
    """A GPU architecture.

    Attributes:
        name: LLVM's name: ``sm_80``, ``gfx90a``.
    """

    name: str

    @property
    def is_nvidia(self) -> bool:
        """Whether code for it is PTX."""
        return self.name.startswith("sm_")

    @property
    def capability(self) -> int:
        """Of an NVIDIA GPU its compute capability, 80 for 8.0; else 0."""
        return int(self.name[3:]) if self.is_nvidia else 0

    @property
    def shared_bytes(self) -> int:
        """The most shared memory that a block may have."""
        return (_SHARED if self.is_nvidia else _AMD)[self.name] << 10

    @property
    def target(self) -> Target:
        """It as a target of the code generator."""
        if self.is_nvidia:
            features = f"+ptx{_PTX[self.name]}"
            return Target("nvptx64-nvidia-cuda", self.name, features, _VECTOR_BITS, 1)
        return Target("amdgcn-amd-amdhsa", self.name, "", _VECTOR_BITS, 1)


def gpu_arch(text: str) -> GpuArch | None:
    """The architecture that a target of `flashsched.build` names; None where it is the name of no GPU.

    ``"cuda:sm_90"`` and ``"amdgpu:gfx942"`` name one, and so does a simulated GPU (``"a100-sim"``); ``"cuda"`` is the
    device that is here, or `DEFAULT_NVIDIA` where none is, and ``"amdgpu"`` is `DEFAULT_AMD`.

    >>> gpu_arch("cuda:sm_90"), gpu_arch("a100-sim"), gpu_arch("cpu")
    (GpuArch(name='sm_90'), GpuArch(name='sm_80'), None)

    Raises:
        DeviceError: there is no such architecture, or no code is made for that of the device.
    """
    found = re.fullmatch(r"(cuda|amdgpu)(?::(\w+))?", text)
    if found is None:
        return arch_of(devices[text]) if text in devices and devices[text].gpu is not None else None
    if found[1] == "cuda" and found[2] is None and cuda_available():
        here = open_cuda().arch
        fitting = [name for name in _PTX if int(name[3:]) <= int(here[3:])]
        return GpuArch(fitting[-1] if fitting else DEFAULT_NVIDIA)
    known = _PTX if found[1] == "cuda" else _AMD
    name = found[2] or (DEFAULT_NVIDIA if found[1] == "cuda" else DEFAULT_AMD)
    if name not in known:
        raise DeviceError(f"no code is made for {found[1]} {name!r}", hint=did_you_mean(name, known))
    return GpuArch(name)


def arch_of(spec: DeviceSpec) -> GpuArch:
    """The architecture that the GPU *spec* has.

    Raises:
        DeviceError: it is no GPU, or of an architecture that no code is made for.
    """
    if spec.gpu is None:
        raise DeviceError(f"device {spec.name!r} is of kind {spec.kind!r}, and code for GPUs is for a GPU")
    words = f"{spec.architecture} {spec.title}".lower()
    for word, (center, consumer) in _FAMILIES.items():
        if re.search(rf"\b{word}\b", words):
            return GpuArch(consumer if spec.level("shared").size_bytes < _CONSUMER_SHARED else center)
    raise DeviceError(
        f"device {spec.name!r} is of the architecture {spec.architecture!r}, which no code is made for",
        hint="target='cuda:sm_90' or target='amdgpu:gfx942' names one",
    )
