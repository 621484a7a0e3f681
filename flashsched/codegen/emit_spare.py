"""Which elements of a buffer nobody ever writes, so that a store may write what it likes there.

A tile that sticks out of a matrix has sums that belong to no element. All stores to it are behind the same condition on
its last index, and where that fails it holds nothing that counts. A vector store may then write all its lanes: a sum in
registers needs no instruction that puts the old lanes back.
"""

from __future__ import annotations

from collections.abc import Iterator

from flashsched.schedule.ir import Alloc, Extern, For, If, Let, Load, LoopKind, Stmt, Store, sub_stmts, walk_stmt
from flashsched.te import dtypes
from flashsched.te.expr import Expr, Var
from flashsched.te.linear import structural_key
from flashsched.te.visit import conjuncts, substitute, uses, walk

__all__ = ["has_spare_lanes"]

_INDEX = Var("index", dtypes.INDEX)  # stands for the last index, which each store calls by its own loop


def has_spare_lanes(alloc: Alloc) -> bool:
    """Whether an element of the buffer of *alloc* that one store masks off is masked off by all stores.

    All of these ask ``< 36`` of the last index, and nothing else::

        P = alloc([64])
        for j in range(64):  # vectorize
            if j < 36: P[j] = 0
        for k in range(n):
            for l in range(64):  # vectorize
                if l < 36: P[l] = P[l] + A[k] * B[k, l]
    """
    changing = {node.var for node in walk_stmt(alloc.body) if isinstance(node, For | Let)}
    asked: set[object] = set()
    for store, lane, masks in _stores(alloc.body, alloc, None, ()):
        if store is None or lane is None or store.indices[-1] is not lane or not masks:
            return False
        if any(uses(index, lane) for index in store.indices[:-1]):
            return False
        terms = [substitute(term, {lane: _INDEX}) for mask in masks for term in conjuncts(mask)]
        if any(isinstance(part, Load) or part in changing for term in terms for part in walk(term)):
            return False  # another turn may find otherwise
        asked.add(frozenset(structural_key(term) for term in terms))
    return len(asked) == 1


def _stores(
    stmt: Stmt, alloc: Alloc, lane: Var | None, masks: tuple[Expr, ...]
) -> Iterator[tuple[Store | None, Var | None, tuple[Expr, ...]]]:
    """What writes the buffer of *alloc*, with the lanes it runs in and the conditions on them; None: no plain store."""
    if isinstance(stmt, Store) and stmt.buffer is alloc.buffer:
        yield stmt, lane, masks
    elif isinstance(stmt, Extern) and alloc.buffer in stmt.outputs:
        yield None, lane, masks
    elif isinstance(stmt, For) and stmt.kind is LoopKind.VECTORIZE:
        yield from _stores(stmt.body, alloc, stmt.var, masks)
    elif isinstance(stmt, If) and lane is not None and uses(stmt.condition, lane):
        yield from _stores(stmt.then, alloc, lane, (*masks, stmt.condition))
        if stmt.otherwise is not None:
            yield from ((None, lane, masks) for _ in _stores(stmt.otherwise, alloc, lane, masks))
    else:
        for inner in sub_stmts(stmt):
            yield from _stores(inner, alloc, lane, masks)
