"""Handles as JSON and back: how a call of a primitive of one's own keeps the tensors, stages and loops it was given.

Numbers, texts, lists and dictionaries are themselves; a tensor is ``{"$tensor": "C"}``, a stage ``{"$stage": "C"}``, a
loop ``{"$loop": ["C", "i.o"]}``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.errors import ArgumentError, TraceError
from flashsched.schedule.default import loop_names
from flashsched.schedule.views import Loop, StageView
from flashsched.te.tensor import Axis, Operation, Tensor

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule

__all__ = ["decode", "encode"]


def encode(schedule: Schedule, value: Any) -> Any:
    """*value* as JSON.

    Raises:
        ArgumentError: it is nothing that JSON can hold, nor a handle of *schedule*.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return float(value)
        case np.generic():
            return value.item()
        case list() | tuple():
            return [encode(schedule, item) for item in value]
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encode(schedule, item) for key, item in value.items()}
        case Tensor():
            return {"$tensor": schedule._tensor_name(value)}
        case Operation():
            return {"$tensor": schedule._tensor_name(value.output(0))}
        case StageView():
            return {"$stage": value.name}
        case Loop():
            return {"$loop": [value.stage, value.name]}
        case Axis():
            return {"$loop": _loop_of(schedule, value)}
        case _:
            pass
    raise ArgumentError(
        f"{value!r} can't be kept in a trace",
        hint="pass numbers, texts, tensors, stages, loops, and lists or dictionaries of these",
    )


def _loop_of(schedule: Schedule, axis: Axis) -> list[str]:
    for name, stage in schedule.state.stages.items():
        axes = (*stage.op.axis, *stage.op.reduce_axis)
        if any(axis is other for other in axes):
            return [name, dict(zip(axes, loop_names(axes), strict=True))[axis]]
    raise ArgumentError(
        f"axis {axis.name!r} belongs to no stage of this schedule", hint="take it from s[C].op.axis or s[C].loops"
    )


def decode(schedule: Schedule, data: Any) -> Any:
    """The value that `encode` made *data* of, its handles those of *schedule*.

    Raises:
        TraceError: it names something that *schedule* has not.
    """
    match data:
        case {"$tensor": str() as name}:
            return _tensor(schedule, name)
        case {"$stage": str() as name} if name in schedule.state.stages:
            return schedule[name]
        case {"$loop": [str() as stage, str() as name]}:
            return Loop(stage, name)
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in data):
            return {key: decode(schedule, item) for key, item in data.items()}
        case dict():
            raise TraceError(f"{data} is nothing of this schedule", hint=_has(schedule))
        case list():
            return [decode(schedule, item) for item in data]
        case _:
            return data


def _tensor(schedule: Schedule, name: str) -> Tensor:
    for known, buffer in zip(schedule.inputs, schedule.state.params, strict=True):
        if buffer.name == name:
            return known
    for stage in schedule.state.stages.values():
        for number, buffer in enumerate(stage.buffers):
            if buffer.name == name:
                return stage.op.output(number)
    raise TraceError(f"no tensor named {name!r}", hint=_has(schedule))


def _has(schedule: Schedule) -> str:
    return f"its stages: {', '.join(schedule.state.stages)}"
