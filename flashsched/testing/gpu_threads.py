"""A lowered GPU program run as a GPU runs it, in Python: each thread by itself from barrier to barrier, in any order.

The third oracle of nests for GPUs. The interpreter says what a nest means, turn by turn; here it is seen whether the
threads of a block, each running ahead as far as it may, compute that. Two threads that touch an element between two
barriers, one of them writing, are a race; a barrier that some threads come to and others don't is an error, and so is
memory that is read before it was written. A copy that a thread begins and does not wait for comes as late as it may.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any, TypeAlias

import numpy as np

from flashsched.codegen.gpu.copies import with_late_copies
from flashsched.codegen.gpu.places import Place, places_of
from flashsched.codegen.gpu.plan import Launch, Plan, host_value
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.passes.combine_threads import WARP
from flashsched.codegen.passes.hold_in_lanes import asked_lane, lane_of
from flashsched.codegen.passes.thread_units import is_together
from flashsched.errors import LoweringError
from flashsched.schedule.barrier import Barrier, Begun, LateStore
from flashsched.schedule.buffer import LANES
from flashsched.schedule.ir import (
    Alloc,
    Buffer,
    For,
    If,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Seq,
    Stmt,
    Store,
    own_exprs,
    walk_stmt,
)
from flashsched.te import dtypes
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.evaluate import Array, evaluate
from flashsched.te.expr import Compare, Const, Expr, Var
from flashsched.te.sizes import infer_sizes, size_value, sizes_in
from flashsched.te.visit import walk

__all__ = ["ThreadError", "run_on_threads"]

_Env: TypeAlias = dict[Var, int]
_ARCH = GpuArch("sm_80")  # which has copies that a thread begins and does not wait for
_THREADS = (LoopKind.THREAD_X, LoopKind.THREAD_Y, LoopKind.THREAD_Z)
_BLOCKS = (LoopKind.BLOCK_X, LoopKind.BLOCK_Y, LoopKind.BLOCK_Z)


class ThreadError(AssertionError):
    """What the threads of a block must not do: race, part at a barrier, read what nobody wrote, leave an array."""


@dataclass
class _Memory:
    """An array, what was written of it, and who touched an element since the last barrier."""

    name: str
    values: Array
    written: np.ndarray
    alone: bool
    writers: dict[int, int] = field(default_factory=dict)
    readers: dict[int, set[int]] = field(default_factory=dict)

    @staticmethod
    def of(buffer: Buffer, shape: Sequence[int], alone: bool) -> _Memory:
        values = np.zeros(shape, numpy_dtype(buffer.dtype))
        return _Memory(buffer.name, values, np.zeros(shape, bool), alone)

    def place(self, at: tuple[int, ...], thread: int, write: bool) -> tuple[int, ...]:
        if any(not 0 <= i < size for i, size in zip(at, self.values.shape, strict=True)):
            raise ThreadError(f"{self.name}{list(at)} is outside of {list(self.values.shape)}")
        if not write and not self.written[at]:
            raise ThreadError(f"{self.name}{list(at)} is read by thread {thread}, and was never written")
        if not self.alone:
            self._watch(at, thread, write)
        return at

    def put(self, at: tuple[int, ...], value: Any) -> None:
        """Set the element *at*."""
        self.values[at] = value
        self.written[at] = True

    def _watch(self, at: tuple[int, ...], thread: int, write: bool) -> None:
        key = int(np.ravel_multi_index(at, self.values.shape)) if at else 0
        writer = self.writers.get(key, thread)
        others = self.readers.get(key, set()) - {thread}
        if writer != thread or (write and others):
            raise ThreadError(
                f"{self.name}{list(at)}: thread {thread} {'writes' if write else 'reads'} what "
                f"{'another wrote' if writer != thread else 'others read'} since the last barrier"
            )
        if write:
            self.writers[key] = thread
        else:
            self.readers.setdefault(key, set()).add(thread)

    def forget(self) -> None:
        self.writers.clear()
        self.readers.clear()


def run_on_threads(plan: Plan, inputs: Sequence[Array], seed: int = 0) -> list[Array]:
    """The outputs that the kernels of *plan* compute of *inputs*, threads taken in an order that *seed* decides.

    Raises:
        ThreadError: the threads of a block race, part at a barrier, or touch what is not there.
    """
    program = plan.program
    given = [(b.name, b.shape, np.shape(a)) for b, a in zip(program.params, inputs, strict=True)]
    wanted = sizes_in([size for b in (*program.params, *program.outputs) for size in b.shape])
    sizes = infer_sizes(given, wanted) if wanted else {}
    memory: dict[Buffer, _Memory] = {}
    for buffer, array in zip(program.params, inputs, strict=True):
        memory[buffer] = _Memory.of(buffer, np.shape(array), False)
        memory[buffer].values[...] = array
        memory[buffer].written[...] = True
    for buffer in program.outputs:
        memory[buffer] = _Memory.of(buffer, tuple(size_value(size, sizes) for size in buffer.shape), False)
    _Host(memory, random.Random(seed)).run(plan.body, dict[Var, int](sizes.items()))
    for buffer in program.outputs:
        if not memory[buffer].written.all():
            raise ThreadError(f"{buffer.name} is not written everywhere")
    return [memory[buffer].values for buffer in program.outputs]


class _Host:
    """Runs what stands outside of kernels, and each kernel block by block."""

    def __init__(self, memory: dict[Buffer, _Memory], rng: random.Random) -> None:
        self._memory = memory
        self._rng = rng

    def run(self, stmt: Stmt, env: _Env) -> None:
        match stmt:
            case Launch():
                self._launch(stmt, env)
            case Seq():
                for inner in stmt.stmts:
                    self.run(inner, env)
            case For():
                for turn in range(host_value(stmt.extent, env)):
                    self.run(stmt.body, {**env, stmt.var: turn})
            case If():
                chosen = stmt.then if host_value(stmt.condition, env) else stmt.otherwise
                if chosen is not None:
                    self.run(chosen, env)
            case Let():
                self.run(stmt.body, {**env, stmt.var: host_value(stmt.value, env)})
            case Alloc():
                shape = tuple(s if isinstance(s, int) else host_value(s, env) for s in stmt.buffer.shape)
                self._memory[stmt.buffer] = _Memory.of(stmt.buffer, shape, False)
                self.run(stmt.body, env)
            case _:
                raise AssertionError(f"the host runs no {type(stmt).__name__}")

    def _launch(self, launch: Launch, env: _Env) -> None:
        launch = with_late_copies(launch, _ARCH)
        places = places_of(launch.body, launch.threads).of
        for block in product(*[range(host_value(extent, env)) for extent in reversed(launch.grid)]):
            at = dict(zip(reversed(_BLOCKS), block, strict=True))
            _Block(launch, places, self._memory, at, self._rng).run(env)
            for memory in self._memory.values():
                memory.forget()


class _Block:
    """One block: its threads, run in turns from barrier to barrier."""

    def __init__(
        self,
        launch: Launch,
        places: Mapping[int, Place],
        memory: Mapping[Buffer, _Memory],
        at: Mapping[LoopKind, int],
        rng: random.Random,
    ) -> None:
        self.launch, self.places, self.at = launch, places, at
        self.given = dict(memory)
        self.shared: dict[tuple[int, ...], _Memory] = {}
        self._rng = rng

    def run(self, env: _Env) -> None:
        places = list(product(*[range(n) for n in reversed(self.launch.block)]))
        threads = [
            _Thread(self, number, dict(zip(reversed(_THREADS), at, strict=True))).run(self.launch.body, dict(env))
            for number, at in enumerate(places)
        ]
        warps = [[number] for number in range(len(threads))]
        if any(is_together(node) or _asks(node) for node in walk_stmt(self.launch.body)):
            warps = [list(group) for _, group in groupby(range(len(threads)), lambda number: number // WARP)]
        while warps:
            self._rng.shuffle(warps)
            came = [stop for warp in warps for stop in self._to_barrier(warp, threads)]
            if len({id(barrier) for barrier in came}) > 1:
                raise ThreadError(f"the threads of a block of {self.launch.name} come to different barriers")
            if came[0] is None:
                return
            for memory in (*self.given.values(), *self.shared.values()):
                memory.forget()

    def _to_barrier(self, warp: list[int], threads: Sequence[Iterator[Stmt]]) -> list[Stmt | None]:
        """Where the lanes of *warp* come to, having done together what they do so: the first lane does it for all."""
        while True:
            came = [next(threads[lane], None) for lane in warp]
            if isinstance(came[0], Barrier | None):
                return came
            if len({id(stop) for stop in came}) > 1:
                raise ThreadError(f"the lanes of a warp of {self.launch.name} do not come to an intrinsic together")


def _asks(stmt: Stmt) -> bool:
    """Whether *stmt* reads what another lane holds."""
    exprs = own_exprs(stmt) if isinstance(stmt, Store) else ()
    return any(isinstance(node, Load) and asked_lane(node) is not None for expr in exprs for node in walk(expr))


class _Thread:
    """One thread of a block."""

    def __init__(self, block: _Block, number: int, at: Mapping[LoopKind, int]) -> None:
        self._block = block
        self._at = {**at, **block.at}
        self._number = number
        self._memory = dict(block.given)
        self._whole_warp = False  # while it does what all lanes do together
        self._begun: list[list[tuple[_Memory, tuple[int, ...], Any]]] = [[]]

    def run(self, stmt: Stmt, env: _Env) -> Iterator[Stmt]:
        """What the thread does, as far as the next barrier, or what its warp does together, each time."""
        match stmt:
            case Barrier():
                self._end(stmt.under_way)
                yield stmt
            case Begun():
                self._begun.append([])
            case Seq():
                for inner in stmt.stmts:
                    yield from self.run(inner, env)
            case For() if is_together(stmt):
                yield stmt
                if self._at[LoopKind.THREAD_X] == 0:  # one lane does it for all
                    self._whole_warp = True
                    yield from self._turns(stmt, env)
                    self._whole_warp = False
            case For() if stmt.kind.is_thread or stmt.kind.is_block:
                turn = self._at[stmt.kind]
                if turn < host_value(stmt.extent, env):
                    yield from self.run(stmt.body, {**env, stmt.var: turn})
            case For():
                yield from self._turns(stmt, env)
            case If():
                chosen = stmt.then if self._value(stmt.condition, env) else stmt.otherwise
                if chosen is not None:
                    yield from self.run(chosen, env)
            case Let():
                yield from self.run(stmt.body, {**env, stmt.var: self._value(stmt.value, env)})
            case Alloc():
                self._memory[stmt.buffer] = self._made(stmt)
                yield from self.run(stmt.body, env)
            case Store():
                if _asks(stmt):  # all lanes at once
                    yield stmt
                at = tuple(int(self._value(index, env)) for index in stmt.indices)
                value = self._value(stmt.value, env)
                memory = self._memory[stmt.buffer]
                memory.place(at, self._number, True)
                if isinstance(stmt, LateStore):  # it comes as late as it may
                    self._begun[-1].append((memory, at, value))
                else:
                    memory.put(at, value)
            case Prefetch():
                pass
            case _:
                raise AssertionError(f"a thread runs no {type(stmt).__name__}")

    def _end(self, under_way: int) -> None:
        """End the copies that were begun, all or all but those of the newest groups, and of what is no group yet."""
        ended = self._begun[: -1 - under_way] if under_way else self._begun
        for group in ended:
            for memory, at, value in group:
                memory.put(at, value)
        self._begun = self._begun[len(ended) :] or [[]]

    def _turns(self, loop: For, env: _Env) -> Iterator[Stmt]:
        for turn in range(host_value(loop.extent, env)):
            yield from self.run(loop.body, {**env, loop.var: turn})

    def _made(self, alloc: Alloc) -> _Memory:
        place = self._block.places[id(alloc)]
        shape = tuple(int(extent) for extent in alloc.buffer.shape if isinstance(extent, int))
        if alloc.buffer.held:
            copies = [self._at[kind] for kind in _THREADS if kind is not LoopKind.THREAD_X]
            return self._block.shared.setdefault((id(alloc), *copies), _Memory.of(alloc.buffer, shape, True))
        if place.scope == "own":
            return _Memory.of(alloc.buffer, shape, True)
        key = (id(alloc), *(self._at[loop.kind] for loop in place.copies))
        if key not in self._block.shared:
            self._block.shared[key] = _Memory.of(alloc.buffer, shape, False)
        return self._block.shared[key]

    def _value(self, expr: Expr, env: _Env) -> Any:
        if expr.dtype == dtypes.INDEX or (isinstance(expr, Compare) and expr.a.dtype == dtypes.INDEX):
            with contextlib.suppress(LoweringError):
                return host_value(expr, env)
        return evaluate(expr, env, self._load)[()]  # type: ignore[arg-type]

    def _load(self, node: Expr, indices: list[Array], mask: Array | None) -> Array:
        assert isinstance(node, Load)
        memory = self._memory[node.buffer]
        if mask is not None and not mask:
            return np.zeros((), numpy_dtype(node.dtype))
        if node.buffer.held not in ("", LANES) and not self._whole_warp:
            lane = lane_of(node.buffer, [Const(int(i), dtypes.INDEX) for i in indices], {})
            if int(host_value(lane, {})) != self._at[LoopKind.THREAD_X]:
                raise ThreadError(f"{memory.name} is read by thread {self._number} where lane {lane} holds it")
        return np.asarray(memory.values[memory.place(tuple(int(i) for i in indices), self._number, False)])
