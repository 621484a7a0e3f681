"""The CPU model: how long a ``Work`` takes on a device of kind "cpu". The host tuner's prior, and cpu-xeon's simulator.

In the manner of ECM (execution, cache, memory): the core's arithmetic and instruction issue run beside its data
transfers, but the transfers between neighbouring levels add up, because a core moves one line at a time through them.

Sources: H. Stengel, J. Treibig, G. Hager, G. Wellein, "Quantifying performance bottlenecks of stencil computations
using the Execution-Cache-Memory model", ICS 2015; J. Hofmann, G. Hager, D. Fey, "On the accuracy and usefulness of
analytic energy models for contemporary multicore processors", ISC 2018 (which transfers overlap).
"""

from __future__ import annotations

import math

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.combine import energy_j, joined, peak_s
from flashsched.hw.roofline import roofline_s
from flashsched.hw.spec import CpuUnit, DeviceSpec
from flashsched.hw.work import Prediction, Work

__all__ = ["predict_cpu"]

LOOP_INSTRUCTIONS = 2.0
"""Counter and fused compare-and-branch of a loop that is not unrolled, for each trip."""

SPECIAL_CYCLES = 20.0
"""Cycles of one vector exp (or tanh, erf, division): 0.30 ns per element of a 16-lane vector at 4 GHz, measured on a
2-core AVX-512 machine with glibc's vector math library."""

CALL_S = 0.5e-6
"""A call into compiled code from Python; measured on a 2-core AVX-512 machine at 0.2 to 0.7 microseconds."""


_BITS = {"float64": 64, "int64": 64, "float16": 16, "bfloat16": 16, "int16": 16, "int8": 8}


def predict_cpu(spec: DeviceSpec, work: Work) -> Prediction:
    """Time, bottleneck and traffic of *work* on the CPU *spec*.

    Raises:
        DeviceError: arithmetic in a dtype that the device has no peak for, or bytes at a level that it lacks.
    """
    unit = _unit(spec)
    cores = max(1, min(work.threads, spec.units, math.floor(work.parallel_items)))
    turns = math.ceil(work.parallel_items / cores)  # of the busiest core
    busiest = turns / work.parallel_items  # its share of the whole
    clock = spec.clock_hz * spec.sustained_clock

    lanes = min(work.vector_lanes, unit.lanes(work.element_bits))
    hidden = min(1.0, work.accumulators / (unit.fma_ports * unit.fma_latency_cycles))
    pipe = sum(count / _vector_rate(spec, unit, dtype) for dtype, count in work.flops.items() if count)
    pipe *= (2.0 - work.fma_share) * spec.units * unit.lanes(work.element_bits) / lanes / spec.sustained_clock
    vectors = sum(work.flops.values()) * (1.0 - work.fma_share / 2.0) / lanes
    loop = 0.0 if work.unrolled else LOOP_INSTRUCTIONS / work.accumulators
    issued = vectors * (1.0 + work.overhead_per_op + loop)
    special = work.special_ops / lanes * SPECIAL_CYCLES

    moved = _moved(spec, work)
    breakdown = {
        "fma": pipe / hidden * busiest,
        "issue": issued * busiest / (unit.issue_width * clock),
        "special": special * busiest / clock,
    }
    data = 0.0
    for name, count in moved.items():
        level = spec.level(name)
        if level.shared_by == "unit":
            seconds = count / level.drawn_by(1) * busiest
        else:
            seconds = count / min(level.drawn_by(cores), level.drawn_by(spec.units) * _near(spec, unit, cores))
        breakdown[name] = seconds
        data += seconds

    roofline = roofline_s(spec, work.counted_flops, work.compulsory_bytes, warm=work.warm)
    launch = CALL_S + (spec.launch_s if work.threads > 1 else 0.0)
    time = max(launch + joined([breakdown["fma"], breakdown["issue"], breakdown["special"], data]), roofline)
    breakdown["launch"] = launch
    utilization = min(1.0, peak_s(spec, work.flops) / time)
    return Prediction(
        time_s=time,
        roofline_s=roofline,
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=utilization,
        occupancy=cores / spec.units,
        occupancy_limit="threads" if cores == work.threads else "grid" if cores < spec.units else "cores",
        waves=work.parallel_items / cores,
        bytes=moved,
        breakdown=breakdown,
        energy_j=energy_j(spec, time, utilization, moved[spec.dram.name]),
    )


def _vector_rate(spec: DeviceSpec, unit: CpuUnit, dtype: str) -> float:
    """What the vector units do of a peak that may be the matrix units': a loop nest has no way to those.

    Dot products of pairs or quadruples of narrow elements count (AVX512-BF16, VNNI).
    """
    peak = spec.peak(dtype)
    if unit.matrix_macs_per_clock is None:
        return peak
    return min(peak, 2.0 * spec.units * spec.clock_hz * unit.fma_ports * unit.lanes(_BITS.get(dtype, 32)))


def _near(spec: DeviceSpec, unit: CpuUnit, cores: int) -> float:
    """The share of the memories (and last caches) that have one of *cores* cores at work, one socket filled first."""
    nodes = unit.numa_nodes or 1
    return math.ceil(cores * nodes / spec.units) / nodes


def _unit(spec: DeviceSpec) -> CpuUnit:
    if spec.cpu is None:
        raise DeviceError(f"device '{spec.name}' is of kind '{spec.kind}'; the CPU model needs kind 'cpu'")
    return spec.cpu


def _moved(spec: DeviceSpec, work: Work) -> dict[str, float]:
    """Bytes at each level that has any, lines counted whole; main memory last."""
    known = [level.name for level in spec.memory]
    for name in work.level_bytes:
        if name not in known:
            raise DeviceError(
                f"Work: level_bytes has '{name}', which device '{spec.name}' lacks", hint=did_you_mean(name, known)
            )
    near = {name: work.level_bytes[name] / work.coalescing for name in known[:-1] if name in work.level_bytes}
    compulsory = 0.0 if work.warm else work.compulsory_bytes
    whole = compulsory / work.coalescing if work.dram_bytes is None else max(work.dram_bytes, compulsory)
    return near | {spec.dram.name: whole}
