"""hold_in_lanes: the sums that a warp's lanes make together are held in their registers, each lane having its part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from flashsched.codegen.passes.thread_units import is_together
from flashsched.schedule.buffer import LANES
from flashsched.schedule.intrinsic import Intrinsic, find_intrinsic
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Stmt,
    Store,
    map_exprs,
    own_exprs,
    rewrite_stmt,
    sub_stmts,
    walk_stmt,
)
from flashsched.schedule.match import Differs
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, compare, is_const
from flashsched.te.simplify import Ranges, prove, simplify, within_loop
from flashsched.te.visit import rewrite, walk

__all__ = ["asked_lane", "hold_in_lanes", "lane_of", "lanes_of", "place_in_lane"]


def hold_in_lanes(body: Stmt) -> Stmt:
    """Mark memory of a warp as held by its lanes, where each lane only ever reads what the intrinsic gives it.

    Rewrite, for an intrinsic of 16 by 8 sums, of which lane t has those at ``t // 4`` and ``t % 4 * 2``::

        S = alloc(float32[16, 8], 'local')                   S = alloc(float32[16, 8], 'local')  # held by lanes
        for k in range(n):                                   for k in range(n):
            for i in range(16):  # tensorize                     for i in range(16):  # tensorize
                ...: S[i, j] += A[i, k] * B[k, j]    ->              ...: S[i, j] += A[i, k] * B[k, j]
        for t in range(32):  # threadIdx.x                   for t in range(32):  # threadIdx.x
            for e in range(2):                                   for e in range(2):
                C[...] = S[t // 4, t % 4 * 2 + e]                    C[...] = S[t // 4, t % 4 * 2 + e]

    Its indices stay what they are; where code is made, they become a number among the lane's own. No thread has to
    wait for another to read them. What is read in another way stays in shared memory.
    """
    if not any(is_together(node) for node in walk_stmt(body)):
        return body
    kinds = {node.kind for node in walk_stmt(body) if isinstance(node, For) and node.kind.is_thread}
    uses = _Uses(kinds - {LoopKind.THREAD_X})
    uses.look(body, {}, ())
    held = {buffer: replace(buffer, held=name) for buffer, name in uses.found()}

    def on_expr(node: Expr) -> Expr | None:
        return Load(held[node.buffer], node.indices) if isinstance(node, Load) and node.buffer in held else None

    def on_stmt(node: Stmt) -> Stmt | None:
        match node:
            case Store() | Alloc() | Prefetch() if node.buffer in held:
                return replace(node, buffer=held[node.buffer])
            case _:
                return None

    return rewrite_stmt(map_exprs(body, lambda expr: rewrite(expr, on_expr)), on_stmt) if held else body


def lane_of(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> Expr:
    """The lane that holds the element at *indices*."""
    return _within_tile(find_intrinsic(buffer.held), indices, ranges)[0]


def place_in_lane(buffer: Buffer, indices: Sequence[Expr], ranges: Ranges) -> Expr:
    """The number of the element at *indices* among those that its lane holds."""
    if buffer.held == LANES:
        own: Expr = Const(0, dtypes.INDEX)
        for index, extent in zip(indices[1:], buffer.shape[1:], strict=True):
            own = own * extent + index
        return simplify(own, ranges)
    known = find_intrinsic(buffer.held)
    sides = known.output.known_shape
    each = prod(sides) // known.lanes
    place: Expr = Const(0, dtypes.INDEX)
    last = _last(buffer, sides)
    tiles = [*buffer.shape[: -len(sides)], *(extent // side for extent, side in zip(last, sides, strict=True))]
    outer = len(indices) - len(sides)
    at = [*indices[:outer], *(index // side for index, side in zip(indices[outer:], sides, strict=True))]
    for index, count in zip(at, tiles, strict=True):
        place = place * count + index
    return simplify(place * each + _within_tile(known, indices, ranges)[1], ranges)


def lanes_of(buffer: Buffer) -> int:
    """Among how many lanes, or threads, the elements of a held buffer are shared out."""
    if buffer.held == LANES:
        return max(1, _last(buffer, buffer.shape)[0])
    return find_intrinsic(buffer.held).lanes


def asked_lane(load: Load) -> Expr | None:
    """Which other lane has what *load* reads; None where it is the lane's own, or in memory.

    A thread's own is indexed by its own number, a variable; the first thread, when alone, by 0.
    """
    if load.buffer.held != LANES or isinstance(load.indices[0], Var | Const):
        return None
    return load.indices[0]


def _last(buffer: Buffer, sides: Sequence[object]) -> list[int]:
    """The last dimensions of *buffer*, as many as *sides*; 0 for one that is no number."""
    return [extent if isinstance(extent, int) else 0 for extent in buffer.shape[len(buffer.shape) - len(sides) :]]


def _within_tile(known: Intrinsic, indices: Sequence[Expr], ranges: Ranges) -> tuple[Expr, ...]:
    """The lane and the number in it of the element at *indices*, of whatever tile it is."""
    assert known.held is not None
    sides = known.output.known_shape
    inside = [index % side for index, side in zip(indices[len(indices) - len(sides) :], sides, strict=True)]
    return known.held.apply(inside, ranges)


@dataclass
class _Uses:
    """What is known of memory that may be held: the intrinsics that make it, and what stands against it."""

    warps: set[LoopKind]  # the axes along which a block has several warps
    made: dict[Buffer, set[str]] = field(default_factory=dict)
    allocated: dict[Buffer, tuple[For, ...]] = field(default_factory=dict)  # and the loops over threads around
    against: set[Buffer] = field(default_factory=set)
    reads: list[tuple[Buffer, tuple[Expr, ...], Var, Ranges]] = field(default_factory=list)

    def found(self) -> Iterator[tuple[Buffer, str]]:
        """The buffers that can be held, and by what."""
        for buffer, names in self.made.items():
            (name, *others) = sorted(names)
            if buffer in self.allocated and buffer not in self.against and not others:
                reads = [(at, lane, ranges) for known, at, lane, ranges in self.reads if known is buffer]
                if all(_is_own(replace(buffer, held=name), *read) for read in reads):
                    yield buffer, name

    def look(self, stmt: Stmt, ranges: Ranges, threads: tuple[For, ...]) -> None:
        """Look at *stmt*, inside the loops *threads* over threads."""
        if isinstance(stmt, For) and is_together(stmt):
            self._together(stmt, ranges, threads)
            return
        if isinstance(stmt, Alloc) and stmt.buffer.is_own and {loop.kind for loop in threads} == self.warps:
            self.allocated[stmt.buffer] = threads
        touched = [(n.buffer, n.indices) for expr in own_exprs(stmt) for n in walk(expr) if isinstance(n, Load)]
        touched += [(stmt.buffer, stmt.indices)] if isinstance(stmt, Store | Prefetch) else []
        for buffer, indices in touched:
            inside = threads[len(self.allocated.get(buffer, ())) :]
            if [loop.kind for loop in inside] == [LoopKind.THREAD_X]:
                self.reads.append((buffer, indices, inside[0].var, ranges))
            else:
                self.against.add(buffer)
        if isinstance(stmt, For):
            ranges = within_loop(ranges, stmt.var, stmt.extent)
            threads = (*threads, stmt) if stmt.kind.is_thread else threads
        for inner in sub_stmts(stmt):
            self.look(inner, ranges, threads)

    def _together(self, loop: For, ranges: Ranges, threads: tuple[For, ...]) -> None:
        """Note what *loop* makes, if it lies there in whole tiles, row by row."""
        known = find_intrinsic(loop.notes["intrinsic"])
        loads = {
            node.buffer
            for inner in walk_stmt(loop)
            for expr in own_exprs(inner)
            for node in walk(expr)
            if isinstance(node, Load)
        }
        stores = {node.buffer for node in walk_stmt(loop) if isinstance(node, Store)}
        self.against |= loads - stores
        part = loop.notes.get("part") or "update"
        try:
            bound = known.match(loop, part, ranges)[known.buffers[-1]]
        except Differs:
            self.against |= stores
            return
        sides = known.output.known_shape
        begins = bound.indices[len(bound.indices) - len(sides) :]
        whole = all(is_const(simplify(at % side, ranges), 0) for at, side in zip(begins, sides, strict=True))
        whole = (
            whole
            and len(bound.buffer.shape) >= len(sides)
            and all(
                extent and extent % side == 0 for extent, side in zip(_last(bound.buffer, sides), sides, strict=True)
            )
        )
        straight = bound.strides == bound.buffer.element_strides[len(bound.buffer.shape) - len(sides) :]
        tail = loop.notes.get("tail") == "cut" or any(isinstance(node, If | Let) for node in walk_stmt(loop))
        apart = bound.buffer.strides is not None or threads != self.allocated.get(bound.buffer)
        if known.held is None or tail or not whole or not straight or apart:
            self.against.add(bound.buffer)
        else:
            self.made.setdefault(bound.buffer, set()).add(known.name)


def _is_own(buffer: Buffer, indices: tuple[Expr, ...], lane: Var, ranges: Ranges) -> bool:
    """Whether the element at *indices* is certainly held by *lane*."""
    return prove(compare("==", lane_of(buffer, indices, ranges), lane), ranges) is True
