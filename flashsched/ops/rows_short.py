"""The CPU schedule of softmax for short rows: a row in each lane.

A row that fills a vector or two leaves most of the work to combining lanes. So as many rows as a vector has lanes are
turned around, and what combines a row is plain arithmetic on vectors; the result is turned back on its way out.
"""

from __future__ import annotations

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.ops.rows import run_rows
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.views import StageView
from flashsched.te.tensor import ComputeOp, Tensor

__all__ = ["SHORT", "rows_in_lanes"]

SHORT = 4
"""Vectors of a row from which turning it around no longer pays."""


def rows_in_lanes(s: Schedule, args: list[Tensor], dtype: str, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule stages over rows, computed in *dtype*; *args* are the matrix, and last the result of its shape.

    The matrix is copied in squares that are turned in registers; all stages run along its columns, rows in lanes.
    """
    x, out = args[0], args[-1]
    lanes, _ = vector_shape(spec, dtype)
    stages = [stage for stage in s.stages if stage.op.output(0) is not out]
    result = s.cache_write(out, "local")
    readers = [stage.name for stage in stages if x in stage.op.inputs]
    turned = s.cache_read(x, "local", readers, dtype if x.dtype != dtype else None)
    near = s.cache_read(x, "local", [turned])

    row, column = s[out].op.axis
    block, lane = s[out].split(row, factor=lanes, tail="cut")
    side = min(lanes, x.known_shape[1])  # the last square overlaps the one before, and is as large
    square, inner = s[out].split(column, factor=side, tail="shift")
    s[out].reorder(block, square, lane, inner)
    s[out].unroll(lane)
    s[out].vectorize(inner)
    run_rows(s, args, block, knobs, spec)
    _down_the_columns(s[result], s[out], square)
    s[result].unroll(s[result].op.axis[1])
    for stage in reversed(stages):
        _down_the_columns(stage, s[out], block)
    _down_the_columns(s[turned], s[out], block)
    outer, step = s[turned].split(s[turned].op.axis[1], factor=side, tail="shift")
    s[turned].unroll(step)
    s[near].compute_at(s[turned], outer)
    s[near].storage_align(s[near].op.axis[0], factor=lanes)
    s[near].unroll(s[near].op.axis[0])
    s[near].vectorize(s[near].op.axis[1])


def _down_the_columns(stage: StageView, reader: StageView, at: Loop) -> None:
    """Compute *stage* at a loop of *reader*, rows in the lanes, and its elements in that order."""
    assert isinstance(stage.op, ComputeOp)
    stage.compute_at(reader, at)
    stage.set_scope("local")
    row, *columns = stage.op.axis
    stage.reorder(*columns, *stage.op.reduce_axis, row)
    stage.vectorize(row)
    if columns:
        stage.transform_layout(lambda i, j: (j, i))
