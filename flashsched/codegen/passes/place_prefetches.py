"""place_prefetches: what a later turn of a loop reads is asked for at the beginning of a turn."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.accesses import accesses
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Seq,
    Stmt,
    own_exprs,
    seq,
    walk_stmt,
)
from flashsched.schedule.marks import LINE, lines_of
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.regions import Span, region
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, Var, compare, logical_and
from flashsched.te.simplify import Ranges, simplify
from flashsched.te.sizes import extent_expr, is_static, numbers
from flashsched.te.visit import substitute, walk

__all__ = ["place_prefetches"]

_WRITTEN_OUT = 16  # prefetches of a turn that need no loop


def place_prefetches(body: Stmt) -> Stmt:
    """Put the prefetches that loops are marked with at the beginning of their turns.

    Rewrite, for a loop marked to prefetch A one turn ahead::

        for i in range(n):                   for i in range(n):
            for j in range(16):     ->           if i + 1 < n:
                C[i, j] = A[i, j]                    prefetch A[i + 1, 0]
                                                     prefetch A[i + 1, 15]
                                                 for j in range(16): C[i, j] = A[i, j]

    One line is asked for by its first element, and the last one by the last element that is read. An index that some
    turn would take outside of the tensor is kept inside.
    """
    return _visit(body, {})


def _visit(stmt: Stmt, ranges: Ranges) -> Stmt:
    match stmt:
        case For():
            inner = {**ranges, **loop_ranges([stmt])}
            new = replace(stmt, body=_visit(stmt.body, inner))
            return _placed(new, inner) if "prefetch" in stmt.notes else new
        case Seq():
            return seq([_visit(child, ranges) for child in stmt.stmts])
        case Alloc() | Let():
            return replace(stmt, body=_visit(stmt.body, ranges))
        case If():
            otherwise = None if stmt.otherwise is None else _visit(stmt.otherwise, ranges)
            return If(stmt.condition, _visit(stmt.then, ranges), otherwise)
        case _:
            pass
    return stmt


def _placed(loop: For, ranges: Ranges) -> Stmt:
    wanted: list[Stmt] = []
    for name, offset in loop.notes["prefetch"].items():
        for buffer in _read(loop.body, name):
            ahead = loop.var + offset
            spans = region(accesses(loop.body, buffer, writes=False), buffer.shape, ranges)
            spans = [replace(span, first=substitute(span.first, {loop.var: ahead})) for span in spans]
            last = ranges[loop.var][1] - offset  # the last turn that has one so far ahead
            if last >= 0 and is_static([span.extent for span in spans]):
                lines = _lines(spans, buffer, {**ranges, loop.var: (0, last)})
                some = [compare(">", size, _index(0)) for size in buffer.shape if isinstance(size, Expr)]  # not empty
                wanted.append(If(logical_and(compare("<", ahead, loop.extent), *some), lines))
    return replace(loop, body=seq([*wanted, loop.body])) if wanted else loop


def _read(stmt: Stmt, name: str) -> list[Buffer]:
    """The buffers of that name that *stmt* reads, apart from those that it makes itself or that are empty."""
    made = {node.buffer for node in walk_stmt(stmt) if isinstance(node, Alloc)}
    found: dict[Buffer, None] = {}
    for node in walk_stmt(stmt):
        for expr in own_exprs(node):
            found |= {n.buffer: None for n in walk(expr) if isinstance(n, Load) and n.buffer.name == name}
    return [buffer for buffer in found if buffer not in made and 0 not in buffer.shape]


def _lines(spans: list[Span], buffer: Buffer, ranges: Ranges) -> Stmt:
    """A prefetch for each line of *spans*."""
    per_line = max(1, LINE * 8 // dtypes.bits(buffer.dtype))
    kind = LoopKind.UNROLL if lines_of(spans, buffer) <= _WRITTEN_OUT else LoopKind.SERIAL
    loops: list[tuple[Var, int]] = []
    indices: list[Expr] = []
    inner = dict(ranges)
    extents = numbers([span.extent for span in spans], buffer.name)
    for number, (span, extent, size) in enumerate(zip(spans, extents, buffer.shape, strict=True)):
        var, last = Var(f"line{number}"), number == len(spans) - 1
        turns = -(-(max(extent, 1) - 1) // per_line) + 1 if last else extent
        loops.append((var, turns))
        inner[var] = (0, turns - 1)
        step: Expr = Binary("min", var * per_line, _index(extent - 1)) if last else var
        inside = Binary("max", Binary("min", span.first + step, extent_expr(size) - 1), _index(0))
        indices.append(simplify(inside, inner))
    nest: Stmt = Prefetch(buffer, tuple(indices))
    for var, turns in reversed(loops):
        nest = For(var, _index(turns), nest, kind)
    return nest


def _index(value: int) -> Const:
    return Const(value, dtypes.INDEX)
