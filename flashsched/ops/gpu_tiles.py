"""What the GPU templates share: sums kept in a thread's registers, and copies that a block's threads make together."""

from __future__ import annotations

from flashsched.codegen.gpu.copies import LATE_COPIES_SINCE
from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec
from flashsched.hw.spec import GpuUnit
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer, block_loads
from flashsched.te import dtypes
from flashsched.te.tensor import Tensor

__all__ = [
    "VECTOR_BITS",
    "copies_late",
    "copy_together",
    "gpu_unit",
    "inline_elementwise",
    "operands",
    "require_block",
    "sums_in_registers",
    "widest",
]

VECTOR_BITS = 128
"""The widest load and store of one thread (PTX ``ld.global.v4.f32``; PTX ISA manual)."""


def gpu_unit(spec: DeviceSpec) -> GpuUnit:
    """The GPU unit of *spec*.

    Raises:
        Infeasible: the device is no GPU.
    """
    if spec.gpu is None:
        raise Infeasible(f"device {spec.name!r} is of kind {spec.kind!r}, and this template is for a GPU")
    return spec.gpu


def copies_late(spec: DeviceSpec) -> bool:
    """Whether threads of *spec* can go on while what they copy into shared memory is on its way (``cp.async``)."""
    try:
        return arch_of(spec).capability >= LATE_COPIES_SINCE
    except DeviceError:
        return False


def inline_elementwise(s: Schedule) -> None:
    """Put every stage that is neither an output nor a reduction into its readers."""
    outputs = {id(tensor.op) for tensor in s.outputs}
    for stage in s.stages:
        if id(stage.op) not in outputs and stage.op.reduction is None:
            stage.compute_inline()


def sums_in_registers(s: Schedule, out: Tensor) -> StageView:
    """The stage that reduces on the way to *out*, writing a thread's registers; *out* itself only finishes or copies.

    Raises:
        Infeasible: nothing is reduced, or by more than one stage.
    """
    found = [stage for stage in s.stages if stage.op.reduction is not None]
    if len(found) != 1:
        raise Infeasible(f"{out.name} needs one reduction, and {len(found)} are in its graph")
    if found[0].name == s[out].name:
        return s[s.cache_write(out, "local")]
    found[0].set_scope("local")
    return found[0]


def operands(s: Schedule, stage: StageView) -> list[Buffer]:
    """The buffers that *stage* reads, in the order of its expression, without its own."""
    known = s.state.stage(stage.name)
    found: dict[Buffer, None] = {}
    for load in block_loads(known.block):
        if load.buffer not in known.buffers:
            found.setdefault(load.buffer)
    return list(found)


def widest(dtype: str, *sizes: int) -> int:
    """The most elements of *dtype* that one thread moves at once and that divide all *sizes*."""
    lanes = max(1, VECTOR_BITS // dtypes.bits(dtype))
    while lanes > 1 and any(size % lanes for size in sizes):
        lanes //= 2
    return lanes


def copy_together(stage: StageView, threads: tuple[int, int], vector: int) -> None:
    """Share the loops of *stage*, a copy into shared memory, out among the (y, x) *threads* of the block.

    Neighbouring threads take neighbouring vectors, so that a warp reads whole sectors.
    """
    y, x = threads
    whole = stage.fuse(*stage.op.axis)
    rounds, part = stage.split(whole, factor=y * x * vector)
    thread, lanes = stage.split(part, factor=vector)
    thread_y, thread_x = stage.split(thread, factor=x)
    stage.unroll(rounds)
    stage.bind(thread_y, "threadIdx.y")
    stage.bind(thread_x, "threadIdx.x")
    if vector > 1:
        stage.vectorize(lanes)


def require_block(knobs: KnobsLike, spec: DeviceSpec, threads: int, shared_bytes: int, points: int) -> None:
    """Rule out a block that *spec* cannot hold, or that is less than a warp though there are *points* enough."""
    unit = gpu_unit(spec)
    least = min(unit.warp_size, points)
    knobs.require(
        least <= threads <= unit.max_threads_per_block,
        f"{threads} threads in a block; {spec.name} wants {least} to {unit.max_threads_per_block}",
    )
    knobs.require(
        shared_bytes <= unit.shared_bytes_per_block,
        f"{shared_bytes} bytes of shared memory in a block; {spec.name} has {unit.shared_bytes_per_block}",
    )
