"""What stands in a statement, gathered once: statements never change, so a search need not walk what it can rule out.

A step makes a few statements anew and shares the rest with the nest before it. With these facts it costs what is new,
and not the whole program. Each is gathered when it is first asked for, and kept with its statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from flashsched.schedule.ir import (
    Block,
    Buffer,
    Extern,
    For,
    Load,
    LoopKind,
    Stmt,
    Store,
    own_exprs,
    sub_stmts,
    walk_stmt,
)
from flashsched.te.expr import Const, Expr, Var
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import walk

__all__ = [
    "blocks_in",
    "buffers_in",
    "filled_together",
    "marks_in",
    "part_with_loop",
    "part_with_stage",
    "read_in",
    "reduced_in",
    "stages_in",
    "threads_around",
    "uses_in",
    "vars_in",
]

_T = TypeVar("_T")
_S = TypeVar("_S", bound=Stmt)
_NONE: frozenset[Any] = frozenset()


def _kept(gather: Callable[[_S], _T]) -> Callable[[_S], _T]:
    """*gather*, its answer kept in the statement's slot of that name."""
    slot = f"_{gather.__name__}"
    keep = getattr(Stmt, slot).__set__

    def known(stmt: _S) -> _T:
        found: _T | None = getattr(stmt, slot, None)
        if found is None:
            found = gather(stmt)
            keep(stmt, found)
        return found

    known.__doc__ = gather.__doc__
    return known


def _kept_inside(gather: Callable[[Stmt], _T]) -> Callable[[Stmt], _T]:
    """As `_kept`, for what is true of a loop where it is true of its body: it is kept where the loops end."""
    known = _kept(gather)

    def known_inside(stmt: Stmt) -> _T:
        return known(_plain_body(stmt) if isinstance(stmt, For) else stmt)

    known_inside.__doc__ = gather.__doc__
    return known_inside


def _plain_body(loop: For) -> Stmt:
    """The first statement in *loop* that is no loop of a number of turns."""
    node: Stmt = loop
    while isinstance(node, For) and isinstance(node.extent, Const):
        node = node.body
    return node


def stages_in(stmt: Stmt) -> frozenset[str]:
    """The names of the blocks of *stmt*."""
    try:
        return stmt._stages_in
    except AttributeError:
        return _outlined(stmt)._stages_in


def blocks_in(stmt: Stmt) -> tuple[Block, ...]:
    """The blocks of *stmt*, in the order of the text."""
    try:
        return stmt._blocks_in
    except AttributeError:
        return _outlined(stmt)._blocks_in


def vars_in(stmt: Stmt) -> frozenset[int]:
    """The ids of the variables of the loops of *stmt*, which keeps them alive."""
    try:
        return stmt._vars_in
    except AttributeError:
        return _outlined(stmt)._vars_in


def marks_in(stmt: Stmt) -> frozenset[LoopKind | str]:
    """The kinds of the loops of *stmt* that are not serial, and the names of the notes on its loops."""
    try:
        return stmt._marks_in
    except AttributeError:
        return _outlined(stmt)._marks_in


def _outlined(stmt: Stmt) -> Stmt:
    """*stmt*, the four above gathered, which each step asks for: in one pass over what is new.

    A step makes the loops down to its own anew, so these are gone through in a row, and only the first keeps answers.
    """
    loops: list[For] = []
    node = stmt
    while isinstance(node, For):
        loops.append(node)
        node = node.body
    if not hasattr(node, "_marks_in"):  # the last to be kept: where it is, all are, whoever else is asking
        parts = sub_stmts(node)
        for part in parts:
            if not hasattr(part, "_marks_in"):
                _outlined(part)
        own = (node,) if isinstance(node, Block) else ()
        _keep_stages(node, _NONE.union([block.name for block in own], *[part._stages_in for part in parts]))
        _keep_blocks(node, (*own, *[block for part in parts for block in part._blocks_in]))
        _keep_vars(node, _NONE.union(*[part._vars_in for part in parts]))
        _keep_marks(node, _NONE.union(*[part._marks_in for part in parts]))
    if loops:
        kinds = [loop.kind for loop in loops if loop.kind is not LoopKind.SERIAL]
        _keep_stages(stmt, node._stages_in)
        _keep_blocks(stmt, node._blocks_in)
        _keep_vars(stmt, node._vars_in.union([id(loop.var) for loop in loops]))
        _keep_marks(stmt, node._marks_in.union(kinds, *[loop.notes for loop in loops if loop.notes]))
    return stmt


_keep_stages, _keep_blocks, _keep_vars, _keep_marks = (
    getattr(Stmt, slot).__set__ for slot in ("_stages_in", "_blocks_in", "_vars_in", "_marks_in")
)


@_kept_inside
def buffers_in(stmt: Stmt) -> frozenset[Buffer]:
    """What the expressions and the stores of *stmt* speak of."""
    match stmt:
        case Block():
            spoken = (*stmt.where, *stmt.within, *(item.value for item in stmt.iters))
            done = (*stmt.stores, *stmt.init) if stmt.extern is None else (stmt.extern,)
            return _loaded(spoken).union(*[buffers_in(part) for part in done])
        case Store():
            return _loaded(own_exprs(stmt)) | {stmt.buffer}
        case Extern():
            return frozenset((*stmt.inputs, *stmt.outputs))
        case _:
            return _loaded(own_exprs(stmt)).union(*[buffers_in(inner) for inner in sub_stmts(stmt)])


@_kept_inside
def read_in(stmt: Stmt) -> frozenset[Buffer]:
    """What the blocks of *stmt* read in what they compute, and bare stores in what they store."""
    match stmt:
        case Block():
            given = () if stmt.extern is None else stmt.extern.inputs
            return frozenset(given).union(*[read_in(store) for store in (*stmt.stores, *stmt.init)])
        case Store():
            return _loaded(own_exprs(stmt))
        case _:
            return _inside(stmt, read_in)


@_kept
def uses_in(block: Block) -> frozenset[int]:
    """The ids of the loop variables that *block* speaks of, in what is bound and in conditions."""
    return _spoken_of((*block.where, *block.within, *(item.value for item in block.iters)))


@_kept
def reduced_in(block: Block) -> frozenset[int]:
    """The ids of the loop variables that *block* combines over."""
    return _spoken_of(item.value for item in block.iters if item.kind is AxisKind.REDUCE)


def _spoken_of(exprs: Iterable[Expr]) -> frozenset[int]:
    return frozenset([id(node) for expr in exprs for node in walk(expr) if isinstance(node, Var)])


@_kept
def filled_together(stmt: Stmt) -> frozenset[Buffer]:
    """The buffers in shared memory that are stored to in cooperative loops of *stmt*: one for all threads of a block.

    Others in shared memory are each thread's own, like any buffer that is made inside a loop over threads.
    """
    if _THREADS.isdisjoint(marks_in(stmt)):
        return _NONE
    if not isinstance(stmt, For) or not stmt.kind.is_thread:
        return _inside(stmt, filled_together)
    found = set(filled_together(stmt.body))
    waiting = [stmt.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, For) and node.kind is stmt.kind:
            found.update(buffer for buffer in _stored_in(node) if buffer.scope == "shared")
        elif stmt.kind in marks_in(node):
            waiting.extend(sub_stmts(node))
    return frozenset(found)


_THREADS = frozenset(kind for kind in LoopKind if kind.is_thread)


def _stored_in(stmt: Stmt) -> Iterator[Buffer]:
    for node in walk_stmt(stmt):
        if isinstance(node, Block):
            yield from (store.buffer for store in (*node.stores, *node.init))
        elif isinstance(node, Store):
            yield node.buffer


@_kept
def threads_around(stmt: Stmt) -> Mapping[str, tuple[LoopKind, ...]]:
    """The thread axes that the loops of *stmt* around each of its blocks are bound to, by the names of the blocks."""
    if isinstance(stmt, Block):
        return {stmt.name: ()}
    if isinstance(stmt, For):
        inside = threads_around(stmt.body)
        return {name: (stmt.kind, *kinds) for name, kinds in inside.items()} if stmt.kind.is_thread else inside
    return {name: kinds for inner in sub_stmts(stmt) for name, kinds in threads_around(inner).items()}


def _loaded(exprs: Iterable[Expr]) -> frozenset[Buffer]:
    return frozenset([node.buffer for expr in exprs for node in walk(expr) if isinstance(node, Load)])


def _inside(stmt: Stmt, known: Callable[[Stmt], frozenset[_T]]) -> frozenset[_T]:
    """What is *known* of the statements in *stmt*, together."""
    return frozenset[_T]().union(*map(known, sub_stmts(stmt)))


def part_with_stage(stmt: Stmt, name: str) -> Stmt | None:
    """The first statement directly in *stmt* that holds the block of the stage *name*."""
    for inner in sub_stmts(stmt):
        if name in stages_in(inner):
            return inner
    return None


def part_with_loop(stmt: Stmt, var: Var) -> Stmt | None:
    """The first statement directly in *stmt* that is or holds a loop over *var*."""
    key = id(var)
    for inner in sub_stmts(stmt):
        if key in vars_in(inner):
            return inner
    return None
