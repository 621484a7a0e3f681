"""The window of a stage that rolls: which part of it stays from turn to turn, and when that is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flashsched.errors import DependenceError, StructureError
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.regions import Span
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, Var, compare, logical_or
from flashsched.te.simplify import Ranges, linear
from flashsched.te.visit import uses

__all__ = ["Window", "require_turns", "require_window"]


@dataclass(frozen=True, slots=True)
class Window:
    """What a turn of the loop over *turn* needs: *extent* indices of *dimension*, *step* further on each turn."""

    dimension: int
    extent: int
    step: int
    turn: Var

    def is_new(self, stage: Stage) -> Expr:
        """Whether the point of *stage*'s fresh loops was not computed in the turn before."""
        axis = stage.spatial[self.dimension]
        var = list(stage.loops.values())[stage.axes.index(axis)]
        first = compare("==", self.turn, Const(0, dtypes.INDEX))
        return logical_or(first, compare(">=", var, Const(self.extent - self.step, dtypes.INDEX)))


def require_window(state: State, stage: Stage, loop: For, spans: Sequence[Span], outer: Ranges) -> Window:
    """The window of *stage*, of which a turn of *loop* needs *spans*.

    Raises:
        DependenceError: the turns do not need parts that overlap and move by a constant in one dimension.
    """
    moving: list[Window] = []
    for dimension, span in enumerate(spans):
        form = linear(span.first, outer)
        step = form.coefficient(loop.var)
        if any(uses(atom, loop.var) for atom, _ in form.terms.values() if atom is not loop.var):
            step = -1  # not a constant one
        if step < 0:
            _refuse(state, stage, loop, f"begins at {span.first} in dimension {dimension}, and does not move on evenly")
        if step and not isinstance(span.extent, int):
            _refuse(state, stage, loop, f"has {span.extent} elements in dimension {dimension}, which is no number")
        if step and isinstance(span.extent, int):
            moving.append(Window(dimension, span.extent, step, loop.var))
    if len(moving) != 1:
        _refuse(state, stage, loop, f"moves in {len(moving)} dimensions, and a window moves in one")
    (window,) = moving
    if window.step >= window.extent:
        _refuse(state, stage, loop, f"of {window.extent} moves by {window.step}, and nothing of it stays")
    return window


def _refuse(state: State, stage: Stage, loop: For, why: str) -> None:
    refuse(
        state,
        f"the part of {stage.name!r} that a turn of loop {loop.var.name!r} needs {why}",
        error=DependenceError,
        loop=loop.var,
        hint="compute it at a loop that moves along one dimension of it, as a stencil's row does",
    )


def require_turns(state: State, stage: Stage, loop: For) -> None:
    """Refuse a *loop* whose turns do not come one after another, or a *stage* that can't keep a window of it.

    Raises:
        StructureError: that is so.
    """
    if loop.kind not in (LoopKind.SERIAL, LoopKind.UNROLL):
        refuse(
            state,
            f"loop {loop.var.name!r} is marked {loop.kind.value}, and {stage.name!r}, which is computed at it, is a "
            "rolling buffer: each turn needs what the one before has computed",
            error=StructureError,
            loop=loop.var,
            hint="split the loop, mark the outer part, and compute the stage at the inner one",
        )
    if stage.follows or any(other.init_of == stage.name for other in state.stages.values()):
        refuse(
            state,
            f"{stage.name!r} is a rolling buffer, and what {'it follows' if stage.follows else 'its init does'} needs "
            "all of its part in each turn",
            error=StructureError,
            block=stage.name,
            hint="leave the reduction whole, and compute the stage at a loop of its reader",
        )
    if any(buffer.doubled for buffer in stage.buffers):
        refuse(
            state,
            f"{stage.name!r} is both a rolling and a double buffer: it can't be ahead of the turn that it needs",
            error=StructureError,
            block=stage.name,
        )
    if any(step.args.get("tail") == "pad" for step in stage.steps):
        refuse(
            state,
            f"{stage.name!r} is a rolling buffer, and what its split pads would overwrite what stays in the window",
            error=StructureError,
            block=stage.name,
            hint="choose another tail: split(loop, factor, tail='guard')",
        )
