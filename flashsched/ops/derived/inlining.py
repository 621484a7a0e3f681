"""Which stages are computed where they are read: those that cost less than the memory that they would take.

A stage that is no reduction may go into its readers. Whether it should is a question of how often it would then be
computed: once for each read, and not once for each element.
"""

from __future__ import annotations

from collections.abc import Set

from flashsched.errors import ScheduleError
from flashsched.ops.derived.accesses import StageFacts, facts_of
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.tensor import ComputeOp

__all__ = ["inline_stages", "readers_of"]

_FREE = 1.0
"""Evaluations for an element up to which nothing is computed twice."""

_DEAR = 64.0
"""Instructions for an element beyond which no one would want a stage inlined: the space leaves that out."""

_CHEAP = 4.0
"""Instructions more for an element that are still cheaper than a store, a load and a nest of their own."""


def inline_stages(s: Schedule, knobs: KnobsLike, apart: Set[str]) -> None:
    """Inline what is read once, and what *knobs* say of the rest; the stages *apart* (recurrences) stay as they are."""
    for stage in s.stages:
        known = s.state.stages[stage.name]
        if known.output or known.reduced or stage.name in apart or not isinstance(known.op, ComputeOp):
            continue
        if not can_inline(s, stage.name):
            continue
        extra = _extra_instructions(facts_of(s, stage.name), [facts_of(s, name) for name in readers_of(s, stage.name)])
        if extra <= 0 or (
            extra <= _DEAR and knobs.choice(f"{stage.name}: inline", (False, True), default=extra <= _CHEAP)
        ):
            stage.compute_inline()


def readers_of(s: Schedule, name: str) -> list[str]:
    """The stages that read what *name* writes, in the order in which they are computed."""
    buffers = s.state.stages[name].buffers
    return [v.name for v in s.stages if v.name != name and facts_of(s, v.name).reads_of(buffers)]


def can_inline(s: Schedule, name: str) -> bool:
    """Whether the schedule language takes that step: it is the judge of what is legal."""
    try:
        s.copy()[name].compute_inline()
    except ScheduleError:
        return False
    return True


def _extra_instructions(stage: StageFacts, readers: list[StageFacts]) -> float:
    """Instructions for each element of *stage* that inlining it adds."""
    reads = sum(reader.points * len(reader.reads_of(stage.buffers)) for reader in readers)
    again = reads / max(1, stage.elements) - _FREE
    return again * max(1.0, stage.cost) if again > 0 else 0.0
