"""open_blocks: blocks become conditions and stores that speak of loops."""

from __future__ import annotations

from flashsched.schedule.ir import Block, If, Let, Load, Stmt, Store, rewrite_stmt, seq
from flashsched.te.expr import Expr, Var, logical_and
from flashsched.te.visit import substitute, walk

__all__ = ["open_blocks"]


def open_blocks(body: Stmt) -> Stmt:
    """Put each block's bindings into its stores, and its conditions around them.

    Rewrite::

        C(i=i.o * 4 + i.i):
            where i.o * 4 + i.i < n       ->    if i.o * 4 + i.i < n:
            C[i] = A[i]                             C[i.o * 4 + i.i] = A[i.o * 4 + i.i]

    Where one of several stores reads what another writes, the values are computed first.
    """

    def change(node: Stmt) -> Stmt | None:
        if not isinstance(node, Block):
            return None
        bindings = node.bindings

        def bound(expr: Expr) -> Expr:
            return substitute(expr, bindings)

        stores = [Store(s.buffer, tuple(bound(i) for i in s.indices), bound(s.value)) for s in node.stores]
        opened = _at_once(stores)
        return If(logical_and(*node.where), opened) if node.where else opened

    return rewrite_stmt(body, change)


def _at_once(stores: list[Store]) -> Stmt:
    written = {store.buffer for store in stores[:-1]}
    read = {node.buffer for s in stores[1:] for node in walk(s.value) if isinstance(node, Load)}
    if not written & read:
        return seq(stores)
    values = [Var(f"new.{store.buffer.name}", store.value.dtype) for store in stores]
    body = seq([Store(s.buffer, s.indices, value) for s, value in zip(stores, values, strict=True)])
    for store, value in zip(reversed(stores), reversed(values), strict=True):
        body = Let(value, store.value, body)
    return body
