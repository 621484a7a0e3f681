"""auto_unroll: what the pragmas on unrolling ask for, marked on the loops that they speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Seq, Stmt, Store, seq, walk_stmt

__all__ = ["auto_unroll"]

_KEYS = ("auto_unroll_max_step", "unroll_explicit")


def auto_unroll(body: Stmt) -> Stmt:
    """Mark loops unrolled where a pragma around them, or on them, asks for it.

    Rewrite::

        for i in range(8):  # auto_unroll_max_step=4        for i in range(8):
            for j in range(4):                        ->        for j in range(4):  # unroll
                S                                                   S

    A loop counts its turns times the stores in it; one that holds a loop that stays a loop stays one. Where
    ``unroll_explicit`` is false, unrolled loops are left to LLVM.
    """
    return _visit(body, {})


def _visit(stmt: Stmt, asked: Mapping[str, Any]) -> Stmt:
    match stmt:
        case For() if stmt.kind is LoopKind.TENSORIZE:
            return stmt
        case For():
            asked = {**asked, **{key: stmt.notes[key] for key in _KEYS if key in stmt.notes}}
            body = _visit(stmt.body, asked)
            kind = LoopKind.UNROLL if _is_short(stmt, body, asked.get("auto_unroll_max_step", 0)) else stmt.kind
            notes = {key: value for key, value in stmt.notes.items() if key not in _KEYS}
            if kind is LoopKind.UNROLL and asked.get("unroll_explicit") is False:
                notes["unroll_explicit"] = False
            changed = body is not stmt.body or kind is not stmt.kind or notes != dict(stmt.notes)
            return replace(stmt, body=body, kind=kind, notes=notes) if changed else stmt
        case Seq():
            return seq([_visit(inner, asked) for inner in stmt.stmts])
        case Alloc() | Let():
            return replace(stmt, body=_visit(stmt.body, asked))
        case If():
            otherwise = None if stmt.otherwise is None else _visit(stmt.otherwise, asked)
            return If(stmt.condition, _visit(stmt.then, asked), otherwise)
        case _:
            pass
    return stmt


def _is_short(loop: For, body: Stmt, most: int) -> bool:
    if loop.kind is not LoopKind.SERIAL or loop.turns is None or not most:
        return False
    inner = [node for node in walk_stmt(body) if isinstance(node, For)]
    if any(node.kind not in (LoopKind.UNROLL, LoopKind.VECTORIZE) for node in inner):
        return False
    return loop.turns * _stores(body) <= most


def _stores(stmt: Stmt) -> int:
    """Stores in *stmt* once its unrolled loops are written out."""
    match stmt:
        case Store():
            return 1
        case For():
            turns = stmt.turns if stmt.kind is LoopKind.UNROLL else 1
            return _stores(stmt.body) * (turns or 1)
        case Seq():
            return sum(_stores(inner) for inner in stmt.stmts)
        case Alloc() | Let():
            return _stores(stmt.body)
        case If():
            return _stores(stmt.then) + (0 if stmt.otherwise is None else _stores(stmt.otherwise))
        case _:
            pass
    return 0
