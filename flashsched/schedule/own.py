"""Primitives of one's own: a plain function of a schedule becomes one step of its trace.

Such a step keeps the call and the built-in steps that it took. Where the function is known, replaying the step calls
it, and what it does must be what was recorded; where it is not, the steps inside are replayed, so that a trace from a
stranger needs none of their code.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from flashsched.errors import ArgumentError
from flashsched.schedule.handles import decode, encode
from flashsched.schedule.primitives import PRIMITIVES

if TYPE_CHECKING:
    from flashsched.schedule.schedule import Schedule

__all__ = ["OwnPrimitive", "own_primitive", "primitive"]

P = ParamSpec("P")
T = TypeVar("T")


class OwnPrimitive(Generic[P, T]):
    """A function of a schedule that counts as one primitive; call it as that function.

    Attributes:
        name: what a trace calls it.
        function: the function.
    """

    def __init__(self, function: Callable[Concatenate[Schedule, P], T], name: str) -> None:
        self.function = function
        self.name = name
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<primitive {self.name} of {self.function.__module__}>"

    def __call__(self, schedule: Schedule, *args: P.args, **kwargs: P.kwargs) -> T:
        return schedule.do(self, *args, **kwargs)

    def arguments(self, schedule: Schedule, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, as JSON.

        Raises:
            ArgumentError: the function does not take them, or they can't be kept.
        """
        try:
            bound = self.signature.bind(schedule, *args, **kwargs)
        except TypeError as error:
            takes = ", ".join(map(str, list(self.signature.parameters.values())[1:]))
            raise ArgumentError(str(error), step=f"{self.name}(…)", hint=f"{self.name} takes {takes}") from None
        return {name: encode(schedule, value) for name, value in list(bound.arguments.items())[1:]}

    def run(self, schedule: Schedule, arguments: Mapping[str, Any]) -> T:
        """Call the function with *arguments* as `arguments` gave them.

        Raises:
            ArgumentError: it does not take them.
        """
        first, *rest = self.signature.parameters.values()
        bound = inspect.BoundArguments(self.signature, {first.name: schedule})
        for parameter in rest:
            if parameter.name in arguments:
                value = decode(schedule, arguments[parameter.name])
                bound.arguments[parameter.name] = tuple(value) if parameter.kind is parameter.VAR_POSITIONAL else value
        unknown = [name for name in arguments if name not in self.signature.parameters]
        if unknown:
            raise ArgumentError(f"no argument named {unknown[0]!r}", hint=f"{self.name}{self.signature}")
        return self.function(*bound.args, **bound.kwargs)

    def by_position(self, arguments: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """*arguments* as they are passed in a call: (name, value), the name empty for one that goes by position.

        Handles do, from the first parameter on; so does what must, because positional ones come after it.
        """
        parameters = list(self.signature.parameters.values())[1:]
        places = [n for n, p in enumerate(parameters) if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
        last = max((n for n in places if arguments.get(parameters[n].name)), default=-1)
        passed: list[tuple[str, Any]] = []
        for number, parameter in enumerate(parameters):
            if parameter.name not in arguments:
                continue
            value = arguments[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                passed += [("", item) for item in value]
            elif parameter.kind is parameter.VAR_KEYWORD:
                passed += list(value.items())
            else:
                follows = number == len(passed) and all(not name for name, _ in passed)
                handle = isinstance(value, dict | list) and parameter.kind is not parameter.KEYWORD_ONLY
                passed.append(("" if number <= last or (follows and handle) else parameter.name, value))
        return passed

    @property
    def module(self) -> str | None:
        """The module that it can be imported from, if there is one."""
        name = self.function.__module__
        found = getattr(sys.modules.get(name), self.function.__name__, None)
        return name if found is self else None


_OWN: dict[str, OwnPrimitive[Any, Any]] = {}


@overload
def primitive(function: Callable[Concatenate[Schedule, P], T], /) -> OwnPrimitive[P, T]: ...


@overload
def primitive(*, name: str | None = None) -> Callable[[Callable[Concatenate[Schedule, P], T]], OwnPrimitive[P, T]]: ...


def primitive(function: Any = None, /, *, name: str | None = None) -> Any:
    """Make a function of a schedule a primitive of one's own: one step, all of it or nothing.

    The function takes the schedule, then what it likes: tensors, stages, loops, numbers, texts, lists of these. It may
    call any primitives, and may return the loops and the tensors that they gave.

    >>> from flashsched import te
    >>> @primitive
    ... def in_strips(s, C, width=4):
    ...     outer, inner = s[C].split(s[C].op.axis[-1], factor=width)
    ...     s[C].vectorize(inner)
    ...     return outer
    >>> A = te.placeholder((8,), name="A")
    >>> C = te.compute((8,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s[C].parallel(in_strips(s, C, width=2))
    >>> print(s.trace)
    in_strips(C, width=2)
      C: split('i', factor=2)
      C: vectorize('i.i')
    C: parallel('i.o')

    Args:
        function: the function.
        name: what a trace calls it; by default its own name.

    Raises:
        ArgumentError: a built-in primitive, or one of another module, has that name.
    """
    if function is None:
        return lambda given: _register(given, name or given.__name__)
    return _register(function, name or function.__name__)


def _register(function: Callable[..., Any], name: str) -> OwnPrimitive[Any, Any]:
    other = _OWN.get(name)
    if name in PRIMITIVES:
        raise ArgumentError(f"there is a built-in primitive {name!r}", hint=f"primitive(name='my_{name}')")
    if other is not None and other.function.__module__ != function.__module__:
        raise ArgumentError(
            f"module {other.function.__module__} has a primitive {name!r} already",
            hint=f"primitive(name='{function.__module__}.{name}')",
        )
    _OWN[name] = OwnPrimitive(function, name)
    return _OWN[name]


def own_primitive(name: str) -> OwnPrimitive[Any, Any] | None:
    """The one that is registered under *name* in this process, if there is one."""
    return _OWN.get(name)
