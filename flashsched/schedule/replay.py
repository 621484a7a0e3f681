"""Taking the steps of a trace again, on the program that they were recorded on or on one like it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from flashsched.errors import FlashschedError, ScheduleError, TraceError
from flashsched.schedule.handles import decode
from flashsched.schedule.own import own_primitive
from flashsched.schedule.trace import Step, Trace

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule

__all__ = ["take_steps"]


def take_steps(schedule: Schedule, trace: Trace, *, strict: bool) -> None:
    """Take the steps of *trace* on *schedule*; what does not fit is refused or, if not *strict*, left out and told.

    Raises:
        TraceError: a step does not fit, and *strict* is asked for.
    """
    left_out: list[str] = []
    for number, step in enumerate(trace, 1):
        try:
            _take(schedule, step, strict)
        except ScheduleError as error:
            if strict:
                raise _unfit(step, number, len(trace), error) from error
            left_out.append(f"{step.lines()[0]}, since {error.reason}")
    if left_out:
        steps = "1 step does" if len(left_out) == 1 else f"{len(left_out)} steps do"
        warnings.warn(f"{steps} not fit here, and left out:\n  " + "\n  ".join(left_out), stacklevel=3)


def _unfit(step: Step, number: int, count: int, error: ScheduleError) -> TraceError:
    other = "replay(..., strict=False) leaves out the steps that do not fit"
    first = step.lines()[0]
    inner = error.step is not None and error.step not in first
    return TraceError(
        error.reason,
        step=f"step {number} of {count}, {f'{first}: {error.step}' if inner else first}",
        shown=error.shown,
        hint=f"{error.hint}; {other}" if error.hint else other,
    )


def _take(schedule: Schedule, step: Step, strict: bool) -> None:
    if step.steps is not None:
        _take_own(schedule, step, strict)
        return
    out = schedule.apply(step.primitive, step.stage, dict(step.args))
    if strict and out != step.out:
        raise _other(f"it gave {_list(step.out)} when it was recorded, and gives {_list(out)}")


def _take_own(schedule: Schedule, step: Step, strict: bool) -> None:
    """Call the function of one's own, if it is known here; take the steps that it took, if it is not."""
    own = own_primitive(step.primitive)
    if own is None:
        inside = step.steps or ()

        def again() -> object:
            for inner in inside:
                _take(schedule, inner, strict)
            return decode(schedule, step.returned)

        schedule.record(step.primitive, step.args, again)
        return
    try:
        schedule.record(step.primitive, step.args, lambda: own.run(schedule, step.args))
    except FlashschedError:
        raise
    except Exception as error:
        raise TraceError(f"{own!r} raised {type(error).__name__}: {error}") from error
    if strict:
        _require_same(step, schedule.trace.steps[-1])


def _require_same(recorded: Step, now: Step) -> None:
    if now.to_json() == recorded.to_json():
        return
    pairs = zip(recorded.flat(), now.flat(), strict=False)
    first = next((f"{a.lines()[0]!r} then, {b.lines()[0]!r} now" for a, b in pairs if a != b), None)
    counts = f"{len(list(recorded.flat()))} steps then, {len(list(now.flat()))} now"
    raise TraceError(
        f"{recorded.primitive} does something else than when it was recorded: {first or counts}",
        hint="it was changed since, or chooses by the sizes; trace.flat() has the recorded steps without the call",
    )


def _other(reason: str) -> TraceError:
    return TraceError(reason, hint="it was recorded on another program, or by another version of flashsched")


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
