"""How many copies into shared memory may be under way while threads compute: what each barrier of a kernel waits for.

A tile that is filled some turns ahead of its use is on its way all that time only if the barriers between do not wait
for it. PTX counts: a thread makes a group of the copies that it has begun (``cp.async.commit_group``), and waits until
all but its newest N groups have ended (``cp.async.wait_group N``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from flashsched.schedule.barrier import Barrier, Begun, LateStore
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    Seq,
    Stmt,
    Store,
    own_exprs,
    seq,
    sub_stmts,
    walk_stmt,
)
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, Var
from flashsched.te.simplify import Ranges, linear, structural_key, within_loop
from flashsched.te.visit import free_vars, substitute, walk

__all__ = ["MOST_UNDER_WAY", "late_copies"]

MOST_UNDER_WAY = 7
"""Turns of a loop that are looked back on: no pipeline has more stages than that and one."""


def late_copies(kernel: Stmt, suits: Callable[[Store, Stmt], bool]) -> Stmt:
    """*kernel* with the stores that *suit* made copies that a thread begins and does not wait for.

    Rewrite, for tiles that are filled two turns ahead::

        for t in range(n):                        for t in range(n):
            barrier                                   barrier  # 1 group of copies under way
            for u:  # threadIdx.x         ->          for u:  # threadIdx.x
                P[(t + 2) % 3, u] = A[t + 2, u]           P[(t + 2) % 3, u] = A[t + 2, u]   (begun)
            C[...] = f(P[t % 3, ...])                 begun
                                                      C[...] = f(P[t % 3, ...])

    What is copied side by side into one version is a group. A barrier waits for all groups but the newest ones that
    touch nothing of what is read or written before the next barrier: told apart by their buffers, and by the first
    index in them, which is the version of a buffer that is filled ahead.

    Args:
        kernel: a lowered kernel, barriers and all.
        suits: whether a store in a cooperative loop can be such a copy.
    """
    late = _late(kernel, suits, (), None)
    copied = frozenset(node.buffer for node in walk_stmt(late) if isinstance(node, LateStore))
    return _Waits(copied).visit(_grouped(late), ()) if copied and _holds(late, Barrier) else kernel


def _late(stmt: Stmt, suits: Callable[[Store, Stmt], bool], own: tuple[object, ...], loop: Stmt | None) -> Stmt:
    """*stmt* with late stores in its cooperative loops, *loop* being the outermost of them around."""
    match stmt:
        case Store() if loop is not None and suits(stmt, loop):
            return LateStore(stmt.buffer, stmt.indices, stmt.value)
        case For() if stmt.kind.is_thread and stmt.kind in own:
            return replace(stmt, body=_late(stmt.body, suits, (stmt.kind,), loop or stmt))
        case For():
            inside = (*own, stmt.kind) if stmt.kind.is_thread else own
            return replace(stmt, body=_late(stmt.body, suits, inside, loop))
        case Alloc() | Let():
            return replace(stmt, body=_late(stmt.body, suits, own, loop))
        case Seq():
            return seq([_late(inner, suits, own, loop) for inner in stmt.stmts])
        case If():
            otherwise = None if stmt.otherwise is None else _late(stmt.otherwise, suits, own, loop)
            return If(stmt.condition, _late(stmt.then, suits, own, loop), otherwise)
        case _:
            return stmt


def _grouped(stmt: Stmt) -> Stmt:
    """*stmt*, which holds barriers, with the copies of one version between two barriers of a sequence made a group.

    All threads come to what stands beside a barrier, so each of them counts the same groups.
    """
    match stmt:
        case For() | Alloc() | Let():
            return replace(stmt, body=_grouped(stmt.body))
        case If():
            return If(stmt.condition, _grouped(stmt.then), stmt.otherwise and _grouped(stmt.otherwise))
        case Seq():
            made: list[Stmt] = []
            for inner in stmt.stmts:
                if _holds(inner, Barrier):
                    made.append(_grouped(inner))
                elif _holds(inner, LateStore):
                    if isinstance(made[-1] if made else None, Begun) and _versions(made[-2]) == _versions(inner):
                        made.pop()
                    made += [inner, Begun()]
                else:
                    made.append(inner)
            return Seq(tuple(made))
        case _:
            return stmt


def _versions(stmt: Stmt) -> set[object]:
    """The first indices of what is copied in *stmt*."""
    stores = (node for node in walk_stmt(stmt) if isinstance(node, LateStore))
    return {structural_key(store.indices[0]) if store.indices else () for store in stores}


def _holds(stmt: Stmt, kind: type[Stmt]) -> bool:
    return any(isinstance(node, kind) for node in walk_stmt(stmt))


def _is_serial(stmt: Stmt) -> bool:
    return isinstance(stmt, For) and not (stmt.kind.is_thread or stmt.kind.is_block)


@dataclass(frozen=True)
class _Frame:
    """A statement around the barrier: of a sequence, how many of its statements come before."""

    node: Stmt
    place: int = 0


class _UnknownError(Exception):
    """What came before is not known: it is waited for."""


@dataclass(frozen=True)
class _Touch:
    """A version of a buffer that is touched: its first index, and the ranges of what the index speaks of."""

    buffer: Buffer
    first: Expr
    ranges: Ranges

    @property
    def key(self) -> tuple[object, ...]:
        """What is alike in touches of the same elements."""
        return self.buffer, structural_key(self.first), *sorted((str(var), at) for var, at in self.ranges.items())


class _Waits:
    """Finds for each barrier how many groups of copies it need not wait for."""

    def __init__(self, copied: frozenset[Buffer]) -> None:
        self._copied = copied

    def visit(self, stmt: Stmt, around: tuple[_Frame, ...]) -> Stmt:
        match stmt:
            case Barrier():
                return Barrier(self._under_way(around))
            case Seq():
                inner = [self.visit(s, (*around, _Frame(stmt, n))) for n, s in enumerate(stmt.stmts)]
                return Seq(tuple(inner))
            case For() | Alloc() | Let():
                return replace(stmt, body=self.visit(stmt.body, (*around, _Frame(stmt))))
            case If():
                frames = (*around, _Frame(stmt))
                otherwise = None if stmt.otherwise is None else self.visit(stmt.otherwise, frames)
                return If(stmt.condition, self.visit(stmt.then, frames), otherwise)
            case _:
                return stmt

    def _under_way(self, around: tuple[_Frame, ...]) -> int:
        """The newest groups that no barrier needs to have ended yet, whatever turn of the innermost loop it is."""
        loop = next((f.node for f in reversed(around) if isinstance(f.node, For) and _is_serial(f.node)), None)
        needed = self._until_next(around)
        if loop is None:
            return self._counted(_groups(self._back(around, None)), needed, {})
        most = MOST_UNDER_WAY + 1 if loop.turns is None else min(loop.turns, MOST_UNDER_WAY + 1)
        found = []
        for turn in range(most):
            found.append(self._counted(_groups(self._back(around, turn)), needed, {loop.var: _index(turn)}))
        if loop.turns is None or loop.turns > most:
            found.append(self._counted(_groups(self._back(around, None)), needed, {}))
        return min(found, default=0)

    def _counted(self, groups: Iterator[list[_Touch]], needed: Sequence[_Touch], now: Mapping[Var, Expr]) -> int:
        number = 0
        wanted = [replace(touch, first=substitute(touch.first, now)) for touch in needed]
        try:
            for group in groups:
                if any(_may_meet(old, new) for old in group for new in wanted):
                    return number
                number += 1
        except _UnknownError:
            pass
        return number

    def _until_next(self, around: tuple[_Frame, ...]) -> list[_Touch]:
        """What is touched after the barrier and before the next one, of the buffers that are copied to."""
        found: dict[object, _Touch] = {}  # many statements touch one version

        def take(stmt: Stmt, turn: Mapping[Var, Expr]) -> bool:
            """Take what *stmt* touches; False where threads wait again in it for sure."""
            match stmt:
                case Barrier():
                    return False
                case Seq():
                    return all(take(inner, turn) for inner in stmt.stmts)
                case Alloc() | Let():
                    return take(stmt.body, turn)
                case _:
                    for touch in self._touches(stmt, late=False):
                        moved = replace(touch, first=substitute(touch.first, turn))
                        found.setdefault(moved.key, moved)
                    return True

        turn: dict[Var, Expr] = {}
        for frame in reversed(around):
            match frame.node:
                case Seq() as here:
                    if not all(take(stmt, turn) for stmt in here.stmts[frame.place + 1 :]):
                        return list(found.values())
                case For() as loop if _is_serial(loop):
                    take(loop.body, {**turn, loop.var: loop.var + 1})
                case _:
                    pass
        return list(found.values())

    def _back(self, around: tuple[_Frame, ...], turn: int | None) -> Iterator[list[_Touch] | None]:
        """The copies and ends of groups (None) before the barrier, the newest first.

        Args:
            around: where the barrier stands.
            turn: that of the innermost loop; None is one far from its first.
        """
        inside = True
        now: dict[Var, Expr] = {}
        for frame in reversed(around):
            match frame.node:
                case Seq() as here:
                    for stmt in reversed(here.stmts[: frame.place]):
                        yield from self._events(stmt, now)
                case For() as loop if _is_serial(loop):
                    if not inside:
                        raise _UnknownError
                    inside = False
                    for back in range(1, (MOST_UNDER_WAY if turn is None else turn) + 1):
                        before = loop.var - back if turn is None else _index(turn - back)
                        yield from self._events(loop.body, {loop.var: before})
                    if turn is None:
                        raise _UnknownError
                case Let():
                    raise _UnknownError
                case _:
                    pass

    def _events(self, stmt: Stmt, turn: Mapping[Var, Expr]) -> Iterator[list[_Touch] | None]:
        """The copies and ends of groups in *stmt*, backwards, in one *turn* of the loop around."""
        if isinstance(stmt, Begun):
            yield None
        if not _holds(stmt, LateStore):
            return
        match stmt:
            case _ if not _holds(stmt, Begun):
                touches = self._touches(stmt, late=True)
                yield [replace(touch, first=substitute(touch.first, turn)) for touch in touches]
            case For() if not _is_serial(stmt):
                yield from self._events(stmt.body, turn)
            case For() if stmt.turns is not None:
                for back in range(1, min(stmt.turns, MOST_UNDER_WAY) + 1):
                    yield from self._events(stmt.body, {**turn, stmt.var: _index(stmt.turns - back)})
                if stmt.turns > MOST_UNDER_WAY:
                    raise _UnknownError
            case Alloc():
                yield from self._events(stmt.body, turn)
            case Seq():
                for inner in reversed(stmt.stmts):
                    yield from self._events(inner, turn)
            case _:  # a condition, or a loop of unknown length: how many groups there were is not known
                raise _UnknownError

    def _touches(self, stmt: Stmt, late: bool) -> list[_Touch]:
        """What *stmt* touches of the buffers that are copied to; only what it begins to copy, where *late*."""
        found: dict[tuple[object, ...], _Touch] = {}

        def visit(node: Stmt, ranges: Ranges) -> None:
            touched: list[Store | Load] = []
            if isinstance(node, LateStore if late else Store):
                assert isinstance(node, Store)
                touched.append(node)
            if not late:
                inside = (inner for expr in own_exprs(node) for inner in walk(expr))
                touched += [inner for inner in inside if isinstance(inner, Load)]
            for access in touched:
                if access.buffer in self._copied:
                    first = access.indices[0] if access.indices else _index(0)
                    own = {var: ranges[var] for var in free_vars(first) if var in ranges}
                    touch = _Touch(access.buffer, first, own)
                    found.setdefault(touch.key, touch)
            if isinstance(node, For):
                ranges = within_loop(ranges, node.var, node.extent)
            for inner in sub_stmts(node):
                visit(inner, ranges)

        visit(stmt, {})
        return list(found.values())


def _groups(events: Iterator[list[_Touch] | None]) -> Iterator[list[_Touch]]:
    """What each group copies, the newest first; one whose beginning is not known is left out."""
    current: list[_Touch] | None = None
    for event in events:
        if event is None:
            if current is not None:
                yield current
            current = []
        elif current is None:  # in no group yet
            return
        else:
            current += event
    if current:
        yield current


def _may_meet(old: _Touch, new: _Touch) -> bool:
    """Whether the two may touch the same version of one buffer."""
    if old.buffer is not new.buffer:
        return False
    other: dict[Var, Expr] = {var: Var(f"{var.name}.other") for var in old.ranges}
    ranges = {**new.ranges, **{name: old.ranges[var] for var, name in other.items() if isinstance(name, Var)}}
    x, y = (linear(e, ranges) for e in (substitute(old.first, other), new.first))
    low, high = (x - y).bounds(ranges)
    if low > 0 or high < 0:
        return False
    match x.expr(), y.expr():
        case Binary(op="%", a=a, b=Const() as m), Binary(op="%", a=b, b=Const() as n) if m.value == n.value > 0:
            apart = linear(a, ranges) - linear(b, ranges)
            return not (apart.is_constant() and apart.constant % int(m.value) != 0)
        case _:
            return True


def _index(value: int) -> Const:
    return Const(value, dtypes.INDEX)
