"""The TPU model: how long a ``Work`` takes on a device of kind "tpu", whose units are built around systolic arrays.

A core holds tiles in its VMEM, multiplies them on its arrays, and fetches the next ones from HBM meanwhile, if they
have a second buffer to go to. So a kernel is a chain of rounds: tiles in, a product of them on the arrays, element-wise
work on the vector unit. Each resource is timed alone, for the core that has most rounds:

=========  ===========================================================================================================
limiter    seconds
=========  ===========================================================================================================
arrays     products x `streamed_cycles` / clock, at the rate that the dtype's peak has
vector     operations of the vector unit / its rate, rows padded to whole registers
vmem       bytes that arrays and vector unit move from and to VMEM / its bandwidth
dram       bytes / sustained bandwidth
rounds     the least that each round costs, however small its tiles are
wait       one buffer: the latency of each round; two: the first round's tiles and the last one's work
=========  ===========================================================================================================

With two buffers they overlap, and a p-norm joins them, as on the GPU. With one, transfers and the rest add up.

Sources: Jouppi et al., "In-datacenter performance analysis of a tensor processing unit", ISCA 2017; Jouppi et al.,
"TPU v4", ISCA 2023; jax-ml's scaling book; JAX's documentation of Pallas on TPUs (pipelining, the cost of a step).
"""

from __future__ import annotations

import math

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw.combine import energy_j, joined, peak_s
from flashsched.hw.roofline import roofline_s
from flashsched.hw.spec import DeviceSpec, SystolicUnit
from flashsched.hw.systolic import streamed_cycles
from flashsched.hw.work import Prediction, Work

__all__ = ["ROUND_S", "predict_tpu"]

ROUND_S = 0.25e-6
"""What a round costs however small its tiles are: starting copies and waiting for them. A product of 4096 x 4096
matrices in 32,768 rounds of 128 x 128 x 128 takes 0.36 us for each on a TPU v5e (JAX's documentation of Pallas), of
which the way in and out of the arrays is 0.34 us."""


def predict_tpu(spec: DeviceSpec, work: Work) -> Prediction:
    """Time, bottleneck and traffic of *work* on the TPU *spec*.

    Raises:
        Infeasible: the tiles of a round do not fit a core's VMEM.
        DeviceError: *spec* is no TPU, or arithmetic in a dtype that it has no peak for.
    """
    unit = spec.systolic
    if unit is None:
        raise DeviceError(f"device '{spec.name}' is of kind '{spec.kind}'; the TPU model needs kind 'tpu'")
    vmem, dram = spec.memory[0], spec.dram
    if work.shared_bytes_per_block > vmem.size_bytes:
        raise Infeasible(
            f"{work.shared_bytes_per_block} bytes of {vmem.name} are asked for, and a core has {vmem.size_bytes}"
        )
    cores = max(1, min(spec.units, math.floor(work.parallel_items)))
    share = math.ceil(work.parallel_items / cores) / work.parallel_items  # of the core that has most
    clock = spec.clock_hz * spec.sustained_clock

    rounds = max(1.0, work.steps * share)
    arrays = work.products * share * _array_seconds(spec, unit, work) if work.products else 0.0
    vector = work.vector_ops * share / (unit.vector_ops_per_clock * clock)
    near = work.level_bytes.get(vmem.name, 0.0) * share / vmem.drawn_by(1)
    moved = work.compulsory_bytes if work.dram_bytes is None else max(work.dram_bytes, work.compulsory_bytes)
    far = moved / dram.drawn_by(cores)

    each = rounds * ROUND_S if work.products else 0.0
    latency = dram.latency_s if moved else 0.0
    if work.stages == 1:
        wait = rounds * latency
        total = joined([arrays, vector, near, each]) + far + wait
    else:  # the first round's tiles and the last round's work have nothing beside them
        alone = 1.0 / rounds if work.products else 0.0
        wait = latency + alone * (far + joined([arrays, vector, near]))
        total = wait + (1.0 - alone) * joined([arrays, vector, near, far])
        total = joined([total, each])
    breakdown = {"arrays": arrays, "vector": vector, vmem.name: near, dram.name: far, "rounds": each, "wait": wait}
    roofline = roofline_s(spec, work.counted_flops, work.compulsory_bytes)
    time = max(spec.launch_s + total, roofline)
    breakdown["launch"] = spec.launch_s
    utilization = min(1.0, peak_s(spec, work.flops) / time)
    return Prediction(
        time_s=time,
        roofline_s=roofline,
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=utilization,
        occupancy=cores / spec.units,
        occupancy_limit="grid" if cores < spec.units else "cores",
        waves=work.parallel_items / cores,
        bytes={vmem.name: work.level_bytes.get(vmem.name, 0.0), dram.name: moved},
        breakdown=breakdown,
        energy_j=energy_j(spec, time, utilization, moved),
    )


def _array_seconds(spec: DeviceSpec, unit: SystolicUnit, work: Work) -> float:
    """Seconds of one product on the arrays of one core, at the rate of its dtype.

    A dtype whose peak is below what the arrays do with 16 bits goes through them several times (float32), one whose
    peak is above has multiply-adders of its own (int8).
    """
    m, n, k = work.product
    native = 2.0 * spec.units * unit.arrays * unit.rows * unit.columns * spec.clock_hz
    cycles = float(streamed_cycles(m, n, k, unit.rows, unit.columns, unit.arrays))
    return cycles / (spec.clock_hz * spec.sustained_clock) * native / spec.peak(work.main_dtype)
