"""The table of primitives, and how one is applied and replayed.

A primitive is a plain function ``(state, stage, **arguments) -> (state, names of what it made)`` whose arguments are
JSON values, so that a step of a trace is a call of it. Those marked ``on_loops`` speak of the stage's own loops only;
they are remembered with the stage, and replayed when its nest is made anew somewhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flashsched.errors import ScheduleError, UnknownNameError, did_you_mean
from flashsched.schedule.arguments import declare, require_arguments
from flashsched.schedule.follow import require_sound_followers
from flashsched.schedule.marks import require_sound_marks
from flashsched.schedule.recurrence import require_recurrences
from flashsched.schedule.state import State
from flashsched.schedule.stores import require_sound_stores
from flashsched.schedule.tensorized import require_tensorized
from flashsched.schedule.threads import require_sound_threads
from flashsched.schedule.trace import Step

__all__ = ["PRIMITIVES", "Primitive", "Result", "apply", "primitive", "replay_loop_step"]

Result: TypeAlias = tuple[State, tuple[str, ...]]
Function: TypeAlias = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Primitive:
    """A primitive's function, and whether it only concerns the stage's own loops."""

    run: Function
    on_loops: bool


PRIMITIVES: dict[str, Primitive] = {}


def primitive(*, on_loops: bool = False) -> Callable[[Function], Function]:
    """Register the decorated function under its name; its signature says what its arguments are.

    `flashsched.schedule.arguments` reads it, so that traces, messages and ``to_python`` know them, too.
    """

    def register(function: Function) -> Function:
        PRIMITIVES[function.__name__] = Primitive(function, on_loops)
        declare(function.__name__, function)
        return function

    return register


def apply(state: State, name: str, stage: str, args: Mapping[str, Any]) -> Result:
    """Apply the primitive *name* to *stage*, and see that what the nest is marked with still fits it.

    Raises:
        ScheduleError: there is no such primitive, its arguments are not its own, or it refuses.
    """
    new, out = _applied(state, name, stage, args)
    try:
        require_sound_marks(new)
        require_sound_followers(new)
        require_sound_stores(new)
        require_tensorized(new)
    except ScheduleError as error:
        error.step = Step(name, stage, dict(args)).text()
        raise
    return new, out


def _applied(state: State, name: str, stage: str, args: Mapping[str, Any]) -> Result:
    found = PRIMITIVES.get(name)
    if found is None:
        raise UnknownNameError(f"no primitive named {name!r}", hint=did_you_mean(name, PRIMITIVES))
    step = Step(name, stage, dict(args))
    try:
        require_arguments(name, args)
        state, out = found.run(state, stage, **args)
        require_sound_threads(state)
        require_recurrences(state)
    except ScheduleError as error:
        error.step = step.text() if error.step is None else f"{step.text()}: {error.step}"
        raise
    if found.on_loops:
        state = state.with_stage(state.stages[stage].after(Step(name, stage, step.args, out)))
    return state, out


def replay_loop_step(state: State, step: Step) -> State:
    """Apply *step* to a nest that was made anew.

    Raises:
        ScheduleError: it can't be applied there.
    """
    try:
        state, out = _applied(state, step.primitive, step.stage, step.args)
    except ScheduleError as error:
        raise type(error)(
            f"the stage's own {step.text()} can't be repeated at the new place: {error.reason}",
            shown=error.shown,
            hint=error.hint,
        ) from None
    assert out == step.out, (out, step.out)
    return state
