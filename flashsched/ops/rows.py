"""What the CPU schedules of softmax, layer normalization and reductions share: combining a row in vector lanes.

A reduction's turns can't run at once, but parts of it can: `rfactor` makes several vectors of partial results, which
are then combined in a tree of ever fewer lanes. All of it happens while a row is in the first-level cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flashsched import te
from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.views import StageView
from flashsched.te import dtypes
from flashsched.te.tensor import Axis, Tensor

__all__ = ["FOR_THREADS", "combine_in_lanes", "largest", "row_width", "run_rows", "vectorize_row", "wide_float"]

FOR_THREADS = 32768
"""Elements that are worth waking threads for, a few microseconds each time."""

_SERIAL = 4  # lanes that are combined one after another, at the end of the tree

largest = te.comm_reducer(lambda x, y: te.select(y > x, y, x), te.min_value, name="largest")
"""``largest(value, axis=k)``: the maximum of what is no NaN, in one instruction; with a NaN, any value of the row.

It serves where a NaN shows in the result by another way, as it does in exp(x - largest) and its sum.
"""


def wide_float(dtype: str) -> str:
    """The dtype that values of *dtype* are computed in: float32 for narrow floats."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def row_width(knobs: KnobsLike, spec: DeviceSpec, dtype: str, columns: int) -> tuple[int, int]:
    """Elements of a row that are worked on at once (some vectors, less in a short row), and lanes of one vector."""
    lanes, _ = vector_shape(spec, dtype)
    width = lanes * knobs.choice("vectors", (1, 2, 4, 8), default=4)
    while width > max(columns, 1):
        width //= 2
    return width, lanes


def run_rows(s: Schedule, args: Sequence[Tensor], loop: Axis | Loop, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Run *loop*, over parts of the output, by threads where there is much to do, past the caches where they overflow.

    *args* are the inputs, then the output: what is read once and written once.
    """
    out = args[-1]
    if knobs.choice("threads", (False, True), default=math.prod(out.known_shape) >= FOR_THREADS):
        s[out].parallel(loop)
    moved = sum(math.prod(tensor.known_shape) * dtypes.bits(tensor.dtype) // 8 for tensor in args)
    caches = max((level.size_bytes for level in spec.memory[:-1]), default=0)
    if knobs.choice("past_caches", (False, True), default=moved >= caches > 0):
        s[out].pragma(loop, "nontemporal")


def combine_in_lanes(s: Schedule, sums: Tensor, at: tuple[StageView, Axis | Loop], width: int, lanes: int) -> None:
    """Compute the reduction *sums* over one axis at the loop *at*, *width* parts of it at once.

    The parts become *lanes*, then fewer, then the result.
    """
    stage = s[sums]
    stage.compute_at(*at)
    stage.set_scope("local")
    (turns,) = stage.op.reduce_axis
    steps = [w for w in (width, lanes, _SERIAL) if w <= width]
    for before, wide in zip([None, *steps], sorted({*steps}, reverse=True), strict=False):
        if wide == before or wide == 1:
            continue
        _, lane = stage.split(turns, factor=wide, tail="cut")
        parts = s[s.rfactor(sums, lane, -1)]
        parts.compute_at(*at)
        parts.set_scope("local")
        (rest,) = parts.op.reduce_axis
        parts.reorder(rest, *parts.op.axis)
        for axis in parts.op.axis[:-1]:
            parts.unroll(axis)
        if before is not None:
            parts.unroll(rest)
        parts.vectorize(parts.op.axis[-1])
        (turns,) = stage.op.reduce_axis
    for axis in stage.op.axis:
        stage.unroll(axis)
    if width > 1:
        stage.unroll(turns)


def vectorize_row(s: Schedule, tensor: Tensor, width: int) -> None:
    """Run the last axis of *tensor* in vectors, *width* elements at once."""
    _, lane = s[tensor].split(s[tensor].op.axis[-1], factor=width, tail="cut")
    s[tensor].vectorize(lane)
