"""What a GPU's power limit does to a kernel: the energy of its operations and of what they fetch, over the watts.

No data sheet states the clock under load, and the one that a board's own products tell is no prediction. Watts, peaks
and the process do: ``docs/design/0015-gpu-products.md`` has the boards that these figures were held against.
"""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.hw.matrix_units import on_tensor_cores
from flashsched.hw.numbers import Numbers, some
from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.works import Works

__all__ = ["FEW_MACS", "power_s"]

POWER_WINDOW_S = 1e-3
"""About how long a board draws more than its limit before the clock comes down. Estimated: T4's short float32 products
run 10 to 15 % faster than its long ones (sitar-lab/NeuSight)."""

LANE_ENERGY = 9.0
"""Energy of a float32 operation on plain lanes at 7 nm to that of a 16-bit one on matrix units, where registers are
read for a tile and not for each operation. Estimated: float32 multiply-adds draw 9.5 pJ an operation on an A100, 12.7
on an A40 and 7.8 on an L40, all that a board draws counted (te42kyfo/gpu-benches); products on tensor cores 1.4."""

FEW_MACS = 512
"""Multiply-adds of 16 bits that a unit of V100, T4, A40, L40S and RTX PRO 6000 does each clock."""

LANE_NM, LANE_EXPONENT = 7.0, 0.3
"""What an operation on lanes takes goes with the process to this power: most of what a later one saves goes into its
clock. In matrix units all of it does: T4 (12 nm, 1.6 GHz) and RTX PRO 6000 (5 nm, 2.6 GHz) both take 1.4 pJ."""


def power_s(spec: DeviceSpec, works: Works, l2_bytes: Numbers, constants: Mapping[str, float]) -> Numbers:
    """Seconds in which the power limit supplies the energy of all operations and of what they need from L2.

    A kernel that would be done sooner slows down, by less than that: the voltage falls with the clock (``droop``).
    """
    if not spec.power_w or not any(some(count) for count in works.flops.values()):
        return 0.0
    picojoules = l2_bytes * constants["byte_pj"]
    for dtype, count in works.flops.items():
        if some(count):
            picojoules = picojoules + count * _operation_pj(spec, dtype, constants)
    if on_tensor_cores(spec, works.main_dtype):
        picojoules = picojoules * _of_matrix_units(spec, constants)
    seconds = picojoules * 1e-12 * works.stretch / spec.power_w
    return seconds * (1.0 - constants["burst"] / (1.0 + seconds / POWER_WINDOW_S))


def _operation_pj(spec: DeviceSpec, dtype: str, constants: Mapping[str, float]) -> float:
    """What one operation takes, by the bits of its operands and the kind of unit that does it."""
    bits = int("".join(filter(str.isdigit, dtype.partition("_")[0])) or 32)
    if on_tensor_cores(spec, dtype):
        return constants["op_pj"] * bits / 16
    process: float = ((spec.process_nm or LANE_NM) / LANE_NM) ** LANE_EXPONENT
    return constants["op_pj"] * LANE_ENERGY * process * _read_of_registers(spec) * bits / 32


def _of_matrix_units(spec: DeviceSpec, constants: Mapping[str, float]) -> float:
    """What an operation and its operands take to what they take on `FEW_MACS`: the more multiply-adds a unit does each
    clock, the more of them use what was fetched for one."""
    macs = gpu_unit(spec).matrix_macs_per_clock or FEW_MACS
    share: float = (FEW_MACS / macs) ** constants["reuse"]
    return share


def _read_of_registers(spec: DeviceSpec) -> float:
    """Bytes that a float32 multiply-add reads of registers, to the 12 of three operands: half where one instruction
    does two (CDNA). Rounded, for data sheets' peaks are."""
    macs = spec.peaks.get("float32", 0.0) / 2.0
    drawn = spec.level("registers").drawn_by(1) * spec.units
    return min(1.0, round(drawn / (12.0 * macs), 2)) if macs else 1.0
