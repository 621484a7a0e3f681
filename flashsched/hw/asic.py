"""The model of accelerators at the edge: how long a ``Work`` takes on a device of kind "asic".

Such a chip is an array of multiply-adders with a memory beside it, behind a thin link to a host. Parameters that fit
the memory stay there from one call to the next; those that do not come over the link each time, and then the link is
all that counts. So do the inputs and the outputs of every call.

=========  ===========================================================================================================
limiter    seconds
=========  ===========================================================================================================
arrays     products x `streamed_cycles` / clock, dealt out to cores and arrays, at the rate that the dtype's peak has
vector     additions and activations, one for each of a few lanes
sram       bytes that the array takes from the memory on the chip
dram       bytes over the link: inputs, outputs, and the parameters that do not stay
=========  ===========================================================================================================

Sources: coral.ai, "Edge TPU: performance and compiler" (parameter caching); A. Yazdanbakhsh et al., "An evaluation of
Edge TPU accelerators for convolutional neural networks", IISWC 2022.
"""

from __future__ import annotations

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw.combine import energy_j, joined, peak_s
from flashsched.hw.roofline import roofline_s
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.systolic import streamed_cycles
from flashsched.hw.work import Prediction, Work

__all__ = ["predict_asic"]


def predict_asic(spec: DeviceSpec, work: Work) -> Prediction:
    """Time, bottleneck and traffic of *work* on the accelerator *spec*.

    Raises:
        Infeasible: the tiles of a round do not fit the memory on the chip.
        DeviceError: *spec* is no such device, or arithmetic in a dtype that it has no peak for.
    """
    unit = spec.asic
    if unit is None:
        raise DeviceError(f"device '{spec.name}' is of kind '{spec.kind}'; the ASIC model needs kind 'asic'")
    sram, link = spec.memory[0], spec.dram
    if work.shared_bytes_per_block > sram.size_bytes:
        raise Infeasible(
            f"{work.shared_bytes_per_block} bytes of {sram.name} are asked for, and the chip has {sram.size_bytes}"
        )
    clock = spec.clock_hz * spec.sustained_clock
    m, n, k = work.product
    native = 2.0 * spec.units * unit.arrays * unit.rows * unit.columns * spec.clock_hz
    arrays = 0.0
    if work.products:  # the cores are arrays of one product: the compiler cuts its folds among them
        cycles = float(streamed_cycles(m, n, k, unit.rows, unit.columns, spec.units * unit.arrays))
        arrays = work.products * cycles / clock * native / spec.peak(work.main_dtype)
    vector = work.vector_ops / (spec.units * unit.vector_ops_per_clock * clock)
    near = work.level_bytes.get(sram.name, 0.0) / sram.drawn_by(spec.units)

    stays = work.weight_bytes <= unit.weight_bytes  # from the call before
    whole = work.compulsory_bytes if work.dram_bytes is None else max(work.dram_bytes, work.compulsory_bytes)
    moved = max(0.0, work.compulsory_bytes - work.weight_bytes) if stays else whole
    far = moved / link.drawn_by(spec.units) + (link.latency_s if moved else 0.0)
    breakdown = {"arrays": arrays, "vector": vector, sram.name: near, link.name: far}

    roofline = roofline_s(spec, work.counted_flops, moved)
    time = max(spec.launch_s + joined(breakdown.values()), roofline)
    breakdown["launch"] = spec.launch_s
    utilization = min(1.0, peak_s(spec, work.flops) / time)
    return Prediction(
        time_s=time,
        roofline_s=roofline,
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=utilization,
        occupancy=1.0,
        occupancy_limit="cores",
        waves=1.0,
        bytes={sram.name: work.level_bytes.get(sram.name, 0.0), link.name: moved},
        breakdown=breakdown,
        energy_j=energy_j(spec, time, utilization, moved),
    )
