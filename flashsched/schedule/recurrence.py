"""Where the stages of a scan stand, and what keeps their time in order.

A scan with states S and T is a loop over time, with the stages of the recurrence computed at it::

    for t in range(...):
        (stages that read S[t - 1], T[t - 1], ..., a row each)
        for i: S[t, i] = update of S [t, i]          the leader: the first state, whose loop over time it is
        for j: T[t, j] = update of T [t, j]          the riders: the other states, a row each at the end of a turn

The first rows are copied by a stage of their own before the loop. All of these are ordinary stages; what is special is
held here: a rider stands at the end of the leader's turn, and what a state's next row depends on is never moved out of
the loop over time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from flashsched.errors import DependenceError, OutputError
from flashsched.schedule.default import new_stage, root_nest
from flashsched.schedule.ir import Block, Buffer, For, LoopKind, Stmt, block_loads, seq
from flashsched.schedule.nest import add_guard, find_block, loop_ranges, path_to_loop, replace_loop, simplified
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te.recurrence import ScanInitOp, ScanOp, cycles
from flashsched.te.tensor import AxisKind, Operation, PlaceholderOp, Tensor
from flashsched.te.visit import free_vars, uses

__all__ = [
    "first_rows",
    "is_state",
    "recurrent",
    "require_ordered",
    "require_recurrences",
    "require_scans_closed",
    "require_unscanned",
    "ride",
    "with_recurrences",
]


def is_state(stage: Stage) -> bool:
    """Whether *stage* writes a state of a scan."""
    return isinstance(stage.op, ScanOp | ScanInitOp)


def first_rows(name: str, op: ScanOp, buffers: dict[int, Buffer], taken: Collection[str], *, output: bool) -> Stage:
    """The stage that copies the first rows of a state, whose own stage is called *name*."""
    base = label = f"{name}.init"
    number = 0
    while label in taken:
        number += 1
        label = f"{base}{number}"
    return new_stage(label, op.init, dict(buffers), output=output, outs=(buffers[id(op.state)],))


def with_recurrences(state: State) -> State:
    """*state*, as it is made from a program, with the nests of the stages that are computed at a loop over time."""
    from flashsched.schedule.derive import derive  # which asks this module for the place of a rider

    waiting = [stage for stage in state.stages.values() if stage.attach is not None]
    for stage in [s for s in waiting if is_state(s)]:
        state = derive(state, stage.name)
    for stage in reversed([s for s in waiting if not is_state(s)]):  # readers before what they read
        state = derive(state, stage.name)
    return state


def require_scans_closed(ops: Sequence[tuple[Operation, str]], wanted: Sequence[Tensor]) -> None:
    """Refuse a program that asks for a stage of a recurrence outside of it, where only one row of it is ever there.

    Raises:
        OutputError: that is so.
    """
    inside = cycles([op for op, _ in ops])
    states = {id(t) for op, _ in ops if isinstance(op, ScanOp) for t in op.scan.states}
    for op, name in ops:
        part_of = isinstance(op, ScanOp) or id(op) in inside
        for tensor in op.inputs:
            if not part_of and id(tensor.op) in inside:
                raise OutputError(
                    f"{name!r} reads {tensor.name!r}, a stage of a recurrence that is there for one time only",
                    hint="read what te.scan returned",
                )
            if isinstance(tensor.op, PlaceholderOp) and tensor.op.scan is not None and id(tensor) not in states:
                raise OutputError(
                    f"{name!r} reads {tensor.name!r}, the state of {tensor.op.scan.name!r}, which is not here",
                    hint="schedule what te.scan returned",
                )
    for tensor in wanted:
        if id(tensor.op) in inside:
            raise OutputError(
                f"{tensor.name!r} is a stage of a recurrence, there for one time only, and can't be an output",
                hint="ask for what te.scan returned; a state of its own is kept for all times",
            )


def ride(state: State, stage: Stage) -> tuple[State, Stage]:
    """*state* with the nest of a rider at the end of each of its leader's turns."""
    assert stage.attach is not None
    leader, loop = stage.attach
    target = state.loop(leader, loop)
    path = path_to_loop(state.body, target)
    block = _block(state, leader)
    (time,) = [item.value for item in block.iters if item.kind is AxisKind.ORDERED]
    nest, fresh = root_nest(stage, {stage.axes[0]: (time, 1)})
    around = loop_ranges(path)
    for condition in block.where:
        if free_vars(condition) <= around.keys():
            nest = add_guard(nest, condition)
    nest = simplified(nest, around)

    def put(node: For) -> Stmt:
        return replace(node, body=seq([node.body, nest]))

    return state.with_body(replace_loop(state.body, target.var, put)), fresh


def _block(state: State, name: str) -> Block:
    found = find_block(state.body, name)[-1]
    assert isinstance(found, Block)
    return found


def _leaders(state: State) -> Iterator[Stage]:
    return (s for s in state.stages.values() if isinstance(s.op, ScanOp) and s.op.index == 0)


def _times(state: State, leader: str) -> list[For]:
    """The loops over time, outermost first."""
    (time,) = [item.value for item in _block(state, leader).iters if item.kind is AxisKind.ORDERED]
    return [loop for loop in _loops(state, leader) if uses(time, loop.var)]


def _loops(state: State, stage: str) -> list[For]:
    """The loops around *stage*, outermost first."""
    return [node for node in find_block(state.body, stage) if isinstance(node, For)]


def recurrent(state: State, stage: str) -> bool:
    """Whether *stage* is needed for the next rows of a scan, and computed at its loop over time."""
    attach = state.stages[stage].attach
    for leader in _leaders(state):
        if attach is not None and attach[0] == leader.name and state.loop(*attach) in _times(state, leader.name):
            return stage in _recurrent(state, leader)
    return False


def require_recurrences(state: State) -> None:
    """Refuse a nest in which a stage of a recurrence stands outside of a loop over time, or time is out of order.

    Raises:
        DependenceError: that is so.
    """
    for leader in _leaders(state):
        times = _times(state, leader.name)
        for loop in times:
            if loop.kind not in (LoopKind.SERIAL, LoopKind.UNROLL):
                _out_of_order(state, leader.name, loop, loop.kind.value)
        around = times or _loops(state, leader.name)[:1]  # where time has one step, none of its loops drives it
        for name in _recurrent(state, leader):
            path = find_block(state.body, name)
            for loop in around:
                if not any(node is loop for node in path):
                    refuse(
                        state,
                        f"{name!r} reads rows of {leader.name!r} and is needed for the next ones, so it is computed "
                        f"inside the loop over time, {loop.var.name!r}",
                        error=DependenceError,
                        loop=loop.var,
                        hint=f"compute it at {loop.var.name!r} or further in; copies are for readers after the scan",
                    )


def _recurrent(state: State, leader: Stage) -> list[str]:
    """The stages that read a state of *leader*'s scan, and that its states need."""
    assert isinstance(leader.op, ScanOp)
    parts = {s.name for s in state.stages.values() if isinstance(s.op, ScanOp) and s.op.scan is leader.op.scan}
    alive = [s for s in state.stages.values() if not s.inlined]
    written = {
        buffer: s.name for s in alive for buffer in s.buffers if not isinstance(s.op, ScanInitOp) and s.init_of is None
    }
    reads = {s.name: {written[load.buffer] for load in block_loads(s.block) if load.buffer in written} for s in alive}

    def closure(start: set[str], step: Mapping[str, set[str]]) -> set[str]:
        found, rest = set(start), list(start)
        while rest:
            for name in step.get(rest.pop(), set()) - found:
                found.add(name)
                rest.append(name)
        return found

    readers: dict[str, set[str]] = {}
    for name, sources in reads.items():
        for source in sources:
            readers.setdefault(source, set()).add(name)
    both = closure(parts, reads) & closure(parts, readers)
    return [s.name for s in alive if s.name in both - parts]


def _out_of_order(state: State, stage: str, loop: For, verb: str) -> None:
    refuse(
        state,
        f"loop {loop.var.name!r} of {stage!r} runs over time: each turn reads what the ones before it wrote, so it "
        f"can't be {verb}",
        error=DependenceError,
        loop=loop.var,
        hint="choose a loop inside it",
    )


def require_ordered(state: State, stage: str, loop: For, verb: str) -> None:
    """Refuse a loop over time.

    Raises:
        DependenceError: *loop* drives an ordered axis of *stage*.
    """
    block = _block(state, stage)
    if any(item.kind is AxisKind.ORDERED and uses(item.value, loop.var) for item in block.iters):
        _out_of_order(state, stage, loop, verb)


def require_unscanned(state: State, stage: Stage, verb: str) -> None:
    """Refuse a stage that writes a state: its rows depend on each other, and stay where they are.

    Raises:
        DependenceError: it is one.
    """
    if is_state(stage):
        refuse(
            state,
            f"{stage.name!r} writes a state of a scan, whose rows depend on each other, so it can't be {verb}",
            error=DependenceError,
            block=stage.name,
            hint="schedule its update, or a copy: a te.compute stage that reads the scan",
        )
