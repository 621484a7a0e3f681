"""specialize_sizes: a nest whose sizes are often the same gets code of its own for them, behind one test."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from flashsched.codegen.nest_buffers import touched
from flashsched.schedule.bound import Bound
from flashsched.schedule.ir import (
    Block,
    Buffer,
    For,
    If,
    Let,
    Seq,
    Stmt,
    blocks,
    map_exprs,
    rewrite_stmt,
    seq,
    walk_stmt,
)
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Compare, Const, Expr, SizeVar, Var, is_const, logical_and
from flashsched.te.linear import structural_key
from flashsched.te.visit import conjuncts, substitute

__all__ = ["specialize_sizes", "where_sizes_are"]


def specialize_sizes(body: Stmt, given: Collection[Buffer]) -> Stmt:
    """Give each nest with a stage that is marked ``specialize`` a copy for sizes for which the condition holds.

    Rewrite, for a stage specialized for ``n == 512``, and then for ``n % 16 == 0``::

        for i.o in range((n + 15) // 16):         if n == 512:
            for i.i in range(16):                     for i.o in range(32): for i.i in range(16): S
                if i.o * 16 + i.i < n:    ->      else:
                    S                                 if n % 16 == 0:
                                                          n.16 = n // 16
                                                          for i.o in range(n.16): for i.i in range(16): S
                                                      else:
                                                          ... as before

    Where a size is a number, or a multiple of one, it is put in; any other condition is a fact for the passes below.
    Memory that only this nest uses is the copy's own, and as large as it needs.
    """
    roots = body.stmts if isinstance(body, Seq) else (body,)
    made: list[Stmt] = []
    for number, root in enumerate(roots):
        marked = [condition for block in blocks(root) for condition in block.notes.get("specialize", ())]
        plain = rewrite_stmt(root, _unmarked) if marked else root
        elsewhere = {b for n, other in enumerate(roots) if n != number for b in touched(other)} if marked else ()
        chosen = plain
        for condition in reversed(list({structural_key(c): c for c in marked}.values())):
            chosen = If(condition, _specialized(plain, condition, {*given, *elsewhere}), chosen)
        made.append(chosen)
    return seq(made)


def where_sizes_are(body: Stmt, general: Stmt, sizes: Mapping[SizeVar, int], given: Collection[Buffer]) -> Stmt:
    """A copy of the *general* nest for *sizes*, chosen where all of them are these numbers; else *body*."""
    condition = logical_and(*(Compare("==", size, Const(n, dtypes.INDEX)) for size, n in sizes.items()))
    return If(condition, _specialized(rewrite_stmt(general, _unmarked), condition, given), body)


def _unmarked(node: Stmt) -> Stmt | None:
    if not isinstance(node, Block) or "specialize" not in node.notes:
        return None
    return replace(node, notes=MappingProxyType({k: v for k, v in node.notes.items() if k != "specialize"}))


def _specialized(body: Stmt, condition: Expr, keep: Collection[Buffer]) -> Stmt:
    """A copy of *body* for sizes for which *condition* holds, with loops and memory of its own (but for *keep*)."""
    values: dict[Var, Expr] = {}
    known: list[tuple[SizeVar, Expr]] = []
    for term in conjuncts(condition):
        found = _known(term)
        if found is not None and found[0] not in values:
            size, part, value = found
            values[size] = value
            known.append((size, value) if part is None else (part, _quotient(size, value)))
    fresh: dict[Var, Expr] = {node.var: Var(node.var.name) for node in _loops(body)}

    def renewed(node: Stmt) -> Stmt | None:
        new = fresh.get(node.var) if isinstance(node, For) else None
        return replace(node, var=new) if isinstance(node, For) and isinstance(new, Var) else None

    copy = rewrite_stmt(map_exprs(body, lambda expr: substitute(expr, fresh)), renewed)
    copy = Bound(values, keep).stmt(copy)
    for var, value in reversed(known):
        copy = Let(var, value, copy)
    return copy


def _known(term: Expr) -> tuple[SizeVar, SizeVar | None, Expr] | None:
    """What *term* says of a size: a number, or that it is so many times a part of it, which is a size as well."""
    if not isinstance(term, Compare) or term.op != "==" or not isinstance(term.b, Const):
        return None
    if isinstance(term.a, SizeVar):
        return term.a, None, term.b
    divides = isinstance(term.a, Binary) and term.a.op == "%" and is_const(term.b, 0)
    if divides and isinstance(term.a, Binary) and isinstance(term.a.a, SizeVar) and isinstance(term.a.b, Const):
        size, factor = term.a.a, int(term.a.b.value)
        if factor > 0:
            part = SizeVar(f"{size.name}.{factor}")
            return size, part, Binary("*", part, Const(factor, dtypes.INDEX))
    return None


def _quotient(size: SizeVar, value: Expr) -> Expr:
    """What the part is of which *size* is a multiple, ``value = part * number``."""
    assert isinstance(value, Binary)
    return Binary("//", size, value.b)


def _loops(body: Stmt) -> list[For]:
    return [node for node in walk_stmt(body) if isinstance(node, For)]
