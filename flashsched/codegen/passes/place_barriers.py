"""place_barriers: the threads of a block wait for each other where one needs what another has written.

What runs between two such places is a *unit* (`flashsched.codegen.passes.thread_units`), which each thread runs by
itself. Here it is decided which units must not begin before others have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count, permutations
from math import inf

from flashsched.codegen.passes.thread_units import Access, Inner, Item, Unit, cut, threads_of
from flashsched.errors import LoweringError
from flashsched.schedule.barrier import Barrier
from flashsched.schedule.facts import buffers_in
from flashsched.schedule.ir import Alloc, Buffer, For, If, Let, LoopKind, Seq, Stmt, seq, walk_stmt
from flashsched.te import dtypes
from flashsched.te.bounds import rejoined
from flashsched.te.expr import Binary, Const, Expr, Var, compare, logical_and
from flashsched.te.simplify import Linear, Ranges, linear, within_loop
from flashsched.te.visit import loop_vars, substitute, uses

__all__ = ["each_kernel", "place_barriers"]


def place_barriers(body: Stmt) -> Stmt:
    """Make every statement of a kernel one that all threads of a block come to, and have them wait where they must.

    Rewrite, for blocks of 8 threads::

        S = alloc(shared)                     S = alloc(shared)
        for t in range(8):  # threadIdx.x     for k in range(n):
            for k in range(n):                    barrier
                for u:  # threadIdx.x             for u:  # threadIdx.x
                    S[u] = A[k, u]      ->            S[u] = A[k, u]
                C[t] += S[7 - t]                  barrier
        D[0] = C[0]                               for t:  # threadIdx.x
                                                      C[t] += S[7 - t]
                                              barrier
                                              for t:  # threadIdx.x
                                                  if t == 0: D[0] = C[0]

    A cooperative loop is one that all threads do together, once; what stands outside of all threads is done by the
    first. A barrier stands before a unit that writes what another thread may have read or written since the last
    barrier, or reads what another may have written; within one turn of a loop over threads there is none, since its
    turns are independent. Each loop over threads then has as many turns as the block has threads along its axis.

    Raises:
        LoweringError: threads that must wait stand in a loop or a condition that differs between them, or blocks in
            something that other blocks would have to wait for.
    """
    return each_kernel(body, _settled)


def each_kernel(body: Stmt, change: Callable[[Stmt], Stmt]) -> Stmt:
    """*body* with each of its kernels changed: the largest statements without a loop around blocks in them.

    Loops around blocks are run by the host, and so is a sequence outside of all blocks.
    """
    has_blocks = any(isinstance(node, For) and node.kind.is_block for node in walk_stmt(body))
    match body:
        case For() if not body.kind.is_block and has_blocks:
            return replace(body, body=each_kernel(body.body, change))
        case Alloc() if (parted := _parted(body)) is not body:
            return each_kernel(parted, change)
        case Alloc() | Let() if has_blocks or _is_apart(body):
            return replace(body, body=each_kernel(body.body, change))
        case Seq():
            return seq([each_kernel(inner, change) for inner in body.stmts])
        case If() if has_blocks:
            otherwise = None if body.otherwise is None else each_kernel(body.otherwise, change)
            return If(body.condition, each_kernel(body.then, change), otherwise)
        case _:
            return change(body)


def _parted(alloc: Alloc) -> Stmt:
    """Memory of a block around what uses it only, so that what comes after may be kernels of their own.

    Statements side by side that use it are one kernel, if no blocks stand in them; memory that all see stays around.
    """
    held: list[Buffer] = []
    inner: Stmt = alloc
    while isinstance(inner, Alloc):
        held.append(inner.buffer)
        inner = inner.body
    own = [buffer for buffer in held if buffer.scope != "global"]
    if not isinstance(inner, Seq) or not own:
        return alloc
    used = [buffers_in(stmt) for stmt in inner.stmts]
    spans: dict[Buffer, tuple[int, int]] = {}
    for buffer in own:
        at = [number for number, names in enumerate(used) if buffer in names]
        if at:
            spans[buffer] = at[0], at[-1]
    parts: list[Stmt] = []
    number = 0
    while number < len(inner.stmts):
        end, mine = number, []
        while fresh := [b for b, (first, _) in spans.items() if number <= first <= end and b not in mine]:
            mine += fresh
            end = max([end, *(spans[b][1] for b in mine)])
        part = seq(inner.stmts[number : end + 1])
        for buffer in reversed(mine):
            part = Alloc(buffer, part)
        parts.append(part)
        number = end + 1
    if len(parts) == 1:
        return alloc
    whole: Stmt = Seq(tuple(parts))
    for buffer in reversed([buffer for buffer in held if buffer.scope == "global"]):
        whole = Alloc(buffer, whole)
    return whole


def _is_apart(stmt: Alloc | Let) -> bool:
    """Whether memory (or a size) outside of all blocks serves several kernels: what a block shares can't."""
    inner: Stmt = stmt
    while isinstance(inner, Alloc | Let):
        if isinstance(inner, Alloc) and inner.buffer.scope != "global":
            return False
        inner = inner.body
    return isinstance(inner, Seq)


def _settled(kernel: Stmt) -> Stmt:
    """One kernel, its loops over blocks included."""
    if isinstance(kernel, For) and kernel.kind.is_block:
        return replace(kernel, body=_settled(kernel.body))
    apart = next((node for node in walk_stmt(kernel) if isinstance(node, For) and node.kind.is_block), None)
    if apart is not None:
        raise LoweringError(
            f"the blocks of {apart.var.name!r} ({apart.kind.value}) do not stand directly inside the other blocks, and "
            "blocks do not wait for each other",
            hint="reorder the loops bound to blocks to the outside, and compute other stages inside all of them",
        )
    threads = threads_of(kernel)
    if not threads:
        return kernel
    items = cut(kernel)
    flow = _Flow()
    flow.through(items, [])
    return _Writer(threads).written(items, ())


@dataclass(frozen=True)
class _Pending:
    """An access since the last barrier, who made it, and the loops of which it was made in another turn than now.

    Of such a loop its index speaks by a name of its own, which *earlier* gives. *turns* are the loops over threads that
    it was made in, each with which time it was come to: what two turns of one of them do is independent. *around* are
    the ranges of the loops that all threads run.
    """

    key: tuple[object, ...]
    access: Access
    turns: frozenset[tuple[Var, int]]
    around: Ranges = field(hash=False, compare=False)
    earlier: tuple[tuple[Var, Var], ...] = ()

    @property
    def ranges(self) -> Ranges:
        """Of the variables in its indices."""
        known = {**self.around, **self.access.ranges}
        return {**known, **{before: known[var] for var, before in self.earlier if var in known}}


class _Flow:
    """Follows the units in the order in which they run, and marks those that must be waited before."""

    def __init__(self) -> None:
        self._instances = count()
        self._now: dict[Var, int] = {}
        self._around: Ranges = {}
        self._asked: bool | None = None  # while it is only asked whether some unit would have to wait

    def through(self, items: list[Item], pending: list[_Pending]) -> list[_Pending]:
        """What is pending after *items*, where *pending* was before."""
        for item in items:
            if isinstance(item, Unit):
                pending = self._unit(item, pending)
                continue
            match item.node:
                case For() if item.node.kind.is_thread:
                    self._now[item.node.var] = next(self._instances)
                    pending = self.through(item.items, pending)
                case For():
                    pending = self._loop(item, item.node, pending)
                case If():
                    other = self.through(item.others, list(pending))
                    pending = _joined(self.through(item.items, pending), other)
                case _:
                    pending = self.through(item.items, pending)
        return pending

    def _loop(self, item: Inner, loop: For, pending: list[_Pending]) -> list[_Pending]:
        """Through a loop that all threads run: what one turn leaves meets the next one."""
        if loop.turns == 0:  # nothing in it is run, no barrier either
            return pending
        outside = self._around
        self._around = within_loop(outside, loop.var, loop.extent)
        after = self._turns(item, loop, pending)
        self._around = outside
        return after

    def _turns(self, item: Inner, loop: For, pending: list[_Pending]) -> list[_Pending]:
        if loop.turns == 1:
            return self.through(item.items, pending)
        if self._asked is None:
            self.through(item.items, _earlier(self.through(item.items, []), loop.var))
            self._asked = False
            self.through(item.items, pending)
            if self._asked:  # once before the loop, rather than in each turn
                item.first, pending = True, []
            self._asked = None
        if item.first:
            pending = []
        after = self.through(item.items, _earlier(self.through(item.items, pending), loop.var))
        return _joined(_earlier(after, loop.var), pending if loop.turns is None else [])

    def _unit(self, unit: Unit, pending: list[_Pending]) -> list[_Pending]:
        own = sorted(unit.own, key=lambda loop: loop.kind.value)
        key: tuple[object, ...] = tuple((loop.kind, self._now[loop.var]) for loop in own)
        turns = frozenset((loop.var, self._now[loop.var]) for loop in own)
        mine = [_Pending(key, access, turns, self._around) for access in unit.accesses]
        if unit.together:  # each lane has its part of it: always the same of what is written, any of what is read
            written = {access.buffer for access in unit.accesses if access.write}
            lanes = {b: "lanes" if b in written else next(self._instances) for b in unit.buffers}
            mine = [replace(old, key=(*key, lanes[old.access.buffer])) for old in mine]
        if not unit.waits and any(_meet(old, new) for old in pending for new in mine):
            if self._asked is None:
                unit.waits = True
            self._asked = None if self._asked is None else True
        if unit.waits:
            pending = []
        return _joined(pending, mine)


def _meet(old: _Pending, new: _Pending) -> bool:
    """Whether two accesses of different threads may be to one element, one of them a store."""
    a, b = old.access, new.access
    if a.buffer is not b.buffer or not (a.write or b.write) or old.key == new.key:
        return False
    pairs = list(zip(a.indices, b.indices, strict=True))
    return not any(_differ(x, y, old, new) for x, y in chain(pairs, _put_together(pairs, (old.ranges, new.ranges))))


def _put_together(pairs: list[tuple[Expr, Expr]], ranges: tuple[Ranges, Ranges]) -> Iterator[tuple[Expr, Expr]]:
    """What is equal if all *pairs* are: numbers that were cut, ``x // 8`` and ``x % 8 * 4 + t``, whole again."""
    parts = list(pairs)
    while len(parts) > 1:
        wholes = ((high, low, _whole(high, low, ranges)) for high, low in permutations(parts, 2))
        high, low, whole = next((found for found in wholes if found[2]), (None, None, None))
        if whole is None:
            return
        yield whole
        parts = [*(part for part in parts if part is not high and part is not low), whole]


def _whole(high: tuple[Expr, Expr], low: tuple[Expr, Expr], ranges: tuple[Ranges, Ranges]) -> tuple[Expr, Expr] | None:
    """The number that *high* and *low* are quotient and rest of, for both of each pair; None if there is none."""
    ends = [linear(x, inside).bounds(inside) for x, inside in zip(low, ranges, strict=True)]
    last = max(end for _, end in ends)
    if min(begin for begin, _ in ends) < 0 or last == inf:
        return None
    by = {int(x.b.value) if isinstance(x, Binary) and x.op == "%" and isinstance(x.b, Const) else 0 for x in low}
    factor = by.pop() if len(by) == 1 and 0 not in by else int(last) + 1  # any does: what is equal stays so
    forms = [linear(x).times(factor) + linear(y) for x, y in zip(high, low, strict=True)]
    wholes = [rejoined(form, inside) for form, inside in zip(forms, ranges, strict=True)]
    if any(_rests(whole) >= _rests(form) for whole, form in zip(wholes, forms, strict=True)):
        return None
    return wholes[0].expr(), wholes[1].expr()


def _rests(form: Linear) -> int:
    return sum(isinstance(atom, Binary) and atom.op == "%" for atom, _ in form.terms.values())


def _differ(x: Expr, y: Expr, old: _Pending, new: _Pending) -> bool:
    """Whether *x* of *old* is certainly another number than *y* of *new*, whatever threads they are of."""
    same = {var for var, _ in old.turns & new.turns}
    other: dict[Var, Expr] = {var: Var(f"{var.name}.other") for var in old.access.ranges if var not in same}
    ranges = {**old.ranges, **new.ranges}
    ranges |= {name: old.access.ranges[var] for var, name in other.items() if isinstance(name, Var)}
    x = substitute(x, other)
    form = rejoined(linear(x, ranges), ranges) - rejoined(linear(y, ranges), ranges)
    for var, before in old.earlier:  # two turns of a loop are at least one apart
        factor = form.coefficient(var)
        if factor and form.coefficient(before) == -factor:
            low, high = form.plus(var, -factor).plus(before, factor).bounds(ranges)
            return -abs(factor) < low and high < abs(factor)
    low, high = form.bounds(ranges)
    if low > 0 or high < 0:
        return True
    match x, y:
        case Binary(op="%", b=Const() as m), Binary(op="%", b=Const() as n) if m.value == n.value > 0:
            apart = linear(x.a, ranges) - linear(y.a, ranges)
            return apart.is_constant() and apart.constant % int(m.value) != 0
        case _:
            return False


def _earlier(pending: list[_Pending], var: Var) -> list[_Pending]:
    """*pending* as a later turn of the loop of *var* sees it: there it is another number."""
    before = Var(f"{var.name}.earlier")

    def change(old: _Pending) -> _Pending:
        if not any(uses(index, var) for index in old.access.indices):
            return old
        indices = tuple(substitute(index, {var: before}) for index in old.access.indices)
        return replace(old, access=replace(old.access, indices=indices), earlier=(*old.earlier, (var, before)))

    return [change(old) for old in pending]


def _joined(some: list[_Pending], others: list[_Pending]) -> list[_Pending]:
    known = {(old.key, old.access) for old in some}
    fresh = [new for new in others if (new.key, new.access) not in known]
    return [*some, *fresh] if fresh else some


class _Writer:
    """Writes items as statements again, with barriers, and with all loops over threads around each unit."""

    def __init__(self, threads: dict[LoopKind, int]) -> None:
        self._threads = threads

    def written(self, items: list[Item], own: tuple[For, ...]) -> Stmt:
        stmts: list[Stmt] = []
        for item in items:
            waits, stmt = self._one(item, own)
            stmts += [Barrier(), stmt] if waits else [stmt]
        return seq(stmts)

    def _one(self, item: Item, own: tuple[For, ...]) -> tuple[bool, Stmt]:
        """*item* as a statement, and whether threads wait right before it."""
        if isinstance(item, Unit):
            return item.waits, self._unit(item)
        node = item.node
        if isinstance(node, For) and node.kind.is_thread:
            inside = (node,) if item.together else (*own, node)
            first, waits = item.items[0], False
            if len(item.items) == 1:
                waits, body = self._one(first, inside)
            else:
                body = self.written(item.items, inside)
            return waits, replace(node, extent=Const(self._threads.get(node.kind, 1), dtypes.INDEX), body=body)
        if item.waits():
            _require_alike(item, own)
        body = self.written(item.items, own)
        match node:
            case If():
                return False, If(node.condition, body, self.written(item.others, own) if item.others else None)
            case For() | Alloc() | Let():
                return item.first, replace(node, body=body)
            case _:
                raise AssertionError(f"{type(node).__name__} holds no unit")  # pragma: no cover - an internal fault

    def _unit(self, unit: Unit) -> Stmt:
        """*unit* where just those threads run it that are to."""
        tests: list[Expr] = []
        for loop in unit.own:
            if loop.turns != self._threads.get(loop.kind, 1):
                tests.append(compare("<", loop.var, loop.extent))
        stmt, missing = unit.stmt, []
        for kind, turns in self._threads.items():
            if all(loop.kind is not kind for loop in unit.own) and not (unit.together and kind is LoopKind.THREAD_X):
                first = For(Var(kind.value), Const(turns, dtypes.INDEX), stmt, kind)
                tests.append(compare("==", first.var, Const(0, dtypes.INDEX)))
                missing.append(first)
        stmt = If(logical_and(*tests), stmt) if tests else stmt
        for loop in missing:
            stmt = replace(loop, body=stmt)
        return stmt


def _require_alike(item: Inner, own: tuple[For, ...]) -> None:
    """Refuse a loop or a condition that holds a barrier, and that threads may come to different ends of."""
    node = item.node
    expr, what = (
        (node.extent, f"loop {node.var.name!r}")
        if isinstance(node, For)
        else (node.condition, f"the condition {node.condition}")
        if isinstance(node, If)
        else (None, "")
    )
    if expr is None:
        return
    apart = next((loop for loop in own if loop.var in loop_vars(expr)), None)
    if apart is not None:
        raise LoweringError(
            f"{what} differs between the turns of the {apart.kind.value} loop {apart.var.name!r}, and threads wait for "
            "each other inside, where all must come",
            hint="compute what the threads share at a loop outside of it",
        )
