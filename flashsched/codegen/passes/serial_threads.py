"""serial_threads: the blocks and threads of a GPU become loops of a CPU, so that a GPU's nest can be run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.codegen.passes.own_memory import widened
from flashsched.codegen.passes.thread_units import is_together
from flashsched.errors import LoweringError
from flashsched.schedule.ir import (
    Alloc,
    For,
    If,
    Let,
    LoopKind,
    Seq,
    Stmt,
    rewrite_stmt,
    seq,
    sub_stmts,
    walk_stmt,
)
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr
from flashsched.te.visit import uses

__all__ = ["serial_threads"]


def serial_threads(body: Stmt) -> Stmt:
    """Make a parallel loop of a grid's blocks, and serial loops of a block's threads.

    Rewrite::

        for b:  # blockIdx.x                          for b:  # parallel
            S = alloc(shared)                             S = alloc(shared)
            for t:  # threadIdx.x                         L = alloc([t, ...])
                L = alloc(local)               ->         for t:
                L[...] = 0                                    L[t, ...] = 0
                for k:                                    for k:
                    for u:  # threadIdx.x                     for u: S[u] = A[k, u]
                        S[u] = A[k, u]                        for t: L[t, ...] += S[...]
                    L[...] += S[...]

    A cooperative loop is where threads wait for each other: its work is done once, all threads having come there. So
    the loops over threads are cut before and after it, and what a thread keeps to itself across such a place becomes an
    array with an element a thread.

    Threads that combine what each of them has into the same elements (see `bind`) do so turn by turn here, and what the
    lanes of a warp do together by an instruction is done by the loops that say what it means.

    Raises:
        LoweringError: some threads would come to a cooperative loop and others not, or not as often.
    """
    body = rewrite_stmt(body, _by_loops)
    bound = (node.kind for node in walk_stmt(body) if isinstance(node, For))
    return _blocks(body, False) if any(kind.is_block or kind.is_thread for kind in bound) else body


def _by_loops(stmt: Stmt) -> Stmt | None:
    """The loops of *stmt*, where it is tensorized with an instruction of a GPU."""
    if not is_together(stmt):
        return None
    assert isinstance(stmt, For)
    notes = {key: value for key, value in stmt.notes.items() if key != "intrinsic"}
    return stmt.body if "part" in notes else replace(stmt, kind=LoopKind.SERIAL, notes=notes)


def _blocks(stmt: Stmt, inside: bool) -> Stmt:
    """*stmt* outside of all threads, *inside* of a parallel loop or not."""
    match stmt:
        case For() if stmt.kind.is_thread:
            return _threads(stmt, ())
        case For() if stmt.kind.is_block:
            kind = LoopKind.SERIAL if inside else LoopKind.PARALLEL
            return replace(stmt, kind=kind, body=_blocks(stmt.body, True))
        case For() | Alloc() | Let():
            return replace(stmt, body=_blocks(stmt.body, inside))
        case Seq():
            return seq([_blocks(inner, inside) for inner in stmt.stmts])
        case If():
            otherwise = None if stmt.otherwise is None else _blocks(stmt.otherwise, inside)
            return If(stmt.condition, _blocks(stmt.then, inside), otherwise)
        case _:
            pass
    return stmt


def _threads(stmt: Stmt, own: tuple[For, ...]) -> Stmt:
    """*stmt* as all threads of the loops *own* run it, which have been taken from around it."""
    if not _waits(stmt, own):
        for loop in reversed(own):
            stmt = replace(_one_by_one(loop), body=stmt)
        return _serial(stmt)
    match stmt:
        case For() if any(loop.kind is stmt.kind for loop in own):  # cooperative: done once for all of them
            return _serial(substituted(stmt, {loop.var: Const(0, dtypes.INDEX) for loop in own}))
        case For() if stmt.kind.is_thread:
            return _threads(stmt.body, (*own, stmt))
        case For():
            _require_together(stmt.extent, own, f"loop {stmt.var.name!r}")
            return replace(stmt, body=_threads(stmt.body, own))
        case Seq():
            return seq(_parts(stmt.stmts, own))
        case Alloc():
            scope = stmt.buffer.scope
            wide = widened(stmt, own, "local" if scope == "register" else scope)  # it is many threads' memory now
            return replace(wide, body=_threads(wide.body, own))
        case Let():
            _require_together(stmt.value, own, f"the value of {stmt.var.name!r}")
            return Let(stmt.var, stmt.value, _threads(stmt.body, own))
        case If():
            _require_together(stmt.condition, own, f"the condition {stmt.condition}")
            otherwise = None if stmt.otherwise is None else _threads(stmt.otherwise, own)
            return If(stmt.condition, _threads(stmt.then, own), otherwise)
        case _:
            raise AssertionError(f"{type(stmt).__name__} holds no loop")  # pragma: no cover - an internal fault


def _parts(stmts: Sequence[Stmt], own: tuple[For, ...]) -> list[Stmt]:
    """*stmts* cut before and after each that has threads wait; what stands between shares its loops over threads."""
    parts: list[Stmt] = []
    run: list[Stmt] = []
    for stmt in stmts:
        if not _waits(stmt, own):
            run.append(stmt)
            continue
        parts += [_threads(seq(run), own)] if run else []
        parts.append(_threads(stmt, own))
        run = []
    return [*parts, _threads(seq(run), own)] if run else parts


def _waits(stmt: Stmt, around: tuple[For, ...]) -> bool:
    """Whether *stmt*, inside the thread loops *around*, is or holds a cooperative loop."""
    if isinstance(stmt, For) and stmt.kind.is_thread:
        if any(loop.kind is stmt.kind for loop in around):
            return True
        around = (*around, stmt)
    return any(_waits(inner, around) for inner in sub_stmts(stmt))


def _serial(stmt: Stmt) -> Stmt:
    def change(node: Stmt) -> Stmt | None:
        return _one_by_one(node) if isinstance(node, For) and node.kind.is_thread else None

    return rewrite_stmt(stmt, change)


def _one_by_one(loop: For) -> For:
    """*loop* run by one thread, which combines what its turns have as they come."""
    notes = {key: value for key, value in loop.notes.items() if key != "combines"}
    return replace(loop, kind=LoopKind.SERIAL, notes=notes)


def _require_together(expr: Expr, own: tuple[For, ...], what: str) -> None:
    apart = next((loop for loop in own if uses(expr, loop.var)), None)
    if apart is not None:
        raise LoweringError(
            f"{what} differs between the turns of the {apart.kind.value} loop {apart.var.name!r}, and a cooperative "
            "loop stands inside, where all threads must come",
            hint="compute what the threads share at a loop outside of it",
        )
