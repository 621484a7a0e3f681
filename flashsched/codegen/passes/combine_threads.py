"""combine_threads: what threads have of one element is combined, by shuffles or through shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flashsched.schedule.buffer import LANES
from flashsched.schedule.ir import (
    Alloc,
    Block,
    Buffer,
    For,
    If,
    Iter,
    Let,
    Load,
    LoopKind,
    Seq,
    Stmt,
    Store,
    blocks,
    rewrite_stmt,
    seq,
    sub_stmts,
    walk_stmt,
)
from flashsched.schedule.nest import substituted
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, compare
from flashsched.te.tensor import AxisKind, Reducer
from flashsched.te.visit import free_vars, rewrite, substitute, uses

__all__ = ["WARP", "combine_threads"]


WARP = 32
"""The threads side by side along threadIdx.x that can read each other's registers (CUDA C++ Programming Guide)."""


def combine_threads(body: Stmt, reducers: Mapping[str, Reducer], shuffles: bool = False) -> Stmt:
    """Give each thread of a loop that runs over a reduction (see `bind`) an element of its own, and combine those.

    Rewrite, for 8 threads::

        for t:  # threadIdx.x                   for t:  # threadIdx.x
            for k in range(n):                      P[t] = 0
                C(k * 8 + t):              ->       for k in range(n): P[t] = P[t] + A[k * 8 + t]
                    init C[0] = 0               for t: if t < 4: P[t] = P[t] + P[t + 4]
                    C[0] = C[0] + A[k]          for t: if t < 2: P[t] = P[t] + P[t + 2]
                                                for t: if t < 1: P[t] = P[t] + P[t + 1]
                                                C(0): init C[0] = 0
                                                      C[0] = C[0] + P[0]

    P lies in shared memory. Where threads are whole warps, each lane holds its part, and takes in that of a lane
    further round by a shuffle; of several warps, the first has all parts in the end, by way of shared memory::

        for t: P1[t] = P[t] + P[t // 32 * 32 + (t + 16) % 32]      likewise 8, 4, 2 and 1 lanes further
        for t: if t % 32 == 0: W[t // 32] = P5[t]                  for several warps
        for t: Q[t] = W[t] if t < number of warps else 0           and so on with Q, in each warp

    What results is an ordinary nest, in which no threads meet in an element any more.

    Args:
        body: a scheduled nest.
        reducers: how each stage that reduces combines, by its name.
        shuffles: whether the lanes of a warp can read each other's registers.
    """
    bound = [node for node in walk_stmt(body) if isinstance(node, For) and node.kind is LoopKind.THREAD_X]
    wide = max((loop.turns or 0 for loop in bound), default=0) if shuffles else 0

    def visit(stmt: Stmt, inside: bool = False) -> Stmt:
        if isinstance(stmt, For) and stmt.kind.is_thread:
            found = [block for block in blocks(stmt.body) if block.name in reducers and _combines(stmt, block)]
            if found:
                return _combined(stmt, found, reducers, 0 if inside else wide)
        match stmt:
            case For():
                return replace(stmt, body=visit(stmt.body, inside or stmt.kind is LoopKind.THREAD_X))
            case Alloc() | Let():
                return replace(stmt, body=visit(stmt.body, inside))
            case Seq():
                return seq([visit(inner, inside) for inner in stmt.stmts])
            case If():
                otherwise = None if stmt.otherwise is None else visit(stmt.otherwise, inside)
                return If(stmt.condition, visit(stmt.then, inside), otherwise)
            case _:
                pass
        return stmt

    return visit(body)


def _drives(loop: For, block: Block) -> bool:
    return any(item.kind is AxisKind.REDUCE and uses(item.value, loop.var) for item in block.iters)


def _combines(outermost: For, block: Block) -> bool:
    """Whether threads of *outermost*, or inside it, combine into what *block* stores; none do where there are none."""
    loops = [loop for loop in _loops_to(outermost, block) if loop.kind.is_thread and _drives(loop, block)]
    return outermost in loops and all(loop.turns for loop in loops)


def _combined(outermost: For, found: Sequence[Block], reducers: Mapping[str, Reducer], wide: int) -> Stmt:
    """The loop over threads *outermost* with all that combines across it or the threads inside, and what follows.

    *wide* is how many threads a block has along threadIdx.x, if they may shuffle.
    """
    result: Stmt = outermost
    after: list[Stmt] = []
    for block in found:
        parts = _Parts(outermost, block, reducers[block.name])
        if [(loop.kind, loop.turns) for loop in parts.threads] == [(LoopKind.THREAD_X, wide)] and wide % WARP == 0:
            parts = _WarpParts(outermost, block, reducers[block.name])
        assert isinstance(result, For)

        def change(stmt: Stmt, old: Block = block, parts: _Parts = parts) -> Stmt | None:
            return parts.own() if stmt is old else None

        result = replace(result, body=seq([parts.start(), rewrite_stmt(result.body, change)]))
        after += parts.tree()
    return seq([result, *after])


class _Parts:
    """What each thread has of one reduction: the statements that begin it, add to it, and combine all of it."""

    held = ""  # where each thread holds its part: in shared memory

    def __init__(self, outermost: For, block: Block, reducer: Reducer) -> None:
        self._block = block
        self._reducer = reducer
        self._loops = _loops_to(outermost, block)
        self.threads = [loop for loop in self._loops if loop.kind.is_thread and _drives(loop, block)]
        self._serial = [loop for loop in self._loops if loop not in self.threads and not _drives(loop, block)]
        shape = tuple(loop.turns or 1 for loop in self.threads)
        self._parts = {
            store.buffer: Buffer(
                f"{store.buffer.name}.part", (*shape, *store.buffer.shape), store.buffer.dtype, "shared", held=self.held
            )
            for store in block.stores
        }
        self._spatial = tuple(item for item in block.iters if item.kind is not AxisKind.REDUCE)
        self._axes = [Var(loop.var.name) for loop in self.threads]  # a block's own names of the threads

    def _iters(self, values: Sequence[Expr]) -> tuple[Iter, ...]:
        """The iteration variables that say which threads' parts are meant."""
        return tuple(
            Iter(axis, 0, loop.turns or 1, AxisKind.SPATIAL, value)
            for axis, loop, value in zip(self._axes, self.threads, values, strict=True)
        )

    def _part(self, buffer: Buffer, indices: tuple[Expr, ...], at: Sequence[Expr] | None = None) -> Load:
        return Load(self._parts[buffer], (*(self._axes if at is None else at), *indices))

    def start(self) -> Stmt:
        """Each thread's part set to the identity, inside the outermost loop."""
        inside = [loop for loop in self._loops[1:] if loop in self.threads or loop in self._serial]
        stores = tuple(
            Store(self._parts[old.buffer], (*self._axes, *old.indices), identity)
            for old, identity in zip(self._block.stores, self._reducer.identity, strict=True)
        )
        return self._nest(f"{self._block.name}.part.init", stores, inside, [loop.var for loop in self.threads])

    def own(self) -> Stmt:
        """The block itself, on a part of its own."""
        old = self._block
        mine = {loop.var for loop in self.threads}

        def own(expr: Expr) -> Expr:
            def change(node: Expr) -> Expr | None:
                if isinstance(node, Load) and node.buffer in self._parts:
                    return self._part(node.buffer, node.indices)
                return None

            return rewrite(expr, change)

        stores = tuple(Store(self._parts[s.buffer], (*self._axes, *s.indices), own(s.value)) for s in old.stores)
        iters = tuple(
            replace(item, kind=AxisKind.SPATIAL) if free_vars(item.value) & mine else item for item in old.iters
        )
        return replace(old, iters=(*self._iters([loop.var for loop in self.threads]), *iters), stores=stores, init=())

    def tree(self) -> list[Stmt]:
        """All threads' parts combined in the first one's, and that into the element."""
        stmts: list[Stmt] = []
        for number, loop in enumerate(self.threads):
            step = 1
            while step < (loop.turns or 1):
                step *= 2
            while step > 1:
                step //= 2
                stmts.append(self._step(number, step))
        return [*stmts, self._last(self._parts)]

    def _last(self, parts: Mapping[Buffer, Buffer]) -> Stmt:
        """The first thread's of *parts* combined into the element."""
        zeros = [Const(0, dtypes.INDEX) for _ in self.threads]
        reduced = []
        gone = {loop.var: Const(0, dtypes.INDEX) for loop in self._loops if _drives(loop, self._block)}
        for item in self._block.iters:
            if item.kind is AxisKind.REDUCE:
                reduced.append(replace(item, value=substitute(item.value, gone)))
        stores = tuple(
            Store(old.buffer, old.indices, value)
            for old, value in zip(
                self._block.stores,
                self._combine(
                    [Load(old.buffer, old.indices) for old in self._block.stores],
                    [Load(parts[old.buffer], (*zeros, *old.indices)) for old in self._block.stores],
                ),
                strict=True,
            )
        )
        return self._nest(self._block.name, stores, self._serial, None, tuple(reduced), self._block.init)

    def _step(self, number: int, step: int) -> Stmt:
        """The threads below *step* of one axis each take in the part that lies *step* further."""
        at: list[Expr] = list(self._axes)
        at[number] = self._axes[number] + step
        values = self._combine(
            [self._part(old.buffer, old.indices) for old in self._block.stores],
            [self._part(old.buffer, old.indices, at) for old in self._block.stores],
        )
        stores = tuple(
            Store(self._parts[old.buffer], (*self._axes, *old.indices), value)
            for old, value in zip(self._block.stores, values, strict=True)
        )
        loops = [loop for loop in self._loops if loop in self.threads or loop in self._serial]
        threads = [loop.var for loop in self.threads]
        there = self.threads[number]
        where = [compare("<", there.var, Const(min(step, (there.turns or 1) - step), dtypes.INDEX))]
        where += [compare("==", loop.var, Const(0, dtypes.INDEX)) for loop in self.threads[:number]]
        return self._nest(f"{self._block.name}.tree", stores, loops, threads, where=tuple(where))

    def _combine(self, one: Sequence[Expr], other: Sequence[Expr]) -> list[Expr]:
        reducer = self._reducer
        values: dict[Var, Expr] = dict(zip((*reducer.lhs, *reducer.rhs), (*one, *other), strict=True))
        return [substitute(result, values) for result in reducer.result]

    def _nest(
        self,
        name: str,
        stores: tuple[Store, ...],
        loops: Sequence[For],
        threads: Sequence[Expr] | None,
        reduced: tuple[Iter, ...] = (),
        init: tuple[Store, ...] = (),
        where: tuple[Expr, ...] = (),
        guarded: bool = True,
    ) -> Stmt:
        """A block of *stores* inside fresh copies of *loops*, for the points of the reduction's output."""
        mine = {loop.var for loop in self._loops} - {loop.var for loop in self._serial}
        conditions = tuple(w for w in self._block.where if guarded and not free_vars(w) & mine)
        iters = () if threads is None else self._iters(threads)
        stmt: Stmt = Block(name, (*iters, *self._spatial, *reduced), stores, init, (*where, *conditions))
        fresh: dict[Var, Expr] = {loop.var: Var(loop.var.name) for loop in loops}
        for loop in reversed(loops):
            var = fresh[loop.var]
            assert isinstance(var, Var)
            kind = loop.kind if loop.kind.is_thread or loop.kind is LoopKind.UNROLL else LoopKind.SERIAL
            stmt = For(var, loop.extent, stmt, kind)
        return substituted(stmt, fresh)


class _WarpParts(_Parts):
    """The same for threads that are whole warps: parts are held by lanes, and combined by shuffles.

    All lanes take part in a shuffle, so no condition of the block stands around one.
    """

    held = LANES

    def start(self) -> Stmt:
        """Each lane's part set to the identity."""
        inside = [loop for loop in self._loops[1:] if loop in self._serial]
        return self._everywhere(self._parts, self._reducer.identity, inside)

    def tree(self) -> list[Stmt]:
        """All lanes' parts combined in each lane, and if there are several warps, theirs in the first one."""
        (loop,) = self.threads
        warps = (loop.turns or WARP) // WARP
        stmts, parts = self._rounds(self._parts, WARP)
        if warps == 1:
            return [*stmts, self._last(parts)]
        shared = {
            old: replace(new, name=f"{old.name}.warps", shape=(warps, *new.shape[1:]), held="")
            for old, new in parts.items()
        }
        (t,) = self._axes
        first = tuple(
            Store(shared[old.buffer], (t // WARP, *old.indices), Load(parts[old.buffer], (t, *old.indices)))
            for old in self._block.stores
        )
        stmts.append(self._each(f"{self._block.name}.warps", first, (compare("==", loop.var % WARP, _index(0)),)))
        again = {old: replace(new, name=f"{old.name}.all") for old, new in parts.items()}
        stmts.append(self._everywhere(again, self._reducer.identity))
        taken = tuple(
            Store(again[old.buffer], (t, *old.indices), Load(shared[old.buffer], (t, *old.indices)))
            for old in self._block.stores
        )
        stmts.append(self._each(f"{self._block.name}.all", taken, (compare("<", loop.var, _index(warps)),)))
        more, parts = self._rounds(again, 1 << (warps - 1).bit_length())
        return [*stmts, *more, self._last(parts)]

    def _rounds(self, parts: Mapping[Buffer, Buffer], lanes: int) -> tuple[list[Stmt], Mapping[Buffer, Buffer]]:
        """Steps after which the first lane of a warp has what the first *lanes* had."""
        (t,) = self._axes
        stmts: list[Stmt] = []
        names = {old: part.name for old, part in parts.items()}
        while lanes > 1:
            lanes //= 2
            other = t // WARP * WARP + (t + lanes) % WARP
            values = self._combine(
                [Load(parts[old.buffer], (t, *old.indices)) for old in self._block.stores],
                [Load(parts[old.buffer], (other, *old.indices)) for old in self._block.stores],
            )
            further = {old: replace(part, name=f"{names[old]}{lanes}") for old, part in parts.items()}
            stores = tuple(
                Store(further[old.buffer], (t, *old.indices), value)
                for old, value in zip(self._block.stores, values, strict=True)
            )
            stmts.append(self._each(f"{self._block.name}.shuffle", stores, ()))
            parts = further
        return stmts, parts

    def _everywhere(
        self, parts: Mapping[Buffer, Buffer], values: Sequence[Expr], loops: Sequence[For] | None = None
    ) -> Stmt:
        stores = tuple(
            Store(parts[old.buffer], (*self._axes, *old.indices), value)
            for old, value in zip(self._block.stores, values, strict=True)
        )
        return self._each(f"{self._block.name}.part.init", stores, (), loops)

    def _each(
        self, name: str, stores: tuple[Store, ...], where: tuple[Expr, ...], loops: Sequence[For] | None = None
    ) -> Stmt:
        """*stores* in each lane, for each point of its serial loops."""
        if loops is None:
            loops = [loop for loop in self._loops if loop in self.threads or loop in self._serial]
        return self._nest(name, stores, loops, [loop.var for loop in self.threads], where=where, guarded=False)


def _loops_to(outermost: For, block: Block) -> list[For]:
    """The loops from *outermost* down to *block*."""

    def way(stmt: Stmt) -> list[For] | None:
        if stmt is block:
            return []
        for inner in sub_stmts(stmt):
            found = way(inner)
            if found is not None:
                return [stmt, *found] if isinstance(stmt, For) else found
        return None

    found = way(outermost)
    assert found is not None
    return found


def _index(value: int) -> Const:
    return Const(value, dtypes.INDEX)
