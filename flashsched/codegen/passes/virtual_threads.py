"""virtual_threads: the virtual threads of a loop are interleaved: written out around each statement inside."""

from __future__ import annotations

from dataclasses import replace

from flashsched.codegen.passes.own_memory import is_passed_whole, widened
from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Seq, Stmt, rewrite_stmt, seq, walk_stmt
from flashsched.te.expr import Expr
from flashsched.te.visit import uses

__all__ = ["virtual_threads"]

_PASSED = (LoopKind.SERIAL, LoopKind.UNROLL, LoopKind.PARALLEL)
_WRITTEN_OUT_HERE = ("auto_unroll_max_step", "unroll_explicit")


def virtual_threads(body: Stmt) -> Stmt:
    """Move each loop over virtual threads inwards, to the statements that its turns are made of, and unroll it there.

    Rewrite::

        for v in range(2):  # vthread        L = alloc([2, 8])
            L = alloc([8])                   for k in range(n):
            for k in range(n):      ->           for i in range(8):
                for i in range(8):                   L[0, i] += A[0, k, i]
                    L[i] += A[v, k, i]               L[1, i] += A[1, k, i]

    The turns are independent, so any order of them is right, and memory that is made inside is each turn's own. A loop
    whose length differs between them, a condition that does, a vectorized or tensorized loop stay whole: they are
    what is written out. So is a loop over virtual threads that a pragma stands on.
    """
    bound = (node for node in walk_stmt(body) if isinstance(node, For))
    return _within(body, ()) if any(loop.kind is LoopKind.VTHREAD for loop in bound) else body


def _within(stmt: Stmt, own: tuple[For, ...]) -> Stmt:
    """*stmt* as all turns of the loops *own* run it, which have been taken from around it."""

    def same_for_all(expr: Expr) -> bool:
        return not any(uses(expr, loop.var) for loop in own)

    match stmt:
        case For() if stmt.kind is LoopKind.VTHREAD and not any(note in stmt.notes for note in _WRITTEN_OUT_HERE):
            return _within(stmt.body, (*own, stmt))
        case For() if _is_passed(stmt) and same_for_all(stmt.extent):
            return replace(stmt, body=_within(stmt.body, own))
        case Seq():
            return seq([_within(inner, own) for inner in stmt.stmts])
        case Alloc() if not own or not is_passed_whole(stmt):
            wide = widened(stmt, own, stmt.buffer.scope) if own else stmt
            return replace(wide, body=_within(wide.body, own))
        case Let() if same_for_all(stmt.value):
            return replace(stmt, body=_within(stmt.body, own))
        case If() if same_for_all(stmt.condition):
            otherwise = None if stmt.otherwise is None else _within(stmt.otherwise, own)
            return If(stmt.condition, _within(stmt.then, own), otherwise)
        case _:
            pass
    stmt = rewrite_stmt(stmt, _written_out)
    for loop in reversed(own):
        stmt = replace(loop, kind=LoopKind.UNROLL, body=stmt)
    return stmt


def _is_passed(loop: For) -> bool:
    return loop.kind in _PASSED or loop.kind.is_block or loop.kind.is_thread


def _written_out(stmt: Stmt) -> Stmt | None:
    """*stmt*, if it is a loop over virtual threads, as one that is unrolled where it stands."""
    if isinstance(stmt, For) and stmt.kind is LoopKind.VTHREAD:
        return replace(stmt, kind=LoopKind.UNROLL)
    return None
