"""The search space of any graph on a GPU.

Each nest is a kernel: blocks of threads cover the output, each thread has a few elements in registers, and operands
that the threads of a block share are copied into shared memory, a part of the reduction at a time. A reduction that
lies along memory and has few elements is combined by the threads together instead.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from flashsched.errors import ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.ops.derived.accesses import Access, StageFacts, facts_of
from flashsched.ops.derived.cpu import recurrent_stages
from flashsched.ops.derived.gpu_blocks import GpuBlock, compute_in_block
from flashsched.ops.derived.inlining import inline_stages
from flashsched.ops.derived.lanes import share_out
from flashsched.ops.derived.nests import Nest, find_nests
from flashsched.ops.derived.vectors import NestFacts, local_sums, reuse_along, reused_whole, vector_choices
from flashsched.ops.derived.windows import take_windows_apart
from flashsched.ops.gpu_tiles import copy_together, gpu_unit, widest
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.te.tensor import Axis, Tensor

__all__ = ["derived_gpu"]

_SIDES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Threads along one side of a block."""

_EACH = (1, 2, 4, 8)
"""Elements of a thread along one side."""

_PARTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Parts of a reduction that are combined side by side."""

_THREADS_EACH = 512
"""Threads of a unit that hide the latency of what they wait for."""

_POINTS_EACH = 64
"""Points of a thread from which a reduction is worth a second kernel, which combines its parts."""

_STEPS = (4, 8, 16, 32)
"""Turns of a reduction whose operands are in shared memory at once."""


def derived_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule every stage of *s*; *args* are the inputs, then the output.

    A graph with a recurrence, and one without points, keeps its plain nest: loops are bound in all kernels or in none.

    Raises:
        Infeasible: *spec* is no GPU.
    """
    gpu_unit(spec)
    apart = recurrent_stages(s)
    if apart or any(facts_of(s, stage.name).points == 0 for stage in s.stages):
        return
    inline_stages(s, knobs, apart)
    take_windows_apart(s, knobs, apart)
    for stage in s.stages:
        _share_out(s, facts_of(s, stage.name), knobs, spec)

    def first(finish: StageFacts, shared: Collection[Axis], overlaps: bool) -> bool:
        """Whether what a block needs is computed in it: once in all, and with enough blocks for the whole device."""
        along = 128 if finish.spatial[-1] in shared else 1
        return not overlaps and math.prod(axis.count for axis in shared) >= 2 * spec.units * along

    for nest in find_nests(s, knobs, apart, first):
        _schedule_kernel(s, nest, knobs, spec)


def _share_out(s: Schedule, facts: StageFacts, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Cut a reduction in parts where its elements are too few for the device: a block each where they lie along it."""
    lies_along = facts.reduced and all(read.stride(facts.reduced[-1]) in (0, 1) for read in facts.reads)
    enough = spec.units * (1 if lies_along and not _used_again(facts) else _THREADS_EACH)
    if facts.elements < enough:
        fits = next((n for n in _PARTS if n * facts.elements >= enough), _PARTS[-1])
        worth = facts.points >= _POINTS_EACH * _THREADS_EACH * spec.units  # one more kernel
        share_out(s, facts, knobs, _PARTS, fits if worth else 1)


def _used_again(facts: StageFacts) -> bool:
    """Whether all that a reduction reads is read again for other elements, as the operands of a product are."""
    return all(any(read.stride(axis) == 0 and axis.count > 1 for axis in facts.spatial) for read in facts.reads)


def _schedule_kernel(s: Schedule, nest: Nest, knobs: KnobsLike, spec: DeviceSpec) -> None:
    block = _schedule_finish(s, nest, knobs, spec)
    left = gpu_unit(spec).shared_bytes_per_block
    for inner in reversed(nest.inner):
        taken = None if block is None else compute_in_block(s, inner, block, left, spec)
        if taken is None:
            _schedule_kernel(s, Nest(inner.finish, inner.sums), knobs, spec)
        else:
            left -= taken


def _schedule_finish(s: Schedule, nest: Nest, knobs: KnobsLike, spec: DeviceSpec) -> GpuBlock | None:
    """The stage that writes what a kernel gives; None where nothing can be computed in its blocks."""
    name, sums = nest.finish, nest.sums
    turns = {axis: axis.count for axis in facts_of(s, name).spatial}
    facts = NestFacts.of(s, name, sums, turns)
    finish, body = facts.finish, facts.sums
    choices = vector_choices(s, facts, gpu_unit(spec).warp_size)
    together = body is not None and any(reduces for _, reduces in choices)
    if (
        together
        and body is not None
        and knobs.choice(
            f"{body.name}: combined", ("alone", "together"), default="alone" if _used_again(body) else "together"
        )
        == "together"
    ):
        _combine_together(s, body.name, knobs, spec)
        if body is finish:
            return None
        sums = None
    elif finish.reduced and not finish.spatial:
        _combine_together(s, name, knobs, spec)
        return None
    else:
        sums = local_sums(s, name, sums)
    facts = NestFacts.of(s, name, sums, turns)
    finish = facts.finish
    across = [axis for axis, reduces in vector_choices(s, facts, gpu_unit(spec).warp_size) if not reduces]
    if not finish.spatial:
        s[name].bind(s[name].add_unit_loop(), "threadIdx.x")
        return None
    return _tile(s, facts, across[0] if across else finish.spatial[-1], nest, knobs, spec)


def _combine_together(s: Schedule, name: str, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Threads along the reduction of *name*, a few rows in a block."""
    facts, stage = facts_of(s, name), s[name]
    along = facts.reduced[-1]
    most = gpu_unit(spec).max_threads_per_block
    threads = knobs.choice(f"{name}: threads", [n for n in _SIDES if n < 2 * along.count] or [1], default=128)
    rows = knobs.choice(f"{name}: rows of a block", [n for n in (1, 2, 4, 8) if n * threads <= most], default=1)
    turns, lane = stage.split(along, factor=threads)
    if facts.spatial:
        row = stage.fuse(*facts.spatial) if len(facts.spatial) > 1 else Loop(name, stage.loops[0].name)
        block, here = stage.split(row, factor=rows)
        stage.reorder(block, here, *facts.reduced[:-1], turns, lane)
        stage.bind(block, "blockIdx.x")
        stage.bind(here, "threadIdx.y")
    stage.bind(lane, "threadIdx.x")


def _tile(s: Schedule, facts: NestFacts, across: Axis, nest: Nest, knobs: KnobsLike, spec: DeviceSpec) -> GpuBlock:
    """Threads in a rectangle over *across*, where neighbours read neighbours, and over the axis of most reuse.

    Blocks are cut along those axes only that all inner stages of *nest* follow: what is computed for a whole row is
    computed once, and the threads of its block go along the row.
    """
    name, stage = facts.finish.name, s[facts.finish.name]
    most = gpu_unit(spec).max_threads_per_block
    wide = facts.turns[across]
    others = reuse_along(facts, across)
    down = others[0] if others and (facts.sums is not None or wide < most or nest.inner) else None
    tall = 1 if down is None else facts.turns[down]
    again = facts.sums is not None and down is not None and reused_whole(facts, across, down)
    enough = [n for n in (4, 2) if again and math.prod(facts.turns.values()) >= 2 * spec.units * (16 * n) ** 2]
    each = enough[0] if enough else 1
    square = down is not None and {across, down} <= set(
        nest.shared or ()
    )  # what is computed in it overlaps the next one
    vector = widest(facts.finish.buffers[0].dtype, wide)
    columns = knobs.choice(f"{name}: columns", [n for n in _EACH if n <= wide], default=each if again else vector)
    threads_x = knobs.choice(
        f"{name}: threads across",
        [n for n in _SIDES if n == 1 or n < 2 * wide],
        default=16 if again else 32 if square else 128,
    )
    rows, threads_y = 1, 1
    if down is not None:
        rows = knobs.choice(f"{name}: rows", [n for n in _EACH if n <= tall], default=4 if square else each)
        sides = [n for n in _SIDES if n == 1 or (n < 2 * tall and n * threads_x <= most)]
        threads_y = knobs.choice(
            f"{name}: threads down", sides, default=16 if again else 8 if square else max(1, 128 // threads_x)
        )
    block_x, part = stage.split(across, factor=threads_x * columns)
    thread_x, column = stage.split(part, factor=columns)
    cut: dict[Axis, Axis | Loop] = {axis: axis for axis in facts.finish.spatial if axis is not across}
    inside: list[Loop] = [thread_x, column]
    if down is not None:
        cut[down], part = stage.split(down, factor=threads_y * rows)
        thread_y, row = stage.split(part, factor=rows)
        inside = [thread_y, thread_x, row, column]
        cut[down] = cut.pop(down)
    cut[across] = block_x
    shared = set(facts.finish.spatial if nest.shared is None else nest.shared)
    outside = [loop for axis, loop in cut.items() if axis in shared]
    stage.reorder(*outside, *(loop for axis, loop in cut.items() if axis not in shared), *inside)
    first = outside[0]
    block = stage.fuse(*outside) if len(outside) > 1 else first if isinstance(first, Loop) else Loop(name, first.name)
    stage.bind(block, "blockIdx.x")
    stage.bind(thread_x, "threadIdx.x")
    if down is not None:
        stage.bind(thread_y, "threadIdx.y")
        stage.unroll(row)
    if columns > 1 and columns <= vector and facts.finish.writes[0].stride(across) == 1:
        stage.vectorize(column)
    else:
        stage.unroll(column)
    if facts.sums is not None:
        held = {inner.finish for inner in nest.inner}
        _sum_in_registers(s, facts, (name, thread_x), (across, down), (threads_y, threads_x), held, knobs, spec)
    return GpuBlock(name, block, (threads_y, threads_x))


def _sum_in_registers(
    s: Schedule,
    facts: NestFacts,
    at: tuple[str, Loop],
    sides: tuple[Axis, Axis | None],
    threads: tuple[int, int],
    held: set[str],
    knobs: KnobsLike,
    spec: DeviceSpec,
) -> None:
    """A thread's sums, and the operands that its block shares, copied a part of the reduction at a time.

    What the stages *held* write is computed in the block, and needs no copy.
    """
    assert facts.sums is not None
    name, sums = facts.sums.name, s[facts.sums.name]
    sums.compute_at(*at)
    *others, last = facts.sums.reduced
    step = knobs.choice(f"{name}: step", [n for n in _STEPS if n < 2 * last.count] or [1], default=16)
    turns, part = sums.split(last, factor=step)
    sums.reorder(*others, turns, part, *facts.sums.spatial)
    for axis in facts.sums.spatial:
        sums.unroll(axis)
    if knobs.choice(f"{name}: unroll", (False, True), default=step <= 16):
        sums.unroll(part)
    left = gpu_unit(spec).shared_bytes_per_block
    done = {buffer.name for stage in held for buffer in s.state.stages[stage].buffers}
    for access in facts.sums.reads:
        if access.buffer.name in done or not _is_shared(facts, access, sides):
            continue
        done.add(access.buffer.name)
        size = _shared_bytes(s, access, name, turns)
        if size is not None and size <= left and knobs.choice(
            f"{name}: share {access.buffer.name}", (False, True), default=math.prod(threads) >= 64
        ):  # fmt: skip
            copy = s[s.cache_read(access.buffer.name, "shared", [name])]
            copy.compute_at(s[name], turns)
            place = access.dimension(facts.inner(sides[0]))
            if place is not None and place < len(access.indices) - 1:
                copy.storage_align(place, 2, 1)  # rows that neighbours read lie an odd number of banks apart
            copy_together(copy, threads, 1)
            left -= size


def _is_shared(facts: NestFacts, access: Access, sides: tuple[Axis, Axis | None]) -> bool:
    """Whether the threads along one side of a block read the same elements."""
    used = [side is not None and access.stride(facts.inner(side)) != 0 for side in sides]
    return sides[1] is not None and sum(used) == 1 and not access.buffer.by_value


def _shared_bytes(s: Schedule, access: Access, reader: str, loop: Loop) -> int | None:
    """Bytes of what a block reads of *access* in a turn of *loop*; None where no copy can be made there."""
    twin = s.copy()
    try:
        copy = twin[twin.cache_read(access.buffer.name, "shared", [reader])]
        copy.compute_at(twin[reader], loop)
    except ScheduleError:
        return None
    extents = [twin.state.loop(copy.name, own.name).turns for own in copy.loops]
    return None if None in extents else math.prod(n or 0 for n in extents) * facts_of(twin, copy.name).bits // 8
