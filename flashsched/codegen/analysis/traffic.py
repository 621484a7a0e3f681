"""How many bytes a nest moves into a cache of a given size: a reuse analysis of its loops.

The classical argument, loop by loop from the inside: where one turn's data fit the cache, what the next turn touches
again is still there, so the whole loop fetches what it touches once; where they do not fit, each turn fetches its own
anew. Data are counted in whole lines; what a prefetcher can't foresee weighs more, conflicts between addresses are not
modelled. Stores past the caches go to memory whatever fits. After M. Wolf, M. Lam, "A data locality optimizing
algorithm", PLDI 1991.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import ceil

from flashsched.codegen.analysis.demands import USABLE
from flashsched.codegen.analysis.reading import Memory, Nest, Site, Touch, reach, turns
from flashsched.schedule.ir import Alloc, Block, For, If, Let, LoopKind, Seq, Stmt
from flashsched.te.expr import Var

__all__ = ["LINE", "Traffic"]

LINE = 64
"""Bytes of a cache line."""

PAGE = 4096
"""Bytes within which a core's prefetchers follow a stream (Intel 64 and IA-32 Architectures Optimization Reference
Manual, "Hardware Prefetching")."""

UNFORESEEN = 3.0
"""How many times longer lines take that no prefetcher asks for ahead: a 384x3072x768 matmul whose tiles read a matrix
of 12 KB rows down its columns ran at 140 GFLOP/s, and at 284 with that matrix copied to panels first; measured on a
2-core AVX-512 machine."""

_Bytes = dict[Memory, float]


class Traffic:
    """The reuse of one nest's data.

    Args:
        nest: the nest.
        registers: ids of memories that stay in registers, and are left aside.
        held_bytes: what the whole kernel touches where it is called again and again on the same data; None of a first
            call, which finds its caches empty.
        cores: among which the turns of a parallel loop are dealt out.
    """

    def __init__(self, nest: Nest, registers: set[int], held_bytes: float | None = None, cores: int = 1) -> None:
        self._nest = nest
        self._held, self._cores = held_bytes, cores
        self._touches: dict[str, list[Touch]] = {}
        for site in nest.sites:
            kept = [touch for touch in site.touches if id(touch.memory) not in registers]
            self._touches.setdefault(site.name, []).extend(kept)
        self._unforeseen = {id(t.memory) for site in nest.sites for t in site.touches if _leaps(site, t)}
        self._past = {
            id(touch.memory)
            for site in nest.sites
            if any(loop.notes.get("nontemporal") for loop in site.loops)
            for touch in site.touches
            if touch.write
        }
        self._lines: dict[int, _Bytes] = {}
        self._measure(nest.body)

    @property
    def footprint(self) -> float:
        """Bytes of all lines that the nest touches."""
        return sum(self._lines[id(self._nest.body)].values())

    def into(self, size: float, own: bool = False) -> float:
        """Bytes that cross from beyond into a cache of *size* bytes, and back where they were written.

        Lines that are not prefetched count as often as the time that they take. A cache of each core's *own* needs to
        hold what one core touches.
        """
        found = self._fetched(self._nest.body, size * USABLE)
        if self._held is not None and self._held * (self._share if own else 1.0) <= size * USABLE:
            found = {memory: number for memory, number in found.items() if id(memory) in self._past}
        return sum(number * self._weight(memory) for memory, number in found.items())

    @cached_property
    def _share(self) -> float:
        """The share of the nest's data that the busiest core touches."""
        loop = _parallel(self._nest.body)
        if loop is None or not self.footprint:
            return 1.0
        each = sum(self._lines[id(loop.body)].values())
        return min(1.0, each * ceil(turns(loop) / self._cores) / self.footprint)

    def _weight(self, memory: Memory) -> float:
        slow = UNFORESEEN if id(memory) in self._unforeseen else 1.0
        return slow * (2.0 if _written(memory) and id(memory) not in self._past else 1.0)

    def _measure(self, stmt: Stmt) -> tuple[dict[Var, int], dict[Memory, list[Touch]]]:
        """Note the lines that each statement touches while its loops turn; returns these loops and the touches."""
        inside: dict[Var, int] = {}
        touches: dict[Memory, list[Touch]] = {}
        match stmt:
            case For():
                inside, touches = self._measure(stmt.body)
                inside = {**inside, stmt.var: turns(stmt)}
            case Alloc() | Let():
                inside, touches = self._measure(stmt.body)
            case Block():
                for touch in self._touches.get(stmt.name, ()):
                    touches.setdefault(touch.memory, []).append(touch)
            case Seq() | If():
                for part in _parts(stmt):
                    more, found = self._measure(part)
                    inside.update(more)
                    for memory, some in found.items():
                        touches.setdefault(memory, []).extend(some)
            case _:
                pass
        self._lines[id(stmt)] = {memory: _line_bytes(memory, some, inside) for memory, some in touches.items()}
        return inside, touches

    def _fetched(self, stmt: Stmt, size: float) -> _Bytes:
        """Bytes of each memory that *stmt* brings into an empty cache of *size* bytes."""
        lines = self._lines[id(stmt)]
        if sum(lines.values()) <= size:
            return lines
        match stmt:
            case For():
                each = self._fetched(stmt.body, size)
                again = {memory: number * turns(stmt) for memory, number in each.items()}
                if sum(self._lines[id(stmt.body)].values()) > size:
                    return again
                return {memory: min(number, lines[memory]) for memory, number in again.items()}
            case Alloc() | Let():
                return self._fetched(stmt.body, size)
            case Seq() | If():
                return self._one_after_another(_parts(stmt), size)
            case _:
                return lines

    def _one_after_another(self, parts: tuple[Stmt, ...], size: float) -> _Bytes:
        found: _Bytes = {}
        there: Mapping[Memory, float] = {}
        for part in parts:
            lines = self._lines[id(part)]
            for memory, number in self._fetched(part, size).items():
                saved = min(there.get(memory, 0.0), lines[memory])
                found[memory] = found.get(memory, 0.0) + max(0.0, number - saved)
            there = lines if sum(lines.values()) <= size else {}
        return found


def _parallel(stmt: Stmt) -> For | None:
    """The outermost parallel loop; None where there is none, or there are several side by side."""
    while True:
        match stmt:
            case For():
                if stmt.kind is LoopKind.PARALLEL:
                    return stmt
                stmt = stmt.body
            case Alloc() | Let():
                stmt = stmt.body
            case _:
                return None


def _parts(stmt: Seq | If) -> tuple[Stmt, ...]:
    if isinstance(stmt, Seq):
        return stmt.stmts
    return (stmt.then,) if stmt.otherwise is None else (stmt.then, stmt.otherwise)


def _leaps(site: Site, touch: Touch) -> bool:
    """Whether the innermost rolled loop that moves *touch* takes it from page to page."""
    moving = [loop for loop in site.rolled if loop.var in touch.needs]
    return bool(moving) and abs(touch.offset.step(moving[-1].var) or 0) * touch.memory.width >= PAGE


def _written(memory: Memory) -> bool:
    return any(touch.write for touch in memory.touches)


def _line_bytes(memory: Memory, touches: list[Touch], inside: Mapping[Var, int]) -> float:
    """Bytes of the lines that *touches* reach while the loops *inside* turn."""
    lines, run, points, whole = 1.0, 1.0, 1.0, True
    for (span, most), size, stride in zip(
        reversed(reach(touches, memory.shape, inside)), reversed(memory.shape), reversed(memory.strides), strict=True
    ):
        if whole and stride == run:  # still one run of neighbours
            run, points, whole = run * span, points * min(span, most), span == size
        else:
            whole = False
            lines *= min(span, most)
    return lines * min(points, ceil(run * memory.width / LINE)) * LINE
