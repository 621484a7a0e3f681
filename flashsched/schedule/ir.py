"""The loop IR: one immutable tree of statements that serves scheduling, lowering, the interpreter and the back ends.

A *scheduled nest* holds each computation as a `Block` whose own iteration variables are bound to expressions of the
loops around it; primitives change loops and bindings, never what a block computes. The passes of
`flashsched.codegen.lower` turn blocks into `If` and `Store`, giving a *lowered nest*.

What a nest means is what running it turn by turn computes. A loop's kind adds a promise (its turns are independent) or
an instruction to the back end (unroll, use vector instructions or an intrinsic, map to GPU threads), never another
meaning. A loop bound to a GPU thread axis inside a loop that is bound to the same axis is *cooperative*: its turns are
shared out among the threads, with a barrier before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from flashsched.schedule.buffer import SCOPES, Buffer
from flashsched.schedule.loop_kind import LoopKind
from flashsched.te.expr import Const, Expr, Var
from flashsched.te.quick import quickly_made
from flashsched.te.sizes import Size
from flashsched.te.tensor import AxisKind
from flashsched.te.visit import walk

__all__ = [
    "Alloc",
    "Block",
    "Break",
    "Buffer",
    "Extern",
    "For",
    "If",
    "Iter",
    "Let",
    "Load",
    "LoopKind",
    "Prefetch",
    "SCOPES",
    "Seq",
    "Stmt",
    "Store",
    "block_loads",
    "blocks",
    "map_exprs",
    "own_exprs",
    "rewrite_stmt",
    "seq",
    "stmt_exprs",
    "sub_stmts",
    "walk_stmt",
]


@quickly_made
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Load(Expr):
    """The element of *buffer* at *indices*."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        return self.buffer.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.indices

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Load(self.buffer, tuple(children))

    def key(self) -> tuple[Any, ...]:
        return (id(self.buffer),)

    def text(self, indices: Sequence[str]) -> str:
        """The load as it is printed, around its printed indices."""
        if self.buffer.by_value:
            return self.buffer.name
        return f"{self.buffer.name}[{', '.join(indices)}]"


class Stmt:
    """Base of all statements; compared by identity, shown as ``print(s)`` shows a nest."""

    __slots__ = (
        "_blocks_in",
        "_buffers_in",
        "_filled_together",
        "_marks_in",
        "_read_in",
        "_reduced_in",
        "_stages_in",
        "_threads_around",
        "_uses_in",
        "_vars_in",
    )
    """See `flashsched.schedule.facts`."""

    _blocks_in: tuple[Block, ...]
    _marks_in: frozenset[LoopKind | str]
    _stages_in: frozenset[str]
    _vars_in: frozenset[int]

    def __str__(self) -> str:
        from flashsched.schedule.printer import nest_text  # the printer is built on these nodes

        return nest_text(self)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class Store(Stmt):
    """``buffer[indices] = value``."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Prefetch(Stmt):
    """Bring the cache line of ``buffer[indices]`` nearer; changes nothing that is computed."""

    buffer: Buffer
    indices: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Break(Stmt):
    """End the serial loop just around it; in nests that were written out (`te.extern`), in no scheduled one."""


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class Seq(Stmt):
    """Statements one after another."""

    stmts: tuple[Stmt, ...]


_NO_NOTES: Mapping[str, Any] = MappingProxyType({})


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class For(Stmt):
    """Run *body* once for each ``var`` in ``range(extent)``.

    *notes* carry what primitives leave for the passes, e.g. ``{"tail": "cut"}``.
    """

    var: Var
    extent: Expr
    body: Stmt
    kind: LoopKind = LoopKind.SERIAL
    notes: Mapping[str, Any] = field(default_factory=lambda: _NO_NOTES)

    @property
    def turns(self) -> int | None:
        """The extent as a number, where it is one."""
        return int(self.extent.value) if isinstance(self.extent, Const) else None

    def around(self, body: Stmt) -> For:
        """This loop around another body."""
        return For(self.var, self.extent, body, self.kind, self.notes)

    def of_kind(self, kind: LoopKind) -> For:
        """This loop, its turns run as *kind* says."""
        return For(self.var, self.extent, self.body, kind, self.notes)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class If(Stmt):
    """Run *then* where *condition* holds, else *otherwise*."""

    condition: Expr
    then: Stmt
    otherwise: Stmt | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Let(Stmt):
    """Run *body* with *var* standing for *value*, computed once (in a vector loop: once for all lanes, as a vector)."""

    var: Var
    value: Expr
    body: Stmt


@dataclass(frozen=True, slots=True, eq=False)
class Alloc(Stmt):
    """Memory for *buffer* while *body* runs; it holds nothing at first."""

    buffer: Buffer
    body: Stmt


@dataclass(frozen=True, slots=True, eq=False)
class Extern(Stmt):
    """Call *function* with arrays over *inputs* and *outputs*; all of each is read, or written."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    nest: Callable[[Sequence[Buffer], Sequence[Buffer]], Stmt] | None = None


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class Iter:
    """A block's own iteration variable, over ``begin <= var < begin + extent``, bound to *value*."""

    var: Var
    begin: int
    extent: Size
    kind: AxisKind
    value: Expr

    def bound_to(self, value: Expr) -> Iter:
        """This variable bound to another expression."""
        return self if value is self.value else Iter(self.var, self.begin, self.extent, self.kind, value)


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class Block(Stmt):
    """One point of the stage *name*: where all of *where* hold, do all of *stores* at once.

    All values are computed before any is stored. *where* speaks of loop variables, the stores of the iteration
    variables only. *init*, of a reduction, is done instead of nothing before the first point that is combined into the
    same element, that is where every reduce iteration variable has its first value; with nothing to combine, the
    elements are just initialised.

    Where one of *within*, which speaks of loop variables too, does not hold, the point is padding: a reduction combines
    nothing into it, and any other block stores 0.

    The block of an *extern* stage has no iteration variables, and does that instead. *notes* carry what primitives
    leave for the passes, as those of a loop do.
    """

    name: str
    iters: tuple[Iter, ...]
    stores: tuple[Store, ...]
    init: tuple[Store, ...] = ()
    where: tuple[Expr, ...] = ()
    within: tuple[Expr, ...] = ()
    extern: Extern | None = None
    notes: Mapping[str, Any] = field(default_factory=lambda: _NO_NOTES)

    @property
    def reduces(self) -> bool:
        """Whether several points are combined into one element."""
        return any(item.kind is AxisKind.REDUCE for item in self.iters)

    def bound(self, iters: tuple[Iter, ...], where: tuple[Expr, ...], within: tuple[Expr, ...]) -> Block:
        """This block with its variables bound, and its conditions put, in other loops."""
        return Block(self.name, iters, self.stores, self.init, where, within, self.extern, self.notes)

    @property
    def bindings(self) -> dict[Var, Expr]:
        """Each iteration variable with the expression of loops that it is bound to."""
        return {item.var: item.value for item in self.iters}


def seq(stmts: Sequence[Stmt]) -> Stmt:
    """*stmts* one after another, flat; a single one stands for itself."""
    flat: list[Stmt] = []
    for stmt in stmts:
        if isinstance(stmt, Seq):
            flat.extend(stmt.stmts)
        else:
            flat.append(stmt)
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def sub_stmts(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly in *stmt*."""
    if isinstance(stmt, For):
        return (stmt.body,)
    if isinstance(stmt, Block):
        return ()
    if isinstance(stmt, Seq):
        return stmt.stmts
    if isinstance(stmt, Alloc | Let):
        return (stmt.body,)
    if isinstance(stmt, If):
        return (stmt.then,) if stmt.otherwise is None else (stmt.then, stmt.otherwise)
    return ()


def walk_stmt(stmt: Stmt) -> Iterator[Stmt]:
    """*stmt* and all statements in it, in the order of the text."""
    stack = [stmt]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(sub_stmts(node)))


def own_exprs(stmt: Stmt) -> Iterator[Expr]:
    """The expressions of *stmt* itself, those of the statements in it left out."""
    match stmt:
        case For():
            yield stmt.extent
        case If():
            yield stmt.condition
        case Let():
            yield stmt.value
        case Store():
            yield from (*stmt.indices, stmt.value)
        case Prefetch():
            yield from stmt.indices
        case Block():
            for store in (*stmt.stores, *stmt.init):
                yield from (*store.indices, store.value)
            yield from (*stmt.where, *stmt.within, *(item.value for item in stmt.iters))
        case _:
            pass


def rewrite_stmt(stmt: Stmt, change: Callable[[Stmt], Stmt | None]) -> Stmt:
    """*stmt* with each statement replaced by what *change* makes of it, inner ones first (None keeps it)."""
    match stmt:
        case For() | Alloc() | Let():
            body = rewrite_stmt(stmt.body, change)
            if body is not stmt.body:
                stmt = stmt.around(body) if isinstance(stmt, For) else replace(stmt, body=body)
        case Seq():
            inner = [rewrite_stmt(s, change) for s in stmt.stmts]
            if any(new is not old for new, old in zip(inner, stmt.stmts, strict=True)):
                stmt = seq(inner)
        case If():
            then = rewrite_stmt(stmt.then, change)
            otherwise = None if stmt.otherwise is None else rewrite_stmt(stmt.otherwise, change)
            if then is not stmt.then or otherwise is not stmt.otherwise:
                stmt = If(stmt.condition, then, otherwise)
        case _:
            pass
    new = change(stmt)
    return stmt if new is None else new


def stmt_exprs(stmt: Stmt) -> Iterator[Expr]:
    """All expressions in *stmt*: of loops, of stores, and what blocks compute."""
    for node in walk_stmt(stmt):
        yield from own_exprs(node)


def _map_store(store: Store, change: Callable[[Expr], Expr]) -> Store:
    return Store(store.buffer, tuple(change(i) for i in store.indices), change(store.value))


def map_exprs(stmt: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    """*stmt* with *change* applied to every expression of loops: extents, conditions, bindings, bare stores.

    What a block computes is left alone: it speaks of the block's own variables.
    """

    def visit(node: Stmt) -> Stmt | None:
        match node:
            case For():
                extent = change(node.extent)
                return None if extent is node.extent else replace(node, extent=extent)
            case If():
                return If(change(node.condition), node.then, node.otherwise)
            case Let():
                return Let(node.var, change(node.value), node.body)
            case Store():
                return _map_store(node, change)
            case Prefetch():
                return Prefetch(node.buffer, tuple(change(i) for i in node.indices))
            case Block():
                iters = tuple([item.bound_to(change(item.value)) for item in node.iters])
                return node.bound(iters, tuple(map(change, node.where)), tuple(map(change, node.within)))
            case _:
                pass
        return None

    return rewrite_stmt(stmt, visit)


def blocks(stmt: Stmt) -> Iterator[Block]:
    """The blocks of a nest, in the order of the text."""
    return (node for node in walk_stmt(stmt) if isinstance(node, Block))


def block_loads(block: Block) -> Iterator[Load]:
    """The loads of a block, those of its init included; indices speak of its iteration variables."""
    for store in (*block.stores, *block.init):
        for part in (*store.indices, store.value):
            yield from (node for node in walk(part) if isinstance(node, Load))
    for buffer in () if block.extern is None else block.extern.inputs:
        yield Load(buffer, (Const(0, "int64"),) * len(buffer.shape))  # one that stands for all of it
