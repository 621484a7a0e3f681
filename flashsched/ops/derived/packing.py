"""Copies of operands in the order in which tiles read them.

Two reasons for one: vectors that do not lie together (`pack_operands` copies the whole operand into panels, once;
`turn_operands` turns one tile at a time, in registers), and rows that lie pages apart.
"""

from __future__ import annotations

import math

from flashsched.hw import DeviceSpec
from flashsched.ops.derived.accesses import Access
from flashsched.ops.derived.tiles import Tile
from flashsched.ops.derived.vectors import NestFacts, worth_packing
from flashsched.ops.gemm_plan import second_level, vector_shape
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Loop, Schedule
from flashsched.te.expr import Expr

__all__ = ["pack_operands", "turn_operands"]

_PAGE = 4096


def pack_operands(s: Schedule, facts: NestFacts, plan: Tile, knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Copy into panels as wide as a tile what its vectors read again and again, where *knobs* say so."""
    assert facts.sums is not None
    assert plan.vector is not None
    inner = facts.inner(plan.vector)
    done: set[str] = set()
    for access in facts.sums.reads:
        step = access.stride(inner)
        if step == 0 or access.buffer.name in done or not worth_packing(s, facts, access, plan.vector):
            continue
        if sum(1 for other in facts.sums.reads if other.buffer is access.buffer) > 1:
            continue  # a window over it: its parts would lie in several panels
        done.add(access.buffer.name)
        far = _far(access, facts, spec)
        name = access.buffer.name
        if knobs.choice(f"{facts.finish.name}: pack {name}", (False, True), default=step != 1 or far):
            _pack(s, facts, access, plan, knobs, spec)


def _far(access: Access, facts: NestFacts, spec: DeviceSpec) -> bool:
    """Whether rows lie so far apart that they meet in the caches, and there are many of them."""
    size = facts.body.bits // 8
    steps = [access.stride(axis) or 0 for axis in facts.body.reduced]
    whole = math.prod(int(n) for n in access.buffer.shape) * size
    return any(step * size >= _PAGE // 2 for step in steps) and whole > 2 * second_level(spec)


def _pack(s: Schedule, facts: NestFacts, access: Access, plan: Tile, knobs: KnobsLike, spec: DeviceSpec) -> None:
    assert facts.sums is not None
    assert plan.vector is not None
    place = access.dimension(facts.inner(plan.vector))
    assert place is not None
    width = plan.count(plan.vector)
    packed = s.cache_read(access.buffer.name, "global", [facts.sums.name])
    stage = s[packed]
    axes = list(stage.op.axis)
    along = axes[place]

    def panels(*at: Expr) -> tuple[Expr, ...]:
        rest = [index for number, index in enumerate(at) if number != place]
        return (at[place] // width, *rest, at[place] % width)

    stage.transform_layout(panels)
    panel, column = stage.split(along, factor=width, tail="cut")
    last = axes[-1]
    if place == len(axes) - 1:
        rest = [axis for axis in axes if axis is not along]
        stage.reorder(panel, *rest, column)
        stage.vectorize(column)
    else:
        lanes, _ = vector_shape(spec, access.buffer.dtype)
        side = min(lanes, 16)
        near = s.cache_read(access.buffer.name, "local", [packed])
        outer, turned = stage.split(last, factor=side, tail="cut")
        group, lane = stage.split(column, factor=side, tail="cut")
        rest = [axis for axis in axes if axis is not along and axis is not last]
        stage.reorder(panel, *rest, outer, group, turned, lane)
        stage.unroll(turned)
        stage.vectorize(lane)
        s[near].compute_at(stage, group)
        _load_rows(s, s[near].name, place)
    if spec.units > 1 and facts.work >= 1e5:
        stage.parallel(panel)


def _load_rows(s: Schedule, near: str, unrolled: int) -> None:
    """A tile of an operand, read as it lies: vectors along its last dimension, the others written out."""
    axes = s[near].op.axis
    for number, axis in enumerate(axes[:-1]):
        if number == unrolled:
            s[near].unroll(axis)
    s[near].vectorize(axes[-1])


def turn_operands(s: Schedule, facts: NestFacts, plan: Tile, tile: Loop, knobs: KnobsLike) -> None:
    """Read as they lie, a tile at a time, the operands of an element-wise nest that lie the other way."""
    if plan.vector is None:
        return
    for access in facts.finish.reads:
        place = access.dimension(plan.vector)
        if place is None or access.stride(plan.vector) in (0, 1, None):
            continue
        rows = [axis for axis in plan.inside()[:-1] if access.stride(axis) == 1 and access.dimension(axis) is not None]
        if not rows or sum(1 for other in facts.finish.reads if other.buffer is access.buffer) > 1:
            continue
        if knobs.choice(f"{facts.finish.name}: turn {access.buffer.name}", (False, True), default=True):
            near = s.cache_read(access.buffer.name, "local", [facts.finish.name])
            s[near].compute_at(s[facts.finish.name], tile)
            _load_rows(s, s[near].name, place)
