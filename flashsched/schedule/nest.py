"""Reading and rebuilding nests: find a loop, the way to it, what is inside; replace one; put one before another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from flashsched.schedule.facts import facts, parts
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    For,
    If,
    LoopKind,
    Seq,
    Stmt,
    Store,
    block_loads,
    blocks,
    map_exprs,
    seq,
    sub_stmts,
)
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges, prove, simplify, within_loop
from flashsched.te.visit import substitute

__all__ = [
    "add_guard",
    "filled_together",
    "find_block",
    "insert_before_reader",
    "loop_chain",
    "loop_ranges",
    "path_to",
    "path_to_loop",
    "reads",
    "remove_loops",
    "replace_loop",
    "simplified",
    "substituted",
]


def path_to(stmt: Stmt, found: Callable[[Stmt], bool]) -> list[Stmt]:
    """The statements from *stmt* down to the first that is *found*, both included; empty where there is none."""
    if found(stmt):
        return [stmt]
    inner: tuple[Stmt, ...]
    match stmt:
        case For() | Alloc():
            inner = (stmt.body,)
        case Seq():
            inner = stmt.stmts
        case If():
            inner = (stmt.then,) if stmt.otherwise is None else (stmt.then, stmt.otherwise)
        case _:
            return []
    for child in inner:
        rest = path_to(child, found)
        if rest:
            return [stmt, *rest]
    return []


def find_block(stmt: Stmt, name: str) -> list[Stmt]:
    """The way down to the block of the stage *name*."""
    for part in parts(stmt):
        if name in facts(part).stages:
            path = path_to(part, lambda node: isinstance(node, Block) and node.name == name)
            return path if part is stmt else [stmt, *path]
    return []


def path_to_loop(stmt: Stmt, loop: For) -> list[Stmt]:
    """The way down to *loop*, which is included; empty where it is not in *stmt*."""
    for part in parts(stmt):
        if loop.var in facts(part).loops:
            path = path_to(part, lambda node: node is loop)
            return path if part is stmt or not path else [stmt, *path]
    return []


def loop_ranges(path: list[Stmt]) -> dict[Var, tuple[float, float]]:
    """The inclusive ranges of the loops on a way down, and what follows for sizes from their running at all."""
    ranges: dict[Var, tuple[float, float]] = {}
    for node in path:
        if isinstance(node, For):
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
            return stmt if body is stmt.body else replace(stmt, body=body)
        case Seq():
            for position, inner in enumerate(stmt.stmts):
                new = replace_loop(inner, var, change) if var in facts(inner).loops else inner
                if new is not inner:
                    return seq((*stmt.stmts[:position], new, *stmt.stmts[position + 1 :]))
        case Alloc():
            body = replace_loop(stmt.body, var, change)
            return stmt if body is stmt.body else replace(stmt, body=body)
        case If():
            then = replace_loop(stmt.then, var, change)
            if then is not stmt.then:
                return replace(stmt, then=then)
            if stmt.otherwise is not None:
                return replace(stmt, otherwise=replace_loop(stmt.otherwise, var, change))
        case _:
            pass
    return stmt


def remove_loops(stmt: Stmt, stage: str) -> Stmt | None:
    """*stmt* without the block of *stage* and the loops that hold nothing else; None where nothing is left."""
    match stmt:
        case Block():
            return None if stmt.name == stage else stmt
        case For() | Alloc():
            body = remove_loops(stmt.body, stage)
            return None if body is None else stmt if body is stmt.body else replace(stmt, body=body)
        case Seq():
            held = [remove_loops(inner, stage) if stage in facts(inner).stages else inner for inner in stmt.stmts]
            left = [new for new in held if new is not None]
            return seq(left) if left else None
        case _:
            pass
    return stmt


def reads(stmt: Stmt, buffers: tuple[Buffer, ...], apart_from: str | None = None) -> bool:
    """Whether a block of *stmt* (other than that of the stage *apart_from*) reads one of *buffers*."""
    return any(
        load.buffer in buffers for block in blocks(stmt) if block.name != apart_from for load in block_loads(block)
    )


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
            return replace(stmt, extent=simplify(stmt.extent, ranges), body=simplified(stmt.body, inner))
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
            iters = tuple(replace(item, value=simplify(item.value, ranges)) for item in stmt.iters)
            where, within = _in_doubt(stmt.where, ranges), _in_doubt(stmt.within, ranges)
            return replace(stmt, iters=iters, where=where, within=within)
        case _:
            pass
    return stmt


def _in_doubt(conditions: tuple[Expr, ...], ranges: Ranges) -> tuple[Expr, ...]:
    """Those of *conditions* that *ranges* leave open, simplified."""
    return tuple(simplify(c, ranges) for c in conditions if prove(c, ranges) is not True)


def substituted(stmt: Stmt, values: Mapping[Var, Expr]) -> Stmt:
    """*stmt* with loop variables replaced in all expressions of loops."""
    return map_exprs(stmt, lambda expr: substitute(expr, values))


def filled_together(stmt: Stmt) -> set[Buffer]:
    """The buffers in shared memory that are stored to in cooperative loops of *stmt*: one for all threads of a block.

    Others in shared memory are each thread's own, like any buffer that is made inside a loop over threads.
    """
    found: set[Buffer] = set()

    def visit(node: Stmt, around: tuple[LoopKind, ...], cooperative: bool) -> None:
        if isinstance(node, For) and node.kind.is_thread:
            cooperative = cooperative or node.kind in around
            around = (*around, node.kind)
        elif cooperative and isinstance(node, Block):
            found.update(store.buffer for store in (*node.stores, *node.init) if store.buffer.scope == "shared")
        elif cooperative and isinstance(node, Store) and node.buffer.scope == "shared":
            found.add(node.buffer)
        for inner in sub_stmts(node):
            visit(inner, around, cooperative)

    visit(stmt, (), False)
    return found


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
