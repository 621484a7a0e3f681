"""How many blocks one unit of a GPU holds at once: registers, shared memory, threads and slots, as CUDA counts them.

Apart from the model (``gpu.py``) because it is a rule of the hardware and no estimate.
"""

from __future__ import annotations

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw.numbers import Numbers, ceil, least
from flashsched.hw.spec import DeviceSpec, GpuUnit
from flashsched.hw.work import Work
from flashsched.hw.works import Works

__all__ = ["gpu_unit", "resident_blocks", "resident_of", "warps_of"]


def gpu_unit(spec: DeviceSpec) -> GpuUnit:
    """What a unit of the GPU *spec* has; DeviceError where it is none."""
    if spec.gpu is None:
        raise DeviceError(f"device '{spec.name}' is of kind '{spec.kind}'; the GPU model needs kind 'gpu'")
    return spec.gpu


def warps_of(unit: GpuUnit, works: Work | Works) -> Numbers:
    """Warps of a block."""
    return ceil(works.threads_per_block / unit.warp_size)


def resident_blocks(spec: DeviceSpec, work: Work) -> tuple[int, str]:
    """How many blocks of *work* one unit of *spec* holds at once, and what forbids one more.

    Raises:
        Infeasible: not even one block fits; says which limit, what is asked and what there is.
    """
    for what, asked, most in _asked(spec, work):
        if asked > most:
            raise Infeasible(f"{int(asked)} {what} are asked for, and the device has at most {int(most)}")
    limits = _limits(spec, work)
    limit = min(limits, key=lambda name: limits[name])
    return int(limits[limit]), limit


def resident_of(spec: DeviceSpec, works: Works) -> Numbers:
    """How many blocks of each candidate one unit holds at once; 0 where not even one fits."""
    limits = list(_limits(spec, works).values())
    fewest: Numbers = limits[0]
    for limit in limits[1:]:
        fewest = least(fewest, limit)
    for _, asked, most in _asked(spec, works):
        fewest = fewest * (asked <= most)
    return fewest


def _registers(spec: DeviceSpec, works: Work | Works) -> Numbers:
    unit = gpu_unit(spec)
    step = unit.register_granularity
    return warps_of(unit, works) * ceil(works.registers_per_thread * unit.warp_size / step) * step


def _asked(spec: DeviceSpec, works: Work | Works) -> list[tuple[str, Numbers, float]]:
    """What one block asks for, and the most it can get."""
    unit = gpu_unit(spec)
    return [
        ("threads per block", works.threads_per_block, unit.max_threads_per_block),
        ("registers per thread", works.registers_per_thread, unit.max_registers_per_thread),
        ("bytes of shared memory per block", works.shared_bytes_per_block, unit.shared_bytes_per_block),
        ("registers per block", _registers(spec, works), unit.registers),
    ]


def _limits(spec: DeviceSpec, works: Work | Works) -> dict[str, Numbers]:
    """Blocks on a unit by what limits them."""
    unit = gpu_unit(spec)
    size = spec.level("shared").size_bytes
    taken = works.shared_bytes_per_block + unit.shared_reserved_bytes
    none = works.shared_bytes_per_block == 0
    shared = unit.max_blocks * none + (size // (taken + none)) * (1.0 - none)
    return {
        "threads": unit.max_threads // (warps_of(unit, works) * unit.warp_size),
        "blocks": float(unit.max_blocks),
        "registers": unit.registers // _registers(spec, works),
        "shared": shared,
    }
