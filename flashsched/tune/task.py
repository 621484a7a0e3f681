"""`Task`: one computation of one shape, to be tuned and looked up by what it computes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import TuneError
from flashsched.hw import DeviceSpec, Prediction
from flashsched.ops import OPERATORS, Operator, find_operator
from flashsched.ops.derived import DERIVED
from flashsched.ops.operator import KnobsLike, Template
from flashsched.ops.systolic import systolic
from flashsched.schedule import Schedule, Trace, create_schedule
from flashsched.schedule.default import loop_names
from flashsched.te import dtypes
from flashsched.te.binding import graph_sizes
from flashsched.te.expr import Binary, Call, Compare, Expr, Select, Var
from flashsched.te.external import ExternOp
from flashsched.te.printing import expr_text
from flashsched.te.recurrence import ScanOp
from flashsched.te.scalars import scalar_tensor
from flashsched.te.tensor import ComputeOp, PlaceholderOp, Read, Reduce, Reducer, Tensor, graph
from flashsched.te.visit import walk

__all__ = ["Candidate", "Task", "require_task"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """One way to run a task: the schedule, and the decisions that led to it.

    *predicted* is what the model of the device that it was made for says of it, where that was asked.
    """

    schedule: Schedule
    args: list[Tensor]
    decisions: dict[str, int]
    task: Task
    predicted: Prediction | None = None

    @property
    def trace(self) -> Trace:
        """The schedule's steps."""
        return self.schedule.trace


class Task:
    """A computation of one shape.

    ``Task("matmul", shape=(512, 512, 512))`` names an operator; its options follow as keywords
    (``bias=True, activation="gelu"``). `Task.from_te` takes any te graph.

    Two tasks are the same if they compute the same: ``hash`` is made from the te graph's text.

    Raises:
        TuneError: there is no such operator, or the shape, dtype or an option is not one that it takes.
    """

    def __init__(
        self, op: str | Operator, shape: Sequence[int] | None = None, dtype: str = "float32", **options: Any
    ) -> None:
        self.operator = op if isinstance(op, Operator) else find_operator(op)
        self.op = self.operator.name
        self.dtype = dtypes.check_dtype(dtype)
        given: Any = shape
        if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
            hint = f"for example {self.operator.shape}" if self.operator.shape else None
            raise TuneError(f"shape must be a sequence of integers, got {shape!r}", hint=hint)
        numbers: Sequence[Any] = self.operator.shape if shape is None else shape
        self.shape = tuple(int(size) if isinstance(size, np.integer) else size for size in numbers)
        args = self.operator.args(self.shape, self.dtype, options)
        defaults = self.operator.options
        self.options = {key: value for key, value in options.items() if value != defaults[key]}
        self._resizable = True
        self._remember(args)
        if shape is None and not self.shape:
            self.shape = args[-1].known_shape

    @classmethod
    def from_te(
        cls,
        args: Sequence[Tensor | Expr],
        name: str = "custom",
        template: Template | Mapping[str, Template] | None = None,
        reference: Callable[..., Any] | None = None,
    ) -> Self:
        """The task of a te graph: *args* are its inputs, then its output.

        Args:
            args: inputs (tensors and scalars), then the output.
            name: what logs and reports call it.
            template: how it is scheduled, ``template(s, args, knobs, spec)``; one for the CPU, or one a kind of device.
            reference: ``reference(*inputs)`` in NumPy; without it the default nest is the reference.

        Raises:
            TuneError: *args* are not all inputs of the graph and then its output, or speak of sizes.
        """
        task = object.__new__(cls)
        fixed = [scalar_tensor(arg) for arg in args]
        for arg in fixed:
            if not isinstance(arg, Tensor):
                raise TuneError(f"Task.from_te takes tensors and scalars, and {arg} is neither: a task has no sizes")
        if not fixed or not isinstance(fixed[-1].op, ComputeOp):
            raise TuneError("Task.from_te takes the inputs and then the output, which must be computed")
        for tensor in fixed[:-1]:
            if isinstance(tensor.op, ComputeOp):
                raise TuneError(f"Task.from_te takes the inputs and then the output, and {tensor.name} is computed")
        for op in graph(fixed[-1:]):
            if isinstance(op, PlaceholderOp) and not any(op is tensor.op for tensor in fixed):
                raise TuneError(f"Task.from_te is not given {op.name}, an input of {fixed[-1].name}")
        sizes = graph_sizes(fixed)
        if sizes:
            names = ", ".join(size.name for size in sizes)
            raise TuneError(
                f"a task is tuned for sizes that are numbers, and {name!r} speaks of {names}",
                hint=f"te.bind_sizes(args, {{{sizes[0].name}: 512}}) gives the program for those sizes",
            )
        task.operator = Operator(name, lambda: fixed, (), dtypes.DTYPES, reference)
        templates = template if isinstance(template, Mapping) else {} if template is None else {"cpu": template}
        task.operator.templates.update(templates)
        task.op, task.dtype, task.shape, task.options = name, fixed[-1].dtype, fixed[-1].known_shape, {}
        task._resizable = False
        task._remember(fixed)
        return task

    def _remember(self, args: list[Tensor]) -> None:
        self._args = args
        self.text = _text(args)
        self.hash = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        self.flops = _flops(args)
        """Arithmetic operations, of floats or of integers, that the task asks for."""
        self.bytes = sum(_bytes(tensor) for tensor in args)
        """Bytes of its inputs and its output: what must move at least."""

    def __repr__(self) -> str:
        options = "".join(f", {key}={value!r}" for key, value in self.options.items())
        return f"Task({self.op!r}, shape={self.shape}, dtype={self.dtype!r}{options})"

    def args(self) -> list[Tensor]:
        """The te graph: inputs, then the output."""
        return list(self._args)

    @property
    def is_registered(self) -> bool:
        """Whether its operator is one that every process knows by name."""
        return OPERATORS.get(self.op) is self.operator

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: the te graph, and the operator if every process knows it by name.

        An operator of a user's file stays behind with its templates and its reference; a worker needs traces only.
        """
        return {**self.__dict__, "operator": None, "_resizable": self._resizable and self.is_registered}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._resizable:
            self.operator = find_operator(self.op)
        else:
            self.operator = Operator(self.op, self.args, (), dtypes.DTYPES)

    def resized(self, shape: Sequence[int]) -> Task | None:
        """The same operator on another shape; None where the te graph is fixed."""
        return Task(self.operator, shape, self.dtype, **self.options) if self._resizable else None

    def template(self, kind: str) -> Template:
        """How it is scheduled for devices of *kind*: the operator's template, or one that is derived from the graph.

        Raises:
            TuneError: the operator has no template for them.
        """
        found = self.operator.templates.get(kind, DERIVED.get(kind))
        if found is None and kind in ("asic", "tpu"):
            return systolic
        if found is None:
            has = ", ".join(self.operator.templates) or "none"
            raise TuneError(
                f"{self.op} has no schedule template for a {kind} (it has: {has})",
                hint=f"write one: @{self.op}.template({kind!r}) on a function of (s, args, knobs, spec)",
            )
        return found

    def candidate(self, knobs: KnobsLike, spec: DeviceSpec, start: Schedule | None = None) -> Candidate:
        """The schedule that the template for *spec* makes of *knobs*.

        *start* is what `start` gives, for whoever makes many: what they have in common is then made once.

        Raises:
            Infeasible: the template rules it out.
            ScheduleError: the template takes a step that is refused.
        """
        args = self.args()
        schedule = create_schedule(args[-1]) if start is None else start.copy()
        self.template(spec.kind)(schedule, args, knobs, spec)
        return Candidate(schedule, args, dict(getattr(knobs, "decisions", {})), self)

    def start(self) -> Schedule:
        """The task's default schedule, whose copies remember the steps that were taken on any of them."""
        return create_schedule(self.args()[-1]).remembering()

    def replay(self, trace: Trace, start: Schedule | None = None) -> Candidate:
        """The schedule that *trace* makes of the task; *start* as for `candidate`.

        Raises:
            ScheduleError: a step of it is refused: it was made for another task, or by another version.
        """
        args = self.args()
        schedule = create_schedule(args[-1]) if start is None else start.copy()
        return Candidate(schedule.replay(trace), args, {}, self)

    def inputs(self, seed: int = 0) -> list[Array]:
        """Random inputs: normal floats, small integers."""
        rng = np.random.default_rng(seed)
        made = []
        for tensor in self.args()[:-1]:
            dtype = dtypes.numpy_dtype(tensor.dtype)
            if dtypes.is_float(tensor.dtype):
                made.append(rng.standard_normal(tensor.known_shape, dtype=np.float32).astype(dtype))
            elif dtypes.is_bool(tensor.dtype):
                made.append(rng.integers(0, 2, tensor.known_shape).astype(dtype))
            else:
                low = 0 if dtypes.is_unsigned(tensor.dtype) else -9
                made.append(rng.integers(low, 10, tensor.known_shape).astype(dtype))
        return made

    def to_json(self) -> dict[str, Any]:
        """What a record says of the task."""
        return {
            "op": self.op,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "options": self.options,
            "text": self.text,
            "hash": self.hash,
            "flops": self.flops,
            "bytes": self.bytes,
        }


def _bytes(tensor: Tensor) -> int:
    size = dtypes.bits(tensor.dtype) // 8
    for extent in tensor.known_shape:
        size *= extent
    return size


def require_task(given: object) -> None:
    """Refuse what is no task.

    Raises:
        TuneError: *given* is something else, the name of an operator perhaps.
    """
    if not isinstance(given, Task):
        got = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
        raise TuneError(f"a task is needed, got {got}", hint='for example fs.Task("matmul", (512, 512, 512))')


def _text(args: Sequence[Tensor]) -> str:
    """The te graph as canonical text: each operation on a line, then the arguments in order.

    It says all that decides what is computed. Where two operations have one name, numbers tell which is read.
    """
    ops = graph(args)
    alike = len({op.name for op in ops}) < len(ops)
    numbers = {tensor: f"#{number}" if alike else "" for number, op in enumerate(ops) for tensor in op.outputs}
    numbers |= {op.state: numbers[op.output(0)] for op in ops if isinstance(op, ScanOp)}
    lines = []
    for op in ops:
        if isinstance(op, ExternOp):
            raise TuneError(
                f"{op.name} is an extern stage: a log stores decisions, never code, so it can't say what is computed",
                hint="tune the graphs before and after it, each as a task of its own",
            )
        if isinstance(op, PlaceholderOp):
            lines.append(f"{op.name}: {op.dtype}{list(op.shape)}")
        elif isinstance(op, ComputeOp):
            loops = (*op.axis, *op.reduce_axis)
            names: dict[Var, str] = dict(zip(loops, loop_names(loops), strict=True))
            axes = ", ".join(f"{names[axis]}<{axis.extent}" for axis in op.axis)
            reduced = "".join(f" for {names[a]} in {a.begin}..{a.end}" for a in op.reduce_axis)
            values = ", ".join(f"{value.dtype} {expr_text(value, names)}" for value in op.body)
            how = f" from {op.scan.init[op.index].name}" if isinstance(op, ScanOp) else ""
            how += "" if op.reduction is None else f" with {_reducer_text(op.reduction.reducer)}"
            read = [numbers[node.tensor] for value in op.body for node in walk(value) if isinstance(node, Read)]
            lines.append(f"{op.name}[{axes}] = {values}{reduced}{how}{' of ' * alike}{''.join(read)}")
    return "; ".join([*lines, f"({', '.join(tensor.name + numbers[tensor] for tensor in args)})"])


def _reducer_text(reducer: Reducer) -> str:
    """What a reduction does, whatever it is called: ``sum(x, y) = x + y from 0.0``."""
    given = ", ".join(var.name for var in (*reducer.lhs, *reducer.rhs))
    results, start = (", ".join(map(str, part)) for part in (reducer.result, reducer.identity))
    return f"{reducer.name}({given}) = {results} from {start}"


def _flops(args: Sequence[Tensor]) -> int:
    total = 0
    for op in graph(args[-1:]):
        if isinstance(op, ComputeOp):
            points = 1
            for axis in (*op.axis, *op.reduce_axis):
                points *= axis.count
            total += points * sum(_operations(value) for value in op.body[:1])
    return total


def _operations(value: Expr) -> int:
    """Arithmetic operations on values in one evaluation; indices, conditions and casts do not count."""
    if isinstance(value, Reduce):
        combined = sum(_count(result) for result in value.reducer.result)
        return combined + sum(_count(part) for part in value.values)
    return _count(value)


def _count(value: Expr) -> int:
    if isinstance(value, Select):
        return _count(value.a) + _count(value.b)
    if isinstance(value, Compare) or value.dtype == dtypes.INDEX:
        return 0
    own = 1 if isinstance(value, Binary | Call) else 0
    parts = () if isinstance(value, Read) else value.children
    return own + sum(_count(child) for child in parts)
