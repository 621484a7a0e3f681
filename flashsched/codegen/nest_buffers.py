"""Which buffers a statement uses, and memory for those of a concurrent turn's own.

Apart from `flashsched.codegen.nest_python`, which writes the nest that is made here: what a turn may keep to itself is
no matter of text.
"""

from __future__ import annotations

from flashsched.schedule.facts import filled_together
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    Extern,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Seq,
    Stmt,
    Store,
    own_exprs,
    rewrite_stmt,
    walk_stmt,
)
from flashsched.te.expr import Var
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import uses, walk

__all__ = ["stored_in", "touched", "with_own_memory"]


def _leaf_stores(stmt: Stmt) -> tuple[Store, ...]:
    if isinstance(stmt, Block):
        return (*stmt.stores, *stmt.init)
    return (stmt,) if isinstance(stmt, Store) else ()


def stored_in(stmt: Stmt) -> set[Buffer]:
    """The buffers that anything in *stmt* stores to."""
    return {store.buffer for node in walk_stmt(stmt) for store in _leaf_stores(node)}


def _own_buffers(stmt: Stmt) -> dict[Buffer, None]:
    """The buffers that *stmt* itself, not a statement in it, reads or writes."""
    loads = (node.buffer for expr in own_exprs(stmt) for node in walk(expr) if isinstance(node, Load))
    extern = _extern_of(stmt)
    called = () if extern is None else (*extern.inputs, *extern.outputs)
    return dict.fromkeys((*loads, *(store.buffer for store in _leaf_stores(stmt)), *called))


def _extern_of(stmt: Stmt) -> Extern | None:
    return stmt.extern if isinstance(stmt, Block) else stmt if isinstance(stmt, Extern) else None


def touched(stmt: Stmt) -> dict[Buffer, None]:
    """The buffers that anything in *stmt* reads or writes, in the order of the text."""
    return {buffer: None for node in walk_stmt(stmt) for buffer in _own_buffers(node)}


def _around_reduction(stmt: Stmt, path: tuple[For, ...]) -> tuple[For, ...]:
    """The loops of *path* in one turn of which the reduction *stmt*, if it is one, is done with its elements."""
    if not isinstance(stmt, Block) or not stmt.init:
        return path
    reduced = [item.value for item in stmt.iters if item.kind is AxisKind.REDUCE]
    drives = (number for number, loop in enumerate(path) if any(uses(value, loop.var) for value in reduced))
    return path[: next(drives, len(path))]


def with_own_memory(body: Stmt, given: set[Buffer]) -> Stmt:
    """*body* with memory made inside the innermost concurrent loop that holds all uses of a buffer, where it may be.

    Shared memory that a GPU block's threads fill together belongs to all of them, and is never made inside their loops.
    """
    together = filled_together(body)
    paths: dict[Buffer, tuple[For, ...]] = {}
    made = {node.buffer for node in walk_stmt(body) if isinstance(node, Alloc)} | given

    def visit(stmt: Stmt, path: tuple[For, ...]) -> None:
        for buffer in _own_buffers(stmt):
            if buffer not in made:
                holds = _around_reduction(stmt, path) if buffer in stored_in(stmt) else path
                common = [a for a, b in zip(paths.get(buffer, holds), holds, strict=False) if a is b]
                paths[buffer] = tuple(common)
        inner: tuple[Stmt, ...] = ()
        match stmt:
            case For():
                inner, path = (stmt.body,), (*path, stmt)
            case Alloc() | Let():
                inner = (stmt.body,)
            case Seq():
                inner = stmt.stmts
            case If():
                inner = (stmt.then, stmt.otherwise) if stmt.otherwise is not None else (stmt.then,)
            case _:
                pass
        for part in inner:
            visit(part, path)

    visit(body, ())
    places: dict[Var, list[Buffer]] = {}
    for buffer, path in paths.items():
        for loop in reversed(path):
            shareable = loop.kind.is_block or loop.kind in (LoopKind.PARALLEL, LoopKind.VTHREAD)
            if shareable or (loop.kind.is_concurrent and buffer not in together):
                places.setdefault(loop.var, []).append(buffer)
                break

    def change(stmt: Stmt) -> Stmt | None:
        if not isinstance(stmt, For) or stmt.var not in places:
            return None
        inner = stmt.body
        for buffer in places[stmt.var]:
            inner = Alloc(buffer, inner)
        return For(stmt.var, stmt.extent, inner, stmt.kind, stmt.notes)

    return rewrite_stmt(body, change) if places else body
