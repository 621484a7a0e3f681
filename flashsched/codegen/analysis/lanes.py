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

__all__ = ["Threads", "lines_apart", "sector_turns", "sectors", "vector_width", "warps", "wavefronts"]

SECTOR = 32
"""Bytes that L2 hands out at once (CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory")."""

LINE = 128
"""Bytes of a line of L1, which has four sectors and one tag (CUDA C++ Programming Guide, "Global Memory")."""

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
    """Elements that one instruction of a thread moves, up to 16 bytes: neighbours that the straight code touches.

    A vectorized loop asks for them; where an unrolled loop runs along memory, LLVM finds them itself
    (LoadStoreVectorizer). Either way the first of them must lie at a multiple of their size.
    """
    loop = _along(site, touch)
    if loop is None:
        return 1
    width = max(1, VECTOR_BYTES // touch.memory.width)
    others = [count for atom, count in touch.offset.terms.items() if atom is not loop.var]
    while width > 1 and (turns(loop) % width or any(count % width for count in (*others, touch.offset.constant))):
        width //= 2
    return width


def _along(site: Site, touch: Touch) -> For | None:
    """The innermost loop of the straight code whose turns touch neighbours, each without a condition of its own."""
    tested = frozenset[Var]().union(*(loops for loops, _ in site.guards))
    loops = [loop for loop in site.written_out if loop is site.vector or loop.var not in tested]
    return next((loop for loop in reversed(loops) if abs(touch.offset.step(loop.var) or 0) == 1), None)


def sectors(site: Site, touch: Touch, threads: Threads) -> tuple[float, float]:
    """Bytes that one warp's straight code wants of *touch*, and bytes of the sectors that hold them.

    Lanes that want one element share it, and so do the points of the straight code; their sectors are fetched once.
    What the turns of a rolled loop share of a sector is fetched by the first of them, and counted a part for each.
    """
    chosen, some, all_of = _copies(site, touch)
    points = {**threads.first_warp(site), **_grid(chosen)}
    elements = np.unique(values(touch.offset, points))
    width = touch.memory.width
    scale = all_of / some
    loop, shared_by = sector_turns(site, touch)
    wanted = elements.size * width * scale
    if loop is None:
        return wanted, np.unique(elements * width // SECTOR).size * SECTOR * scale
    step = touch.offset.step(loop.var) or 0
    together = elements.reshape(-1, 1) + step * np.arange(shared_by, dtype=np.int64)
    return wanted, np.unique(together * width // SECTOR).size * SECTOR * scale / shared_by


def sector_turns(site: Site, touch: Touch) -> tuple[For | None, int]:
    """The innermost rolled loop that moves *touch*, if by less than a sector; and how many of its turns share one.

    L1 keeps the sector until then: what all threads of a unit have open is a sector each, tens of kilobytes.
    """
    moving = [loop for loop in site.rolled if loop.var in touch.needs]
    step = abs(touch.offset.step(moving[-1].var) or 0) * touch.memory.width if moving else 0
    if not 0 < step < SECTOR:
        return None, 1
    return moving[-1], min(turns(moving[-1]), SECTOR // step)


def lines_apart(site: Site, touch: Touch, threads: Threads) -> float:
    """Lines of L1 that a warp's access to global memory touches, one after another, for each that its bytes fill."""
    if site.together:
        return 1.0
    places = _of_a_warp(site, touch, threads) * touch.memory.width
    return max(1.0, np.unique(places // LINE).size * LINE / (places.size * touch.memory.width))


def wavefronts(site: Site, touch: Touch, threads: Threads) -> tuple[float, float]:
    """What an access of a warp to shared memory takes, in passes of all banks for each that its bytes would fill:
    without conflicts, and with them.

    Lanes are served so many at a time as fill the banks: all, halves or quarters of a warp, as each wants 4, 8 or 16
    bytes. Two halves, or the two quarters of a half, go in one pass if in all of them lanes want the same by twos:
    each with its neighbour, or with the next but one (observed on Volta and later; not in NVIDIA's manuals).
    """
    words = _of_a_warp(site, touch, threads) * touch.memory.width // BANK_BYTES
    lanes, moved = len(words), words.shape[1] * touch.memory.width
    together = max(1, BANKS * BANK_BYTES // max(BANK_BYTES, moved))  # lanes of one pass
    if moved > BANK_BYTES and lanes % (2 * together) == 0 and _same_by_twos(words):
        together *= 2
    parts = range(0, lanes, together)
    filled = max(1.0, lanes * moved / (BANKS * BANK_BYTES)) if lanes == threads.warp else len(parts)
    return len(parts) / filled, sum(_most_in_a_bank(words[n : n + together]) for n in parts) / filled


def _of_a_warp(site: Site, touch: Touch, threads: Threads) -> NDArray[np.int64]:
    """The elements that one instruction of a warp moves: a row a lane."""
    width = vector_width(site, touch)
    points, loop = threads.first_warp(site), _along(site, touch)
    if loop is not None and width > 1:
        points = {**points, loop.var: np.arange(width, dtype=np.int64).reshape(1, -1)}
    lanes = len(next(iter(points.values()))) if points else 1
    return np.broadcast_to(values(touch.offset, points), (lanes, width))


def _same_by_twos(words: NDArray[np.int64]) -> bool:
    lanes = np.arange(len(words))
    return any(bool((words == words[lanes ^ apart]).all()) for apart in (1, 2))


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
