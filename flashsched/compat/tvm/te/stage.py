"""``s[C]`` with TVM's primitives and arguments; each is a step of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from flashsched.compat.tvm.te.axes import BoundAxis, IterVar, Range, ReduceAxis, ThreadAxis
from flashsched.compat.tvm.te.tensor import adopt
from flashsched.errors import (
    DependenceError,
    FlashschedError,
    LimitError,
    MatchError,
    StructureError,
    UnknownNameError,
    did_you_mean,
    user_line,
)
from flashsched.schedule.default import loop_names
from flashsched.schedule.ir import For, walk_stmt
from flashsched.schedule.views import Loop, StageView
from flashsched.te.expr import Const, Var
from flashsched.te.tensor import Axis, Operation

if TYPE_CHECKING:
    from flashsched.compat.tvm.te.schedule import Schedule

__all__ = ["Attempt", "LoopVar", "Stage"]

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """A step that is taken as soon as it is not *refused*: TVM looked at the order of things when it lowered.

    One that is *needed* is refused for good when all is lowered; others are let go, and a warning says what was *lost*.
    """

    stage: str
    refused: tuple[type[FlashschedError], ...]
    step: Callable[[StageView], None]
    needed: bool = False
    lost: str = "a loop is not bound and stays a plain one"
    where: str = field(default_factory=lambda: user_line() or "")


class LoopVar(IterVar):
    """A loop that a primitive made."""

    def __init__(self, stage: Stage, loop: Loop) -> None:
        self._stage = stage
        self.loop = loop

    @property
    def name(self) -> str:
        """The loop's name."""
        return self.loop.name

    @property
    def var(self) -> Var:
        """Its variable, by its name."""
        return Var(self.loop.name, "int32")

    @property
    def dom(self) -> Range | None:
        """Its range, where the loop is still there."""
        known = self._stage.view._schedule.state.stages[self.loop.stage]
        if self.loop.name not in known.loops:
            return None
        node: For = self._stage.view._schedule.state.loop(self.loop.stage, self.loop.name)
        return BoundAxis(self.name, "int64", node.turns or 0).dom

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Axis | ReduceAxis):
            axis = other.axis if isinstance(other, ReduceAxis) else other
            own = (*self._stage.view.op.axis, *self._stage.view.op.reduce_axis)
            return any(axis is k and n == self.name for k, n in zip(own, loop_names(own), strict=True))
        return isinstance(other, LoopVar) and other.loop == self.loop

    def __hash__(self) -> int:
        return hash(self.loop)

    def __repr__(self) -> str:
        return f"iter_var({self.loop})"


class Stage:
    """One stage of a schedule; an input (*name* is None) has no loops to schedule."""

    def __init__(self, schedule: Schedule, name: str | None, op: Operation) -> None:
        self._schedule = schedule
        self._name = name
        self._input = op

    @property
    def view(self) -> StageView:
        """The stage of ours."""
        if self._name is None:
            raise UnknownNameError(
                f"{self._input.name} is an input: it has no loops",
                hint=f'schedule a copy of it: s.cache_read({self._input.name}, "global", [reader])',
            )
        return self._schedule.ours[self._name]

    @property
    def op(self) -> Any:
        """The operation, with ``axis`` and ``reduce_axis``."""
        op = self._input if self._name is None else self.view.op
        adopt(op)
        return op

    @property
    def origin_op(self) -> Any:
        """The operation that the stage began with."""
        return self._input

    @property
    def leaf_iter_vars(self) -> list[IterVar]:
        """Its loops as they stand, from the outside in."""
        state = self._schedule.ours.state
        known = state.stages[self.view.name]
        names = {var: name for name, var in known.loops.items()}
        return [self._loop(Loop(known.name, names[var])) for var in _in_order(state.body, set(names))]

    @property
    def all_iter_vars(self) -> list[IterVar]:
        """The axes that it began with, then its loops."""
        return [*self.op.axis, *self.op.reduce_axis, *self.leaf_iter_vars]

    @property
    def is_output(self) -> bool:
        """Whether the caller sees what it computes."""
        return any(tensor.op is self._input for tensor in self._schedule.ours.outputs)

    def _loop(self, loop: Loop) -> LoopVar:
        return LoopVar(self, loop)

    def handle(self, handle: Any) -> Any:
        """What our schedule takes for *handle*: a loop, an axis of the stage or a name."""
        if isinstance(handle, LoopVar):
            return handle.loop
        axis = handle.axis if isinstance(handle, ReduceAxis) else handle
        if isinstance(axis, Axis):
            own = (*self.view.op.axis, *self.view.op.reduce_axis)
            if not any(axis is known for known in own):
                # after cache_write and rfactor, an axis of the original means the one that took its place
                for known, name in zip(own, loop_names(own), strict=True):
                    if (known.name, known.extent, known.kind) == (axis.name, axis.extent, axis.kind):
                        return name
        return axis

    def _done(self) -> None:
        self._schedule.settle()

    def _anyhow(self, step: Callable[[StageView], T]) -> T:
        """*step*, also where it breaks what an intrinsic matched: that is looked at again when all is lowered."""
        try:
            return step(self.view)
        except MatchError:
            if not self._schedule.take_back_tensorize(self.view.name):
                raise
            return step(self.view)

    def _is(self, kind: str, loop: str) -> bool:
        """Whether *loop* is of this kind already: TVM took it as said twice."""
        return self._schedule.ours.state.loop(self.view.name, loop).kind.value == kind

    def split(
        self, parent: Any, factor: Any = None, nparts: Any = None, disable_predication: bool = False
    ) -> tuple[LoopVar, LoopVar]:
        """Cut a loop in two, the inner of *factor* turns or the outer of *nparts*; returns (outer, inner)."""
        args = {"factor": _number(factor), "nparts": _number(nparts)}
        loops = self._anyhow(lambda view: view.split(self.handle(parent), **args))
        self._done()
        outer, inner = map(self._loop, loops)
        return outer, inner

    def fuse(self, *args: Any) -> LoopVar:
        """Make one loop of adjacent ones, given from the outside in (as arguments or as one list)."""
        items = args[0] if len(args) == 1 and isinstance(args[0], tuple | list) else args
        if not items:
            return self._loop(self.view.add_unit_loop())
        if len(items) == 1:
            return self._loop(Loop(self.view.name, self.view._loop(self.handle(items[0]))))
        loop = self._loop(self._anyhow(lambda view: view.fuse(*map(self.handle, items))))
        self._done()
        return loop

    def tile(
        self, x_parent: Any, y_parent: Any, x_factor: Any, y_factor: Any
    ) -> tuple[LoopVar, LoopVar, LoopVar, LoopVar]:
        """Split two loops and order them x outer, y outer, x inner, y inner, which it returns."""
        loops = self.view.tile(self.handle(x_parent), self.handle(y_parent), _number(x_factor), _number(y_factor))
        self._done()
        a, b, c, d = map(self._loop, loops)
        return a, b, c, d

    def reorder(self, *args: Any) -> None:
        """Put these loops in this order."""
        items = args[0] if len(args) == 1 and isinstance(args[0], tuple | list) else args
        if len(items) > 1:
            self._anyhow(lambda view: view.reorder(*map(self.handle, items)))
        self._done()

    def vectorize(self, var: Any) -> None:
        """Run a loop as vector lanes; one that is not innermost yet becomes a vector later."""
        name = self.view._loop(self.handle(var))
        if self._is("vectorize", name) or self._schedule.waits(self.view.name, name):
            return
        try:
            self.view.vectorize(name)
        except (StructureError, LimitError):
            state = self._schedule.ours.state
            if state.loop(self.view.name, name).kind.value != "serial":
                raise
            self._schedule.later(self.view.name, name)

    def unroll(self, var: Any) -> None:
        """Write a loop's turns out."""
        name = self.view._loop(self.handle(var))
        if not self._is("unroll", name):
            self.view.unroll(name)
        self._done()

    def parallel(self, var: Any) -> None:
        """Share a loop's turns among the CPU's threads."""
        name = self.view._loop(self.handle(var))
        if not self._is("parallel", name):
            self.view.parallel(name)
        self._done()

    def bind(self, ivar: Any, thread_ivar: Any) -> None:
        """Give a loop's turns to the blocks or threads of a GPU.

        One that stands at a wrong place for that is bound as soon as it stands right; if it never does, it stays the
        plain loop that it is on a CPU. So does a virtual thread (``vthread``), which is a loop of one thread.
        """
        name = self.view._loop(self.handle(ivar))
        thread = thread_ivar.name if isinstance(thread_ivar, ThreadAxis) else thread_ivar
        if thread.startswith(("vthread", "cthread")):
            return
        self._schedule.attempt(Attempt(self.view.name, (StructureError,), lambda view: view.bind(name, thread)))
        self._done()

    def compute_at(self, parent: Stage, scope: Any) -> None:
        """Compute this stage at the loop *scope* of the stage *parent*.

        Where its readers do not all stand inside of that loop yet, it is done as soon as they do; what is refused when
        all is lowered tells this line.
        """
        reader, loop = parent.view.name, parent.view._loop(parent.handle(scope))

        def step(view: StageView) -> None:
            view.compute_at(view._schedule[reader], loop)

        self._schedule.attempt(Attempt(self.view.name, (DependenceError, StructureError), step, needed=True))
        self._done()

    def compute_inline(self) -> None:
        """Put this stage's expression into its readers."""
        self.view.compute_inline()
        self._done()

    def compute_root(self) -> None:
        """Compute all of this stage before its first reader."""
        self.view.compute_root()
        self._done()

    def set_scope(self, scope: str) -> None:
        """Keep what this stage writes in *scope*."""
        self.view.set_scope(scope)

    def prefetch(self, tensor: Any, var: Any, offset: Any) -> None:
        """In each turn of a loop, ask for what the turn *offset* ahead reads of *tensor*."""
        self.view.prefetch(tensor, self.handle(var), _number(offset))
        self._done()

    def storage_align(self, axis: Any, factor: Any, offset: Any = 0) -> None:
        """Leave gaps in what this stage writes, so that the stride of *axis* is *offset* modulo *factor*."""
        own = self.op.axis
        place = next((n for n, known in enumerate(own) if known is axis), axis)
        self.view.storage_align(place, _number(factor), _number(offset))

    def tensorize(self, var: Any, tensor_intrin: Any) -> None:
        """Let an intrinsic do what a loop, with all loops in it, does; see `decl_tensor_intrin`.

        A loop that is tensorized already takes the new intrinsic.
        """
        name = self.view._loop(self.handle(var))
        if self._is("tensorize", name):
            self._schedule.take_back_tensorize(self.view.name)
        self._schedule.tensorized(self.view.name, name)
        self.view.tensorize(name, getattr(tensor_intrin, "ours", tensor_intrin))
        self._done()

    def pragma(self, var: Any, pragma_type: str, pragma_value: Any = None) -> None:
        """Tell lowering something of a loop: ``auto_unroll_max_step``, ``unroll_explicit``, ``import_llvm``, …"""
        value = True if pragma_value is None else _number(pragma_value)
        if pragma_type in ("unroll_explicit", "parallel_launch_point", "parallel_barrier_when_finish"):
            value = bool(value)
        if pragma_type == "parallel_stride_pattern":
            return  # which thread takes which turn changes nothing that is computed; ours take stretches of turns
        self.view.pragma(self.handle(var), pragma_type, str(value) if isinstance(value, str) else value)
        self._done()

    def double_buffer(self) -> None:
        """Keep two copies of what this stage writes, so that one is filled while the other is read."""
        self.view.double_buffer()
        self._done()

    def set_store_predicate(self, predicate: Any) -> None:
        """Have one thread only store what this stage computes: ``tx.var.equal(0)``."""
        text = str(predicate)

        def step(view: StageView) -> None:
            view.set_store_predicate(text)

        self._schedule.attempt(Attempt(self.view.name, (StructureError,), step, needed=True))
        self._done()

    def env_threads(self, threads: Any) -> None:
        """Launch *threads* (axes with their extents) around this stage: its loops that are bound to them share them.

        That is done as soon as such loops are bound. If it can't be, the nest is not launched as a whole, which
        changes nothing that is computed.
        """
        items = list(threads) if isinstance(threads, list | tuple) else [threads]
        names = [axis.name for axis in items]
        extents = [int(axis.dom.extent) for axis in items if axis.dom is not None]

        def step(view: StageView) -> None:
            view.env_threads(names, extents)

        lost = "threads are not launched around the nest as a whole"
        self._schedule.attempt(Attempt(self.view.name, (DependenceError, StructureError), step, lost=lost))
        self._done()

    def __getattr__(self, name: str) -> NoReturn:
        near = did_you_mean(name, [known for known in dir(Stage) if not known.startswith("_")])
        raise AttributeError(
            f"a stage has no {name!r} here ({near}); see docs/coming-from-tvm.md for what takes its place"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and other._input is self._input and other._schedule is self._schedule

    def __hash__(self) -> int:
        return hash((id(self._schedule), id(self._input)))

    def __repr__(self) -> str:
        return f"stage({self._name or self._input.name})"


def _number(value: Any) -> Any:
    return value.value if isinstance(value, Const) else int(value) if isinstance(value, int) else value


def _in_order(body: Any, wanted: set[Var]) -> list[Var]:
    return [node.var for node in walk_stmt(body) if isinstance(node, For) and node.var in wanted]
