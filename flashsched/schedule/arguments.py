"""What the arguments of a primitive are: one table of kinds, read off the primitive's own signature.

The kinds serve four readers: the check of a trace from elsewhere, the call as it reads in a message, the call as it
stands in a program, and whoever draws arguments. A primitive names a kind by its annotation (`LoopName`,
``list[StageName]``, ``int``, …); the parameters ``loop``, ``loops``, ``at`` and ``readers`` need none, their names say
it. In JSON a loop, a stage and a tensor are names, and a place is a pair of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

from flashsched.errors import ArgumentError, did_you_mean

__all__ = [
    "Argument",
    "Kind",
    "LoopName",
    "Place",
    "StageName",
    "TensorName",
    "arguments_of",
    "call_text",
    "declare",
    "require_arguments",
]

LoopName: TypeAlias = str
"""A loop of the stage that the primitive is applied to."""

StageName: TypeAlias = str
"""A stage."""

TensorName: TypeAlias = str
"""A tensor: a stage's (or one of several that it makes), or an input."""

Place: TypeAlias = list[str]
"""A stage and one of its loops."""


_LONGEST = 80  # characters of an argument in a message


class Kind(Enum):
    """What an argument is."""

    LOOP = auto()
    LOOPS = auto()
    PLACE = auto()
    STAGE = auto()
    STAGES = auto()
    TENSOR = auto()
    TENSORS = auto()
    TEXT = auto()
    VALUE = auto()
    """A number, a bool, or a list of them."""

    @property
    def is_handle(self) -> bool:
        """Whether a program passes an object (of a loop, a stage, a tensor) for it."""
        return self not in (Kind.TEXT, Kind.VALUE)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def _is_place(value: Any) -> bool:
    return _list_of(_is_name)(value) and len(value) == 2


_FORMS: dict[str, tuple[Kind, str, Callable[[Any], bool]]] = {
    "LoopName": (Kind.LOOP, "the name of a loop", _is_name),
    "list[LoopName]": (Kind.LOOPS, "a list of names of loops", _list_of(_is_name)),
    "Place": (Kind.PLACE, "a stage and one of its loops", _is_place),
    "StageName": (Kind.STAGE, "the name of a stage", _is_name),
    "list[StageName]": (Kind.STAGES, "a list of names of stages", _list_of(_is_name)),
    "TensorName": (Kind.TENSOR, "the name of a tensor", _is_name),
    "list[TensorName]": (Kind.TENSORS, "a list of names of tensors", _list_of(_is_name)),
    "str": (Kind.TEXT, "a text", _is_name),
    "list[str]": (Kind.VALUE, "a list of texts", _list_of(_is_name)),
    "int": (Kind.VALUE, "an integer", _is_int),
    "float": (Kind.VALUE, "a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "bool": (Kind.VALUE, "true or false", lambda value: isinstance(value, bool)),
    "list[int]": (Kind.VALUE, "a list of integers", _list_of(_is_int)),
    "None": (Kind.VALUE, "nothing", lambda value: value is None),
}
_ANY = (Kind.VALUE, "a value", lambda value: True)

_BY_NAME = {"loop": "LoopName", "loops": "list[LoopName]", "at": "Place", "readers": "list[StageName]"}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a primitive.

    Attributes:
        name: the parameter, and its key in a trace.
        kind: what it is.
        said: the same in words, for messages.
        fits: whether a JSON value is one.
        required: whether it must be given.
        default: what it is where it is not.
    """

    name: str
    kind: Kind
    said: str
    fits: Callable[[Any], bool]
    required: bool
    default: Any = None

    @property
    def by_position(self) -> bool:
        """Whether a program passes it by its position: what must be given and is no number."""
        return self.required and self.kind is not Kind.VALUE


_ARGUMENTS: dict[str, tuple[Argument, ...]] = {}


def declare(name: str, function: Callable[..., Any]) -> None:
    """Note the arguments of the primitive *name*, which is *function* ``(state, stage, **arguments)``."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    _ARGUMENTS[name] = tuple(_argument(parameter) for parameter in parameters)


def _argument(parameter: inspect.Parameter) -> Argument:
    parts = [part.strip() for part in str(parameter.annotation).split("|")]
    if parameter.name in _BY_NAME and parts[0] in ("str", "list[str]"):
        parts[0] = _BY_NAME[parameter.name]
    forms = [_FORMS.get(part, _ANY) for part in parts]
    required = parameter.default is parameter.empty
    return Argument(
        parameter.name,
        forms[0][0],
        forms[0][1],
        lambda value: any(fits(value) for _, _, fits in forms),
        required,
        None if required else parameter.default,
    )


def arguments_of(primitive: str) -> tuple[Argument, ...]:
    """The arguments of *primitive*, in the order of its signature; none where it is not known."""
    return _ARGUMENTS.get(primitive, ())


def require_arguments(primitive: str, args: Mapping[str, Any]) -> None:
    """Refuse *args* that are not those of *primitive*, as a trace from elsewhere may hold them.

    Raises:
        ArgumentError: one is unknown, missing, or of another kind.
    """
    known = {argument.name: argument for argument in arguments_of(primitive)}
    for key, value in args.items():
        if key not in known:
            hint = did_you_mean(key, known) if known else _takes(primitive)
            raise ArgumentError(f"no argument named {key!r}", hint=hint)
        if not known[key].fits(value):
            raise ArgumentError(f"{key} must be {known[key].said}, got {value!r}", hint=_takes(primitive))
    missing = [argument.name for argument in known.values() if argument.required and argument.name not in args]
    if missing:
        raise ArgumentError(f"{' and '.join(missing)} must be given", hint=_takes(primitive))


def _takes(primitive: str) -> str:
    """The arguments of *primitive* in words."""
    known = arguments_of(primitive)
    takes = [f"{a.name} ({a.said})" if a.required else f"{a.name}={a.default!r}" for a in known]
    return f"{primitive} takes {', '.join(takes) or 'no arguments'}"


def call_text(primitive: str, args: Mapping[str, Any]) -> str:
    """The call as it reads in a message: ``split('i', factor=4)``."""
    known = {argument.name: argument for argument in arguments_of(primitive)}
    order = [key for key in known if key in args] + [key for key in args if key not in known]
    shown: list[str] = []
    for key in order:
        value = args[key]
        if value is None:
            continue
        if key not in known and isinstance(value, dict | list):
            follows = all("=" not in text for text in shown)
            shown.append(_shown(value) if follows else f"{key}={_shown(value)}")
        elif key not in known or not known[key].by_position:
            shown.append(f"{key}={_short(value)}")
        elif known[key].kind in (Kind.LOOPS, Kind.PLACE) and isinstance(value, list | tuple):
            shown += map(_short, value)
        else:
            shown.append(_short(value))
    return f"{primitive}({', '.join(shown)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]}…{text[-1]}"


def _shown(value: Any) -> str:
    """A value given to a primitive of one's own, its handles as a person would say them."""
    match value:
        case {"$tensor": name} | {"$stage": name}:
            return str(name)
        case {"$loop": [stage, name]}:
            return f"{stage}.{name}"
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return f"{{{', '.join(f'{key!r}: {_shown(item)}' for key, item in value.items())}}}"
        case _:
            return repr(value)
