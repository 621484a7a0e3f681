"""The template for devices with systolic arrays (TPUs, accelerators at the edge): tiles of every product are brought
into the core's own memory, where the arrays find them.

It serves any operator: what is no product of two operands is left to the vector unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flashsched.hw import DeviceSpec
from flashsched.ops.gpu_tiles import operands
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Buffer, block_loads
from flashsched.te import dtypes
from flashsched.te.tensor import Axis, Tensor
from flashsched.te.visit import uses

__all__ = ["systolic"]

TILES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Sizes that a side of a tile may have, and that of the whole axis; those from 128 up fill an array."""

FIRST = (512, 1024, 1024)
"""Rows, columns and depth of a tile to begin with, where the core's memory has room: long enough that the way in and
out of the arrays, some 400 cycles, counts little, and that main memory keeps up."""


@dataclass(slots=True)
class _Operands:
    """A product's operands; for each axis of the output which of them it moves along: 0, 1, or None for both."""

    buffers: list[Buffer]
    sides: list[int | None]


def systolic(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
    """Stage every product of *s*, and deal its tiles out to the cores.

    Knobs, for each product: a tile's side along every axis of the output and along the first axis of the reduction,
    and whether tiles have a second buffer, to which the next ones come ahead.
    """
    _inline(s)
    for number, name in enumerate([stage.name for stage in s.stages if stage.op.reduction is not None]):
        sums = s[name]
        found = _operands(s, sums)
        points: int = math.prod([axis.count for axis in (*sums.op.axis, *sums.op.reduce_axis)])
        if found is not None and points:
            _stage_product(s, sums, found, knobs, spec, number)


def _inline(s: Schedule) -> None:
    """Put element-wise stages into their readers, those aside of several operands that a sum of products reads: they
    are an operand as they stand (the weights of attention)."""
    outputs = {tensor.op.name for tensor in s.outputs}
    for name in [stage.name for stage in s.stages if stage.name not in outputs and stage.op.reduction is None]:
        buffers = s.state.stage(name).buffers
        readers = [stage for stage in s.stages if any(buffer in operands(s, stage) for buffer in buffers)]
        multiplied = any(stage.op.reduction is not None and len(operands(s, stage)) > 1 for stage in readers)
        if not multiplied or len(operands(s, s[name])) < 2:
            s[name].compute_inline()


def _operands(s: Schedule, sums: StageView) -> _Operands | None:
    """The operands of *sums*; None where it is no sum of products of two of them."""
    buffers = operands(s, sums)
    loads = [load for load in block_loads(s.state.stage(sums.name).block) if load.buffer in buffers]

    def moves(axis: Axis) -> list[int]:
        reading = [load for load in loads if any(uses(index, axis) for index in load.indices)]
        return [number for number, buffer in enumerate(buffers) if any(load.buffer is buffer for load in reading)]

    if len(buffers) != 2 or not sums.op.reduce_axis or any(moves(axis) != [0, 1] for axis in sums.op.reduce_axis):
        return None
    sides = [moves(axis) for axis in sums.op.axis]
    return _Operands(buffers, [of[0] if len(of) == 1 else None for of in sides])


def _stage_product(
    s: Schedule, sums: StageView, found: _Operands, knobs: KnobsLike, spec: DeviceSpec, number: int
) -> None:
    axes = [*sums.op.axis, sums.op.reduce_axis[0]]
    first = _first_tiles(sums, found, spec)
    tiles = []
    for axis, side, default in zip(axes, [*found.sides, 2], first, strict=True):
        options = sorted({*(n for n in TILES if n < axis.count), min(axis.count, TILES[-1])})
        options = options if side is not None else sorted({1, *options})
        nearest = min(options, key=lambda n, default=default: abs(n - default))  # type: ignore[misc]
        tiles.append(knobs.choice(f"tile_{axis.name}_{number}", options, default=nearest))
    doubled = knobs.choice(f"double_{number}", (False, True), default=True)

    stage = _finishing(s, sums)
    if stage is None:
        stage, sums = sums, s[s.cache_write(sums.op.output(0), "shared")]
    else:
        sums.set_scope("shared")
    copies = [s[s.cache_read(side.name, "shared", [sums.name])] for side in found.buffers]

    parts = [stage.split(axis, factor=tile) for axis, tile in zip(stage.op.axis, tiles, strict=False)]
    stage.reorder(*(outer for outer, _ in parts), *(inner for _, inner in parts))
    rounds = stage.fuse(*(outer for outer, _ in parts)) if len(parts) > 1 else parts[0][0]
    if spec.units > 1 and spec.kind == "tpu":
        stage.parallel(rounds)
    sums.compute_at(stage, rounds)
    depth, *rest = sums.op.reduce_axis
    round_k, inner_k = sums.split(depth, factor=tiles[-1])
    sums.reorder(round_k, *sums.op.axis, inner_k, *rest)
    for copy in copies:
        copy.compute_at(sums, round_k)
        if doubled:
            copy.double_buffer()


def _finishing(s: Schedule, sums: StageView) -> StageView | None:
    """The output that only finishes each of *sums*' results (bias, activation), and so can do it tile by tile."""
    outputs = {tensor.op.name for tensor in s.outputs}
    buffers = s.state.stage(sums.name).buffers
    readers = [t for t in s.stages if any(load.buffer in buffers for load in block_loads(s.state.stage(t.name).block))]
    readers = [stage for stage in readers if stage.name != sums.name]
    if sums.name in outputs or len(readers) != 1 or readers[0].name not in outputs:
        return None
    same = [a.count for a in readers[0].op.axis] == [a.count for a in sums.op.axis]
    return readers[0] if same and readers[0].op.reduction is None else None


def _first_tiles(sums: StageView, found: _Operands, spec: DeviceSpec) -> list[int]:
    """Sides of a tile to begin with: `FIRST`, less where the core's memory has no room for two of each."""
    room, width = spec.memory[0].size_bytes, dtypes.bits(found.buffers[0].dtype) // 8
    sides = list(FIRST)
    while 2 * (sides[0] + sides[1]) * sides[2] * width + 8 * sides[0] * sides[1] > room and max(sides) > 1:
        sides[sides.index(max(sides))] //= 2
    left = [*sides[:2], max(1, sides[2] // math.prod(axis.count for axis in sums.op.reduce_axis[1:]))]
    tiles = []
    for axis, side in zip(reversed(sums.op.axis), reversed(found.sides), strict=True):
        tile = 1 if side is None else max(1, min(axis.count, left[side]))
        if side is not None:
            left[side] = max(1, left[side] // tile)
        tiles.append(tile)
    return [*reversed(tiles), min(sums.op.reduce_axis[0].count, left[2])]
