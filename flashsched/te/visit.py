"""Traversals that work for every expression node, those of the loop IR included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flashsched.te.expr import Binary, Expr, SizeVar, Var

__all__ = ["conjuncts", "free_vars", "loop_vars", "rewrite", "substitute", "uses", "walk"]


def walk(expr: Expr) -> Iterator[Expr]:
    """*expr* and all that it is made of, parents first."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        children = node.children
        if children:
            stack += children[::-1]


def rewrite(
    expr: Expr, change: Callable[[Expr], Expr | None], whole: Callable[[Expr], Expr | None] | None = None
) -> Expr:
    """*expr* with each node replaced by what *change* makes of it, children first (None keeps the node).

    What *whole* makes something of is replaced by that as it stands.
    """
    if whole is not None and (found := whole(expr)) is not None:
        return found
    children = expr.children
    if children:
        changed = [rewrite(child, change, whole) for child in children]
        for place, child in enumerate(children):
            if changed[place] is not child:
                expr = expr.rebuild(tuple(changed))
                break
    new = change(expr)
    return expr if new is None else new


def substitute(expr: Expr, values: Mapping[Var, Expr]) -> Expr:
    """*expr* with variables replaced, all at once."""
    if not values:
        return expr
    return rewrite(expr, lambda node: values.get(node) if isinstance(node, Var) else None)


def free_vars(expr: Expr) -> set[Var]:
    """The variables that occur in *expr*."""
    return {node for node in walk(expr) if isinstance(node, Var)}


def loop_vars(expr: Expr) -> set[Var]:
    """The variables that occur in *expr* and are no sizes, which have a value anywhere."""
    return {node for node in walk(expr) if isinstance(node, Var) and not isinstance(node, SizeVar)}


def uses(expr: Expr, var: Var) -> bool:
    """Whether *var* occurs in *expr*."""
    stack = [expr]
    while stack:
        node = stack.pop()
        if node is var:
            return True
        stack.extend(node.children)
    return False


def conjuncts(condition: Expr) -> list[Expr]:
    """The terms of a conjunction."""
    if isinstance(condition, Binary) and condition.op == "and":
        return conjuncts(condition.a) + conjuncts(condition.b)
    return [condition]
