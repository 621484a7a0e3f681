"""What a block of a GPU computes for itself: inner stages of a nest, whose results stay in shared memory.

Threads of the block share out the elements that it needs of a stage, or combine a reduction together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flashsched.errors import ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.ops.derived.accesses import facts_of
from flashsched.ops.derived.nests import Nest
from flashsched.ops.derived.vectors import NestFacts, local_sums, vector_choices
from flashsched.ops.gpu_tiles import gpu_unit
from flashsched.schedule import Loop, Schedule, StageView
from flashsched.te.tensor import Axis

__all__ = ["GpuBlock", "compute_in_block"]

_WRITTEN_OUT = 32
"""Turns of a reduction up to which a thread's sum is written out."""


@dataclass(frozen=True)
class GpuBlock:
    """The loop of *stage* over its blocks, and how many *threads* (y, x) a block has."""

    stage: str
    loop: Loop
    threads: tuple[int, int]


def compute_in_block(s: Schedule, nest: Nest, block: GpuBlock, room: int, spec: DeviceSpec) -> int | None:
    """Compute the inner *nest* in each *block*, if its part there takes no more than *room* bytes of shared memory.

    Returns:
        Bytes that it takes; None where it has to be computed elsewhere.
    """
    try:
        size = _compute(s.copy(), nest, block, spec)
    except ScheduleError:
        return None  # what reads it is in another kernel, say
    return _compute(s, nest, block, spec) if size is not None and size <= room else None


def _compute(s: Schedule, nest: Nest, block: GpuBlock, spec: DeviceSpec) -> int | None:
    name, sums = nest.finish, nest.sums
    facts = NestFacts.of(s, name, sums, {axis: axis.count for axis in facts_of(s, name).spatial})
    finish, body = facts.finish, facts.sums
    choices = vector_choices(s, facts, gpu_unit(spec).warp_size)
    size: int | None = 0
    if body is not None and choices and choices[0][1]:
        size = _combine(s, body.name, block)
        if body is finish:
            return size
        sums = None
    else:
        sums = local_sums(s, name, sums)
    stage = s[name]
    more = _place(s, stage, block)
    y, x = block.threads
    loops = stage.loops[: len(finish.spatial)]
    whole = stage.fuse(*loops) if len(loops) > 1 else loops[0] if loops else stage.add_unit_loop()
    _, part = stage.split(whole, factor=y * x)
    thread_y, thread_x = stage.split(part, factor=x)
    stage.bind(thread_y, "threadIdx.y")
    stage.bind(thread_x, "threadIdx.x")
    if sums is not None:
        s[sums].compute_at(stage, thread_x)
        reduced = s[sums].op.reduce_axis
        s[sums].reorder(*reduced, *s[sums].op.axis)
        if math.prod(axis.count for axis in reduced) <= _WRITTEN_OUT:
            for axis in reduced:
                s[sums].unroll(axis)
    return None if more is None or size is None else size + more


def _place(s: Schedule, stage: StageView, block: GpuBlock) -> int | None:
    """Compute *stage* in the block, into shared memory; how many bytes that takes, if it can be told."""
    stage.compute_at(s[block.stage], block.loop)
    stage.set_scope("shared")
    axes = facts_of(s, stage.name)
    turns = [s.state.loop(stage.name, loop.name).turns for loop in stage.loops[: len(axes.spatial)]]
    known = [count for count in turns if count is not None]
    return math.prod(known) * axes.bits // 8 * len(axes.buffers) if len(known) == len(turns) else None


def _combine(s: Schedule, name: str, block: GpuBlock) -> int | None:
    """Combine the reduction *name* by the threads of the block together, a row by those along x."""
    stage = s[name]
    spatial, along = stage.op.axis, stage.op.reduce_axis[-1]
    size = _place(s, stage, block)
    y, x = block.threads
    turns, lane = stage.split(along, factor=x)
    rows: list[Axis | Loop] = list(stage.loops[: len(spatial)])
    if rows and y > 1:
        row = stage.fuse(*rows) if len(rows) > 1 else rows[0]
        more, thread = stage.split(row, factor=y)
        stage.bind(thread, "threadIdx.y")
        rows = [more, thread]
    stage.reorder(*rows, *stage.op.reduce_axis[:-1], turns, lane)
    stage.bind(lane, "threadIdx.x")
    return size
