"""A plain CPU schedule for any te graph: what an operator without a template of its own gets.

Element-wise stages go into their readers; every other stage runs its outer dimensions in parallel and its last one in
vectors, with the reduction outside the vector. Recurrences run as they stand. It knows nothing of reuse; a template
that does is worth writing.
"""

from __future__ import annotations

from collections.abc import Set

from flashsched.hw import DeviceSpec
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.schedule.views import StageView
from flashsched.te.recurrence import ScanInitOp, ScanOp, cycles
from flashsched.te.tensor import Tensor, graph

__all__ = ["generic_cpu"]


def generic_cpu(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Schedule every stage of *s*; *args* are the inputs and the output."""
    outputs = {tensor.op.name for tensor in s.outputs}
    ops = graph(s.outputs)
    rows = {id(op) for op in ops if isinstance(op, ScanOp)} | cycles(ops).keys()
    for stage in s.stages:
        if stage.name not in outputs and stage.op.reduction is None and not _recurs(stage, rows):
            stage.compute_inline()
    for number, stage in enumerate(s.stages):
        lanes, _ = vector_shape(spec, stage.op.output(0).dtype)
        spatial = [Loop(stage.name, loop.name) for loop in stage.loops[: len(stage.op.axis)]]
        if not spatial or _recurs(stage, rows):
            continue
        vectors = knobs.choice(f"vectors_{number}", (1, 2, 4, 8), default=2)
        outer, inner = stage.split(spatial[-1], factor=lanes * vectors, tail="cut")
        reduced = stage.loops[len(stage.op.axis) + 1 :]
        stage.reorder(*spatial[:-1], outer, *reduced, inner)
        stage.vectorize(inner)
        if len(reduced) > 0 and knobs.choice(f"unroll_{number}", (False, True)):
            _, turns = stage.split(reduced[-1], factor=4, tail="cut")
            stage.unroll(turns)
        stage.parallel(stage.fuse(*spatial[:-1], outer))


def _recurs(stage: StageView, rows: Set[int]) -> bool:
    """Whether *stage* is part of a recurrence: a state, its first rows, or one of the operations *rows* on a row."""
    return isinstance(stage.op, ScanInitOp) or id(stage.op) in rows
