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

    A device that comes with flashsched is found by its title. Another one has the figures of the first that is of its
    architecture, scaled by its own units and clock.

    Raises:
        DeviceError: there is no driver, no device, or none like it is known.
    """
    device = open_cuda(number)
    known = [devices[name] for name in devices]
    words = _words(device.name)
    same = [spec for spec in known if spec.gpu is not None and words and words <= _words(spec.title)]
    if same:
        return dataclasses.replace(same[0], name="cuda", title=device.name, aliases=())
    return _scaled(device, [spec for spec in known if spec.gpu is not None and spec.vendor == "NVIDIA"])


def _scaled(device: CudaDevice, known: list[DeviceSpec]) -> DeviceSpec:
    """A relative of *device* with as many units and such a clock."""
    near = [spec for spec in known if arch_of(spec).name == device.arch]
    near = near or [spec for spec in known if arch_of(spec).capability // 10 == device.attributes["major"]]
    if not near:
        raise DeviceError(
            f"{device.name} is of the architecture {device.arch}, and no device like it is known",
            hint="describe it in a TOML file like hw/specs/a100.toml, with its own figures",
        )
    spec = near[0].replace(units=device.attributes["units"], clock_hz=device.attributes["clock_khz"] * 1e3)
    return dataclasses.replace(spec, name="cuda", title=device.name, aliases=())


def _words(title: str) -> set[str]:
    """What tells devices apart in their names: ``{"a100", "sxm4", "80gb"}``."""
    parts = title.lower().replace("(", " ").replace(")", " ").replace("-", " ").split()
    return {part for part in parts if any(letter.isdigit() for letter in part)}
