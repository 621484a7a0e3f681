"""The CUDA device of this machine as a `DeviceSpec`: its own figures where the driver tells them, else a relative's."""

from __future__ import annotations

import dataclasses

from flashsched.codegen.gpu.driver import CudaDevice, open_cuda
from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices

__all__ = ["cuda_spec"]


def cuda_spec(number: int = 0) -> DeviceSpec:
    """What the CUDA device *number* of this machine is, for templates, rooflines and logs; its name is ``"cuda"``.

    A device that comes with flashsched is known by the words of its name and by its units; where several are (an A100
    of 40 and one of 80 GB), it is the one whose memory is nearest. Another one has the figures of a relative of its
    architecture, scaled by its own units and clock.

    Raises:
        DeviceError: there is no driver, no device, or none like it is known.
    """
    device = open_cuda(number)
    known = [spec for spec in (devices[name] for name in devices) if spec.gpu is not None and spec.vendor == "NVIDIA"]
    words = _words(device.name)
    same = [spec for spec in known if _words(spec.title) & words and spec.units == device.attributes["units"]]
    if same:
        found = min(same, key=lambda spec: (-len(_words(spec.title) & words), _memory_off(spec, device)))
    else:
        found = _scaled(device, known)
    return dataclasses.replace(found, name="cuda", title=device.name, aliases=())


def _memory_off(spec: DeviceSpec, device: CudaDevice) -> float:
    """How far the memory of *spec* is from that of *device*, in bytes."""
    return abs(spec.memory[-1].size_bytes - device.memory_bytes)


def _scaled(device: CudaDevice, known: list[DeviceSpec]) -> DeviceSpec:
    """The relative of *device* that is nearest in units, with as many units and such a clock as it has."""
    near = [spec for spec in known if arch_of(spec).name == device.arch]
    near = near or [spec for spec in known if arch_of(spec).capability // 10 == device.attributes["major"]]
    if not near:
        raise DeviceError(
            f"{device.name} is of the architecture {device.arch}, and no device like it is known",
            hint="describe it in a TOML file like hw/specs/a100.toml, with its own figures",
        )
    relative = min(near, key=lambda spec: (abs(spec.units - device.attributes["units"]), _memory_off(spec, device)))
    return relative.replace(units=device.attributes["units"], clock_hz=device.attributes["clock_khz"] * 1e3)


def _words(title: str) -> set[str]:
    """What tells devices apart in their names: ``{"a100", "sxm4", "80gb"}``."""
    parts = title.lower().replace("(", " ").replace(")", " ").replace("-", " ").split()
    return {part for part in parts if any(letter.isdigit() for letter in part)}
