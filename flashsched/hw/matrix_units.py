"""What a GPU's matrix units are to a model: whether they do a dtype's arithmetic, and how much of a tile they take."""

from __future__ import annotations

from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.spec import DeviceSpec, GpuUnit

__all__ = ["computes_whole_tiles", "macs_per_cycle", "on_tensor_cores"]


def computes_whole_tiles(unit: GpuUnit) -> bool:
    """Whether a matrix instruction takes a whole unit's tile from shared memory and leaves the warps free meanwhile.

    So do Hopper's and Blackwell's (64 and 128 rows): with them come loads for several units at once (multicast), and
    kernels that store one block's results while the next one computes.
    """
    return unit.matrix_shape is not None and unit.matrix_shape[0] >= 64


def macs_per_cycle(spec: DeviceSpec, dtype: str) -> float:
    """Multiply-adds that one scheduler of one unit starts each clock."""
    unit = gpu_unit(spec)
    return spec.peak(dtype) / (2.0 * spec.units * spec.clock_hz * unit.schedulers)


def on_tensor_cores(spec: DeviceSpec, dtype: str) -> bool:
    """Whether the peak for *dtype* is more than the schedulers could issue to the plain cores."""
    return dtype in spec.peaks and macs_per_cycle(spec, dtype) > gpu_unit(spec).warp_size * 1.05
