"""What the lanes of a warp do together in one access: sectors of global memory, banks of shared memory.

The addresses of a warp's lanes are simply computed, with all other loops at 0: whatever a schedule does to an index
(fused loops, swizzled layouts) shows in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from flashsched.codegen.analysis.forms import values
from flashsched.codegen.analysis.reading import Site, Touch, turns
from flashsched.schedule.ir import For, LoopKind
from flashsched.te.expr import Var

__all__ = ["Threads", "bank_conflict", "sectors", "vector_width", "warps"]

SECTOR = 32
"""Bytes that L2 hands out at once (CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory")."""

BANKS, BANK_BYTES = 32, 4
"""Banks of shared memory and their width (CUDA C++ Programming Guide, "Shared Memory")."""

VECTOR_BYTES = 16
"""The widest load of one thread."""

_FETCHED_ROWS = 8
"""Rows of a matrix that ``ldmatrix`` fetches in one wavefront (PTX ISA manual, ``ldmatrix``)."""

MOST_COPIES = 64
"""Points of the straight code whose addresses are looked at together."""


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of a block, by axis, and the warp that they are cut into."""

    x: int
    y: int
    z: int
    warp: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.x * self.y * self.z

    def of(self, kind: LoopKind) -> int:
        """Threads along one axis."""
        return {LoopKind.THREAD_X: self.x, LoopKind.THREAD_Y: self.y, LoopKind.THREAD_Z: self.z}[kind]

    def at_work(self, site: Site) -> int:
        """How many of them do a part of what *site* does; the others have none of it."""
        return prod(self.of(kind) for kind in {loop.kind for loop in site.loops if loop.kind.is_thread})

    def first_warp(self, site: Site) -> dict[Var, NDArray[np.int64]]:
        """The thread loops of *site* in the lanes of its first warp, as columns."""
        lane = np.arange(min(self.warp, self.at_work(site)), dtype=np.int64).reshape(-1, 1)
        kinds = {loop.kind for loop in site.loops if loop.kind.is_thread}
        columns: dict[LoopKind, NDArray[np.int64]] = {}
        for kind in (LoopKind.THREAD_X, LoopKind.THREAD_Y, LoopKind.THREAD_Z):
            if kind in kinds:
                columns[kind], lane = lane % self.of(kind), lane // self.of(kind)
        return {loop.var: columns[loop.kind] for loop in site.loops if loop.kind.is_thread}


def vector_width(site: Site, touch: Touch) -> int:
    """Elements that one instruction of a thread moves: those of a vectorized loop along memory, up to 16 bytes."""
    if site.vector is None or abs(touch.offset.step(site.vector.var) or 0) != 1:
        return 1
    width = max(1, VECTOR_BYTES // touch.memory.width)
    while width > 1 and turns(site.vector) % width:
        width //= 2
    return width


def sectors(site: Site, touch: Touch, threads: Threads) -> tuple[float, float]:
    """Bytes that one warp's straight code wants of *touch*, and bytes of the sectors that hold them.

    Lanes that want one element share it, and so do the points of the straight code; their sectors are fetched once.
    """
    chosen, some, all_of = _copies(site, touch)
    points = {**threads.first_warp(site), **_grid(chosen)}
    elements = np.unique(values(touch.offset, points))
    width = touch.memory.width
    scale = all_of / some
    return elements.size * width * scale, np.unique(elements * width // SECTOR).size * SECTOR * scale


def bank_conflict(site: Site, touch: Touch, threads: Threads) -> float:
    """Wavefronts that the shared memory needs for one instruction of a warp, per wavefront without conflicts."""
    width = vector_width(site, touch)
    points = threads.first_warp(site)
    if site.vector is not None and width > 1:
        points = {**points, site.vector.var: np.arange(width, dtype=np.int64).reshape(1, -1)}
    lanes = len(next(iter(points.values()))) if points else 1
    words = values(touch.offset, points) * touch.memory.width // BANK_BYTES
    words = np.broadcast_to(words, (lanes, width))
    together = max(1, BANKS * BANK_BYTES // max(BANK_BYTES, width * touch.memory.width))  # lanes of one wavefront
    wavefronts = [_most_in_a_bank(words[n : n + together]) for n in range(0, len(words), together)]
    return sum(wavefronts) / len(wavefronts)


def fetch_conflict(site: Site, touch: Touch) -> float:
    """The same where a warp fetches tiles of an operand together, in rows of 16 bytes (``ldmatrix``).

    Elements that do not lie side by side along one of the intrinsic's loops are loaded one by one.
    """
    steps = [abs(touch.offset.step(loop.var) or 0) for loop in site.together if loop.var in touch.offset.vars]
    if steps.count(1) != 1:
        return float(_FETCHED_ROWS)
    apart = max(steps) * touch.memory.width // BANK_BYTES
    starts = np.arange(_FETCHED_ROWS) * apart % BANKS // (VECTOR_BYTES // BANK_BYTES)
    return float(np.bincount(starts).max())


def _most_in_a_bank(words: NDArray[np.int64]) -> int:
    banks = np.unique(words) % BANKS
    return int(np.bincount(banks).max())


def _copies(site: Site, touch: Touch) -> tuple[list[For], int, int]:
    """The innermost loops of the straight code that *touch* follows, their points, and those of all such loops."""
    following = [loop for loop in site.written_out if loop.var in touch.offset.vars]
    chosen: list[For] = []
    some = 1
    for loop in reversed(following):
        if some * turns(loop) > MOST_COPIES:
            break
        chosen.append(loop)
        some *= turns(loop)
    return chosen, some, prod(turns(loop) for loop in following)


def _grid(loops: Sequence[For]) -> dict[Var, NDArray[np.int64]]:
    """All points of *loops*, as rows."""
    if not loops:
        return {}
    axes = np.indices([turns(loop) for loop in loops]).reshape(len(loops), -1)
    return {loop.var: axis.reshape(1, -1) for loop, axis in zip(loops, axes, strict=True)}


def warps(threads: int, warp: int) -> int:
    """Warps that hold so many threads."""
    return ceil(threads / warp)
