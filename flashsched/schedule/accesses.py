"""Where a piece of a nest reads and writes a buffer: each access with the loops and the conditions around it.

Apart from `flashsched.schedule.regions`, which bounds what they touch. The conditions of blocks are not looked at: a
later step may have a stage compute more. Once blocks are opened conditions are statements, and tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flashsched.schedule.facts import buffers_in
from flashsched.schedule.ir import Alloc, Block, Buffer, Extern, For, If, Let, Load, LoopKind, Seq, Stmt, Store
from flashsched.te.expr import Expr, Var
from flashsched.te.quick import quickly_made
from flashsched.te.simplify import weakest
from flashsched.te.sizes import extent_expr
from flashsched.te.visit import conjuncts, substitute, uses, walk

__all__ = ["Access", "accesses", "held_for_all_lanes"]


@quickly_made
@dataclass(frozen=True, slots=True)
class Access:
    """One place where a buffer is read or written.

    Attributes:
        indices: where, in loop variables and sizes.
        inner: the loops inside the piece.
        named: what only the piece has a name for: ``n.4 = n // 4``, in code of its own for some sizes.
        where: conditions in the piece without which it does not happen.
    """

    indices: tuple[Expr, ...]
    inner: tuple[tuple[Var, Expr], ...]
    named: tuple[Var, ...] = ()
    where: tuple[Expr, ...] = ()


def accesses(stmt: Stmt, buffer: Buffer, *, writes: bool = True, skip: str | None = None) -> list[Access]:
    """All accesses to *buffer* in *stmt*, leaving out the block of the stage *skip*."""
    found: list[Access] = []

    def access(indices: tuple[Expr, ...], at: _Place) -> Access:
        return Access(indices, at.inner, at.named, at.where)

    def loads(exprs: Iterable[Expr], at: _Place, bound: dict[Var, Expr]) -> None:
        for expr in exprs:
            for node in walk(expr):
                if isinstance(node, Load) and node.buffer is buffer:
                    found.append(access(tuple(substitute(i, bound) for i in node.indices), at))

    def stores(items: Sequence[Store], at: _Place, bound: dict[Var, Expr]) -> None:
        for store in items:
            loads((*store.indices, store.value), at, bound)
            if writes and store.buffer is buffer:
                found.append(access(tuple(substitute(i, bound) for i in store.indices), at))

    def whole(node: Extern, at: _Place) -> None:
        if buffer in node.inputs or (writes and buffer in node.outputs):
            each = [Var(f"any{n}") for n in range(len(buffer.shape))]
            inner = (*at.inner, *zip(each, map(extent_expr, buffer.shape), strict=True))
            found.append(Access(tuple(each), inner, at.named, at.where))

    def visit(node: Stmt, at: _Place) -> None:
        if buffer not in buffers_in(node):
            return
        match node:
            case For():
                visit(node.body, at.within(node))
            case Seq():
                for child in node.stmts:
                    visit(child, at)
            case Alloc():
                visit(node.body, at)
            case Let():
                loads((node.value,), at, {})
                visit(node.body, _Place(at.loops, at.inner, (*at.named, node.var), at.where))
            case If():
                loads((node.condition,), at, {})
                visit(node.then, at.behind(node.condition))
                if node.otherwise is not None:
                    visit(node.otherwise, at)
            case Store():
                stores((node,), at, {})
            case Extern():
                whole(node, at)
            case Block():
                if node.extern is not None:
                    visit(node.extern, at)
                elif node.name != skip:
                    loads((*node.where, *node.within, *(item.value for item in node.iters)), at, {})
                    stores((*node.stores, *node.init), at, node.bindings)
            case _:
                pass

    visit(stmt, _Place())
    return found


@quickly_made
@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the piece.

    Attributes:
        loops: the loops around it, outermost first.
        inner, named, where: what an access here has.
    """

    loops: tuple[For, ...] = ()
    inner: tuple[tuple[Var, Expr], ...] = ()
    named: tuple[Var, ...] = ()
    where: tuple[Expr, ...] = ()

    def within(self, loop: For) -> _Place:
        """The place inside *loop*."""
        return _Place((*self.loops, loop), (*self.inner, (loop.var, loop.extent)), self.named, self.where)

    def behind(self, condition: Expr) -> _Place:
        """The place where *condition* holds, as far as it is one on loops and sizes."""
        terms = (held_for_all_lanes(term, self.loops) for term in conjuncts(condition))
        new = [term for term in terms if term is not None and not any(uses(term, var) for var in self.named)]
        return _Place(self.loops, self.inner, self.named, (*self.where, *new))


def held_for_all_lanes(condition: Expr, loops: Sequence[For]) -> Expr | None:
    """What of *condition*, inside *loops*, bounds the elements that are touched; None where nothing does.

    The turns of a vectorized loop, and of what is tensorized, are one instruction, which may touch the elements of all
    its lanes where one of them is asked for: so it is asked for the lane where it holds most easily. A condition that
    reads memory may hold at one time and not at another.
    """
    if any(isinstance(node, Load) for node in walk(condition)):
        return None
    whole = False
    for loop in loops:
        whole = whole or loop.kind is LoopKind.TENSORIZE
        if (whole or loop.kind is LoopKind.VECTORIZE) and uses(condition, loop.var):
            weaker = weakest(condition, loop.var, loop.turns - 1) if loop.turns else None
            if weaker is None:
                return None
            condition = weaker
    return condition
