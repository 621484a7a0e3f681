"""What a stage costs does not grow with the number of stages: functions entered are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from flashsched import te
from flashsched.codegen.lower import CPU_PASSES, lower
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

FEW, MANY = 12, 48


def entered(work: Callable[[], object]) -> int:
    """How many functions of Python *work* enters."""
    count = 0

    def on_event(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def chain(stages: int) -> Tensor:
    x = te.placeholder((64, 64), name="x")
    for n in range(stages):
        x = te.compute((64, 64), lambda i, j, before=x: before[i, j] * 2 + 1, name=f"S{n}")
    return x


def each_alone(output: Tensor) -> Schedule:
    """Each stage in tiles."""
    s = te.create_schedule(output)
    for view in s.stages:
        i, _, _, j = view.tile(*view.op.axis, 8, 16)
        view.vectorize(j)
        view.parallel(i)
    return s


def in_pairs(output: Tensor) -> Schedule:
    """Each second stage in tiles, and what it reads computed in them."""
    s = te.create_schedule(output)
    for first, second in zip(s.stages[::2], s.stages[1::2], strict=True):
        i, tile, _, j = second.tile(*second.op.axis, 8, 16)
        second.vectorize(j)
        second.parallel(i)
        first.compute_at(second, tile)
        first.vectorize(first.split(first.op.axis[1], factor=8)[1])
        first.set_scope("local")
    return s


@pytest.mark.parametrize("scheduled", [each_alone, in_pairs])
def test_four_times_the_stages_cost_four_times_as_much(scheduled: Callable[[Tensor], Schedule]) -> None:
    few, many = chain(FEW), chain(MANY)
    scheduled(few)  # what is imported or made at the first use does not count
    steps = entered(lambda: scheduled(many)) / entered(lambda: scheduled(few))
    one, other = scheduled(few), scheduled(many)
    lower(one, passes=CPU_PASSES)
    lowering = entered(lambda: lower(other, passes=CPU_PASSES)) / entered(lambda: lower(one, passes=CPU_PASSES))
    assert steps < 5.6, "a step looks at all nests: each stage costs more where there are more"
    assert lowering < 4.6, "lowering looks at all nests for each"
