"""Every error flashsched raises on purpose.

An error says four things: the step that failed, the reason with its values, where it happened (the nest with the
loop marked and the user's own line), and what to do next. All of them pickle, because workers raise them too.

The tree::

    FlashschedError
    ├── ExpressionError      a tensor expression that means nothing
    │   ├── DtypeError           dtypes that do not mix, or an operation that means nothing for them
    │   ├── ShapeError           a wrong rank, an index or a size that is none or lies outside
    │   ├── AxisError            a variable or an axis where it has no value, a reduction where none may stand
    │   └── ReducerError         a reducer that breaks its own laws
    ├── ScheduleError        a primitive that is refused, with the nest it was applied to
    │   ├── UnknownNameError     a stage, loop, tensor, scope or primitive that is not there (any more)
    │   ├── ArgumentError        an argument of the wrong kind, or out of its range
    │   ├── StructureError       loops that do not stand as needed: not adjacent, not innermost, marked already
    │   ├── DependenceError      the program would compute something else: a race, a value read before it is there
    │   ├── OutputError          something that the caller sees, and that can't be moved, inlined or stored elsewhere
    │   ├── LayoutError          a layout that loses an element, or puts two in one place
    │   ├── MatchError           a nest that is not what an intrinsic or a pattern computes
    │   ├── LimitError           a loop that is too long to be unrolled, vectorized, …
    │   └── TraceError           a trace that can't be read, or does not replay here
    ├── LoweringError        a nest that cannot be lowered or compiled for this target
    ├── KernelError          a kernel called with arguments that it cannot take
    │   └── WorkspaceError       a kernel that can't have the memory for what it computes on the way
    ├── LibraryError         a library of kernels that can't be written, read, or run on this machine
    ├── DeviceError          an unknown device, or a spec that contradicts itself
    ├── TuneError            a tuning run that cannot start or go on
    │   └── Infeasible       a candidate that its own constraints rule out
    └── LogError             a tuning log that cannot be read, written or trusted
        └── NoRecordError    no record fits a task; says which is nearest and why it does not fit
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "AxisError",
    "DependenceError",
    "DeviceError",
    "DtypeError",
    "ExpressionError",
    "FlashschedError",
    "Infeasible",
    "KernelError",
    "LayoutError",
    "LibraryError",
    "LimitError",
    "LogError",
    "LoweringError",
    "MatchError",
    "NoRecordError",
    "OutputError",
    "ReducerError",
    "ScheduleError",
    "ShapeError",
    "StructureError",
    "TraceError",
    "TuneError",
    "UnknownNameError",
    "WorkspaceError",
    "counted",
    "did_you_mean",
    "user_line",
]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class FlashschedError(Exception):
    """Base of all errors raised on purpose.

    Args:
        reason: what is wrong, with its values, in one sentence.
        step: the call that failed, as the user would write it, e.g. ``split('i', 4)``.
        shown: lines of a nest or an expression, the culprit marked with ``<--``.
        where: the user's own line, ``file.py:14``; found on the stack when left out.
        hint: the next move.
    """

    def __init__(
        self,
        reason: str,
        *,
        step: str | None = None,
        shown: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step
        self.shown = shown
        self.where = where if where is not None else user_line()
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.step}: {self.reason}" if self.step else self.reason]
        if self.shown:
            lines += [f"  | {line}" for line in self.shown.rstrip("\n").split("\n")]
        if self.where:
            lines.append(f"  at {self.where}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, self.step, self.shown, self.where, self.hint, self._extra()))

    def _extra(self) -> dict[str, object]:
        """Attributes of a subclass that must survive pickling."""
        return {}


def _rebuild(
    cls: type[FlashschedError],
    reason: str,
    step: str | None,
    shown: str | None,
    where: str | None,
    hint: str | None,
    extra: dict[str, object],
) -> FlashschedError:
    error = cls(reason, step=step, shown=shown, where=where or "", hint=hint)
    error.__dict__.update(extra)
    return error


class ExpressionError(FlashschedError, TypeError):
    """A tensor expression that means nothing: a typo, dtypes that do not mix, an index of the wrong rank."""


class ScheduleError(FlashschedError, ValueError):
    """A schedule primitive that is refused, with the nest it was applied to."""


class DtypeError(ExpressionError):
    """Dtypes that do not mix, or an operation that means nothing for them."""


class ShapeError(ExpressionError):
    """A wrong rank; an index or a size that is none, or lies outside."""


class AxisError(ExpressionError):
    """A variable or an axis that is used where it has no value, or a reduction where none may stand."""


class ReducerError(ExpressionError):
    """A reducer that breaks its own laws: not associative, not commutative, or with an identity that is none."""


class UnknownNameError(ScheduleError):
    """A stage, loop, tensor, scope or primitive that is not there, or is no more."""


class ArgumentError(ScheduleError):
    """An argument of the wrong kind, or out of its range."""


class StructureError(ScheduleError):
    """Loops that do not stand as the primitive needs them: not adjacent, not innermost, marked already."""


class DependenceError(ScheduleError):
    """The program would compute something else: a race, a value that is read before it is there, a wrong order."""


class OutputError(ScheduleError):
    """Something that the caller sees, and that therefore can't be moved, inlined or stored elsewhere."""


class LayoutError(ScheduleError):
    """A layout that loses an element, or puts two in one place."""


class MatchError(ScheduleError):
    """A nest that is not what an intrinsic, or a pattern, computes; the message shows the first difference."""


class LimitError(ScheduleError):
    """A loop or a buffer that is larger than the primitive can take."""


class TraceError(ScheduleError):
    """A trace that cannot be read, or that does not replay on this program."""


class LoweringError(FlashschedError, RuntimeError):
    """A nest that cannot be lowered or compiled for the target."""


class KernelError(FlashschedError, ValueError):
    """A kernel called with arguments that it cannot take safely."""


class WorkspaceError(KernelError, MemoryError):
    """A kernel that can't have the memory for what it computes on the way."""


class LibraryError(FlashschedError, RuntimeError):
    """A library of kernels that can't be written, read, or run on this machine."""


class DeviceError(FlashschedError, ValueError):
    """An unknown device, or a spec whose figures contradict each other."""


class TuneError(FlashschedError, RuntimeError):
    """A tuning run that cannot start or cannot go on."""


class Infeasible(TuneError):  # noqa: N818  (it is a verdict on a candidate, not a failure of the program)
    """A candidate that breaks a stated constraint of its space, e.g. tiles that do not fit in shared memory."""


class LogError(FlashschedError, RuntimeError):
    """A tuning log that cannot be read, written or trusted."""


class NoRecordError(LogError, LookupError):
    """No record of a log fits a task; the message names the nearest one and why it does not fit."""


def user_line() -> str:
    """The innermost stack frame outside flashsched, as ``file.py:14``; empty where there is none.

    Code that Python itself makes (of a dataclass, say) is nobody's line, nor is the module that makes it.
    """
    depth = 1
    while True:
        try:
            frame = sys._getframe(depth)
        except ValueError:
            return ""
        name = frame.f_code.co_filename
        ours = name.startswith(("<frozen", "<string>", dataclasses.__file__)) or os.path.abspath(name).startswith(
            _PACKAGE
        )
        if not ours:
            shown = os.path.relpath(name) if os.path.isabs(name) and name.startswith(os.getcwd() + os.sep) else name
            return f"{shown}:{frame.f_lineno}"
        depth += 1


def counted(number: object, what: str, many: str = "") -> str:
    """How many there are of *what*, which takes an s for more than one, or becomes *many*.

    >>> counted(1, "input"), counted(2, "input"), counted(0, "index", "indices")
    ('1 input', '2 inputs', '0 indices')
    """
    return f"{number} {what if str(number) == '1' else many or what + 's'}"


_MOST_TOLD = 40  # names at a time that anybody reads
_ONE_SLIP = 0.9  # so alike are a word and the same with a letter too many or too few; no other is meant then


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing clause that names the known spellings nearest to *name*, or all of them if none is near; of very many,
    some.

    >>> did_you_mean("matmull", ["matmul", "add"])
    'did you mean matmul?'
    >>> did_you_mean("zzz", ["matmul", "add"])
    'known: add, matmul'
    >>> did_you_mean("zzz", map(str, range(100, 400)))  # doctest: +ELLIPSIS
    'known: 100, 115, ..., 385, and 280 more'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near and difflib.SequenceMatcher(None, name, near[0]).ratio() > _ONE_SLIP:
        near = near[:1]
    if near:
        return f"did you mean {' or '.join(near)}?"
    told = names if len(names) <= _MOST_TOLD else names[:: -(-len(names) // (_MOST_TOLD // 2))]
    more = f", and {len(names) - len(told)} more" if len(told) < len(names) else ""
    return f"known: {', '.join(told)}{more}"
