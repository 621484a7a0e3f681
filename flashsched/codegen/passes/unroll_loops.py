"""unroll_loops: the turns of an unrolled loop are written out."""

from __future__ import annotations

from flashsched.codegen.passes.tidy import tidy
from flashsched.errors import LoweringError
from flashsched.schedule.ir import For, LoopKind, Stmt, Store, rewrite_stmt, seq, walk_stmt
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Const

__all__ = ["MOST_STORES", "unroll_loops"]

MOST_STORES = 8192
"""Stores that a kernel may have once its loops are written out; LLVM takes seconds beyond."""


def unroll_loops(body: Stmt) -> Stmt:
    """Write each unrolled loop out, innermost first.

    Raises:
        LoweringError: the kernel would have more than `MOST_STORES` stores.
    """

    def change(node: Stmt) -> Stmt | None:
        if not isinstance(node, For) or node.kind is not LoopKind.UNROLL or node.turns is None:
            return None
        if node.notes.get("unroll_explicit") is False:  # LLVM does it
            return None
        stores = sum(isinstance(inner, Store) for inner in walk_stmt(node.body)) * node.turns
        if stores > MOST_STORES:
            raise LoweringError(
                f"unrolling loop {node.var.name!r} gives {stores} stores, and a kernel may have {MOST_STORES}",
                hint="unroll fewer loops, or smaller ones",
            )
        return seq([substituted(node.body, {node.var: Const(turn, dtypes.INDEX)}) for turn in range(node.turns)])

    return tidy(rewrite_stmt(body, change))
