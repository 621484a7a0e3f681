"""What the GPU templates share: sums kept in a thread's registers, and copies that a block's threads make together."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.codegen.gpu.copies import LATE_COPIES_SINCE
from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError, Infeasible, StructureError
from flashsched.hw import DeviceSpec
from flashsched.hw.spec import GpuUnit
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer, Load, block_loads
from flashsched.te import dtypes
from flashsched.te.tensor import Axis, Tensor
from flashsched.te.visit import uses

__all__ = [
    "MOST_BATCHES",
    "VECTOR_BITS",
    "bind_batches",
    "copies_late",
    "copy_rows_together",
    "copy_together",
    "gpu_unit",
    "in_shared",
    "inline_elementwise",
    "load_of",
    "operands",
    "product_sides",
    "require_block",
    "sums_in_registers",
    "sums_of_whole_tiles",
    "the_reduction",
    "widest",
]

VECTOR_BITS = 128
"""The widest load and store of one thread (PTX ``ld.global.v4.f32``; PTX ISA manual)."""

MOST_BATCHES = 65535
"""Blocks of a grid along y, and along z (CUDA C++ programming guide, technical specifications)."""


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


def the_reduction(s: Schedule, out: Tensor) -> StageView:
    """The stage that reduces on the way to *out*.

    Raises:
        Infeasible: nothing is reduced, or by more than one stage.
    """
    found = [stage for stage in s.stages if s.state.stage(stage.name).reduced]
    if len(found) != 1:
        raise Infeasible(f"{out.name} needs one reduction, and {len(found)} are in its graph")
    return found[0]


def sums_in_registers(s: Schedule, out: Tensor) -> StageView:
    """The stage that reduces on the way to *out*, writing a thread's registers; *out* itself only finishes or copies.

    Raises:
        Infeasible: nothing is reduced, or by more than one stage.
    """
    found = the_reduction(s, out)
    if found.name == s[out].name:
        return s[s.cache_write(out, "local")]
    found.set_scope("local")
    return found


def sums_of_whole_tiles(s: Schedule, out: Tensor, tile: Sequence[int]) -> StageView:
    """`sums_in_registers` whose axes are multiples of *tile*, so that no sum and no step of it has a condition.

    What a product of tensors reads beyond their ends comes from copies that hold 0 there; put them where they belong
    by `in_shared`. Only *out*, which finishes, asks whether there is something to write. A sum of anything else than a
    product has conditions: what would be 0 in it is not known.

    Raises:
        Infeasible: nothing is reduced, or by more than one stage.
    """
    found = the_reduction(s, out)
    axes = (*found.op.axis, *found.op.reduce_axis)
    if all(axis.count % side == 0 for axis, side in zip(axes, tile, strict=True)):
        return sums_in_registers(s, out)
    try:
        made = s.pad_einsum(found.op.output(0), list(tile))
    except StructureError:
        return sums_in_registers(s, out)
    made = made if isinstance(made, Tensor) else made[0]
    if found.name != s[out].name:
        found.compute_inline()
    s[made].set_scope("local")
    return s[made]


def in_shared(s: Schedule, buffer: Buffer, sums: StageView) -> StageView:
    """The stage that brings what *sums* reads of *buffer* into shared memory: the one that computes it, or a copy."""
    if buffer.name in s.state.stages:
        s[buffer.name].set_scope("shared")
        return s[buffer.name]
    return s[s.cache_read(buffer.name, "shared", [sums.name])]


def operands(s: Schedule, stage: StageView) -> list[Buffer]:
    """The buffers that *stage* reads, in the order of its expression, without its own."""
    known = s.state.stage(stage.name)
    found: dict[Buffer, None] = {}
    for load in block_loads(known.block):
        if load.buffer not in known.buffers:
            found.setdefault(load.buffer)
    return list(found)


def load_of(s: Schedule, stage: StageView, buffer: Buffer) -> Load:
    """Where *stage* reads *buffer*, one of its `operands`; the first place if there are several."""
    return next(load for load in block_loads(s.state.stage(stage.name).block) if load.buffer is buffer)


def product_sides(s: Schedule, sums: StageView) -> tuple[tuple[Buffer, int], tuple[Buffer, int]]:
    """The operand that has the output's rows and the one that has its columns.

    Each with which of its last two dimensions is reduced, 0 or 1; those before are the batches of both.

    Raises:
        Infeasible: *sums* is no product of two matrices, or of pairs of them.
    """
    if len(sums.op.reduce_axis) == 1 and len(sums.op.axis) >= 2:
        *batches, i, j = sums.op.axis
        (k,) = sums.op.reduce_axis
        read = {load.buffer: load.indices for load in block_loads(s.state.stage(sums.name).block)}
        found = {}
        for buffer in operands(s, sums):
            at = [[n for n, index in enumerate(read[buffer]) if uses(index, axis)] for axis in (*batches, k, i, j)]
            *outer, along, row, column = at
            if outer == [[n] for n in range(len(batches))] and len(buffer.shape) == len(batches) + 2:
                match along, row, column:
                    case [n], [_], []:
                        found["left"] = buffer, n - len(batches)
                    case [n], [], [_]:
                        found["right"] = buffer, n - len(batches)
                    case _:
                        pass
        if len(operands(s, sums)) == len(found) == 2:
            return found["left"], found["right"]
    raise Infeasible(f"{sums.name} is no product of two matrices")


def bind_batches(stage: StageView) -> None:
    """Give each batch of *stage*, all of its axes but the last two, blocks of its own."""
    batches = stage.op.axis[:-2]
    if batches:
        stage.bind(stage.fuse(*batches) if len(batches) > 1 else batches[0], "blockIdx.z")


def widest(dtype: str, *sizes: int) -> int:
    """The most elements of *dtype* that one thread moves at once and that divide all *sizes*."""
    lanes = max(1, VECTOR_BITS // dtypes.bits(dtype))
    while lanes > 1 and any(size % lanes for size in sizes):
        lanes //= 2
    return lanes


def copy_together(stage: StageView, threads: tuple[int, int], vector: int, axes: Sequence[Axis] = ()) -> None:
    """Share the loops of *stage*, a copy into shared memory, out among the (y, x) *threads* of the block.

    Neighbouring threads take neighbouring vectors, so that a warp reads whole sectors. *axes* are those of *stage* with
    that of neighbours last; they stand as they are by default.
    """
    y, x = threads
    if axes:
        stage.reorder(*axes)
    whole = stage.fuse(*(axes or stage.op.axis))
    rounds, part = stage.split(whole, factor=y * x * vector)
    thread, lanes = stage.split(part, factor=vector)
    thread_y, thread_x = stage.split(thread, factor=x)
    stage.unroll(rounds)
    stage.bind(thread_y, "threadIdx.y")
    stage.bind(thread_x, "threadIdx.x")
    if vector > 1:
        stage.vectorize(lanes)


def copy_rows_together(stage: StageView, threads: tuple[int, int], outside: int) -> None:
    """The same for a tile whose size has no such factors: threads along y share its *outside* first axes, and those
    along x the others.

    From turn to turn a thread goes on by a number of elements that is known, so that its places are cheap to find.
    """
    axes, bound = stage.op.axis, []
    for part, count in ((axes[:outside], threads[0]), (axes[outside:], threads[1])):
        rounds, thread = stage.split(stage.fuse(*part) if len(part) > 1 else part[0], factor=count)
        stage.unroll(rounds)
        bound.append(thread)
    for thread, axis in zip(bound, ("threadIdx.y", "threadIdx.x"), strict=True):
        stage.bind(thread, axis)


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
