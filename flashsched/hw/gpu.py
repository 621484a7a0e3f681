"""The GPU model: how long a ``Work`` takes on a device of kind "gpu", from what its schedule asks of each resource.

Every resource that could hold the kernel back is timed alone. Within a unit: the FMA pipes (with the latency that
occupancy and independent accumulators must hide) and the instructions they are fed by, shared memory and the load/store
path, the transcendental units, what the unit draws from L2, and the chain of dependent load-then-compute rounds. On the
whole device: L2 and main memory. They overlap, but not perfectly, so the times are joined by a p-norm: at least the
longest, and a little more where several are near it. What a block stores at its end overlaps in part only, and the
energy of all of it must fit the power limit.

What a block takes is counted for the busiest unit, ``ceil(blocks / units)`` of them, which is how a last, part-filled
wave costs. Bandwidths need enough bytes in flight to be reached (Little's law).

One model for all: `predict_gpu` judges one scheduled nest, and `gpu_times` any number of candidates at once, which is
how ``operators/gemm.py`` finds the best of a library's kernels. The constants are those of ``gpu_constants.py``.

Sources: V. Volkov, "Understanding Latency Hiding on GPUs", UC Berkeley EECS-2016-143 (occupancy x ILP, Little's law);
S. Hong, H. Kim, "An analytical model for a GPU architecture with memory-level and thread-level parallelism awareness",
ISCA 2009 (overlap of resident blocks); CUDA C++ Programming Guide, "Compute Capabilities" (occupancy rules).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from flashsched.hw.combine import energy_j
from flashsched.hw.gpu_constants import DEFAULTS, NESTS
from flashsched.hw.gpu_power import power_s
from flashsched.hw.matrix_units import computes_whole_tiles, macs_per_cycle, on_tensor_cores
from flashsched.hw.numbers import Numbers, ceil, least, most, norm_of, some
from flashsched.hw.occupancy import gpu_unit, resident_blocks, resident_of, warps_of
from flashsched.hw.spec import DeviceSpec, GpuUnit
from flashsched.hw.work import Prediction, Work
from flashsched.hw.works import Works

__all__ = ["GpuTimes", "computes_whole_tiles", "gpu_times", "predict_gpu", "resident_blocks"]

BARRIER_CYCLES = 30.0
"""Cycles from the last warp's arrival at a block-wide barrier to the first instruction after it, skew left out.
Estimated: micro-benchmarks of Volta to Ampere report 20 to 40 for blocks of 128 to 256 threads."""

BLOCKS_PER_CLOCK = 0.83
"""Blocks that a device starts each clock, however many units it has. On an H100 kernels of 131072 to 16 million blocks
that do next to nothing (``benchmarks/results/h100-sxm5.jsonl.gz``) take 0.61 to 0.65 ns a block."""

GUARD_CYCLES = 40.0
"""From one operation behind a condition of its own to the next: test, branch, operation, and lanes that meet again. Of
20 products of prime sizes on an H100 (``benchmarks/results/h100-sxm5.jsonl.gz``); most lie between 30 and 50."""

LOOP_INSTRUCTIONS = 3.0
"""Counter, comparison and branch of a loop that is not unrolled, for each trip of one instruction per accumulator."""

TENSOR_MACS = 2048
"""Multiply-adds of one tensor-core instruction of a warp (PTX mma.m16n8k16; PTX ISA manual)."""

TENSOR_OUTPUTS_PER_LANE = 4
"""Accumulators that such an instruction updates in each lane: 16 x 8 outputs over 32 lanes."""

TENSOR_LATENCY_CYCLES = 33.0
"""Its latency: W. Sun et al., "Dissecting Tensor Cores via Microbenchmarks", arXiv 2206.02874 (A100; recalled)."""


@dataclass(frozen=True, slots=True)
class GpuTimes:
    """What `gpu_times` says of each candidate, in numbers or arrays of one shape (broadcast against each other).

    ``seconds`` is infinite where a block does not fit a unit. ``breakdown`` and ``bytes`` are as in `Prediction`;
    ``busiest`` counts the blocks of the unit that gets most, ``resident`` those that it works on at a time.
    """

    seconds: Numbers
    roofline_s: Numbers
    breakdown: Mapping[str, Numbers]
    bytes: Mapping[str, Numbers]
    resident: Numbers
    busiest: Numbers


def predict_gpu(spec: DeviceSpec, work: Work, constants: Mapping[str, float] = NESTS) -> Prediction:
    """Time, bottleneck and traffic of *work* on the GPU *spec*.

    Raises:
        Infeasible: a block asks for more than a unit has.
        DeviceError: arithmetic in a dtype that the device has no peak for.
    """
    unit = gpu_unit(spec)
    fitting, limit = resident_blocks(spec, work)
    times = gpu_times(spec, Works.of(work), constants, fitting)
    breakdown = {name: float(seconds) for name, seconds in times.breakdown.items()}
    time, resident = float(times.seconds), float(times.resident)
    utilization = min(1.0, float(_arithmetic_s(spec, work.flops)) / time) if time > 0 else 0.0
    moved = {name: float(number) for name, number in times.bytes.items()}
    return Prediction(
        time_s=time,
        roofline_s=float(times.roofline_s),
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=utilization,
        occupancy=resident * float(warps_of(unit, work)) * unit.warp_size / unit.max_threads,
        occupancy_limit="grid" if times.busiest < fitting else limit,
        waves=work.blocks / (fitting * spec.units),
        bytes=moved,
        breakdown=breakdown,
        energy_j=energy_j(spec, time, utilization, moved["dram"]),
    )


def gpu_times(
    spec: DeviceSpec,
    works: Works,
    constants: Mapping[str, float] = DEFAULTS,
    fitting: Numbers | None = None,
) -> GpuTimes:
    """Seconds of every candidate of *works* on the GPU *spec*, and what they are made of.

    *fitting* is the number of blocks that a unit holds; None: worked out for each candidate.

    Raises:
        DeviceError: arithmetic in a dtype that the device has no peak for.
    """
    unit = gpu_unit(spec)
    fitting = resident_of(spec, works) if fitting is None else fitting
    on_device = _Traffic.of(spec, works)
    per_unit = works.blocks / spec.units
    busiest = ceil(per_unit)
    resident = least(fitting, busiest)
    held = most(fitting, 1.0)
    whole = ceil(per_unit / held)  # rounds, of as many blocks as fit at a time
    rounds = _spread(per_unit / held, whole, constants)
    blocks = _spread(per_unit, busiest + constants["lone"] * (whole * held - busiest), constants)
    started = _Started(blocks, _spread(per_unit, busiest, constants), rounds, resident, held)

    limits = _within_a_unit(spec, unit, works, constants, on_device, started)
    joined = norm_of(_busy(limits, works), _overlap(unit, works, resident, constants))
    if "few" in constants and some(resident > 1.0):  # more blocks overlap better, and take no less than one of them
        one = _within_a_unit(spec, unit, works, constants, on_device, _Started(1.0, 1.0, 1.0, 1.0, held))
        joined = most(joined, norm_of(_busy(one, works), _overlap(unit, works, 1.0, constants)))
    exposed = constants["exposed"]
    if computes_whole_tiles(unit) and on_tensor_cores(spec, works.main_dtype):
        exposed = exposed * constants["ahead"]
    store = limits["store"] * (exposed + (1.0 - exposed) / blocks)
    of_unit = joined + store

    l2, dram, drawn = _from_memory(spec, works, constants, on_device, blocks, resident)
    begun = works.blocks / (BLOCKS_PER_CLOCK * spec.clock_hz)
    kernel = norm_of([of_unit, l2, dram, drawn, begun], constants["overlap_memory"])
    droop = constants["droop"]
    power = kernel ** (1.0 - droop) * power_s(spec, works, on_device.l2, constants) ** droop
    limited = most(kernel, power)
    if spec.sustained_clock < 1.0:
        limited = most(limited, _arithmetic_s(spec, works.flops) * works.stretch / spec.sustained_clock)
    roofline = _roofline_s(spec, works)
    start = spec.launch_s + constants["start_us"] * 1e-6
    seconds = most(start + limited, roofline)
    return GpuTimes(
        seconds=seconds if np.all(fitting >= 1) else np.where(fitting < 1, np.inf, seconds),
        roofline_s=roofline,
        breakdown={**limits, "l2": l2, "dram": dram, "power": power, "blocks": begun, "launch": start},
        bytes={"shared": on_device.shared, "l2": on_device.l2, "dram": on_device.dram(spec, works, resident)},
        resident=resident,
        busiest=busiest,
    )


def _busy(limits: Mapping[str, Numbers], works: Works) -> list[Numbers]:
    """What a unit does at once: arithmetic and the instructions that it shares an issue with, and all else."""
    arithmetic = most(limits["fma"], limits["issue"]) * works.stretch
    return [arithmetic, *(limits[name] for name in ("special", "shared", "load", "latency"))]


def _overlap(unit: GpuUnit, works: Works, resident: Numbers, constants: Mapping[str, float]) -> Numbers:
    """The norm that joins what a unit does at once; in a nest, the more warps the further from adding (`NESTS`)."""
    each = resident * warps_of(unit, works) / unit.schedulers
    few = constants.get("few", 0.0)
    return 1.0 + (constants["overlap"] - 1.0) * each / (each + few) if few else constants["overlap"]


def _spread(mean: Numbers, whole: Numbers, constants: Mapping[str, float]) -> Numbers:
    """Between the mean over all units and the whole number of the busiest one, never below one."""
    wave = constants["wave"]
    return whole if np.ndim(wave) == 0 and wave == 1.0 else (1.0 - wave) * most(mean, 1.0) + wave * whole


@dataclass(frozen=True, slots=True)
class _Started:
    """Blocks of the busiest unit.

    Attributes:
        counted: how many they count for: more than there are where places stay empty (``lone``).
        there: how many there are.
        rounds: of as many blocks as fit at a time.
        resident: blocks that are worked on at a time.
        held: blocks that would fit.
    """

    counted: Numbers
    there: Numbers
    rounds: Numbers
    resident: Numbers
    held: Numbers

    def times(self, alike: Callable[[Numbers], Numbers]) -> Numbers:
        """The blocks times the seconds of one, which *alike* tells where so many are worked on at a time.

        What empty places cost is not counted twice, as latency that fewer blocks hide and as blocks counted for.
        """
        at_once = most(least(self.resident, self.there), 1.0)
        return most(alike(at_once) * self.there, alike(self.held) * self.counted)


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Bytes of the whole kernel: by lanes, in shared memory, from and to L2, and stored."""

    lane: Numbers
    shared: Numbers
    l2: Numbers
    stored: Numbers

    @classmethod
    def of(cls, spec: DeviceSpec, works: Works) -> _Traffic:
        read = works.dram_read_bytes if works.l2_read_bytes is None else works.l2_read_bytes
        written = works.dram_write_bytes if works.l2_write_bytes is None else works.l2_write_bytes
        lane = read + written if works.global_lane_bytes is None else works.global_lane_bytes
        shared = (works.shared_load_bytes + works.shared_store_bytes) * works.blocks
        return cls(lane, shared, (read + written) / works.coalescing, written / works.coalescing)

    def dram(self, spec: DeviceSpec, works: Works, resident: Numbers) -> Numbers:
        """Bytes between DRAM and L2.

        Blocks that run together march through their tiles in step, so what they share is fetched once: for a square
        group of ``c`` blocks of a two-operand product, each row and column of tiles is shared by ``sqrt(c)`` blocks.
        Between groups, L2 keeps the share of the data that fits in it.
        """
        if works.dram_bytes is not None:
            return most(works.dram_bytes, works.compulsory_bytes)
        compulsory = works.compulsory_bytes / works.coalescing
        concurrent = least(works.blocks, most(resident, 1.0) * spec.units)
        refetched = most(self.l2 / np.sqrt(concurrent) - compulsory, 0.0)
        kept = least(1.0, spec.level("l2").size_bytes / most(compulsory, 1e-9))
        return compulsory + refetched * (1.0 - kept)


def _within_a_unit(
    spec: DeviceSpec,
    unit: GpuUnit,
    works: Works,
    constants: Mapping[str, float],
    moved: _Traffic,
    started: _Started,
) -> dict[str, Numbers]:
    """Seconds that each resource of the busiest unit takes for the blocks that *started* on it."""
    clock = spec.clock_hz
    warps = warps_of(unit, works)
    waste = warps * unit.warp_size / works.threads_per_block
    share = waste / works.blocks  # of the kernel's instructions in one block, idle lanes counted
    pipe = _arithmetic_s(spec, works.flops) * (2.0 - works.fma_share) * share * spec.units / constants["arithmetic"]
    macs, others = (count * share / (unit.schedulers * unit.dispatch * clock) for count in _issued(spec, unit, works))
    pipe = pipe + constants.get("waits", 0.0) * others
    alone = pipe / _latency_hidden(spec, unit, works, warps)
    shared = (moved.shared * works.bank_conflict + moved.lane) / works.blocks / spec.level("shared").drawn_by(1)

    # The chain of rounds: load, (barrier,) compute. Resident blocks fill each other's waits, and with s buffers s - 1
    # loads are under way at a time. A round waits for its slowest line, and blocks in step wait for the same line on
    # its way from DRAM, so L2 shortens no round.
    load = spec.dram.latency_s * (moved.l2 > 0) / most(works.stages - 1.0, 1.0)
    wait = works.steps * load + (works.barriers * BARRIER_CYCLES + works.guarded * GUARD_CYCLES) / clock
    ahead = works.stages > 1.0
    chain = most(alone, wait) + (1.0 - ahead) * least(alone, wait) + constants["block_us"] * 1e-6

    issue, blocks = macs + others, started.counted
    ceiling = spec.level("l2").per_unit_bytes_per_s
    load_rate = np.inf if ceiling is None else ceiling * constants["unit_l2"]
    return {
        "fma": started.times(lambda n: pipe / _latency_hidden(spec, unit, works, warps * n)),
        "issue": started.times(lambda n: issue / _schedulers_busy(unit, warps * n)),
        "special": works.special_ops * share / (unit.special_per_clock * clock) * blocks,
        "shared": shared * blocks,
        "load": (moved.l2 - moved.stored) / works.blocks / load_rate * blocks,
        "latency": chain * started.rounds,
        "store": moved.stored / works.blocks / (constants["store"] * clock) * blocks,
    }


def _from_memory(
    spec: DeviceSpec,
    works: Works,
    constants: Mapping[str, float],
    moved: _Traffic,
    blocks: Numbers,
    resident: Numbers,
) -> tuple[Numbers, Numbers, Numbers]:
    """Seconds of L2 and of main memory, with the bytes in flight that the kernel and each unit have."""
    l2, dram = spec.level("l2"), spec.dram
    concurrent = least(works.blocks, most(resident, 1.0) * spec.units)
    in_flight = concurrent * works.threads_per_block * works.bytes_in_flight
    l2_rate = least(l2.drawn_by(np.inf) * constants["l2"], in_flight / l2.latency_s)
    dram_rate = least(dram.drawn_by(np.inf) * constants["dram"], dram.bandwidth_bytes_per_s)
    dram_rate = least(dram_rate, in_flight / dram.latency_s)
    fetched = moved.dram(spec, works, resident)
    of_unit = constants["in_flight"] * spec.level("shared").size_bytes / dram.latency_s
    of_busiest = fetched / works.blocks * blocks / of_unit
    return moved.l2 / l2_rate, fetched / dram_rate, of_busiest


def _arithmetic_s(spec: DeviceSpec, flops: Mapping[str, Numbers]) -> Numbers:
    """Seconds of *flops* at the device's peak."""
    seconds: Numbers = 0.0
    for dtype, count in flops.items():
        if some(count):
            seconds = seconds + count / spec.peak(dtype)
    return seconds


def _roofline_s(spec: DeviceSpec, works: Works) -> Numbers:
    flops = works.flops if works.useful_flops is None else works.useful_flops
    seconds = works.compulsory_bytes / spec.dram.bandwidth_bytes_per_s
    for dtype, count in flops.items():
        if some(count):
            seconds = most(seconds, count / spec.peak(dtype))
    return seconds


def _latency_hidden(spec: DeviceSpec, unit: GpuUnit, works: Works, warps: Numbers) -> Numbers:
    """Share of the FMA rate that *warps* warps on a unit keep up, dependent chains being what they are.

    A scheduler starts one FMA instruction every ``cycles``; to start the next one it needs an independent one, and a
    chain gives one every ``latency``. Volkov 2016, chapter 4.
    """
    dtype = works.main_dtype
    if not any(some(count) for count in works.flops.values()):
        return 1.0
    if on_tensor_cores(spec, dtype):
        cycles = TENSOR_MACS / macs_per_cycle(spec, dtype)
        chains, latency = most(1.0, works.accumulators / TENSOR_OUTPUTS_PER_LANE), TENSOR_LATENCY_CYCLES
    else:
        cycles = unit.warp_size / macs_per_cycle(spec, dtype)
        chains, latency = works.accumulators, unit.fma_latency_cycles
    each = most(1.0, warps / unit.schedulers)
    return _schedulers_busy(unit, warps) * least(1.0, each * chains * cycles / latency)


def _schedulers_busy(unit: GpuUnit, warps: Numbers) -> Numbers:
    """Share of a unit's schedulers that have a warp to issue for."""
    return least(1.0, warps / unit.schedulers)


def _issued(spec: DeviceSpec, unit: GpuUnit, works: Works) -> tuple[Numbers, Numbers]:
    """Warp instructions that the whole kernel issues, lanes all taken as busy: arithmetic, and all others."""
    arithmetic: Numbers = 0.0
    for dtype, count in works.flops.items():
        macs = count * (1.0 - works.fma_share / 2.0)
        arithmetic = arithmetic + macs / (TENSOR_MACS if on_tensor_cores(spec, dtype) else unit.warp_size)
    loop = 0.0 if works.unrolled else LOOP_INSTRUCTIONS / works.accumulators
    return arithmetic, arithmetic * (works.overhead_per_op + loop) + works.special_ops / unit.warp_size
