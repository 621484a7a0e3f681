"""open_blocks: blocks become conditions and stores that speak of loops."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.ir import Block, For, If, Let, Load, Stmt, Store, rewrite_stmt, seq, walk_stmt
from flashsched.schedule.threads import combined_across
from flashsched.te.expr import Expr, Select, Var, const, logical_and, same
from flashsched.te.visit import conjuncts, substitute, walk

__all__ = ["open_blocks"]


def open_blocks(body: Stmt) -> Stmt:
    """Put each block's bindings into its stores, and its conditions around them.

    Rewrite::

        C(i=i.o * 4 + i.i):
            where i.o * 4 + i.i < n       ->    if i.o * 4 + i.i < n:
            C[i] = A[i]                             C[i.o * 4 + i.i] = A[i.o * 4 + i.i]

    At padding a reduction stores what is there already, and any other block 0. The block of an extern stage
    becomes its call, or the nest that it was given.

    Where one of several stores reads what another writes, the values are computed first. A block that stores what is
    there already, where some condition does not hold, does nothing there::

        C[i] = select(i < n, C[i] + A[i], C[i])    ->    if i < n: C[i] = C[i] + A[i]

    A loop whose threads combine into the same elements (see `bind`) notes which: stores do not tell.
    """

    def change(node: Stmt) -> Stmt | None:
        if isinstance(node, For) and node.var in across:
            return replace(node, notes={**node.notes, "combines": across[node.var]})
        if not isinstance(node, Block):
            return None
        if node.extern is not None:
            nest = node.extern.nest
            return node.extern if nest is None else nest(node.extern.inputs, node.extern.outputs)
        bindings = node.bindings

        def bound(expr: Expr) -> Expr:
            return substitute(expr, bindings)

        stores = [Store(s.buffer, tuple(bound(i) for i in s.indices), bound(s.value)) for s in node.stores]
        where, stores = _changing(list(node.where), stores)
        if node.within:
            stores = [_or_padding(store, logical_and(*node.within), node.reduces) for store in stores]
        opened = _at_once(stores)
        return If(logical_and(*where), opened) if where else opened

    bound = (node for node in walk_stmt(body) if isinstance(node, For) and node.kind.is_thread)
    across = {loop.var: names for loop in bound if (names := combined_across(loop))}
    return rewrite_stmt(body, change)


def _changing(where: list[Expr], stores: list[Store]) -> tuple[list[Expr], list[Store]]:
    """*stores* and the conditions *where* they change something, if they all name one by a ``Select``."""
    chosen: list[Select] = []
    for store in stores:
        value = store.value
        if not isinstance(value, Select) or not same(value.b, Load(store.buffer, store.indices)):
            return where, stores
        if any(isinstance(node, Load) for node in walk(value.condition)):
            return where, stores
        chosen.append(value)
    if not all(same(value.condition, chosen[0].condition) for value in chosen):
        return where, stores
    inner = [Store(s.buffer, s.indices, value.a) for s, value in zip(stores, chosen, strict=True)]
    return [*where, *conjuncts(chosen[0].condition)], inner


def _or_padding(store: Store, real: Expr, reduces: bool) -> Store:
    """*store* where the point is *real*; elsewhere what a reduction, or another block, stores at padding."""
    rest = Load(store.buffer, store.indices) if reduces else const(0, store.buffer.dtype)
    return Store(store.buffer, store.indices, Select(real, store.value, rest))


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
