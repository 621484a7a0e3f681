"""Recurrences: tensors whose rows are computed one after another, each from the rows before it.

A scan has one or several *states*. Each is a tensor whose first dimension is time; its first rows are given (*init*),
and every further row *t* is row *t* of its *update*, which may read all states at earlier times, through as many
stages as it likes. Time is an axis of a kind of its own: its turns come in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flashsched.errors import AxisError, DtypeError, ExpressionError, ShapeError, counted, user_line
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, binary
from flashsched.te.extremes import most
from flashsched.te.simplify import Ranges, bounds, within_loop
from flashsched.te.sizes import alike, as_size, extent_expr
from flashsched.te.tensor import Axis, AxisKind, ComputeOp, Operation, PlaceholderOp, Read, Tensor
from flashsched.te.visit import substitute, walk

__all__ = ["Scan", "ScanInitOp", "ScanOp", "build_scan", "cycles", "scan"]


@dataclass(eq=False)
class Scan:
    """What the states of one recurrence share.

    Attributes:
        name: the scan's name.
        states: the placeholders that updates read.
        init: for each state its first rows.
        update: for each state the tensor whose row *t* becomes the state's.
        rows: how many rows are given.
        cycle: the operations that read a state, each after those that it reads.
        parts: for each state the operation that it is, made from all of this.
    """

    name: str
    states: tuple[Tensor, ...]
    init: tuple[Tensor, ...]
    update: tuple[Tensor, ...]
    rows: int
    where: str
    cycle: tuple[ComputeOp, ...] = ()
    parts: tuple[ScanOp, ...] = ()


@dataclass(eq=False)
class ScanInitOp(ComputeOp):
    """The first rows of a state, copied from what was given for them."""


@dataclass(eq=False)
class ScanOp(ComputeOp):
    """One state of a *scan*, number *index*: ``state[t, i] = update[t, i]`` for each time *t* after the first rows."""

    scan: Scan = field(kw_only=True)
    index: int = field(kw_only=True)

    def __post_init__(self) -> None:
        self.outputs = (Tensor(self, 0, self.state.shape, self.state.dtype),)
        init = self.scan.init[self.index]
        rows = tuple(Axis(axis.name, extent=size) for axis, size in zip(self.axis, init.shape, strict=True))
        self.init = ScanInitOp(f"{self.name}.init", rows, (Read(init, rows),), self.where)

    @property
    def state(self) -> Tensor:
        """The placeholder that updates read."""
        return self.scan.states[self.index]

    @property
    def scan_axis(self) -> Axis:
        """Time."""
        return self.axis[0]

    @property
    def spatial_axis_(self) -> tuple[Axis, ...]:
        """The other axes, those of all states after one another (the name is TVM's)."""
        return tuple(axis for part in self.scan.parts for axis in part.axis[1:])

    @property
    def together(self) -> tuple[ScanOp, ...]:
        return self.scan.parts

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        first = () if self.index == 0 else self.scan.parts[0].outputs  # the first state comes before the others
        return (*self.scan.init, *self.scan.update, *first)


def scan(init: Any, update: Any, state_placeholder: Any, inputs: Any = None, name: str = "scan") -> Any:
    """A recurrence over time, the first dimension of each state.

    The first rows of a state are *init*; row *t* after them is row *t* of *update*, which reads the state through
    *state_placeholder* at earlier times. Give lists for several states, which may have different shapes behind time.

    >>> import numpy as np
    >>> import flashsched as fs
    >>> from flashsched import te
    >>> X = te.placeholder((5, 3), name="X")
    >>> state = te.placeholder((5, 3), name="state")
    >>> first = te.compute((1, 3), lambda t, i: X[0, i], name="first")
    >>> step = te.compute((5, 3), lambda t, i: state[t - 1, i] + X[t, i], name="step")
    >>> sums = te.scan(first, step, state, inputs=[X], name="sums")
    >>> s = te.create_schedule(sums)
    >>> s[step].compute_inline()
    >>> print(s)
    for t in range(1):
      for i in range(3):
        first(t=t, i=i):
          first[t, i] = X[0, i]
    for t in range(1):
      for i in range(3):
        sums.init(t=t, i=i):
          sums[t, i] = first[t, i]
    for t in range(4):
      for i in range(3):
        sums(t=1 + t, i=i):  # t in order
          sums[t, i] = sums[t - 1, i] + X[t, i]
    >>> fs.build(s, [X, sums])(np.ones((5, 3), "float32"))[:, 0]
    array([1., 2., 3., 4., 5.], dtype=float32)

    Time and the other dimensions may be sizes that `flashsched.te.var` makes; the number of first rows is a number.

    The stages of the recurrence are computed at the time loop, ``s[sums].op.scan_axis``, a row at a time. Their other
    loops are scheduled as any.

    Args:
        init: the tensor of the first rows (at least one), or a list.
        update: the tensor of the further rows, its first axis time; what it holds for the first rows is never used.
        state_placeholder: what updates read for the state, of the shape of all rows.
        inputs: the other tensors that are read; they are found without it, and only checked.
        name: the stage's name in a schedule.

    Returns:
        The state as a `Tensor`, or a tuple of them if lists were given.

    Raises:
        ExpressionError: lists of different lengths, or something that is no tensor.
        ShapeError: the shapes of a state, its init and its update do not fit each other.
        DtypeError: their dtypes differ.
        AxisError: a state is read at a time that is not there yet, or a stage of the recurrence at another time.
    """
    several = isinstance(state_placeholder, list | tuple)
    init, update, states = (_tensors(name, part) for part in (init, update, state_placeholder))
    _tensors(name, [] if inputs is None else inputs)
    made = build_scan(name, init, update, states, user_line())
    outputs = tuple(part.output(0) for part in made.parts)
    return outputs if several else outputs[0]


def build_scan(
    name: str, init: tuple[Tensor, ...], update: tuple[Tensor, ...], states: tuple[Tensor, ...], where: str
) -> Scan:
    """The scan of these tensors, with an operation for each state; raises what `scan` does."""
    if not states or not len(init) == len(update) == len(states):
        raise ExpressionError(
            f"{name} has {len(states)} states, {len(init)} inits and {len(update)} updates", where=where,
            hint="give one init and one update for each state",
        )  # fmt: skip
    made = Scan(name, states, init, update, _first_rows(name, init[0], where), where)
    _require_fit(made)
    made.cycle = _cycle(made)
    _require_order(made)
    parts = []
    for number, (state, new) in enumerate(zip(states, update, strict=True)):
        named = new.op.axis if isinstance(new.op, ComputeOp) else ()
        names = [axis.name for axis in named] or ["t", *"ijklmn"[: state.ndim - 1]]
        spatial = tuple(Axis(n, extent=size) for n, size in zip(names[1:], state.shape[1:], strict=True))
        time = Axis(names[0], dtypes.INDEX, as_size(state.shape[0] - made.rows), AxisKind.ORDERED, made.rows)
        axes = (time, *spatial)
        label = name if number == 0 else f"{name}.v{number}"
        parts.append(ScanOp(label, axes, (Read(new, axes),), where, scan=made, index=number))
    made.parts = tuple(parts)
    for state in states:
        assert isinstance(state.op, PlaceholderOp)
        state.op.scan = made
    return made


def _first_rows(name: str, init: Tensor, where: str) -> int:
    """How many rows *init* gives; 0, which is refused later, where it has no dimension."""
    rows = init.shape[0] if init.ndim else 0
    if not isinstance(rows, int):
        raise ShapeError(
            f"{name}: init {init.name} has {rows} rows, and how many first rows there are is a number",
            where=where, hint=f"te.compute((1, …), …, name={init.name!r})",
        )  # fmt: skip
    return rows


def _tensors(name: str, given: Any) -> tuple[Tensor, ...]:
    items = tuple(given) if isinstance(given, list | tuple) else (given,)
    for item in items:
        if not isinstance(item, Tensor):
            raise ExpressionError(f"{name}: {item!r} is no tensor", hint="te.scan(init, update, state_placeholder)")
    return items


def _require_fit(made: Scan) -> None:
    def refuse(error: type[ExpressionError], reason: str, hint: str) -> NoReturn:
        raise error(f"{made.name}: {reason}", where=made.where, hint=hint)

    for number, (state, init, update) in enumerate(zip(made.states, made.init, made.update, strict=True)):
        if not isinstance(state.op, PlaceholderOp):
            refuse(ExpressionError, f"the state {state.name} is computed", "declare it: te.placeholder(shape)")
        if state.op.scan is not None or any(state is other for other in made.states[:number]):
            refuse(ExpressionError, f"{state.name} is the state of a scan already", "give each a placeholder")
        shown = f"{init.name}{list(init.shape)}, {update.name}{list(update.shape)}, {state.name}{list(state.shape)}"
        fits = alike(update.shape, state.shape) and alike(init.shape[1:], state.shape[1:])
        if not state.shape or not init.shape or not fits:
            refuse(ShapeError, f"init, update and state do not fit each other: {shown}",
                   "they have one shape, but for the number of init's rows")  # fmt: skip
        if not alike(made.states[0].shape[:1], state.shape[:1]) or not alike(init.shape[:1], (made.rows,)):
            refuse(ShapeError, "the states have different numbers of rows, or of first rows", "they share one time")
        if made.rows < 1 or bounds(extent_expr(state.shape[0]), {})[1] < made.rows:
            refuse(
                ShapeError,
                f"init has {counted(made.rows, 'row')}, and {state.name} {state.shape[0]}",
                "give 1 row at least",
            )
        if not init.dtype == update.dtype == state.dtype:
            shown = f"{init.name} {init.dtype}, {update.name} {update.dtype}, {state.name} {state.dtype}"
            refuse(DtypeError, f"a state, its init and its update have one dtype: {shown}", "cast them")


def _cycle(made: Scan) -> tuple[ComputeOp, ...]:
    """The operations below an update that read a state, directly or not."""
    found: dict[int, bool] = {id(state.op): True for state in made.states}
    order: list[ComputeOp] = []

    def reads_a_state(op: Operation) -> bool:
        if id(op) not in found:
            found[id(op)] = False
            below = [reads_a_state(tensor.op) for tensor in op.inputs]  # all of them: each finds its own place in order
            found[id(op)] = any(below)
            if found[id(op)]:
                if not isinstance(op, ComputeOp) or isinstance(op, ScanOp):
                    raise ExpressionError(
                        f"{made.name}: {op.name} is no te.compute, and reads a state of the scan", where=made.where,
                        hint="a row is computed by te.compute stages alone",
                    )  # fmt: skip
                order.append(op)
        return found[id(op)]

    for tensor in made.update:
        reads_a_state(tensor.op)
    for tensor in made.init:
        if reads_a_state(tensor.op):
            raise AxisError(
                f"{made.name}: init {tensor.name} reads a state, which begins with it", where=made.where,
                hint="compute the first rows from other tensors",
            )  # fmt: skip
    return tuple(order)


def _require_order(made: Scan) -> None:
    """Refuse what reads a row that is not there yet."""
    states, inside = {id(t.op) for t in made.states}, {id(op) for op in made.cycle}
    length = made.states[0].shape[0]
    for op in made.cycle:
        if not op.axis or not alike((op.axis[0].extent,), (length,)):
            raise ShapeError(
                f"{made.name}: {op.name} is part of the recurrence, and its first dimension is not time ({length})",
                where=op.where, hint=f"give it the shape ({length}, …) and read states in terms of its first axis",
            )  # fmt: skip
        time = op.axis[0]
        turns, ranges = _turns(op, made.rows)
        for node in (node for value in op.body for node in walk(value) if isinstance(node, Read)):
            at = node.indices[0] if node.indices else Const(0, dtypes.INDEX)
            if id(node.tensor.op) in states and most(substitute(binary("-", at, time), turns), ranges) > -1:
                raise AxisError(
                    f"{made.name}: {op.name} reads {node} for time {time.name}, and only earlier rows are there",
                    where=op.where, hint=f"read {node.tensor.name}[{time.name} - 1, …]",
                )  # fmt: skip
            if id(node.tensor.op) in inside and at is not time:
                raise AxisError(
                    f"{made.name}: {op.name} reads {node}, and a stage of the recurrence is there for one time only",
                    where=op.where, hint=f"read it at {time.name}; what is needed longer is a state of its own",
                )  # fmt: skip


def _turns(op: ComputeOp, rows: int) -> tuple[dict[Var, Expr], Ranges]:
    """Each axis of *op* as its first value and a turn, where time begins after *rows*; and how far the turns go."""
    turns: dict[Var, Expr] = {}
    ranges: Ranges = {}
    for number, axis in enumerate((*op.axis, *op.reduce_axis)):
        turn, skipped = Var(axis.name), 0 if number else rows
        turns[axis] = turn + (axis.begin + skipped)
        ranges = within_loop(ranges, turn, extent_expr(as_size(axis.extent - skipped)))
    return turns, ranges


def cycles(ops: Sequence[Operation]) -> dict[int, Scan]:
    """The scan of *ops* that an operation stands inside of, by the operation's id."""
    return {id(op): part.scan for part in ops if isinstance(part, ScanOp) for op in part.scan.cycle}
