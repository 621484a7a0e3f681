"""What stands in a statement, gathered once: statements never change, so a search need not walk what it can rule out.

A step makes a few statements anew and shares the rest with the nest before it. With these facts it costs what is new,
and not the whole program. Each is gathered when it is first asked for, and kept with its statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from flashsched.schedule.ir import Block, Buffer, Extern, For, Load, LoopKind, Stmt, Store, own_exprs, sub_stmts
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import walk

__all__ = [
    "blocks_in",
    "buffers_in",
    "filled_together",
    "marks_in",
    "part_with_loop",
    "part_with_stage",
    "reduced_in",
    "stages_in",
    "uses_in",
    "vars_in",
]

_T = TypeVar("_T")


def _kept(gather: Callable[[Stmt], _T]) -> Callable[[Stmt], _T]:
    """*gather*, its answer kept in the statement's slot of that name."""
    slot = f"_{gather.__name__}"

    def known(stmt: Stmt) -> _T:
        found: _T | None = getattr(stmt, slot, None)
        if found is None:
            found = gather(stmt)
            object.__setattr__(stmt, slot, found)
        return found

    known.__doc__ = gather.__doc__
    return known


@_kept
def stages_in(stmt: Stmt) -> frozenset[str]:
    """The names of the blocks of *stmt*."""
    return frozenset((stmt.name,)) if isinstance(stmt, Block) else _inside(stmt, stages_in)


@_kept
def blocks_in(stmt: Stmt) -> tuple[Block, ...]:
    """The blocks of *stmt*, in the order of the text."""
    if isinstance(stmt, For):
        return blocks_in(stmt.body)
    return (stmt,) if isinstance(stmt, Block) else tuple([b for inner in sub_stmts(stmt) for b in blocks_in(inner)])


@_kept
def vars_in(stmt: Stmt) -> frozenset[int]:
    """The ids of the variables of the loops of *stmt*, which keeps them alive."""
    inside = _inside(stmt, vars_in)
    return inside | {id(stmt.var)} if isinstance(stmt, For) else inside


@_kept
def marks_in(stmt: Stmt) -> frozenset[LoopKind | str]:
    """The kinds of the loops of *stmt* that are not serial, and the names of the notes on its loops."""
    inside = _inside(stmt, marks_in)
    if isinstance(stmt, For) and stmt.kind is not LoopKind.SERIAL:
        inside |= {stmt.kind}
    return inside.union(stmt.notes) if isinstance(stmt, For) and stmt.notes else inside


@_kept
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


@_kept
def uses_in(stmt: Stmt) -> frozenset[int]:
    """The ids of the loop variables that the blocks of *stmt* speak of, in what is bound and in conditions."""
    if not isinstance(stmt, Block):
        return _inside(stmt, uses_in)
    return _spoken_of((*stmt.where, *stmt.within, *(item.value for item in stmt.iters)))


@_kept
def reduced_in(stmt: Stmt) -> frozenset[int]:
    """The ids of the loop variables that the blocks of *stmt* combine over."""
    if not isinstance(stmt, Block):
        return _inside(stmt, reduced_in)
    return _spoken_of(item.value for item in stmt.iters if item.kind is AxisKind.REDUCE)


def _spoken_of(exprs: Iterable[Expr]) -> frozenset[int]:
    return frozenset([id(node) for expr in exprs for node in walk(expr) if isinstance(node, Var)])


@_kept
def filled_together(stmt: Stmt) -> frozenset[Buffer]:
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
        if cooperative or not _THREADS.isdisjoint(marks_in(node)):
            for inner in sub_stmts(node):
                visit(inner, around, cooperative)

    visit(stmt, (), False)
    return frozenset(found)


_THREADS = frozenset(kind for kind in LoopKind if kind.is_thread)


def _loaded(exprs: Iterable[Expr]) -> frozenset[Buffer]:
    return frozenset([node.buffer for expr in exprs for node in walk(expr) if isinstance(node, Load)])


def _inside(stmt: Stmt, known: Callable[[Stmt], frozenset[_T]]) -> frozenset[_T]:
    """What is *known* of the statements in *stmt*, together."""
    if isinstance(stmt, For):
        return known(stmt.body)
    return frozenset[_T]().union(*[known(inner) for inner in sub_stmts(stmt)])


def part_with_stage(stmt: Stmt, name: str) -> Stmt | None:
    """The first statement directly in *stmt* that holds the block of the stage *name*."""
    if isinstance(stmt, For):
        return stmt.body if name in stages_in(stmt.body) else None
    return next((inner for inner in sub_stmts(stmt) if name in stages_in(inner)), None)


def part_with_loop(stmt: Stmt, var: Var) -> Stmt | None:
    """The first statement directly in *stmt* that is or holds a loop over *var*."""
    key = id(var)
    if isinstance(stmt, For):
        return stmt.body if key in vars_in(stmt.body) else None
    return next((inner for inner in sub_stmts(stmt) if key in vars_in(inner)), None)
