"""`Schedule`: the face of the schedule language; what ``s[C]`` offers is in `flashsched.schedule.views`.

It turns handles into names, calls the primitive, and keeps the trace; all that is true of the nest is in `State`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from flashsched.errors import ArgumentError, OutputError, ScheduleError, UnknownNameError, counted
from flashsched.schedule.conditions import names_in
from flashsched.schedule.default import default_state, stage_names
from flashsched.schedule.group import Group, between
from flashsched.schedule.handles import encode
from flashsched.schedule.ir import Stmt
from flashsched.schedule.own import OwnPrimitive
from flashsched.schedule.primitives import apply
from flashsched.schedule.printer import nest_text
from flashsched.schedule.python_text import to_python
from flashsched.schedule.remembered import RememberedSteps
from flashsched.schedule.replay import take_steps
from flashsched.schedule.state import State
from flashsched.schedule.stores import with_stores
from flashsched.schedule.trace import Step, Trace
from flashsched.schedule.views import Loop, LoopLike, StageView
from flashsched.te.binding import bound_graph, check_sizes
from flashsched.te.expr import SizeVar
from flashsched.te.scalars import scalar_tensor
from flashsched.te.tensor import Operation, PlaceholderOp, Tensor

__all__ = ["Loop", "Schedule", "StageView", "create_schedule"]

P = ParamSpec("P")
T = TypeVar("T")


class Schedule:
    """How a te graph is run: a loop nest, and the steps that made it.

    ``s[C]`` is the stage of tensor ``C``; ``print(s)`` shows the nest as it stands, ``s.trace`` how it came to be.
    ``s.copy()`` costs nothing, since nothing is ever changed in place.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = tuple(outputs)
        self._state = default_state(self._outputs)
        self._trace = Trace()
        self._remembered: RememberedSteps | None = None

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
        return nest_text(with_stores(self._state))

    def __repr__(self) -> str:
        return f"<Schedule of {', '.join(t.name for t in self._outputs)}, {counted(len(self._trace), 'step')}>"

    def __getitem__(self, key: Tensor | Operation | str) -> StageView:
        return StageView(self, self._stage_name(key))

    def tensors(self, stage: str) -> Any:
        """The tensor that *stage* computes, or all of them where it computes several."""
        made = self._state.stages[stage].op.outputs
        return made[0] if len(made) == 1 else made

    def copy(self) -> Schedule:
        """Another schedule in this state; what is done to one does not show in the other."""
        twin = object.__new__(Schedule)
        twin.__dict__.update(self.__dict__)
        return twin

    def remembering(self) -> Schedule:
        """A copy that remembers, with all copies of it, what each step made of a nest, and takes none of them twice."""
        twin = self.copy()
        twin._remembered = RememberedSteps()
        return twin

    def bind_sizes(self, sizes: Mapping[SizeVar, int]) -> Schedule:
        """The schedule of the program in which *sizes* are numbers, after the same steps.

        >>> from flashsched import te
        >>> n = te.var("n")
        >>> A = te.placeholder((n,), name="A")
        >>> C = te.compute((n,), lambda i: A[i] + 1, name="C")
        >>> s = te.create_schedule(C)
        >>> s[C].split("i", factor=4)
        (C.i.o, C.i.i)
        >>> print(s.bind_sizes({n: 8}))
        for i.o in range(2):
          for i.i in range(4):
            C(i=i.o * 4 + i.i):
              C[i] = A[i] + 1.0

        What was specialized for sizes that are numbers now is left out. Its tensors are new: take them from its
        ``inputs`` and ``outputs``.

        Raises:
            ShapeError: a key is no size, or a number is none; a dimension would be below 0.
            ScheduleError: a step is refused for these sizes.
        """
        made = bound_graph(self._outputs, check_sizes(sizes))
        bound = {size.name for size in sizes}
        steps = [s for s in self._trace if s.primitive != "specialize" or not bound & {*names_in(s.args["condition"])}]
        return Schedule([made[id(tensor)] for tensor in self._outputs]).replay(Trace(tuple(steps)))

    def to_python(self) -> str:
        """The program that makes this schedule, as a person would have written it."""
        return to_python(self._outputs, self._trace)

    def replay(self, trace: Trace, *, strict: bool = True) -> Schedule:
        """Take all steps of *trace*, on top of those taken; a schedule that refuses one stays as it is.

        Args:
            trace: the steps.
            strict: refuse a step that does not fit here; otherwise it is left out, and a warning tells so.

        Raises:
            TraceError: a step is refused, or gives other names than it gave when it was recorded.
        """
        twin = self.copy()
        take_steps(twin, trace, strict=strict)
        self._state, self._trace = twin._state, twin._trace
        return self

    def do(self, function: OwnPrimitive[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function*, a primitive of one's own (see `primitive`), on this schedule: one step, all or nothing.

        Raises:
            ScheduleError: a step in it is refused; the message names both.
        """
        if not isinstance(function, OwnPrimitive):
            raise ArgumentError(
                f"{getattr(function, '__name__', function)} is no primitive",
                hint="decorate the function with @fs.primitive",
            )
        arguments = function.arguments(self, args, kwargs)
        found: T = self.record(function.name, arguments, lambda: function.run(self, arguments))
        return found

    def record(self, name: str, arguments: Mapping[str, Any], take: Callable[[], Any]) -> Any:
        """Count the steps that *take* takes as the one step *name*, all of them or none; returns what it returns."""
        before = self._state, self._trace
        self._trace = Trace()
        try:
            returned = take()
            step = Step(name, "", dict(arguments), (), self._trace.steps, encode(self, returned))
        except BaseException as error:
            self._state, self._trace = before
            if isinstance(error, ScheduleError):
                call = Step(name, "", arguments, (), ()).text()
                error.step = call if error.step is None else f"{call}: {error.step}"
            raise
        self._trace = before[1].then(step)
        return returned

    def apply(self, primitive: str, stage: str, args: dict[str, Any]) -> tuple[str, ...]:
        """Take one step, its arguments given as a trace holds them; returns the names of what it made."""
        take = apply if self._remembered is None else self._remembered.apply
        self._state, out = take(self._state, primitive, stage, args)
        self._trace = self._trace.then(Step(primitive, stage, args, out))
        return out

    def cache_read(
        self,
        tensor: Tensor | str,
        scope: str,
        readers: Sequence[Tensor | Operation | str] | Tensor | None = None,
        dtype: str | None = None,
    ) -> Tensor:
        """Let *readers* (all by default) read a copy of *tensor* in *scope*, converted to *dtype*; returns the copy."""
        items = [readers] if isinstance(readers, Tensor | Operation | str) else readers
        names = None if items is None else [self._stage_name(reader) for reader in items]
        args = {"scope": scope, **({"readers": names} if names else {}), **({"dtype": dtype} if dtype else {})}
        (name,) = self.apply("cache_read", self._tensor_name(tensor), args)
        return self._state.stages[name].op.output(0)

    def cache_write(self, tensor: Tensor | str, scope: str) -> Any:
        """Let a stage in *scope* compute *tensor*, which becomes a copy of it; returns the new stage's tensor(s)."""
        (name,) = self.apply("cache_write", self._stage_name(tensor), {"scope": scope})
        return self.tensors(name)

    def rfactor(self, tensor: Tensor | str, loop: LoopLike, factor_axis: int = 0) -> Any:
        """Combine each turn of the reduction's *loop* in a stage of its own; returns the new stage's tensor(s)."""
        view = self[tensor]
        args = {"loop": view._loop(loop), "factor_axis": factor_axis}
        return self.tensors(self.apply("rfactor", view.name, args if factor_axis else {"loop": args["loop"]})[0])

    def stage_mem(
        self, tensor: Tensor | str, loop: LoopLike, inside: LoopLike | None = None, scope: str = "local"
    ) -> Any:
        """Sum up each turn of the reduction's *loop* in a small buffer *inside*; returns the new stage's tensor(s)."""
        view = self[tensor]
        args = {"loop": view._loop(loop)} | ({} if inside is None else {"inside": view._loop(inside)})
        args |= {} if scope == "local" else {"scope": scope}
        return self.tensors(self.apply("stage_mem", view.name, args)[0])

    def reindex(self, reader: Tensor | str, tensor: Tensor | str) -> Tensor:
        """Let *reader* read a copy of *tensor* that has a dimension for each axis of its own; returns the copy."""
        (name,) = self.apply("reindex", self._stage_name(reader), {"tensor": self._tensor_name(tensor)})
        return self._state.stages[name].op.output(0)

    def flatten_axes(self, tensor: Tensor | str, groups: Sequence[Sequence[LoopLike]]) -> Any:
        """Let a stage over an axis for each of *groups* of axes compute *tensor*; returns the new stage's tensor(s)."""
        view = self[tensor]
        names = [[view._loop(axis) for axis in group] for group in groups]
        return self.tensors(self.apply("flatten_axes", view.name, {"groups": names})[0])

    def pad_einsum(self, tensor: Tensor | str, padding: Sequence[int]) -> Any:
        """Compute a product of tensors over multiples of *padding*; returns it and the copies of factors, if any."""
        names = self.apply("pad_einsum", self._stage_name(tensor), {"padding": list(padding)})
        made = tuple(self._state.stages[name].op.output(0) for name in names)
        return made[0] if len(made) == 1 else made

    def create_group(
        self, outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], include_inputs: bool = False
    ) -> Group:
        """The stages that compute *outputs* from *inputs*, as a group that moves together.

        >>> from flashsched import te
        >>> A = te.placeholder((8,), name="A")
        >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
        >>> Q = te.compute((8,), lambda i: P[i] * 2, name="Q")
        >>> C = te.compute((8,), lambda i: Q[i] - 3, name="C")
        >>> s = te.create_schedule(C)
        >>> g = s.create_group(outputs=Q, inputs=A)
        >>> g
        <group of P, Q>
        >>> g.compute_at(s[C], s[C].split("i", factor=4)[0])
        >>> [step.text() for step in s.trace][1:]
        ["compute_at('C', 'i.o')", "compute_at('C', 'i.o')"]

        Raises:
            ArgumentError: an input does not lie on the way to the outputs.
        """
        ends = [self._stage_name(t) for t in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        begins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        known = [
            next((b.name for k, b in zip(self.inputs, self._state.params, strict=True) if k is t), "") for t in begins
        ]
        names = [name or self._stage_name(t) for name, t in zip(known, begins, strict=True)]
        return Group(self, between(self._state, ends, names, include_inputs))

    def _tensor_name(self, tensor: Tensor | str) -> str:
        """What a trace of this schedule calls *tensor*: one that a stage makes, or an input."""
        if isinstance(tensor, str):
            return tensor
        tensor = cast(Tensor, scalar_tensor(tensor))
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
            raise OutputError(
                f"{what} is an input: it is not computed here, so it has no loops",
                hint=f"schedule a copy of it: s.cache_read({what}, 'global')",
            )
        raise UnknownNameError(
            f"{what} is no stage of this schedule", hint=f"its stages: {', '.join(self._state.stages)}"
        )


def create_schedule(outputs: Tensor | Operation | Sequence[Tensor | Operation]) -> Schedule:
    """The schedule of *outputs* (a tensor, its operation, or several) in its default nest.

    Raises:
        ScheduleError: an output is a placeholder or is named twice, or nothing was given.
    """
    items = list(outputs) if isinstance(outputs, Sequence) else [outputs]
    tensors: list[Tensor] = []
    for item in items:
        made = [t for op in item.together for t in op.outputs] if isinstance(item, Operation) else [item]
        tensors += [t for t in made if not (isinstance(item, Operation) and any(t is other for other in tensors))]
    if not tensors or not all(isinstance(item, Tensor) for item in tensors):
        raise ArgumentError("create_schedule needs the tensors to compute", hint="te.create_schedule(C)")
    for position, tensor in enumerate(tensors):
        if any(tensor is other for other in tensors[:position]):
            raise ArgumentError(f"output {tensor.name} is named twice", hint="name each output once")
    return Schedule(tensors)
