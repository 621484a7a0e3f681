"""Reading and rebuilding nests: find a loop, the way to it, what is inside; replace one; put one before another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from flashsched.schedule.facts import blocks_in, part_with_loop, part_with_stage, read_in, stages_in, vars_in
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    For,
    If,
    Seq,
    Stmt,
    Store,
    map_exprs,
    seq,
)
from flashsched.te.expr import Const, Expr, Var
from flashsched.te.simplify import Ranges, prove, simplify, within_loop
from flashsched.te.visit import substitute

__all__ = [
    "add_guard",
    "find_block",
    "insert_before_reader",
    "loop_chain",
    "loop_ranges",
    "path_to_loop",
    "readers",
    "reads",
    "remove_loops",
    "replace_loop",
    "simplified",
    "substituted",
]


def find_block(stmt: Stmt, name: str) -> list[Stmt]:
    """The way down from *stmt* to the block of the stage *name*, both included; empty where there is none."""
    path: list[Stmt] = []
    node: Stmt | None = stmt if name in stages_in(stmt) else None
    while node is not None:
        path.append(node)
        node = node.body if isinstance(node, For) else part_with_stage(node, name)
    return path


def path_to_loop(stmt: Stmt, loop: For) -> list[Stmt]:
    """The way down from *stmt* to *loop*, both included; empty where it is not in *stmt*."""
    path: list[Stmt] = []
    node: Stmt | None = stmt if id(loop.var) in vars_in(stmt) else None
    while node is not None:
        path.append(node)
        if node is loop:
            return path
        node = node.body if isinstance(node, For) else part_with_loop(node, loop.var)
    return []


def loop_ranges(path: list[Stmt]) -> dict[Var, tuple[float, float]]:
    """The inclusive ranges of the loops on a way down, and what follows for sizes from their running at all."""
    ranges: dict[Var, tuple[float, float]] = {}
    for node in path:
        if isinstance(node, For):
            if isinstance(node.extent, Const):
                ranges[node.var] = (0.0, node.extent.value - 1.0)
            else:
                ranges = within_loop(ranges, node.var, node.extent)
    return ranges


def loop_chain(stmt: Stmt, stage: str, own: Mapping[str, Var]) -> list[For]:
    """The loops of *stage*'s own around its block, outermost first."""
    mine = set(own.values())
    return [node for node in find_block(stmt, stage) if isinstance(node, For) and node.var in mine]


def replace_loop(stmt: Stmt, var: Var, change: Callable[[For], Stmt]) -> Stmt:
    """*stmt* with the loop over *var* replaced."""
    match stmt:
        case For():
            if stmt.var is var:
                return change(stmt)
            body = replace_loop(stmt.body, var, change)
            return stmt if body is stmt.body else stmt.around(body)
        case Seq():
            inner = part_with_loop(stmt, var)
            if inner is not None:
                place = stmt.stmts.index(inner)
                new = replace_loop(inner, var, change)
                stmts = (*stmt.stmts[:place], new, *stmt.stmts[place + 1 :])
                return seq(stmts) if isinstance(new, Seq) else Seq(stmts)
        case Alloc():
            body = replace_loop(stmt.body, var, change)
            return stmt if body is stmt.body else replace(stmt, body=body)
        case If():
            if stmt.otherwise is None or part_with_loop(stmt, var) is stmt.then:
                return replace(stmt, then=replace_loop(stmt.then, var, change))
            return replace(stmt, otherwise=replace_loop(stmt.otherwise, var, change))
        case _:
            pass
    return stmt


def remove_loops(stmt: Stmt, stage: str) -> Stmt | None:
    """*stmt* without the block of *stage* and the loops that hold nothing else; None where nothing is left."""
    if stage not in stages_in(stmt):
        return stmt
    match stmt:
        case Block():
            return None
        case For() | Alloc():
            body = remove_loops(stmt.body, stage)
            return None if body is None else stmt if body is stmt.body else replace(stmt, body=body)
        case Seq():
            left = [new for new in (remove_loops(inner, stage) for inner in stmt.stmts) if new is not None]
            return seq(left) if left else None
        case _:
            pass
    return stmt


def reads(stmt: Stmt, buffers: tuple[Buffer, ...], apart_from: str | None = None) -> bool:
    """Whether a block of *stmt* (other than that of the stage *apart_from*) reads one of *buffers*."""
    return any(block.name != apart_from for block in readers(stmt, buffers))


def readers(stmt: Stmt, buffers: tuple[Buffer, ...]) -> list[Block]:
    """The blocks of *stmt* that read one of *buffers*, in the order of the text."""
    if read_in(stmt).isdisjoint(buffers):
        return []
    return [block for block in blocks_in(stmt) if not read_in(block).isdisjoint(buffers)]


def insert_before_reader(body: Stmt, new: Stmt, buffers: tuple[Buffer, ...]) -> Stmt:
    """*body* with *new* put before the first of its statements that reads one of *buffers*."""
    stmts = list(body.stmts) if isinstance(body, Seq) else [body]
    for position, inner in enumerate(stmts):
        if reads(inner, buffers):
            return seq((*stmts[:position], new, *stmts[position:]))
    return seq((*stmts, new))


def simplified(stmt: Stmt, ranges: Ranges) -> Stmt:
    """*stmt* with its index expressions simplified and its certain conditions gone, given the loops around it."""
    match stmt:
        case For():
            inner = within_loop(ranges, stmt.var, stmt.extent)
            extent = stmt.extent if isinstance(stmt.extent, Const) else simplify(stmt.extent, ranges)
            return For(stmt.var, extent, simplified(stmt.body, inner), stmt.kind, stmt.notes)
        case Seq():
            return seq([simplified(inner, ranges) for inner in stmt.stmts])
        case Alloc():
            return replace(stmt, body=simplified(stmt.body, ranges))
        case If():
            otherwise = None if stmt.otherwise is None else simplified(stmt.otherwise, ranges)
            return If(simplify(stmt.condition, ranges), simplified(stmt.then, ranges), otherwise)
        case Store():
            indices = tuple(simplify(i, ranges) for i in stmt.indices)
            return Store(stmt.buffer, indices, simplify(stmt.value, ranges))
        case Block():
            iters = tuple([item.bound_to(simplify(item.value, ranges)) for item in stmt.iters])
            return stmt.bound(iters, _in_doubt(stmt.where, ranges), _in_doubt(stmt.within, ranges))
        case _:
            pass
    return stmt


def _in_doubt(conditions: tuple[Expr, ...], ranges: Ranges) -> tuple[Expr, ...]:
    """Those of *conditions* that *ranges* leave open, simplified."""
    return tuple(simplify(c, ranges) for c in conditions if prove(c, ranges) is not True)


def substituted(stmt: Stmt, values: Mapping[Var, Expr]) -> Stmt:
    """*stmt* with loop variables replaced in all expressions of loops."""
    return map_exprs(stmt, lambda expr: substitute(expr, values))


def add_guard(stmt: Stmt, guard: Expr) -> Stmt:
    """*stmt* with *guard* among the conditions of each of its blocks."""

    def change(node: Stmt) -> Stmt:
        match node:
            case Block():
                return replace(node, where=(*node.where, guard))
            case For() | Alloc():
                return replace(node, body=change(node.body))
            case Seq():
                return seq([change(inner) for inner in node.stmts])
            case _:
                pass
        return node

    return change(stmt)
