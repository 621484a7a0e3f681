"""place_init: a reduction's elements are set to the identity before the first loop that combines into them."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.ir import Alloc, Block, For, If, Seq, Stmt, seq
from flashsched.schedule.nest import substituted
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import free_vars, uses

__all__ = ["place_init"]


def place_init(body: Stmt) -> Stmt:
    """Give each reduction's init a nest of its own, before the outermost loop that drives a reduce variable.

    Rewrite::

        for i: for k: for j:               for i:
            C(i, j, k):              ->        for j: C.init(i, j): C[i, j] = 0
                init C[i, j] = 0               for k: for j: C(i, j, k): C[i, j] = C[i, j] + ...
                C[i, j] = C[i, j] + ...

    The nest has those of the inner loops that drive the output, of the same kinds, and its own conditions: those
    that do not speak of the reduction.
    """
    pending: dict[Var, list[Stmt]] = {}

    def visit(node: Stmt, around: tuple[For, ...]) -> Stmt:
        if isinstance(node, For):
            inner = visit(node.body, (*around, node))
            new: Stmt = node if inner is node.body else replace(node, body=inner)
            before = pending.pop(node.var, [])
            return seq([*before, new]) if before else new
        if isinstance(node, Block) and node.init:
            place, nest = _init_nest(node, around)
            bare = replace(node, init=())
            if place is None:
                return seq([nest, bare])
            pending.setdefault(place, []).append(nest)
            return bare
        return into(node, around)

    def into(node: Stmt, around: tuple[For, ...]) -> Stmt:
        match node:
            case Seq():
                return seq([visit(inner, around) for inner in node.stmts])
            case Alloc():
                return replace(node, body=visit(node.body, around))
            case If():
                otherwise = None if node.otherwise is None else visit(node.otherwise, around)
                return If(node.condition, visit(node.then, around), otherwise)
            case _:
                pass
        return node

    return visit(body, ())


def _init_nest(block: Block, around: tuple[For, ...]) -> tuple[Var | None, Stmt]:
    """The loop before which *block*'s init belongs (None: right before the block), and its nest."""
    reduced = [item.value for item in block.iters if item.kind is AxisKind.REDUCE]
    drives = [any(uses(value, loop.var) for value in reduced) for loop in around]
    first = drives.index(True) if True in drives else len(around)
    spatial = tuple(item for item in block.iters if item.kind is AxisKind.SPATIAL)
    inner = [loop for loop, drive in zip(around[first:], drives[first:], strict=True) if not drive]
    inside = {loop.var for loop in around[first:]}
    kept = {loop.var for loop in inner}
    where = tuple(w for w in block.where if not (free_vars(w) & inside) - kept)
    nest: Stmt = Block(f"{block.name}.init", spatial, block.init, (), where)
    fresh: dict[Var, Expr] = {}
    for loop in reversed(inner):
        var = Var(loop.var.name)
        fresh[loop.var] = var
        nest = For(var, loop.extent, nest, loop.kind, loop.notes)
    nest = substituted(nest, fresh)
    return (around[first].var if first < len(around) else None), nest
