"""One plain CPU schedule for every operation of topi, under the names that TVM's schedules have.

Element-wise stages go into their readers; every other runs its outer dimensions in parallel, its last one in vectors,
and its reduction between the two. For an operation's best time, tune it (`flashsched.tune`).
"""

from __future__ import annotations

from typing import Any

from flashsched import te as our_te
from flashsched.compat.tvm.te.schedule import Schedule, create_schedule
from flashsched.compat.tvm.te.stage import Stage
from flashsched.compat.tvm.topi.tag import is_injective
from flashsched.errors import ScheduleError

__all__ = ["schedule_auto"]

_LANES = 16


def schedule_auto(outs: Any) -> Schedule:
    """A schedule of *outs* (a tensor, or several)."""
    tensors = [outs] if isinstance(outs, our_te.Tensor) else list(outs)
    s = create_schedule([tensor.op for tensor in tensors])
    for stage in s.stages:
        op: Any = stage.op
        if not stage.is_output and is_injective(getattr(op, "tag", "")) and hasattr(op, "axis") and not op.reduce_axis:
            stage.compute_inline()
    for stage in s.stages:
        if getattr(stage.op, "axis", ()):
            _share(stage)
    return s


def _share(stage: Stage) -> None:
    """Threads for the outer dimensions of *stage*, vectors for the last."""
    *outer, last = stage.op.axis
    reduced = list(stage.op.reduce_axis)
    along = _is_along(stage)
    if along:
        first, inner = stage.split(last, factor=_LANES)
        stage.reorder(*outer, first, *reduced, inner)
        stage.vectorize(inner)
        outer.append(first)
    else:
        outer.append(last)
    try:
        stage.parallel(stage.fuse(*outer))
    except ScheduleError:  # a dimension that is computed at run time may not be fused
        stage.parallel(outer[0])


def _is_along(stage: Stage) -> bool:
    """Whether a step along the last dimension is a step of at most one element in all that the stage reads."""
    from flashsched.te.tensor import Read
    from flashsched.te.visit import uses, walk

    last = stage.op.axis[-1]
    reads = [node for value in stage.op.body for node in walk(value) if isinstance(node, Read)]
    return not stage.op.reduce_axis or not any(uses(index, last) for read in reads for index in read.indices[:-1])


_NAMES = (
    "schedule_injective", "schedule_elemwise", "schedule_broadcast", "schedule_reduce", "schedule_softmax",
    "schedule_dense", "schedule_matmul", "schedule_batch_matmul", "schedule_conv2d_nchw", "schedule_conv2d_nhwc",
    "schedule_depthwise_conv2d_nchw", "schedule_group_conv2d_nchw", "schedule_pool", "schedule_adaptive_pool",
    "default_schedule", "schedule_conv2d",
)  # fmt: skip
for _name in _NAMES:
    globals()[_name] = schedule_auto
__all__ += _NAMES
