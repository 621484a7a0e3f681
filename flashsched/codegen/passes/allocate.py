"""allocate: intermediate buffers get memory where they are used, as large as what is used there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashsched.schedule.accesses import accesses
from flashsched.schedule.external import with_buffers
from flashsched.schedule.facts import buffers_in, filled_together
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    Extern,
    For,
    If,
    Let,
    Load,
    Seq,
    Stmt,
    Store,
    map_exprs,
    rewrite_stmt,
    seq,
)
from flashsched.schedule.layout import strides_of
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.regions import Span, region
from flashsched.te.bounds import is_sized
from flashsched.te.expr import Expr, SizeVar, is_const
from flashsched.te.simplify import Ranges, simplify
from flashsched.te.visit import rewrite, walk

__all__ = ["allocate"]


def allocate(body: Stmt, given: frozenset[Buffer]) -> Stmt:
    """Allocate each buffer that is not *given* by the caller around the smallest statement that holds all its uses.

    The buffer shrinks to the region that is touched there, the loops around it being points: a stage that is computed
    at a loop keeps just one turn's part. Its layout, if it has one, is applied to what is left, and then the gaps are
    made that its alignment asks for.

    Memory that rolls (see `rolling_buffer`) is allocated outside of the loop that it is filled in.
    A loop that notes the buffer (`store_at`) has it for all of its turn.

    Shared memory that the threads of a block fill together belongs to all of them: it holds what they touch together,
    and is allocated outside the loops over threads, once for all turns of the loops between.
    """
    order = {buffer: rank for rank, buffer in enumerate(dict.fromkeys(_uses(body))) if buffer not in given}
    return _Placer(set(filled_together(body)), order).place(body, list(order), [])[0]


def _uses(stmt: Stmt) -> list[Buffer]:
    found: list[Buffer] = []

    def on_expr(expr: Expr) -> Expr:
        found.extend(node.buffer for node in walk(expr) if isinstance(node, Load))
        return expr

    def on_stmt(node: Stmt) -> Stmt | None:
        if isinstance(node, Store):
            found.append(node.buffer)
        if isinstance(node, Extern):
            found.extend((*node.inputs, *node.outputs))
        return None

    map_exprs(stmt, on_expr)
    rewrite_stmt(stmt, on_stmt)
    return found


@dataclass(frozen=True, slots=True)
class _Placer:
    """All buffers are placed in one walk down the nest, each where its uses part.

    Attributes:
        together: the buffers that threads fill together.
        order: the order in which buffers are placed, so that those before stand outside of those after.
    """

    together: set[Buffer]
    order: dict[Buffer, int]

    def place(self, stmt: Stmt, buffers: list[Buffer], around: list[Stmt]) -> tuple[Stmt, list[Buffer]]:
        """*stmt* with *buffers* placed in it, and the memory that is to be allocated further out."""
        if not buffers:
            return stmt, []
        match stmt:
            case For():
                return self._place_in_loop(stmt, buffers, around)
            case Alloc():
                body, waiting = self.place(stmt.body, buffers, around)
                return replace(stmt, body=body), waiting
            case Seq():
                return self._place_in_seq(stmt, buffers, around)
            case If() if is_sized(stmt.condition):
                return self._place_in_sides(stmt, buffers, around)
            case Let() if isinstance(stmt.var, SizeVar):
                body, waiting = self.place(stmt.body, buffers, around)
                return replace(stmt, body=body), waiting
            case _:
                return self._allocated([stmt], {buffer: [0] for buffer in buffers}, around)

    def _place_in_loop(self, loop: For, buffers: list[Buffer], around: list[Stmt]) -> tuple[Stmt, list[Buffer]]:
        """Those that the loop notes live in a turn of it, and those that its extent reads outside of it."""
        counted = {node.buffer for node in walk(loop.extent) if isinstance(node, Load)}
        stored = [buffer for buffer in buffers if buffer.name in loop.notes.get("stores", ())]
        outside = [buffer for buffer in buffers if buffer in counted and buffer not in stored]
        inside = [buffer for buffer in buffers if buffer not in stored and buffer not in counted]
        body, waiting = self.place(loop.body, inside, [*around, loop])
        for buffer in stored:
            body, _ = self._allocated([body], {buffer: [0]}, [*around, loop])
        further = [buffer for buffer in waiting if buffer in self.together and _threads(around)]
        made = self._around(replace(loop, body=body), [buffer for buffer in waiting if buffer not in further])
        made, more = self._allocated([made], {buffer: [0] for buffer in outside}, around)
        return made, [*further, *more]

    def _place_in_seq(self, stmt: Seq, buffers: list[Buffer], around: list[Stmt]) -> tuple[Stmt, list[Buffer]]:
        """Those that one statement uses are placed in it, those that several use are allocated before the first."""
        places: dict[Buffer, list[int]] = {buffer: [] for buffer in buffers}
        for position, inner in enumerate(stmt.stmts):
            for buffer in buffers_in(inner) & places.keys():
                places[buffer].append(position)
        inside: dict[int, list[Buffer]] = {}
        for buffer, positions in places.items():
            if len(positions) == 1:
                inside.setdefault(positions[0], []).append(buffer)
        stmts, waiting = list(stmt.stmts), []
        for position, some in inside.items():
            stmts[position], more = self.place(stmts[position], some, around)
            waiting += more
        several = {buffer: positions for buffer, positions in places.items() if len(positions) > 1}
        made, more = self._allocated(stmts, several, around)
        return made, waiting + more

    def _place_in_sides(self, stmt: If, buffers: list[Buffer], around: list[Stmt]) -> tuple[Stmt, list[Buffer]]:
        """Those that one side uses are placed in it, those that both use are allocated around them."""
        one, other = stmt.then, stmt.otherwise
        in_one = buffers_in(one)
        in_other = frozenset[Buffer]() if other is None else buffers_in(other)
        one, waiting = self.place(one, [buffer for buffer in buffers if buffer not in in_other], around)
        if other is not None:
            other, more = self.place(other, [buffer for buffer in buffers if buffer not in in_one], around)
            waiting += more
        both = {buffer: [0] for buffer in buffers if buffer in in_one and buffer in in_other}
        made, more = self._allocated([replace(stmt, then=one, otherwise=other)], both, around)
        return made, waiting + more

    def _allocated(
        self, stmts: list[Stmt], places: dict[Buffer, list[int]], around: list[Stmt]
    ) -> tuple[Stmt, list[Buffer]]:
        """*stmts* with memory for the buffers that are used at *places* of them, or the memory that waits."""
        outer = loop_ranges(around)
        firsts: dict[int, list[Buffer]] = {}
        waiting: list[Buffer] = []
        for buffer, positions in places.items():
            threads = _threads(around) if buffer in self.together else []
            shared = tuple((loop.var, loop.extent) for loop in threads)
            found = [access for position in positions for access in accesses(stmts[position], buffer)]
            if shared:
                found = [replace(access, inner=(*shared, *access.inner)) for access in found]
            points = {var: limits for var, limits in outer.items() if all(var is not loop.var for loop in threads)}
            spans = region(found, buffer.shape, points)
            small = _shrunk(buffer, spans)
            self.order[small] = self.order[buffer]
            if threads:
                self.together.add(small)
            for position in positions:
                stmts[position] = _moved(stmts[position], buffer, small, spans, outer)
            waits = threads or buffer.rolling is not None
            (waiting if waits else firsts.setdefault(positions[0], [])).append(small)
        rest: list[Stmt] = []
        end = len(stmts)
        for first in sorted(firsts, reverse=True):
            rest = [self._around(seq([*stmts[first:end], *rest]), firsts[first])]
            end = first
        return seq([*stmts[:end], *rest]), waiting

    def _around(self, stmt: Stmt, buffers: list[Buffer]) -> Stmt:
        for buffer in sorted(buffers, key=lambda buffer: self.order[buffer], reverse=True):
            stmt = Alloc(buffer, stmt)
        return stmt


def _threads(around: list[Stmt]) -> list[For]:
    return [node for node in around if isinstance(node, For) and node.kind.is_thread]


def _shrunk(buffer: Buffer, spans: list[Span]) -> Buffer:
    """The memory for what *spans* hold of *buffer*."""
    shape = tuple(span.extent for span in spans)
    if buffer.rolling is not None:
        dimension, window = buffer.rolling
        shape = (*shape[:dimension], window, *shape[dimension + 1 :])
    logical = replace(buffer, shape=shape)
    small = replace(logical, shape=buffer.layout.shape(shape), layout=None) if buffer.layout else logical
    if small.aligned:
        small = replace(small, strides=strides_of(small.shape, small.aligned), aligned=())
    return small


def _moved(stmt: Stmt, old: Buffer, new: Buffer, spans: list[Span], outer: Ranges) -> Stmt:
    """*stmt* with accesses to *old* made accesses to *new*, counted from the first element of each span."""

    def place(indices: tuple[Expr, ...], ranges: Ranges) -> tuple[Expr, ...]:
        local = [
            i if is_const(span.first, 0) else simplify(i - span.first, ranges)
            for i, span in zip(indices, spans, strict=True)
        ]
        if old.rolling is not None:  # a circle: what leaves the window makes room for what enters it
            dimension, window = old.rolling
            local[dimension] = simplify(indices[dimension] % window, ranges)
        return old.layout.apply(local, ranges) if old.layout else tuple(local)

    def expr(value: Expr, ranges: Ranges) -> Expr:
        def on_expr(node: Expr) -> Expr | None:
            if isinstance(node, Load) and node.buffer is old:
                return Load(new, place(node.indices, ranges))
            return None

        return rewrite(value, on_expr)

    def visit(node: Stmt, ranges: Ranges) -> Stmt:
        match node:
            case For():
                return node.around(visit(node.body, {**ranges, **loop_ranges([node])}))
            case Seq():
                return seq([visit(inner, ranges) for inner in node.stmts])
            case Alloc():
                return replace(node, body=visit(node.body, ranges))
            case Let():
                return Let(node.var, expr(node.value, ranges), visit(node.body, ranges))
            case If():
                otherwise = None if node.otherwise is None else visit(node.otherwise, ranges)
                return If(expr(node.condition, ranges), visit(node.then, ranges), otherwise)
            case Store():
                indices = tuple(expr(i, ranges) for i in node.indices)
                value = expr(node.value, ranges)
                if node.buffer is old:
                    return Store(new, place(indices, ranges), value)
                return Store(node.buffer, indices, value)
            case Extern():
                return with_buffers(node, {old: new})
            case _:
                pass
        return node

    return visit(stmt, dict(outer))
