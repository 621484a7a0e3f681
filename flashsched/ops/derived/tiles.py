"""The numbers of a nest: the register tile, the blocks, and which of them a first trial should take.

All choices are ordered, small before large, and hold only what the machine has room for: a tile that would not stay in
registers, or rows that an axis does not have, are not among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flashsched.hw import DeviceSpec
from flashsched.ops.derived.vectors import NestFacts, has_reuse, reuse_along, reused_whole
from flashsched.ops.gemm_plan import ROWS, VECTORS, register_tile, second_level
from flashsched.ops.operator import KnobsLike
from flashsched.te.tensor import Axis

__all__ = ["Tile", "block_tiles", "choose_dots", "choose_tile", "unroll_choices"]

_WRITTEN_OUT = 1024
"""Vectors of multiply-adds, or the like, up to which the turns of a window are written out."""

_BLOCK_POINTS = 4096
"""Points of a block of an element-wise nest: so many that the loop around them does not count."""


_STREAM = 4
"""Bytes written for one that is read, from which a nest writes one row at a time."""


@dataclass(frozen=True)
class Tile:
    """What is computed at once: *vectors* along *vector*, and so many turns of other axes, all in registers.

    Attributes:
        vector: None where vectors run along the reduction.
        turns: of each axis of the nest's finish in a tile; 1 for those that are not named.
    """

    vector: Axis | None
    turns: Mapping[Axis, int]

    def inside(self) -> list[Axis]:
        """The axes that have more than one turn in a tile, the vector's last."""
        others = [axis for axis, count in self.turns.items() if axis is not self.vector and count > 1]
        return others if self.vector is None else [*others, self.vector]

    def count(self, axis: Axis | None) -> int:
        """How many turns of *axis* are in a tile."""
        return 1 if axis is None else self.turns.get(axis, 1)


def choose_tile(facts: NestFacts, vector: Axis, knobs: KnobsLike, spec: DeviceSpec, lanes: int) -> Tile:
    """The register tile with its vectors along *vector*, an axis of the finish."""
    assert spec.cpu is not None
    registers = spec.cpu.vector_registers
    name, wide = facts.finish.name, facts.turns[vector]
    others = reuse_along(facts, vector)
    most = max(1, math.ceil(wide / lanes))
    if facts.sums is None:
        vectors = knobs.choice(f"{name}: vectors", [v for v in (1, 2, 4, 8) if v <= most] or [1], default=2)
        turns = {vector: min(wide, vectors * lanes)}
        if others:
            near = has_reuse(facts, vector, others[0]) and not _writes_most(facts)
            options = [r for r in (1, 2, 3, 4, 6, 8) if r <= facts.turns[others[0]]]
            turns[others[0]] = knobs.choice(f"{name}: rows", options, default=2 if near else 1)
        return Tile(vector, turns)
    sums = len(facts.body.writes)
    inner = facts.inner(vector)
    streams = sum(1 for read in facts.body.reads if read.stride(inner) != 0)

    def fits(rows: int, vectors: int) -> bool:
        return rows * vectors * sums + min(streams, 2) * vectors + 1 <= registers

    options = [v for v in VECTORS if v <= most and fits(1, v)] or [1]
    if not others:
        return Tile(vector, {vector: min(wide, lanes * knobs.choice(f"{name}: vectors", options, default=4))})
    rows_axis = others[0]
    if len(others) > 1:
        rows_axis = knobs.choice(f"{name}: rows along", others[:3])
    best_rows, best_vectors = first_tile(facts, vector, rows_axis, spec)
    vectors = knobs.choice(f"{name}: vectors", options, default=best_vectors)
    room = [r for r in ROWS if r <= facts.turns[rows_axis] and fits(r, vectors)] or [1]
    rows = knobs.choice(f"{name}: rows", room, default=best_rows if best_rows in room else room[-1])
    turns = {vector: min(wide, vectors * lanes), rows_axis: rows}
    second = next((axis for axis in others if axis is not rows_axis), None)
    if second is not None:
        room = [r for r in (1, 2, 3, 4) if r <= facts.turns[second] and fits(r * rows, vectors)] or [1]
        turns[second] = knobs.choice(f"{name}: second rows", room)
    return Tile(vector, turns)


def _writes_most(facts: NestFacts) -> bool:
    """Whether a nest writes so much more than it reads that its stores take the time, which like to be one stream."""
    return facts.finish.bytes > _STREAM * sum({a.buffer: a.bytes for a in facts.body.reads}.values())


def first_tile(facts: NestFacts, vector: Axis, rows: Axis, spec: DeviceSpec) -> tuple[int, int]:
    """Rows and vectors to begin with: the best tile of a product where rows reuse vectors, else a few vectors.

    A few rows of a window share most of what they read, if the window is written out.
    """
    assert facts.sums is not None
    dtype = facts.body.buffers[0].dtype
    if reused_whole(facts, vector, rows) and len(facts.body.writes) == 1:
        return register_tile(facts.turns[rows], facts.turns[vector], spec, dtype)
    return (6, 1) if has_reuse(facts, vector, rows) else (2, 2)


def choose_dots(facts: NestFacts, knobs: KnobsLike, spec: DeviceSpec) -> Tile:
    """The tile where vectors run along the reduction: a few elements, each with sums in lanes of its own vectors."""
    assert spec.cpu is not None
    name, left = facts.finish.name, spec.cpu.vector_registers // 2
    turns: dict[Axis, int] = {}
    for axis in sorted_by_dots(facts)[:2]:
        options = [n for n in (1, 2, 3, 4, 6, 8) if n <= min(left, facts.turns[axis])] or [1]
        reused = any(read.stride(facts.inner(axis)) == 0 for read in facts.body.reads)
        turns[axis] = knobs.choice(f"{name}: {axis.name} at once", options, default=4 if reused else 1)
        left //= turns[axis]
    return Tile(None, turns)


def sorted_by_dots(facts: NestFacts) -> list[Axis]:
    """The axes of the finish, those first along which more of what the reduction reads is used again."""
    axes = [axis for axis in facts.finish.spatial if facts.turns[axis] > 1]
    reads = facts.body.reads
    return sorted(axes, key=lambda axis: -sum(read.stride(facts.inner(axis)) == 0 for read in reads))


def unroll_choices(facts: NestFacts, plan: Tile, vectors: int) -> tuple[list[int], int]:
    """How many turns of the reduction may be written out, and how many are at first, for a tile of so many *vectors*.

    A short window is written out whole, as far as the code stays small, and rather so where rows of a tile then share
    what they read; a long reduction by a few turns.
    """
    rows = [axis for axis in plan.inside() if axis is not plan.vector]
    slides = plan.vector is not None and bool(rows) and not reused_whole(facts, plan.vector, rows[0])
    limit = _WRITTEN_OUT if slides else _WRITTEN_OUT // 4
    extents = [axis.count for axis in facts.body.reduced]
    found, default, product = {1}, 1, 1
    for extent in reversed(extents):
        if extent > 9:
            found |= {product * n for n in (2, 4, 8) if n <= extent and product * n * vectors <= _WRITTEN_OUT}
            break
        product *= extent
        if product * vectors > _WRITTEN_OUT:
            break
        found.add(product)
        default = product if product * vectors <= limit else default
    return sorted(found), default


def block_tiles(
    facts: NestFacts, tile: Tile, tiles: Mapping[Axis, int], blocked: Sequence[Axis], held: int, spec: DeviceSpec
) -> dict[Axis, int]:
    """How many tiles a block has along each axis of *blocked* to begin with, of all that there are (*tiles*).

    A block grows as long as what it reads and what is *held* for it (bytes, for the whole output) fit half of the
    second cache, and there are a few blocks for each thread.
    """
    room = second_level(spec) // 2
    size = {axis: (1 if axis in blocked else count) for axis, count in tiles.items()}
    inner_first = [*reversed(blocked)]
    if held:  # what is computed for a block is computed along the vectors too: rather long rows than many
        grows = sorted(inner_first, key=lambda axis: axis is not tile.vector)
    elif facts.sums is None:
        grows = inner_first
    else:
        grows = sorted(blocked, key=lambda axis: (axis is tile.vector, -tile.count(axis)))

    def part() -> dict[Axis, int]:
        return {axis: min(facts.turns[axis], size[axis] * tile.count(axis)) for axis in tiles}

    def used() -> float:
        share = math.prod(part()[axis] / facts.turns[axis] for axis in blocked)
        reads = {str(a.indices) + a.buffer.name: facts.footprint(a, part()) for a in facts.body.reads}
        return sum(reads.values()) * facts.body.bits // 8 + held * share

    def blocks() -> int:
        return math.prod(math.ceil(tiles[axis] / size[axis]) for axis in blocked)

    for axis in grows:
        while size[axis] < tiles[axis]:
            before = size[axis]
            size[axis] = min(2 * before, tiles[axis])
            points = math.prod(part().values())
            full = used() > room if facts.sums is not None or held else points > _BLOCK_POINTS
            if full or blocks() < 2 * spec.units:
                size[axis] = before
                break
    return {axis: size[axis] for axis in blocked}
