"""The GPU template of element-wise operators: all dimensions as one, dealt out to blocks, threads and vectors."""

from __future__ import annotations

import math

from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import gpu_unit, inline_elementwise, widest
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

__all__ = ["elementwise_gpu"]


def elementwise_gpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Each thread takes ``items`` vectors, those of neighbouring threads side by side in memory.

    Knobs: ``threads`` of a block, ``vector`` elements at once, ``items`` vectors for each thread.
    """
    unit = gpu_unit(spec)
    inline_elementwise(s)
    out = args[-1]
    points = math.prod(out.known_shape)
    if not out.shape or not points:
        return  # one element, or none: the plain nest will do
    widths = [n for n in (1, 2, 4, 8, 16) if n <= widest(out.dtype, points)]
    vector = knobs.choice("vector", widths, default=widths[-1])
    sizes = [n for n in (32, 64, 128, 256, 512, 1024) if n <= unit.max_threads_per_block]
    threads = knobs.choice("threads", sizes, default=256)
    items = knobs.choice("items", (1, 2, 4, 8), default=1)
    stage = s[out]
    whole = stage.fuse(*stage.op.axis) if len(stage.op.axis) > 1 else stage.op.axis[0]
    block, part = stage.split(whole, factor=threads * items * vector)
    item, rest = stage.split(part, factor=threads * vector)
    thread, lanes = stage.split(rest, factor=vector)
    stage.reorder(block, thread, item, lanes)
    stage.bind(block, "blockIdx.x")
    stage.bind(thread, "threadIdx.x")
    stage.unroll(item)
    if vector > 1:
        stage.vectorize(lanes)
