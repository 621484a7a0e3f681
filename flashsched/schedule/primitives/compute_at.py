"""compute_at and compute_root: where a stage is computed."""

from __future__ import annotations

from dataclasses import replace

from flashsched.schedule.derive import derive
from flashsched.schedule.ir import LoopKind, blocks
from flashsched.schedule.nest import reads
from flashsched.schedule.primitives.loops import loops_around
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["compute_at", "compute_root"]


@primitive()
def compute_at(state: State, stage: str, at: list[str]) -> Result:
    """Compute of *stage*, in each turn of a consumer's loop, just the part that this turn reads.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            P                                      P over what S reads in this turn
        for i in range(n):                         S
            S

    The part is the union over all readers in the loop; parts of different turns that overlap are computed again. The
    stage's own steps (splits, kinds, …) are kept, whether they came before or come after.

    Args:
        state: the schedule's state.
        stage: the producer.
        at: the consumer's stage and its loop.

    Raises:
        ScheduleError: *stage* is an output; someone reads it outside the loop; the loop is vectorized; a step of the
            stage can't be repeated there.
    """
    consumer, loop = at
    known = state.stage(stage)
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller sees all of it",
            block=stage,
            hint=f"compute what it reads at its loops, or make a copy of it: cache_write({stage!r}, 'local')",
        )
    if consumer == stage:
        refuse(state, f"{stage!r} can't be computed inside itself", block=stage)
    target = state.loop(consumer, loop)
    inside = {block.name for block in blocks(target.body)}
    if stage not in inside and not reads(target.body, known.buffers):
        refuse(state, f"nothing inside loop {loop!r} of {consumer!r} reads {stage!r}", loop=target.var)
    outside = [
        block.name
        for block in blocks(state.body)
        if block.name not in inside and block.name != stage and reads(block, known.buffers)
    ]
    if outside:
        refuse(
            state,
            f"{', '.join(map(repr, outside))} reads {stage!r} outside loop {loop!r} of {consumer!r}",
            loop=target.var,
            hint=f"move {outside[0]!r} inside that loop first, or choose a loop around all readers",
        )
    if stage in _holders(state, consumer):
        refuse(state, f"{consumer!r} is computed inside {stage!r}, so {stage!r} can't move into it", block=stage)
    for node in (*loops_around(state, target), target):
        if node.kind is LoopKind.VECTORIZE:
            refuse(
                state,
                f"loop {node.var.name!r} is vectorized, and nothing can be computed inside a vector instruction",
                loop=node.var,
                hint="choose a loop further out",
            )
    return derive(state.with_stage(replace(known, attach=(consumer, loop))), stage), ()


def _holders(state: State, stage: str) -> list[str]:
    """The stages that *stage* is computed inside of, innermost first."""
    found: list[str] = []
    attach = state.stages[stage].attach
    while attach is not None:
        found.append(attach[0])
        attach = state.stages[attach[0]].attach
    return found


@primitive()
def compute_root(state: State, stage: str) -> Result:
    """Compute all of *stage* in a nest of its own before its first reader, as at the beginning.

    Raises:
        ScheduleError: *stage* was inlined; a step of the stage can't be repeated there.
    """
    known = state.stage(stage)
    if known.attach is None:
        return state, ()
    return derive(state.with_stage(replace(known, attach=None)), stage), ()
