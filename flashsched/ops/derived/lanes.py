"""Reductions whose vectors run along what is reduced: each lane combines a part, and a tree combines the lanes.

The turns of a reduction can't run at once, but parts of it can: `rfactor` makes a few vectors of partial results for
each element, which are then combined in ever fewer lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from flashsched.errors import ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.ops.derived.accesses import StageFacts, facts_of
from flashsched.ops.gemm_plan import vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.te.tensor import Axis

__all__ = ["share_out", "share_out_reductions", "sum_in_lanes"]

_SERIAL = 4  # lanes that are combined one after another, at the end of the tree
_LONG = 1 << 16  # points of one element from which threads share them out


def sum_in_lanes(s: Schedule, name: str, at: tuple[str, Loop], along: Axis, knobs: KnobsLike, lanes: int) -> None:
    """Compute the reduction *name* at a loop, its axis *along* in vectors."""
    count = along.count
    options = [v for v in (1, 2, 4, 8) if v == 1 or v * lanes <= count]
    width = lanes * knobs.choice(f"{name}: vectors", options, default=4)
    while width > max(count, 1):
        width //= 2
    stage = s[name]
    turns: Axis | Loop = along
    parts: list[str] = []
    for wide in [w for w in dict.fromkeys((width, lanes, _SERIAL)) if 1 < w <= width]:
        _, lane = stage.split(turns, factor=wide, tail="cut")
        made = s.rfactor(name, lane, -1)
        parts.append(s[made[0] if isinstance(made, tuple) else made].name)
        (turns,) = stage.op.reduce_axis
    stage.compute_at(*at)
    stage.set_scope("local")
    for part in reversed(parts):
        s[part].compute_at(*at)
        s[part].set_scope("local")
    for part in parts:
        *spatial, lane_axis = s[part].op.axis
        s[part].reorder(*s[part].op.reduce_axis, *spatial, lane_axis)
        for axis in spatial:
            s[part].unroll(axis)
        s[part].vectorize(lane_axis)
        for axis in s[part].op.reduce_axis if part != parts[0] else ():
            s[part].unroll(axis)
    for axis in stage.op.axis:
        stage.unroll(axis)
    if parts:
        stage.unroll(turns)


def share_out_reductions(s: Schedule, knobs: KnobsLike, spec: DeviceSpec, apart: Set[str]) -> None:
    """Cut the long reductions of few elements in parts, so that threads can combine them side by side.

    Few are those that the registers of all cores hold: the tiles of more are enough for the threads. It is the first
    choice where there is not an element for each.
    """
    counts = [1, spec.units, 2 * spec.units, 4 * spec.units]
    for stage in s.stages:
        facts = facts_of(s, stage.name)
        if spec.units > 1 and stage.name not in apart and facts.elements <= spec.units * _held(spec, facts):
            each = math.prod(axis.count for axis in facts.reduced)
            first = spec.units if each >= _LONG and facts.elements < spec.units else 1
            share_out(s, facts, knobs, counts, first)


def _held(spec: DeviceSpec, facts: StageFacts) -> int:
    """Elements of a stage that the vector registers of a core hold."""
    lanes, registers = vector_shape(spec, facts.buffers[0].dtype)
    return lanes * registers


def share_out(s: Schedule, facts: StageFacts, knobs: KnobsLike, counts: Sequence[int], first: int) -> None:
    """Cut a long reduction in one of *counts* parts, each combined in an element of its own; *first* to begin with."""
    if not facts.reduced or 0 in [axis.count for axis in facts.reduced]:
        return
    long = max(facts.reduced, key=lambda axis: axis.count)
    outermost = next(axis for axis in facts.reduced if axis.count >= counts[1] or axis is long)
    if outermost.count < 2 or math.prod(axis.count for axis in facts.reduced) < _LONG // 16:
        return
    parts = knobs.choice(f"{facts.name}: parts", counts, default=first)
    if parts == 1:
        return
    twin = s.copy()
    try:
        _cut(twin, facts.name, outermost, parts)
    except ScheduleError:
        return  # its parts are of no use to it: a scan, a padded reduction
    _cut(s, facts.name, outermost, parts)


def _cut(s: Schedule, name: str, axis: Axis, parts: int) -> None:
    outer, _ = s[name].split(axis, nparts=parts)
    s.rfactor(name, outer)
