"""A kernel cut into units: statements that each thread runs by itself, and the loops and conditions around them.

What `place_barriers` works on. Apart from it because what a unit is has nothing to do with when threads must wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

from flashsched.errors import LoweringError
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Seq,
    Stmt,
    Store,
    own_exprs,
    sub_stmts,
    walk_stmt,
)
from flashsched.schedule.nest import loop_ranges
from flashsched.te.expr import Expr, Var
from flashsched.te.simplify import Ranges, within_loop
from flashsched.te.visit import walk

__all__ = ["Access", "Inner", "Item", "Unit", "cut", "is_together", "threads_of"]


@dataclass(frozen=True)
class Access:
    """A load or a store of *buffer*; *ranges* are those of the variables that differ between threads, or in a unit."""

    buffer: Buffer
    write: bool
    indices: tuple[Expr, ...]
    ranges: Mapping[Var, tuple[float, float]] = field(hash=False, compare=False)


@dataclass(eq=False)
class Unit:
    """A statement that threads run each by itself.

    Attributes:
        stmt: the statement, inside the loops *own*.
        own: the loops over threads around it: each thread runs it for its turn of them.
        accesses: what it reads and writes of memory that other threads may see.
        together: whether the threads of a warp run it as one.
        waits: whether all threads wait for each other before it.
    """

    stmt: Stmt
    own: tuple[For, ...]
    accesses: tuple[Access, ...]
    together: bool = False
    waits: bool = False

    @property
    def buffers(self) -> set[Buffer]:
        """What it reads and writes of memory that other threads may see."""
        return {access.buffer for access in self.accesses}


@dataclass(eq=False)
class Inner:
    """A loop, a condition, or memory around items; *others* are those of an ``else``.

    A loop over threads is *together* where it stands in another one of its axis: all threads share its turns. Threads
    wait for each other before the *first* turn of a loop.
    """

    node: Stmt
    items: list[Item]
    others: list[Item] = field(default_factory=list)
    together: bool = False
    first: bool = False

    def waits(self) -> bool:
        """Whether threads wait for each other somewhere inside."""
        inside = (*self.items, *self.others)
        return any(item.first or item.waits() if isinstance(item, Inner) else item.waits for item in inside)


Item: TypeAlias = Unit | Inner


def threads_of(kernel: Stmt) -> dict[LoopKind, int]:
    """How many threads a block has along each axis, for axes with more than one, innermost first.

    Raises:
        LoweringError: what all lanes of a warp do as one stands in blocks whose rows are no warps.
    """
    found: dict[LoopKind, int] = {}
    for node in walk_stmt(kernel):
        if isinstance(node, For) and node.kind.is_thread:
            if node.turns is None:
                raise LoweringError(
                    f"loop {node.var.name!r} has {node.extent} turns, and a block's threads are a number"
                )
            found[node.kind] = max(found.get(node.kind, 1), node.turns)
    lanes = {_lanes(node) for node in walk_stmt(kernel) if is_together(node)}
    if lanes:
        (wanted,) = lanes
        rows = found.setdefault(LoopKind.THREAD_X, wanted)
        if rows != wanted:
            raise LoweringError(
                f"an intrinsic is run by the {wanted} lanes of a warp, and threadIdx.x has {rows}",
                hint=f"bind loops of {wanted} turns to threadIdx.x, and give warps to threadIdx.y",
            )
    order = (LoopKind.THREAD_X, LoopKind.THREAD_Y, LoopKind.THREAD_Z)
    return {kind: found[kind] for kind in order if found.get(kind, 1) > 1}


def is_together(stmt: Stmt) -> bool:
    """Whether *stmt* is a tensorized loop that the lanes of a warp run as one."""
    return isinstance(stmt, For) and stmt.kind is LoopKind.TENSORIZE and _lanes(stmt) > 1


def _lanes(loop: Stmt) -> int:
    return find_intrinsic(loop.notes["intrinsic"]).lanes if isinstance(loop, For) else 1


def cut(kernel: Stmt) -> list[Item]:
    """The items of *kernel*, what stands inside its loops over blocks."""
    written = {node.buffer for node in walk_stmt(kernel) if isinstance(node, Store)}
    lets = {node.var: (-inf, inf) for node in walk_stmt(kernel) if isinstance(node, Let)}
    return _Cutter(written, lets).items(kernel, ())


class _Cutter:
    def __init__(self, written: set[Buffer], lets: Ranges) -> None:
        self._written = written
        self._lets = lets

    def items(self, stmt: Stmt, own: tuple[For, ...]) -> list[Item]:
        """*stmt* as each thread comes to it that is in a turn of the loops *own*."""
        kinds = {loop.kind for loop in own}
        if isinstance(stmt, For) and stmt.kind.is_thread:
            together = stmt.kind in kinds  # its work is that of all threads, whatever turns they are in
            inside = (stmt,) if together else (*own, stmt)
            return [Inner(stmt, self.items(stmt.body, inside), together=together)]
        if is_together(stmt):
            return [Unit(stmt, own, self._accesses(stmt, own), together=True)]
        if not self._is_shared_out(stmt):
            return [Unit(stmt, own, self._accesses(stmt, own))]
        self._require_known(stmt)
        match stmt:
            case Seq():
                return self._joined([item for inner in stmt.stmts for item in self.items(inner, own)])
            case If():
                others = [] if stmt.otherwise is None else self.items(stmt.otherwise, own)
                return [Inner(stmt, self.items(stmt.then, own), others)]
            case For() | Alloc() | Let():
                return [Inner(stmt, self.items(stmt.body, own))]
            case _:
                raise AssertionError(f"{type(stmt).__name__} holds no loop")  # pragma: no cover - an internal fault

    @staticmethod
    def _joined(items: list[Item]) -> list[Item]:
        """*items* with those side by side made one unit that the same threads run in the same turns."""
        joined: list[Item] = []
        for item in items:
            last = joined[-1] if joined else None
            both = isinstance(item, Unit) and isinstance(last, Unit)
            if both and item.own == last.own and not (item.together or last.together):  # type: ignore[union-attr]
                stmts = tuple(s for unit in (last, item) for s in _flat(unit.stmt))  # type: ignore[union-attr]
                joined[-1] = Unit(Seq(stmts), item.own, (*last.accesses, *item.accesses))  # type: ignore[union-attr]
            else:
                joined.append(item)
        return joined

    @staticmethod
    def _is_shared_out(stmt: Stmt) -> bool:
        """Whether several threads have a part in *stmt*, or all of a warp."""
        bound = (node for node in walk_stmt(stmt) if isinstance(node, For))
        return any(node.kind.is_thread or is_together(node) for node in bound)

    def _require_known(self, stmt: Stmt) -> None:
        """Refuse what all threads must know to come to what is inside, and only one of them may."""
        for expr in own_exprs(stmt):
            for node in walk(expr):
                if isinstance(node, Load) and node.buffer in self._written:
                    raise LoweringError(
                        f"{expr} is computed by the kernel, and threads are started by it",
                        hint="reorder the loops over threads outside of what it decides",
                    )

    def _accesses(self, stmt: Stmt, own: tuple[For, ...]) -> tuple[Access, ...]:
        ranges = {**self._lets, **loop_ranges(list(own))}
        made = {node.buffer for node in walk_stmt(stmt) if isinstance(node, Alloc)}
        found = [
            Access(buffer, write, indices, inside)
            for buffer, write, indices, inside in _touched(stmt, ranges)
            if buffer not in made and buffer in self._written and not buffer.held
        ]
        return tuple(dict.fromkeys(found))


def _flat(stmt: Stmt) -> tuple[Stmt, ...]:
    return stmt.stmts if isinstance(stmt, Seq) else (stmt,)


def _touched(stmt: Stmt, ranges: Ranges) -> Iterator[tuple[Buffer, bool, tuple[Expr, ...], Ranges]]:
    if isinstance(stmt, Store):
        yield stmt.buffer, True, stmt.indices, ranges
    for expr in own_exprs(stmt):
        for node in walk(expr):
            if isinstance(node, Load):
                yield node.buffer, False, node.indices, ranges
    inside = within_loop(ranges, stmt.var, stmt.extent) if isinstance(stmt, For) else ranges
    for inner in sub_stmts(stmt):
        yield from _touched(inner, inside)
