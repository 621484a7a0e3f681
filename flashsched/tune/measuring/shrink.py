"""A schedule on smaller shapes, run against an oracle: how a schedule for a device that is not here is checked.

Twice: on a shape small enough for the interpreter, which sees memory out of bounds, read before written or raced for;
and on a larger one, of several blocks and ragged edges, by compiled code that runs blocks and threads in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import program_of
from flashsched.errors import ScheduleError
from flashsched.schedule import Trace
from flashsched.schedule.ir import Block, For, Seq, Stmt
from flashsched.te.tensor import ComputeOp, graph
from flashsched.tune.measuring.verify import Check, Reference, compare, verify
from flashsched.tune.task import Candidate, Task

__all__ = ["SmallCheck", "check_small", "points", "shrunken"]

_INTERPRETED = 500_000  # points of blocks that the interpreter is given: a few seconds
_COMPILED = 400_000_000  # and compiled code: less than a second
_KEPT = 8  # parts of a shape below this (a window, a stride) are no sizes to shrink
_LEAST = 5  # and none becomes smaller than this


@dataclass(frozen=True)
class SmallCheck:
    """What came of it: the worse of the two checks, and the shapes that were run."""

    check: Check
    shapes: list[tuple[int, ...]]


def points(stmt: Stmt) -> int:
    """How many times the blocks of a scheduled nest run, conditions aside."""
    match stmt:
        case For():
            return (stmt.turns or 0) * points(stmt.body)
        case Seq():
            return sum(points(inner) for inner in stmt.stmts)
        case Block():
            return 1
        case _:
            return 0


def shrunken(task: Task, trace: Trace, most: int) -> Candidate | None:
    """*trace* on the largest shape, sizes halved and made odd, whose nest has at most *most* points; None if none has.

    Where it does not replay on odd sizes, they are halved only: an instruction does whole tiles, whatever is asked.
    Where that is not enough, one after another is halved, as long as the tiles stay whole.

    Raises:
        ScheduleError: the trace does not replay on a smaller shape.
    """
    try:
        return _on_smaller(task, trace, most, odd=1)
    except ScheduleError:
        return _on_smaller(task, trace, most, odd=0) or _one_by_one(task, trace, most)


def _on_smaller(task: Task, trace: Trace, most: int, odd: int) -> Candidate | None:
    smaller, last = task, None
    while True:
        if _asked_for(smaller) <= most:  # its nests hardly run fewer points: a larger one is not tried
            try:
                candidate = smaller.replay(trace)
            except ScheduleError:
                if odd or last is None:
                    raise
                return None  # larger sizes that are whole tiles are too many points, and these are no whole ones
            if points(candidate.schedule.body) <= most:
                return Candidate(candidate.schedule, candidate.args, {}, smaller)
        shape = tuple(n if n < _KEPT else max(_LEAST, (n // 2) | odd) for n in smaller.shape)
        resized = task.resized(shape)
        if resized is None or shape == smaller.shape:
            return None
        smaller, last = resized, smaller


def _one_by_one(task: Task, trace: Trace, most: int) -> Candidate | None:
    """*trace* on a shape whose sizes were halved one at a time, the largest that may be; None if that is no help."""
    smaller: Task | None = task
    while smaller is not None:
        if _asked_for(smaller) <= most:
            candidate = smaller.replay(trace)
            if points(candidate.schedule.body) <= most:
                return Candidate(candidate.schedule, candidate.args, {}, smaller)
        smaller = next((found for found in _with_one_halved(smaller) if _replays(found, trace)), None)
    return None


def _with_one_halved(task: Task) -> Iterator[Task]:
    """*task* with one of its sizes halved, the largest first."""
    shape = task.shape
    for place in sorted(range(len(shape)), key=lambda place: -shape[place]):
        half = shape[place] // 2
        if shape[place] >= _KEPT and half >= _LEAST:
            found = task.resized((*shape[:place], half, *shape[place + 1 :]))
            if found is not None:
                yield found


def _replays(task: Task, trace: Trace) -> bool:
    try:
        task.replay(trace)
    except ScheduleError:
        return False
    return True


def _asked_for(task: Task) -> int:
    """Points of the operation of *task* that has most."""
    ops = (op for op in graph(task.args()[-1:]) if isinstance(op, ComputeOp))
    return max(prod(axis.count for axis in (*op.axis, *op.reduce_axis)) for op in ops)


def check_small(task: Task, trace: Trace, seed: int = 0) -> SmallCheck | None:
    """Run *trace* on two smaller shapes, interpreted and compiled; None where no shape is small enough for either.

    Raises:
        ScheduleError: the trace does not replay on a smaller shape.
        LoweringError: the interpreter found a fault.
    """
    worst: Check | None = None
    shapes: list[tuple[int, ...]] = []
    for most, run in ((_INTERPRETED, _interpreted), (_COMPILED, _compiled)):
        candidate = shrunken(task, trace, most)
        if candidate is None or candidate.task.shape in shapes:
            continue
        shapes.append(candidate.task.shape)
        check = run(candidate, Reference(candidate.task, seed))
        if worst is None or check.max_error - check.tolerance > worst.max_error - worst.tolerance:
            worst = check
    return None if worst is None else SmallCheck(worst, shapes)


def _interpreted(candidate: Candidate, reference: Reference) -> Check:
    program = program_of(candidate.schedule, candidate.args, candidate.task.op)
    (result,) = interpret(program, reference.inputs)
    return compare(np.asarray(result), reference)


def _compiled(candidate: Candidate, reference: Reference) -> Check:
    kernel: Any = build(candidate.schedule, candidate.args, name=candidate.task.op)
    return verify(kernel, reference)
