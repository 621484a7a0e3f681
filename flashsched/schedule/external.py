"""Statements over other buffers: a nest that was written for some buffers, put over those of a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flashsched.schedule.ir import Buffer, Extern, Load, Prefetch, Stmt, Store, map_exprs, rewrite_stmt
from flashsched.te.expr import Expr
from flashsched.te.visit import rewrite

__all__ = ["nest_over", "with_buffers"]


def with_buffers(stmt: Stmt, new: Mapping[Buffer, Buffer]) -> Stmt:
    """*stmt*, a lowered nest, with buffers replaced wherever they are read or written."""

    def on_expr(node: Expr) -> Expr | None:
        return Load(new[node.buffer], node.indices) if isinstance(node, Load) and node.buffer in new else None

    def on_stmt(node: Stmt) -> Stmt | None:
        if isinstance(node, Store | Prefetch) and node.buffer in new:
            return replace(node, buffer=new[node.buffer])
        if isinstance(node, Extern):
            inputs, outputs = (tuple(new.get(b, b) for b in part) for part in (node.inputs, node.outputs))
            return replace(node, inputs=inputs, outputs=outputs)
        return None

    return rewrite_stmt(map_exprs(stmt, lambda expr: rewrite(expr, on_expr)), on_stmt)


def nest_over(
    stmt: Stmt, inputs: Sequence[Buffer], outputs: Sequence[Buffer]
) -> Callable[[Sequence[Buffer], Sequence[Buffer]], Stmt]:
    """The ``nest`` of an extern stage, from a ready statement over the buffers *inputs* and *outputs*."""
    given = (*inputs, *outputs)

    def nest(reads: Sequence[Buffer], writes: Sequence[Buffer]) -> Stmt:
        return with_buffers(stmt, dict(zip(given, (*reads, *writes), strict=True)))

    return nest
