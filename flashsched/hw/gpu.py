"""The GPU model: how long a ``Work`` takes on a device of kind "gpu", from what its schedule asks of each resource.

Every resource that could hold the kernel back is timed alone: the FMA pipes (with the latency that occupancy and
independent accumulators must hide), instruction issue, shared memory and the load/store path, the transcendental units,
L2, DRAM, and the chain of dependent load-then-compute rounds. They overlap, but not perfectly, so the times are joined
by a p-norm: at least the longest, and a little more where several are near it.

What a block takes is counted for the busiest unit, ``ceil(blocks / units)`` of them, which is how a last, part-filled
wave costs. Bandwidths need enough bytes in flight to be reached (Little's law).

Sources: V. Volkov, "Understanding Latency Hiding on GPUs", UC Berkeley EECS-2016-143 (occupancy x ILP, Little's law);
S. Hong, H. Kim, "An analytical model for a GPU architecture with memory-level and thread-level parallelism awareness",
ISCA 2009 (overlap of resident blocks); CUDA C++ Programming Guide, "Compute Capabilities" (occupancy rules).
"""

from __future__ import annotations

import math

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw.combine import energy_j, joined
from flashsched.hw.roofline import roofline_s
from flashsched.hw.spec import DeviceSpec, GpuUnit
from flashsched.hw.work import Prediction, Work

__all__ = ["predict_gpu", "resident_blocks"]

BARRIER_CYCLES = 30.0
"""Cycles from the last warp's arrival at a block-wide barrier to the first instruction after it, skew left out.
Estimated: micro-benchmarks of Volta to Ampere report 20 to 40 for blocks of 128 to 256 threads."""

LOOP_INSTRUCTIONS = 3.0
"""Counter, comparison and branch of a loop that is not unrolled, for each trip of one instruction per accumulator."""

TENSOR_MACS = 2048
"""Multiply-adds of one tensor-core instruction of a warp (PTX mma.m16n8k16; PTX ISA manual)."""

TENSOR_OUTPUTS_PER_LANE = 4
"""Accumulators that such an instruction updates in each lane: 16 x 8 outputs over 32 lanes."""

TENSOR_LATENCY_CYCLES = 33.0
"""Its latency: W. Sun et al., "Dissecting Tensor Cores via Microbenchmarks", arXiv 2206.02874 (A100; recalled)."""


def resident_blocks(spec: DeviceSpec, work: Work) -> tuple[int, str]:
    """How many blocks of *work* one unit of *spec* holds at once, and what forbids one more.

    Raises:
        Infeasible: not even one block fits; says which limit, what is asked and what there is.
    """
    unit = _unit(spec)
    warps = _warps(unit, work)
    lanes = warps * unit.warp_size
    _fits("threads per block", work.threads_per_block, unit.max_threads_per_block)
    _fits("registers per thread", work.registers_per_thread, unit.max_registers_per_thread)
    _fits("bytes of shared memory per block", work.shared_bytes_per_block, unit.shared_bytes_per_block)
    step = unit.register_granularity
    registers = warps * math.ceil(work.registers_per_thread * unit.warp_size / step) * step
    _fits("registers per block", registers, unit.registers)
    limits = {
        "threads": unit.max_threads // lanes,
        "blocks": unit.max_blocks,
        "registers": unit.registers // registers,
        "shared": unit.max_blocks,
    }
    if work.shared_bytes_per_block:
        taken = work.shared_bytes_per_block + unit.shared_reserved_bytes
        limits["shared"] = spec.level("shared").size_bytes // taken
    limit = min(limits, key=lambda name: limits[name])
    return limits[limit], limit


def predict_gpu(spec: DeviceSpec, work: Work) -> Prediction:
    """Time, bottleneck and traffic of *work* on the GPU *spec*.

    Raises:
        Infeasible: a block asks for more than a unit has.
        DeviceError: arithmetic in a dtype that the device has no peak for.
    """
    unit = _unit(spec)
    fitting, limit = resident_blocks(spec, work)
    busiest = math.ceil(work.blocks / spec.units)  # blocks of the unit that gets most
    resident = min(fitting, busiest)
    if busiest < fitting:
        limit = "grid"
    warps = _warps(unit, work)
    clock = spec.clock_hz * spec.sustained_clock

    # Arithmetic, of one block on one unit.
    waste = warps * unit.warp_size / work.threads_per_block
    pipe = sum(count / spec.peak(dtype) for dtype, count in work.flops.items() if count)
    pipe *= (2.0 - work.fma_share) * waste * spec.units / work.blocks / spec.sustained_clock
    alone = pipe / _latency_hidden(spec, unit, work, warps)
    together = pipe / _latency_hidden(spec, unit, work, warps * resident)
    issue = _instructions(spec, unit, work) * waste / work.blocks / (unit.schedulers * clock)
    special = work.special_ops * waste / work.blocks / (unit.special_per_clock * clock)

    # Memory traffic.
    l2_read = work.dram_read_bytes if work.l2_read_bytes is None else work.l2_read_bytes
    l2_write = work.dram_write_bytes if work.l2_write_bytes is None else work.l2_write_bytes
    lane = l2_read + l2_write if work.global_lane_bytes is None else work.global_lane_bytes
    shared_bytes = (work.shared_load_bytes + work.shared_store_bytes) * work.blocks
    l2_bytes = (l2_read + l2_write) / work.coalescing
    concurrent = min(work.blocks, resident * spec.units)
    dram_bytes = _dram_bytes(spec, work, l2_bytes, concurrent)
    shared_level, l2_level, dram_level = spec.level("shared"), spec.level("l2"), spec.dram
    shared = (shared_bytes * work.bank_conflict + lane) / work.blocks
    shared /= shared_level.drawn_by(1) * spec.sustained_clock
    in_flight = concurrent * work.threads_per_block * work.bytes_in_flight
    active = min(work.blocks, spec.units)
    l2_rate = min(l2_level.drawn_by(active), in_flight / l2_level.latency_s)
    dram_rate = min(dram_level.drawn_by(active), in_flight / dram_level.latency_s)

    # The chain of rounds: load, (barrier,) compute. Resident blocks fill each other's waits. A round waits for its
    # slowest line, and blocks in step wait for the same line on its way from DRAM, so L2 shortens no round.
    load = dram_level.latency_s if l2_bytes else 0.0
    wait = work.steps * load + work.barriers * BARRIER_CYCLES / clock
    chain = alone + wait if work.stages == 1 else max(alone, wait)

    breakdown = {
        "fma": together * busiest,
        "issue": issue * busiest,
        "special": special * busiest,
        "shared": shared * busiest,
        "l2": l2_bytes / l2_rate,
        "dram": dram_bytes / dram_rate,
        "latency": chain * busiest / resident,
    }
    roofline = roofline_s(spec, work.flops if work.useful_flops is None else work.useful_flops, work.compulsory_bytes)
    time = max(spec.launch_s + joined(breakdown.values()), roofline)
    breakdown["launch"] = spec.launch_s
    peak_time = sum(count / spec.peak(dtype) for dtype, count in work.flops.items() if count)
    utilization = min(1.0, peak_time / time)
    return Prediction(
        time_s=time,
        roofline_s=roofline,
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=utilization,
        occupancy=resident * warps * unit.warp_size / unit.max_threads,
        occupancy_limit=limit,
        waves=work.blocks / (fitting * spec.units),
        bytes={"shared": shared_bytes, "l2": l2_bytes, "dram": dram_bytes},
        breakdown=breakdown,
        energy_j=energy_j(spec, time, utilization, dram_bytes),
    )


def _unit(spec: DeviceSpec) -> GpuUnit:
    if spec.gpu is None:
        raise DeviceError(f"device '{spec.name}' is of kind '{spec.kind}'; the GPU model needs kind 'gpu'")
    return spec.gpu


def _warps(unit: GpuUnit, work: Work) -> int:
    return math.ceil(work.threads_per_block / unit.warp_size)


def _fits(what: str, asked: int, most: int) -> None:
    if asked > most:
        raise Infeasible(f"{asked} {what} are asked for, and the device has at most {most}")


def _macs_per_cycle(spec: DeviceSpec, dtype: str) -> float:
    """Multiply-adds that one scheduler of one unit starts each clock."""
    unit = _unit(spec)
    return spec.peak(dtype) / (2.0 * spec.units * spec.clock_hz * unit.schedulers)


def _on_tensor_cores(spec: DeviceSpec, dtype: str) -> bool:
    """Whether the peak for *dtype* is more than the schedulers could issue to the plain cores."""
    return dtype in spec.peaks and _macs_per_cycle(spec, dtype) > _unit(spec).warp_size * 1.05


def _latency_hidden(spec: DeviceSpec, unit: GpuUnit, work: Work, warps: float) -> float:
    """Share of the FMA rate that *warps* warps on a unit keep up, dependent chains being what they are.

    A scheduler starts one FMA instruction every ``cycles``; to start the next one it needs an independent one, and a
    chain gives one every ``latency``. Volkov 2016, chapter 4.
    """
    dtype = work.main_dtype
    if not any(work.flops.values()):
        return 1.0
    if _on_tensor_cores(spec, dtype):
        cycles = TENSOR_MACS / _macs_per_cycle(spec, dtype)
        chains, latency = max(1.0, work.accumulators / TENSOR_OUTPUTS_PER_LANE), TENSOR_LATENCY_CYCLES
    else:
        cycles = unit.warp_size / _macs_per_cycle(spec, dtype)
        chains, latency = work.accumulators, unit.fma_latency_cycles
    return min(1.0, warps / unit.schedulers * chains * cycles / latency)


def _instructions(spec: DeviceSpec, unit: GpuUnit, work: Work) -> float:
    """Warp instructions that the whole kernel issues, lanes all taken as busy."""
    arithmetic = 0.0
    for dtype, count in work.flops.items():
        macs = count * (1.0 - work.fma_share / 2.0)
        arithmetic += macs / (TENSOR_MACS if _on_tensor_cores(spec, dtype) else unit.warp_size)
    loop = 0.0 if work.unrolled else LOOP_INSTRUCTIONS / work.accumulators
    return arithmetic * (1.0 + work.overhead_per_op + loop) + work.special_ops / unit.warp_size


def _dram_bytes(spec: DeviceSpec, work: Work, l2_bytes: float, concurrent: int) -> float:
    """Bytes between DRAM and L2.

    Blocks that run together march through their tiles in step, so what they share is fetched once: for a square group
    of ``c`` blocks of a two-operand product, each row and column of tiles is shared by ``sqrt(c)`` blocks. Between
    groups, L2 keeps the share of the data that fits in it.
    """
    compulsory = work.compulsory_bytes / work.coalescing
    if work.dram_bytes is not None:
        return max(work.dram_bytes, work.compulsory_bytes)
    refetched = l2_bytes / math.sqrt(concurrent)
    if refetched <= compulsory:
        return compulsory
    kept = min(1.0, spec.level("l2").size_bytes / compulsory) if compulsory else 1.0
    return compulsory + (refetched - compulsory) * (1.0 - kept)
