"""settle_tensorized: which copies of a tensorized loop are done by its intrinsic, now that tails are cut."""

from __future__ import annotations

import warnings
from dataclasses import replace

from flashsched.errors import LoweringError
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.ir import Alloc, For, If, Let, LoopKind, Seq, Stmt, seq, walk_stmt
from flashsched.schedule.match import Differs
from flashsched.schedule.nest import loop_ranges
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Var
from flashsched.te.simplify import Ranges

__all__ = ["settle_tensorized"]


def settle_tensorized(body: Stmt) -> Stmt:
    """Match each tensorized loop once more, and say which part of its intrinsic does it.

    Rewrite, where the tail of ``j`` is cut::

        if j.o < 6:                                             if j.o < 6:
          for j.i in range(16):  # tensorize, intrinsic=f         for j.i in range(16):  # tensorize, ..., part=update
            S                                             ->        S
        else:                                                   else:
          for j.i in range(16):  # tensorize, intrinsic=f         for j.i in range(16):
            if j.i < 4: S                                           if j.i < 4: S

    Only a tail becomes plain loops. A warning tells where there is no full tile at all.

    Raises:
        LoweringError: a loop that is no tail is not what its intrinsic computes.
    """
    done: dict[Var, bool] = {}

    def visit(node: Stmt, ranges: Ranges) -> Stmt:
        match node:
            case For() if node.kind is LoopKind.TENSORIZE:
                return _settled(node, ranges, done)
            case For():
                return replace(node, body=visit(node.body, {**ranges, **loop_ranges([node])}))
            case Seq():
                return seq([visit(inner, ranges) for inner in node.stmts])
            case Alloc() | Let():
                return replace(node, body=visit(node.body, ranges))
            case If():
                otherwise = None if node.otherwise is None else visit(node.otherwise, ranges)
                return If(node.condition, visit(node.then, ranges), otherwise)
            case _:
                pass
        return node

    if not any(isinstance(node, For) and node.kind is LoopKind.TENSORIZE for node in walk_stmt(body)):
        return body
    settled = visit(body, {})
    for var in (var for var, full in done.items() if not full):
        warnings.warn(
            f"no tile of the tensorized loop {var.name!r} is full, so plain loops do all of it: split by less",
            stacklevel=2,
        )
    return settled


def _is_tail(node: Stmt) -> bool:
    return isinstance(node, If) or (isinstance(node, For) and node.notes.get("tail") == "cut")


def _settled(loop: For, ranges: Ranges, done: dict[Var, bool]) -> Stmt:
    known = find_intrinsic(loop.notes["intrinsic"])
    part = loop.notes.get("part") or ("update" if known.op.reduction is not None else "body")
    try:
        known.match(loop, part, ranges)
    except Differs as differs:
        if not any(_is_tail(node) for node in walk_stmt(loop)):
            raise LoweringError(
                f"the tensorized loop {loop.var.name!r} is not what {known.name!r} computes any more: {differs}",
                shown=f"{nest_text(loop, mark=loop.var)}\n\n{known.name} computes\n{known}",
                hint="lowering placed a buffer otherwise than the schedule said; leave this loop to plain loops",
            ) from None
        if part == "reset":
            return loop.body
        done.setdefault(loop.var, False)
        if "part" in loop.notes:
            return loop.body
        notes = {key: value for key, value in loop.notes.items() if key != "intrinsic"}
        return replace(loop, kind=LoopKind.SERIAL, notes=notes)
    if part != "reset":
        done[loop.var] = True
    return replace(loop, notes={**loop.notes, "part": part})
