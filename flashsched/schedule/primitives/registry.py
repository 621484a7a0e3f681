"""The table of primitives, and how one is applied and replayed.

A primitive is a plain function ``(state, stage, **arguments) -> (state, names of what it made)`` whose arguments are
JSON values, so that a step of a trace is a call of it. Those marked ``on_loops`` speak of the stage's own loops only;
they are remembered with the stage, and replayed when its nest is made anew somewhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from flashsched.errors import ArgumentError, ScheduleError, UnknownNameError, did_you_mean
from flashsched.schedule.state import State
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
    """Register the decorated function under its name."""

    def register(function: Function) -> Function:
        PRIMITIVES[function.__name__] = Primitive(function, on_loops)
        return function

    return register


def apply(state: State, name: str, stage: str, args: Mapping[str, Any]) -> Result:
    """Apply the primitive *name* to *stage*.

    Raises:
        ScheduleError: there is no such primitive, its arguments are not its own, or it refuses.
    """
    found = PRIMITIVES.get(name)
    if found is None:
        raise UnknownNameError(f"no primitive named {name!r}", hint=did_you_mean(name, PRIMITIVES))
    step = Step(name, stage, dict(args))
    try:
        _require_arguments(found.run, args)
        state, out = found.run(state, stage, **args)
        require_sound_threads(state)
    except ScheduleError as error:
        if error.step is None:
            error.step = step.text()
        raise
    if found.on_loops:
        known = state.stages[stage]
        state = state.with_stage(replace(known, steps=(*known.steps, replace(step, out=out))))
    return state, out


_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a name", lambda value: isinstance(value, str)),
    "int": ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "list[int]": (
        "a list of integers",
        lambda value: (
            isinstance(value, list | tuple)
            and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
        ),
    ),
    "list[str]": (
        "a list of names",
        lambda value: isinstance(value, list | tuple) and all(isinstance(item, str) for item in value),
    ),
    "None": ("nothing", lambda value: value is None),
}


def _require_arguments(function: Function, args: Mapping[str, Any]) -> None:
    """Refuse arguments that *function* does not take, as a trace from elsewhere may hold them."""
    known = dict(list(inspect.signature(function).parameters.items())[2:])  # after the state and the stage
    for key, value in args.items():
        if key not in known:
            raise ArgumentError(f"no argument named {key!r}", hint=did_you_mean(key, known))
        forms = [_FORMS[form.strip()] for form in str(known[key].annotation).split("|")]
        if not any(fits(value) for _, fits in forms):
            raise ArgumentError(f"{key} must be {forms[0][0]}, got {value!r}", hint=_shown(function))
    missing = [key for key, parameter in known.items() if parameter.default is parameter.empty and key not in args]
    if missing:
        raise ArgumentError(f"{' and '.join(missing)} must be given", hint=_shown(function))


def _shown(function: Function) -> str:
    parameters = list(inspect.signature(function).parameters.values())[2:]  # after the state and the stage
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    return f"it takes {', '.join(shown) or 'none'}"


def replay_loop_step(state: State, step: Step) -> State:
    """Apply *step* to a nest that was made anew.

    Raises:
        ScheduleError: it can't be applied there.
    """
    try:
        state, out = apply(state, step.primitive, step.stage, step.args)
    except ScheduleError as error:
        raise type(error)(
            f"the stage's own {step.text()} can't be repeated at the new place: {error.reason}",
            shown=error.shown,
            hint=error.hint,
        ) from None
    assert out == step.out, (out, step.out)
    return state
