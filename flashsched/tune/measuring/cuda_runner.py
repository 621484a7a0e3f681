"""The runner that measures on a CUDA device: candidates are compiled by the CPU's cores, checked and timed by the GPU.

What a CPU's runner does serves here, too: worker processes, verification, interleaved finals. The times are the
device's own, without copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flashsched.codegen.gpu.device_spec import cuda_spec
from flashsched.codegen.gpu.driver import open_cuda
from flashsched.tune.measuring.cpu_runner import CpuRunner

__all__ = ["CudaRunner"]

_MEMORY = 64 << 30  # bytes of addresses: the driver reserves as many as the device has, and more


class CudaRunner(CpuRunner):
    """Measures on the CUDA device of this machine.

    Args: as of `CpuRunner`.

    Raises:
        DeviceError: there is no driver, or no device.
    """

    code = "cuda"

    def __init__(
        self,
        jobs: int | None = None,
        seed: int = 0,
        timeout_s: float = 60.0,
        memory_limit_bytes: int = _MEMORY,
        timing: Mapping[str, float] | None = None,
    ) -> None:
        spec = cuda_spec()  # before any process is started
        super().__init__(jobs, seed, timeout_s, memory_limit_bytes, timing)
        self.spec = spec

    def target(self) -> dict[str, Any]:
        """The device, its architecture, and the figures that templates were given."""
        device = open_cuda()
        return {"device": device.name, "cpu": device.arch, "memory_bytes": device.memory_bytes,
                "spec": self.spec.fingerprint}  # fmt: skip
