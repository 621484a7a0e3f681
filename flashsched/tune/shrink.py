"""A schedule on a smaller shape, run by the interpreter: how a schedule for a device that is not here is checked."""

from __future__ import annotations

import numpy as np

from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import program_of
from flashsched.errors import TuneError
from flashsched.schedule.ir import Block, For, Stmt
from flashsched.tune.task import Candidate, Task
from flashsched.tune.verify import Check, Reference, compare

__all__ = ["check_shrunken", "points"]

_POINTS = 400_000  # points of blocks that the interpreter is given: a few seconds
_KEPT = 8  # parts of a shape below this (a window, a stride) are no sizes to shrink


def points(stmt: Stmt) -> int:
    """How many times the blocks of a nest run, conditions aside."""
    match stmt:
        case For():
            return (stmt.turns or 0) * points(stmt.body)
        case Block():
            return 1
    return sum(points(inner) for inner in getattr(stmt, "stmts", ())) or sum(
        points(inner) for inner in (getattr(stmt, "body", None),) if inner is not None
    )


def check_shrunken(task: Task, candidate: Candidate, seed: int = 0) -> tuple[Check, tuple[int, ...]]:
    """Replay *candidate*'s trace on the largest shape that is small enough, and compare with the reference there.

    Sizes are halved and made odd, so that tails are met. A te graph that is fixed is checked as it is.

    Raises:
        TuneError: the graph is fixed and too large to interpret.
        FlashschedError: the interpreter found a fault: memory out of bounds, read before written, or raced for.
    """
    smaller, replayed = task, candidate
    shape = task.shape
    while points(replayed.schedule.body) > _POINTS:
        shape, last = tuple(n if n < _KEPT else max(_KEPT - 3, (n // 2) | 1) for n in shape), shape
        resized = task.resized(shape)
        if resized is None or shape == last:
            if points(replayed.schedule.body) <= 20 * _POINTS:
                break
            raise TuneError(f"{task.op} is too large to be interpreted, and has no smaller shape to be checked on")
        smaller, replayed = resized, resized.replay(candidate.trace)
    reference = Reference(smaller, seed)
    program = program_of(replayed.schedule, replayed.args, task.op)
    (result,) = interpret(program, reference.inputs)
    return compare(np.asarray(result), reference), smaller.shape
