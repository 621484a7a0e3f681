"""allocate: intermediate buffers get memory where they are used, as large as what is used there."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.external import with_buffers
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
from flashsched.schedule.nest import filled_together, loop_ranges
from flashsched.schedule.regions import Span, accesses, region
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
    together = filled_together(body)
    used: dict[Buffer, None] = {}
    for buffer in _uses(body):
        used.setdefault(buffer)
    for buffer in used:
        if buffer not in given:
            body, _ = _place(body, buffer, [], buffer in together)
    return body


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


def _touches(stmt: Stmt, buffer: Buffer) -> bool:
    return buffer in _uses(stmt)


def _touches_other(stmt: If, buffer: Buffer) -> bool:
    return stmt.otherwise is not None and _touches(stmt.otherwise, buffer)


def _place(stmt: Stmt, buffer: Buffer, around: list[Stmt], together: bool) -> tuple[Stmt, Buffer | None]:
    """*stmt* with *buffer* placed in it, and the memory that is to be allocated further out, if it is."""
    match stmt:
        case For():
            if buffer.name in stmt.notes.get("stores", ()):
                return replace(stmt, body=_allocated(stmt.body, buffer, [*around, stmt], False)[0]), None
            own = any(isinstance(n, Load) and n.buffer is buffer for n in walk(stmt.extent))
            if not own:
                inner, waiting = _place(stmt.body, buffer, [*around, stmt], together)
                loop = replace(stmt, body=inner)
                if waiting is not None and not (together and _threads(around)):
                    return Alloc(waiting, loop), None
                return loop, waiting
        case Alloc():
            inner, waiting = _place(stmt.body, buffer, around, together)
            return replace(stmt, body=inner), waiting
        case Seq():
            touching = [position for position, inner in enumerate(stmt.stmts) if _touches(inner, buffer)]
            first = touching[0]
            if len(touching) == 1:
                inner, waiting = _place(stmt.stmts[first], buffer, around, together)
                return seq((*stmt.stmts[:first], inner, *stmt.stmts[first + 1 :])), waiting
            rest, waiting = _allocated(seq(stmt.stmts[first:]), buffer, around, together)
            return seq((*stmt.stmts[:first], rest)), waiting
        case If() if is_sized(stmt.condition) and not (_touches(stmt.then, buffer) and _touches_other(stmt, buffer)):
            if _touches(stmt.then, buffer):
                then, waiting = _place(stmt.then, buffer, around, together)
                return replace(stmt, then=then), waiting
            assert stmt.otherwise is not None
            otherwise, waiting = _place(stmt.otherwise, buffer, around, together)
            return replace(stmt, otherwise=otherwise), waiting
        case Let() if isinstance(stmt.var, SizeVar):
            inner, waiting = _place(stmt.body, buffer, around, together)
            return replace(stmt, body=inner), waiting
        case If() | Let() | Store():
            pass
        case _:
            pass
    return _allocated(stmt, buffer, around, together)


def _threads(around: list[Stmt]) -> list[For]:
    return [node for node in around if isinstance(node, For) and node.kind.is_thread]


def _allocated(stmt: Stmt, buffer: Buffer, around: list[Stmt], together: bool) -> tuple[Stmt, Buffer | None]:
    outer = loop_ranges(around)
    threads = _threads(around) if together else []
    found = [replace(a, inner=(*((t.var, t.extent) for t in threads), *a.inner)) for a in accesses(stmt, buffer)]
    points = {var: limits for var, limits in outer.items() if all(var is not node.var for node in threads)}
    spans = region(found, buffer.shape, points)
    shape = tuple(span.extent for span in spans)
    if buffer.rolling is not None:
        dimension, window = buffer.rolling
        shape = (*shape[:dimension], window, *shape[dimension + 1 :])
    logical = replace(buffer, shape=shape)
    small = replace(logical, shape=buffer.layout.shape(shape), layout=None) if buffer.layout else logical
    if small.aligned:
        small = replace(small, strides=strides_of(small.shape, small.aligned), aligned=())
    moved = _moved(stmt, buffer, small, spans, outer)
    return (moved, small) if threads or buffer.rolling is not None else (Alloc(small, moved), None)


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
                return replace(node, body=visit(node.body, {**ranges, **loop_ranges([node])}))
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
