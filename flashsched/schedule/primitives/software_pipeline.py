"""software_pipeline: the pieces of a loop's body work on different turns at once."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from flashsched.errors import ArgumentError, LimitError, StructureError, counted
from flashsched.schedule.arguments import TensorName
from flashsched.schedule.ir import Seq, blocks
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_ordered
from flashsched.schedule.state import State, refuse

__all__ = ["MOST_STAGES", "software_pipeline", "unit_names"]

MOST_STAGES = 8
"""Stages that a pipeline may have: each is another copy of the body's code before and after the loop."""


@primitive(on_loops=True)
def software_pipeline(
    state: State,
    stage: str,
    loop: str,
    units: list[TensorName],
    stages: list[int],
    order: list[int] | None = None,
) -> Result:
    """Let the pieces of the body of *loop* work on different turns: one in stage ``s`` is ``s`` turns behind.

    Rewrite, made by lowering, for ``stages=[0, 1], order=[0, 1]``::

        for t in range(n):          P[0] = f(0)                       fills the pipeline
            P = f(t)                for t in range(n - 1):
            C[t] = g(P)     ->          P[(t + 1) % 2] = f(t + 1)
                                        C[t] = g(P[t % 2])
                                    C[n - 1] = g(P[(n - 1) % 2])      empties it

    A buffer that a turn fills for itself gets as many versions as are alive at once: one where ``order=[1, 0]`` lets C
    read it before P fills it again. The consumer's own part of the body is a piece, too, the last one.

    >>> from flashsched import te
    >>> from flashsched.codegen.lower import lower
    >>> A = te.placeholder((4,), name="A")
    >>> P = te.compute((4,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((4,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> s[P].compute_at(s[C], "i")
    >>> s[C].software_pipeline("i", stages=[0, 1], order=[1, 0])
    >>> print(lower(s))
    def kernel(A: float32[4], C: float32[4]):
      P = alloc(float32[1], 'global')
      P[0] = A[0] + 1.0
      for i in range(3):
        C[i] = P[0] * 2.0
        P[0] = A[i + 1] + 1.0
      C[3] = P[0] * 2.0

    Args:
        state: the schedule's state.
        stage: the stage that *loop* belongs to.
        loop: the loop.
        units: the pieces, each by the tensor that it computes; ``s[C].software_pipeline`` finds them.
        stages: the stage of each piece, from 0.
        order: the place of each piece in a turn of the new loop; as they stand by default. What is computed at the
            loop later runs with the first piece that needs it.

    Raises:
        ArgumentError: there are not as many numbers as pieces, a stage is below 0 or none is 0, or *order* is no order.
        LimitError: there are more than `MOST_STAGES` stages.
        StructureError: the loop is not serial, a piece does not stand in it, or a buffer is double-buffered in it.
        DependenceError: a piece would run before what it needs, or two share what outlives a turn.
    """
    node = state.loop(stage, loop)
    require_ordered(state, stage, node, "pipelined")
    places = list(range(len(units))) if order is None else list(order)
    for what, numbers in (("stages", stages), ("order", places)):
        if len(numbers) != len(units):
            refuse(
                state,
                f"{what} has {counted(len(numbers), 'number')}, and the body of loop {loop!r} has "
                f"{counted(len(units), 'piece')}: "
                f"{', '.join(units)}",
                error=ArgumentError,
                loop=node.var,
                hint="give one number for each piece, in the order of the text",
            )
    if min(stages, default=0) != 0:
        refuse(state, f"stages are counted from 0, got {list(stages)}", error=ArgumentError, loop=node.var)
    if sorted(places) != list(range(len(units))):
        refuse(state, f"order must name each of the places 0 to {len(units) - 1} once, got {places}",
               error=ArgumentError, loop=node.var, hint=f"order={list(range(len(units)))} is as it stands")  # fmt: skip
    if max(stages, default=0) >= MOST_STAGES:
        refuse(state, f"{max(stages) + 1} stages, and {MOST_STAGES} is the limit", error=LimitError, loop=node.var,
               hint="more turns ahead need more memory and code; split the loop for longer turns")  # fmt: skip
    if "pipeline" in node.notes:
        refuse(state, f"loop {loop!r} is pipelined already", error=StructureError, loop=node.var)
    apart = [u for u, number in zip(units, stages, strict=True) if number != stages[units.index(u)]]
    if apart:
        refuse(state, f"two pieces compute {apart[0]!r}, and stand in different stages", error=ArgumentError,
               loop=node.var, hint="what is combined into the same elements stays in one stage")  # fmt: skip
    wanted: dict[str, tuple[int, int]] = {}
    for unit, number, place in zip(units, stages, places, strict=True):
        writer = next((s for s in state.stages.values() if any(b.name == unit for b in s.buffers)), None)
        names = [unit] if writer is None else [buffer.name for buffer in writer.buffers]
        wanted |= dict.fromkeys(names, (number, place))
    notes = MappingProxyType({**node.notes, "pipeline": wanted})
    return state.with_body(replace_loop(state.body, node.var, lambda old: replace(old, notes=notes))), ()


def unit_names(state: State, stage: str, loop: str) -> list[str]:
    """The pieces of the body of a loop, in order, each by the first tensor that it computes."""
    body = state.loop(stage, loop).body
    pieces = body.stmts if isinstance(body, Seq) else (body,)
    last = [[block.name for block in blocks(piece)][-1] for piece in pieces]  # what a piece computes comes last in it
    return [state.stages[name].buffers[0].name for name in last]
