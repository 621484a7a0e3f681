"""pipeline_loops: in a loop marked so, what a later turn needs is computed ahead of what an earlier one uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    Extern,
    For,
    If,
    Let,
    Load,
    Prefetch,
    Seq,
    Stmt,
    Store,
    map_exprs,
    own_exprs,
    rewrite_stmt,
    seq,
    sub_stmts,
    walk_stmt,
)
from flashsched.schedule.nest import substituted
from flashsched.schedule.pipelines import Piece, Plan, plan
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, Var, compare
from flashsched.te.simplify import simplify
from flashsched.te.sizes import Size
from flashsched.te.visit import rewrite, walk

__all__ = ["pipeline_loops"]


def pipeline_loops(body: Stmt, given: frozenset[Buffer]) -> Stmt:
    """Make a prologue, a loop and an epilogue of each loop that is pipelined or fills a doubled buffer.

    Rewrite, for P filled one turn ahead::

        for t in range(n):                   P = alloc([2, ...])
            P = alloc([...])                 P[0] = f(0)
            P[...] = f(t)            ->      for t in range(n - 1):
            C[t] = g(P)                          P[(t + 1) % 2] = f(t + 1)
                                                 C[t] = g(P[t % 2])
                                             C[n - 1] = g(P[(n - 1) % 2])

    Each buffer gets as many versions as turns of it are alive at once (see `flashsched.schedule.pipelines`).
    """
    if not any(_marked(node) for node in walk_stmt(body)):
        return body
    return _Pipeliner(body, given).done()


def _marked(stmt: Stmt) -> bool:
    return isinstance(stmt, For) and ("pipeline" in stmt.notes or bool(_doubled(stmt)))


def _doubled(loop: For) -> list[str]:
    """The doubled buffers that one statement in the body of *loop* fills for another one."""
    _, stmts = _opened(loop.body)
    filled = {buffer for stmt in stmts for buffer in _stored(stmt) if buffer.doubled}
    return [b.name for b in filled if any(b in _loaded(s) and b not in _stored(s) for s in stmts)]


def _opened(stmt: Stmt) -> tuple[list[Buffer], list[Stmt]]:
    """The statements of a body one after another, and the memory made among them."""
    if isinstance(stmt, Alloc):
        allocs, stmts = _opened(stmt.body)
        return [stmt.buffer, *allocs], stmts
    if isinstance(stmt, Seq):
        parts = [_opened(inner) for inner in stmt.stmts]
        return [b for allocs, _ in parts for b in allocs], [s for _, stmts in parts for s in stmts]
    return [], [stmt]


def _stored(stmt: Stmt) -> set[Buffer]:
    stores = {node.buffer for node in walk_stmt(stmt) if isinstance(node, Store)}
    return stores.union(*(call.outputs for call in _calls(stmt)))


def _calls(stmt: Stmt) -> list[Extern]:
    return [node for node in walk_stmt(stmt) if isinstance(node, Extern)]


def _loaded(stmt: Stmt) -> set[Buffer]:
    exprs = (expr for node in walk_stmt(stmt) for expr in own_exprs(node))
    loads = {node.buffer for expr in exprs for node in walk(expr) if isinstance(node, Load)}
    return loads.union(*(call.inputs for call in _calls(stmt)))


def _used(stmt: Stmt) -> set[Buffer]:
    return _loaded(stmt) | _stored(stmt)


@dataclass
class _Pipeliner:
    body: Stmt
    given: frozenset[Buffer]
    private: dict[Var, set[Buffer]] = field(default_factory=dict)
    wide: dict[Buffer, Buffer] = field(default_factory=dict)

    def done(self) -> Stmt:
        for loop in walk_stmt(self.body):
            if isinstance(loop, For) and _marked(loop):
                outside = _used(_without(self.body, loop))
                kept = {buffer for buffer in _used(loop.body) if buffer.rolling is not None}
                whole = {buffer for call in _calls(loop.body) for buffer in (*call.inputs, *call.outputs)}
                self.private[loop.var] = _used(loop.body) - outside - self.given - kept - whole
        new = self.visit(self.body)

        def widen(node: Stmt) -> Stmt | None:  # memory that threads fill together lies further out
            wide = self.wide.get(node.buffer) if isinstance(node, Alloc) else None
            return replace(node, buffer=wide) if isinstance(node, Alloc) and wide is not None else None

        return rewrite_stmt(new, widen)

    def visit(self, stmt: Stmt) -> Stmt:
        if isinstance(stmt, For) and _marked(stmt):
            return self.pipelined(stmt)
        inner = [self.visit(child) for child in sub_stmts(stmt)]
        match stmt:
            case For() | Alloc() | Let():
                return replace(stmt, body=inner[0])
            case Seq():
                return seq(inner)
            case If():
                return If(stmt.condition, inner[0], inner[1] if len(inner) > 1 else None)
            case _:
                pass
        return stmt

    def pipelined(self, loop: For) -> Stmt:
        allocs, stmts = _opened(loop.body)
        private = self.private[loop.var]
        pieces = [
            Piece(frozenset(b.name for b in _stored(stmt)), frozenset(b.name for b in _loaded(stmt))) for stmt in stmts
        ]
        found = plan(pieces, {b.name for b in private}, loop.notes.get("pipeline", {}), _doubled(loop))
        versions = {b: found.versions[b.name] for b in private if b.name in found.versions}
        for buffer, count in versions.items():
            self.wide.setdefault(buffer, _versioned(buffer, count))
        wide = {buffer: self.wide[buffer] for buffer in versions}
        stmts = [self.visit(_with_versions(stmt, wide, versions, loop.var)) for stmt in stmts]
        notes = MappingProxyType({key: value for key, value in loop.notes.items() if key != "pipeline"})
        new = _steps(replace(loop, notes=notes), stmts, found)
        for buffer in reversed(allocs):
            new = Alloc(buffer, new)
        return new


def _without(body: Stmt, loop: For) -> Stmt:
    return rewrite_stmt(body, lambda node: Seq(()) if isinstance(node, For) and node.var is loop.var else None)


def _versioned(buffer: Buffer, count: int) -> Buffer:
    """*buffer* several times, one version after another."""
    strides = buffer.strides
    if strides is not None:
        strides = (_reach(buffer.shape, strides), *strides)
    return replace(buffer, shape=(count, *buffer.shape), strides=strides, doubled=False)


def _reach(shape: Sequence[Size], strides: Sequence[Size]) -> Size:
    """The elements that one version takes, gaps between its rows included; at least 1."""
    reaches = [extent * stride for extent, stride in zip(shape, strides, strict=True)]
    known = max([1, *(reach for reach in reaches if isinstance(reach, int))])
    sizes = [reach for reach in reaches if not isinstance(reach, int)]
    whole: Expr = _index(known)
    for size in sizes:
        whole = Binary("max", whole, size)
    return whole if sizes else known


def _with_versions(stmt: Stmt, wide: Mapping[Buffer, Buffer], versions: Mapping[Buffer, int], turn: Var) -> Stmt:
    """*stmt* with the accesses to *wide*'s buffers made accesses to the version of this turn."""

    def at(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return (turn % versions[buffer], *indices)

    def on_expr(node: Expr) -> Expr | None:
        if isinstance(node, Load) and node.buffer in wide:
            return Load(wide[node.buffer], at(node.buffer, node.indices))
        return None

    def on_stmt(node: Stmt) -> Stmt | None:
        if isinstance(node, Store | Prefetch) and node.buffer in wide:
            return replace(node, buffer=wide[node.buffer], indices=at(node.buffer, node.indices))
        return None

    return rewrite_stmt(map_exprs(stmt, lambda expr: rewrite(expr, on_expr)), on_stmt)


def _steps(loop: For, stmts: list[Stmt], found: Plan) -> Stmt:
    """The steps that fill the pipeline, a loop of those in which every piece works, and those that empty it."""
    depth, turns = found.depth, loop.turns
    extent = loop.extent if turns is None else _index(turns)

    def step(number: Expr, stages: range) -> list[Stmt]:
        made: list[Stmt] = []
        for piece in found.order:
            if found.stages[piece] in stages:
                turn = simplify(number - found.stages[piece])
                inside = simplify(compare("<", turn, extent))
                run = substituted(stmts[piece], {loop.var: turn})
                if not isinstance(inside, Const):
                    made.append(If(inside, run))
                elif inside.value:
                    made.append(run)
        return made

    first = Binary("max", extent, _index(depth)) if turns is None else _index(max(turns, depth))
    left = Binary("max", extent - depth, _index(0)) if turns is None else _index(max(turns - depth, 0))
    filling = [stmt for n in range(depth) for stmt in step(_index(n), range(n + 1))]
    emptying = [stmt for n in range(depth) for stmt in step(first + n, range(n + 1, depth + 1))]
    full = [substituted(stmts[n], {loop.var: simplify(loop.var + (depth - found.stages[n]))}) for n in found.order]
    return seq([*filling, replace(loop, extent=left, body=seq(full)), *emptying])


def _index(value: int) -> Const:
    return Const(value, dtypes.INDEX)
