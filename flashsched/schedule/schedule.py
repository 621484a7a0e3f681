"""`Schedule` and `StageView`: the face of the schedule language, ``s[C].split(...)``.

It turns handles into names, calls the primitive, and keeps the trace; all that is true of the nest is in `State`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.errors import ScheduleError
from flashsched.schedule.default import default_state, loop_names, stage_names
from flashsched.schedule.ir import Stmt
from flashsched.schedule.layout import IndexMap
from flashsched.schedule.primitives import apply
from flashsched.schedule.printer import nest_text
from flashsched.schedule.python_text import to_python
from flashsched.schedule.state import State
from flashsched.schedule.trace import Step, Trace
from flashsched.te.tensor import Axis, ComputeOp, Operation, PlaceholderOp, Tensor

__all__ = ["Loop", "Schedule", "StageView", "create_schedule"]


@dataclass(frozen=True, slots=True)
class Loop:
    """A handle of one loop: its stage and its name. Two handles of one loop are equal."""

    stage: str
    name: str

    def __repr__(self) -> str:
        return f"{self.stage}.{self.name}"


class Schedule:
    """How a te graph is run: a loop nest, and the steps that made it.

    ``s[C]`` is the stage of tensor ``C``; ``print(s)`` shows the nest as it stands, ``s.trace`` how it came to be.
    ``s.copy()`` costs nothing, since nothing is ever changed in place.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = tuple(outputs)
        self._state = default_state(self._outputs)
        self._trace = Trace()

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that the program computes for its caller."""
        return self._outputs

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The placeholders that the program reads, in the order of the state's ``params``."""
        return tuple(op.output(0) for op, _ in stage_names(self._outputs) if isinstance(op, PlaceholderOp))

    @property
    def state(self) -> State:
        """The nest and its stages (immutable)."""
        return self._state

    @property
    def body(self) -> Stmt:
        """The loop nest (immutable)."""
        return self._state.body

    @property
    def trace(self) -> Trace:
        """The steps taken so far (immutable)."""
        return self._trace

    @property
    def stages(self) -> list[StageView]:
        """The stages that have a nest, in the order in which they are computed."""
        return [StageView(self, name) for name, stage in self._state.stages.items() if not stage.inlined]

    def __str__(self) -> str:
        return nest_text(self._state.body)

    def __repr__(self) -> str:
        return f"<Schedule of {', '.join(t.name for t in self._outputs)}, {len(self._trace)} steps>"

    def __getitem__(self, key: Tensor | Operation | str) -> StageView:
        return StageView(self, self._stage_name(key))

    def copy(self) -> Schedule:
        """Another schedule in this state; what is done to one does not show in the other."""
        twin = object.__new__(Schedule)
        twin.__dict__.update(self.__dict__)
        return twin

    def to_python(self) -> str:
        """The program that makes this schedule, as a person would have written it."""
        return to_python(self._outputs, self._trace)

    def replay(self, trace: Trace) -> Schedule:
        """Take all steps of *trace*, on top of those taken.

        Raises:
            ScheduleError: a step is refused, or gives other names than it gave when it was recorded.
        """
        for step in trace:
            out = self.apply(step.primitive, step.stage, dict(step.args))
            if out != step.out:
                raise ScheduleError(
                    f"the trace says that this step gave {list(step.out)}, and it gave {list(out)}", step=step.text()
                )
        return self

    def apply(self, primitive: str, stage: str, args: dict[str, Any]) -> tuple[str, ...]:
        """Take one step, its arguments given as a trace holds them; returns the names of what it made."""
        self._state, out = apply(self._state, primitive, stage, args)
        self._trace = self._trace.then(Step(primitive, stage, args, out))
        return out

    def cache_read(
        self, tensor: Tensor | str, scope: str, readers: Sequence[Tensor | Operation | str] | Tensor | None = None
    ) -> Tensor:
        """Let *readers* (all by default) read a copy of *tensor* in *scope*; returns the copy."""
        items = [readers] if isinstance(readers, Tensor | Operation | str) else readers
        names = None if items is None else [self._stage_name(reader) for reader in items]
        (name,) = self.apply(
            "cache_read", self._tensor_name(tensor), {"scope": scope, "readers": names} if names else {"scope": scope}
        )
        return self._state.stages[name].op.output(0)

    def cache_write(self, tensor: Tensor | str, scope: str) -> Any:
        """Let a stage in *scope* compute *tensor*, which becomes a copy of it; returns the new stage's tensor(s)."""
        (name,) = self.apply("cache_write", self._stage_name(tensor), {"scope": scope})
        made = self._state.stages[name].op.outputs
        return made[0] if len(made) == 1 else made

    def _tensor_name(self, tensor: Tensor | str) -> str:
        if isinstance(tensor, str):
            return tensor
        for known, buffer in zip(self.inputs, self._state.params, strict=True):
            if known is tensor:
                return buffer.name
        stage = self._state.stages[self._stage_name(tensor)]
        return stage.buffers[tensor.index].name

    def _stage_name(self, key: Tensor | Operation | str) -> str:
        if isinstance(key, str):
            self._state.stage(key)
            return key
        op = key.op if isinstance(key, Tensor) else key
        for name, stage in self._state.stages.items():
            if stage.op is op:
                return name
        what = getattr(op, "name", repr(key))
        if any(known.op is op for known in self.inputs):
            raise ScheduleError(
                f"{what} is an input: it is not computed here, so it has no loops",
                hint=f"schedule a copy of it: s.cache_read({what}, 'global')",
            )
        raise ScheduleError(f"{what} is no stage of this schedule", hint=f"its stages: {', '.join(self._state.stages)}")


class StageView:
    """One stage of a schedule: its loops, and the primitives that apply to them."""

    def __init__(self, schedule: Schedule, name: str) -> None:
        self._schedule = schedule
        self.name = name

    def __repr__(self) -> str:
        return f"<stage {self.name}: loops {', '.join(self._schedule.state.stages[self.name].loops)}>"

    @property
    def op(self) -> ComputeOp:
        """The operation, for ``op.axis`` and ``op.reduce_axis``."""
        return self._schedule.state.stages[self.name].op

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Handles of all its loops."""
        return tuple(Loop(self.name, name) for name in self._schedule.state.stage(self.name).loops)

    def _loop(self, handle: Loop | Axis | str) -> str:
        if isinstance(handle, str):
            return handle
        if isinstance(handle, Loop):
            if handle.stage != self.name:
                raise ScheduleError(
                    f"loop {handle!r} belongs to stage {handle.stage!r}, not to {self.name!r}",
                    hint=f"loops of {self.name}: {', '.join(self._schedule.state.stage(self.name).loops)}",
                )
            return handle.name
        if isinstance(handle, Axis):
            axes = (*self.op.axis, *self.op.reduce_axis)
            for axis, name in zip(axes, loop_names(axes), strict=True):
                if axis is handle:
                    return name
            raise ScheduleError(
                f"axis {handle.name!r} is not one of stage {self.name!r}",
                hint=f"take it from s[{self.name}].op: {', '.join(axis.name for axis in axes)}",
            )
        raise ScheduleError(f"{handle!r} is no loop", hint="use an axis of the stage or what a primitive returned")

    def _apply(self, primitive: str, **args: Any) -> tuple[Loop, ...]:
        kept = {key: value for key, value in args.items() if value is not None}
        return tuple(Loop(self.name, name) for name in self._schedule.apply(primitive, self.name, kept))

    def split(
        self,
        loop: Loop | Axis | str,
        factor: int | None = None,
        nparts: int | None = None,
        tail: str | None = None,
    ) -> tuple[Loop, Loop]:
        """Cut *loop* in two, the inner of *factor* turns or the outer of *nparts*; returns (outer, inner)."""
        outer, inner = self._apply("split", loop=self._loop(loop), factor=factor, nparts=nparts, tail=tail)
        return outer, inner

    def tile(
        self,
        x: Loop | Axis | str,
        y: Loop | Axis | str,
        x_factor: int,
        y_factor: int,
        tail: str | None = None,
    ) -> tuple[Loop, Loop, Loop, Loop]:
        """Split two loops and order them ``x.o, y.o, x.i, y.i``, which it returns."""
        loops = [self._loop(x), self._loop(y)]
        a, b, c, d = self._apply("tile", loops=loops, x_factor=x_factor, y_factor=y_factor, tail=tail)
        return a, b, c, d

    def fuse(self, *loops: Loop | Axis | str) -> Loop:
        """Make one loop of adjacent *loops*, named from the outside in; returns it."""
        return self._apply("fuse", loops=[self._loop(item) for item in loops])[0]

    def reorder(self, *loops: Loop | Axis | str) -> None:
        """Put *loops* in this order, in the places that they have together."""
        self._apply("reorder", loops=[self._loop(item) for item in loops])

    def unroll(self, loop: Loop | Axis | str) -> None:
        """Write the turns of *loop* out one after another."""
        self._apply("unroll", loop=self._loop(loop))

    def vectorize(self, loop: Loop | Axis | str) -> None:
        """Run the turns of *loop* as lanes of vector instructions."""
        self._apply("vectorize", loop=self._loop(loop))

    def parallel(self, loop: Loop | Axis | str) -> None:
        """Share the turns of *loop* among the CPU's threads."""
        self._apply("parallel", loop=self._loop(loop))

    def bind(self, loop: Loop | Axis | str, axis: str) -> None:
        """Give the turns of *loop* to the blocks or threads of a GPU, e.g. ``"threadIdx.x"``."""
        self._apply("bind", loop=self._loop(loop), axis=getattr(axis, "name", axis))

    def compute_at(self, consumer: StageView | Tensor | Operation | str, loop: Loop | Axis | str) -> None:
        """Compute this stage at *loop* of *consumer*, just the part that each turn needs."""
        view = consumer if isinstance(consumer, StageView) else self._schedule[consumer]
        self._apply("compute_at", at=[view.name, view._loop(loop)])

    def compute_root(self) -> None:
        """Compute all of this stage before its first reader."""
        self._apply("compute_root")

    def compute_inline(self) -> None:
        """Put this stage's expression into its readers."""
        self._apply("compute_inline")

    def set_scope(self, scope: str) -> None:
        """Keep what this stage writes in *scope*: ``"global"``, ``"shared"`` or ``"local"``."""
        self._apply("set_scope", scope=scope)

    def transform_layout(self, layout: Callable[..., Any] | str) -> None:
        """Store what this stage writes in another order, e.g. ``lambda k, j: (j // 32, k, j % 32)``."""
        known = self._schedule.state.stage(self.name)
        text = layout if isinstance(layout, str) else str(IndexMap.of(layout, len(known.buffers[0].shape)))
        self._apply("transform_layout", layout=text)


def create_schedule(outputs: Tensor | Operation | Sequence[Tensor | Operation]) -> Schedule:
    """The schedule of *outputs* (a tensor, its operation, or several) in its default nest.

    Raises:
        ScheduleError: an output is a placeholder or is named twice, or nothing was given.
    """
    items = list(outputs) if isinstance(outputs, Sequence) else [outputs]
    tensors: list[Tensor] = []
    for item in items:
        tensors.extend(item.outputs if isinstance(item, Operation) else [item])
    if not tensors or not all(isinstance(item, Tensor) for item in tensors):
        raise ScheduleError("create_schedule needs the tensors to compute", hint="te.create_schedule(C)")
    for position, tensor in enumerate(tensors):
        if any(tensor is other for other in tensors[:position]):
            raise ScheduleError(f"output {tensor.name} is named twice", hint="name each output once")
    return Schedule(tensors)
