"""Devices by TVM's names. Kernels run on the CPU; a GPU can be named, and does not ``exist``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flashsched.errors import DeviceError, did_you_mean

__all__ = ["Device", "cpu", "cuda", "device", "metal", "opencl", "require_cpu", "rocm", "vulkan"]

_TYPES = {"cpu": 1, "cuda": 2, "opencl": 4, "vulkan": 7, "metal": 8, "vpi": 9, "rocm": 10, "hexagon": 16}
_ALIASES = {"llvm": "cpu", "c": "cpu", "stackvm": "cpu", "gpu": "cuda", "nvptx": "cuda", "cl": "opencl"}


@dataclass(frozen=True, slots=True)
class Device:
    """A device, by its kind and number."""

    kind: str
    device_id: int = 0

    @property
    def device_type(self) -> int:
        """TVM's (and DLPack's) number for the kind."""
        return _TYPES[self.kind]

    @property
    def exist(self) -> bool:
        """Whether kernels can run on it."""
        return self.kind == "cpu" and self.device_id == 0

    @property
    def device_name(self) -> str:
        """What the machine calls it."""
        from flashsched.hw.host_probe import probe_host

        return probe_host().model if self.exist else ""

    def sync(self, stream: object = None) -> None:
        """Wait for what runs on it: a kernel on the CPU is done when its call returns."""

    def __str__(self) -> str:
        return f"{self.kind}({self.device_id})"


def _maker(kind: str) -> Callable[..., Device]:
    def make(dev_id: int = 0) -> Device:
        return Device(kind, dev_id)

    make.__name__ = make.__qualname__ = kind
    make.__doc__ = f"The {kind} device number *dev_id*."
    return make


cpu, cuda, opencl, vulkan, metal, rocm = map(_maker, ("cpu", "cuda", "opencl", "vulkan", "metal", "rocm"))


def device(dev_type: object, dev_id: int = 0) -> Device:
    """The device of that name, or that a target of that name runs on: ``device("llvm", 0)`` is ``cpu(0)``."""
    if isinstance(dev_type, Device):
        return dev_type
    name = str(dev_type).split()[0] if str(dev_type).split() else ""
    name = _ALIASES.get(name, name)
    if name not in _TYPES:
        raise DeviceError(f"no device {name!r}", hint=did_you_mean(name, [*_TYPES, *_ALIASES]))
    return Device(name, dev_id)


def require_cpu(dev: Device | None) -> None:
    """Refuse memory and kernels on another device than the CPU.

    Raises:
        DeviceError: *dev* does not exist here.
    """
    if dev is not None and not dev.exist:
        raise DeviceError(
            f"{dev} does not exist here: kernels run on cpu(0)",
            hint="use tvm.cpu(0), or ask dev.exist first; fs.simulate(schedule, device='a100-sim') models a GPU",
        )
