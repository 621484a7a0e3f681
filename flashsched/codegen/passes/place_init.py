"""place_init: a reduction's elements are set to the identity before the first loop that combines into them."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.ir import Alloc, Block, For, If, Let, LoopKind, Seq, Stmt, seq
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var
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
    that do not speak of the reduction. A tensorized loop is one step, so its init comes before it: as the ``reset`` of
    its intrinsic, or in plain loops; where the intrinsic does both at once, a loop of one turn holds both.
    """
    pending: dict[Var, list[Stmt]] = {}

    def visit(node: Stmt, around: tuple[For, ...]) -> Stmt:
        if isinstance(node, For):
            inner = visit(node.body, (*around, node))
            new: Stmt = node if inner is node.body else replace(node, body=inner)
            before = pending.pop(node.var, [])
            return _as_body(node, before, new) or seq([*before, new]) if before else new
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
            case Alloc() | Let():
                return replace(node, body=visit(node.body, around))
            case If():
                otherwise = None if node.otherwise is None else visit(node.otherwise, around)
                return If(node.condition, visit(node.then, around), otherwise)
            case _:
                pass
        return node

    return visit(body, ())


def _as_reset(nest: Stmt, loop: For) -> Stmt:
    """The init *nest* of the tensorized *loop* as a step of its intrinsic, where that has one for it."""
    if "reset" not in find_intrinsic(loop.notes["intrinsic"]).how:
        return nest
    return _one_step(nest, loop, "reset")


def _as_body(loop: For, before: list[Stmt], update: Stmt) -> Stmt | None:
    """The inits *before* a tensorized *loop* and its *update* as one step, where the intrinsic does both at once."""
    if loop.kind is not LoopKind.TENSORIZE or "body" not in find_intrinsic(loop.notes["intrinsic"]).how:
        return None
    inits = [_plain(init) for init in before]
    return _one_step(seq([*inits, _plain(update)]), loop, "body")


def _plain(stmt: Stmt) -> Stmt:
    """*stmt*, a tensorized loop, as loops without a kind."""
    if isinstance(stmt, For) and stmt.kind is LoopKind.TENSORIZE:
        notes = {key: value for key, value in stmt.notes.items() if key != "intrinsic"}
        return stmt.body if stmt.notes.get("part") else replace(stmt, kind=LoopKind.SERIAL, notes=notes)
    return stmt


def _one_step(stmt: Stmt, loop: For, part: str) -> For:
    notes = {key: value for key, value in loop.notes.items() if key in ("intrinsic", "tail")} | {"part": part}
    return For(Var(part), Const(1, dtypes.INDEX), stmt, LoopKind.TENSORIZE, MappingProxyType(notes))


def _init_nest(block: Block, around: tuple[For, ...]) -> tuple[Var | None, Stmt]:
    """The loop before which *block*'s init belongs (None: right before the block), and its nest."""
    reduced = [item.value for item in block.iters if item.kind is AxisKind.REDUCE]
    drives = [any(uses(value, loop.var) for value in reduced) for loop in around]
    begins = [drive or loop.kind is LoopKind.TENSORIZE for loop, drive in zip(around, drives, strict=True)]
    first = begins.index(True) if True in begins else len(around)
    spatial = tuple(item for item in block.iters if item.kind is AxisKind.SPATIAL)
    inner = [loop for loop, drive in zip(around[first:], drives[first:], strict=True) if not drive]
    inside = {loop.var for loop in around[first:]}
    kept = {loop.var for loop in inner}
    where = tuple(w for w in block.where if not (free_vars(w) & inside) - kept)
    nest: Stmt = Block(f"{block.name}.init", spatial, block.init, (), where)
    fresh: dict[Var, Expr] = {}
    step = next((n for n, loop in enumerate(around) if loop.kind is LoopKind.TENSORIZE), None)
    for loop in reversed(inner):
        if step is not None and loop in around[:step]:  # those of the tensorized part are done
            nest, step = _as_reset(nest, around[step]), None
        var = Var(loop.var.name)
        fresh[loop.var] = var
        like = _plain(loop)
        assert isinstance(like, For)
        nest = For(var, loop.extent, nest, like.kind, like.notes)
    nest = nest if step is None else _as_reset(nest, around[step])
    nest = substituted(nest, fresh)
    return (around[first].var if first < len(around) else None), nest
