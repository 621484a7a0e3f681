"""`Operator`: a computation with a name, its te definition, and the templates that schedule it.

The operators that come with flashsched are made with it, and so is a user's own::

    @fs.operator(shape=(1024, 1024))
    def scaled_add(M, N, dtype="float32"):
        X = te.placeholder((M, N), dtype, name="X")
        Y = te.placeholder((M, N), dtype, name="Y")
        Z = te.compute((M, N), lambda i, j: 2 * X[i, j] + Y[i, j], name="Z")
        return [X, Y, Z]

    @scaled_add.template("cpu")
    def schedule(s, args, knobs, spec):
        i, j = s[args[-1]].op.axis
        outer, inner = s[args[-1]].split(j, factor=knobs.choice("lanes", (8, 16, 32)))
        s[args[-1]].vectorize(inner)
        s[args[-1]].parallel(i)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from flashsched.errors import TuneError, counted, did_you_mean
from flashsched.hw import DeviceSpec
from flashsched.schedule import Schedule
from flashsched.te import dtypes
from flashsched.te.tensor import PlaceholderOp, Tensor

__all__ = ["OPERATORS", "KnobsLike", "Operator", "Template", "find_operator", "operator", "register"]

T = TypeVar("T")


class KnobsLike(Protocol):
    """What a template asks its decisions of (see `flashsched.tune.search.knobs`)."""

    def choice(self, name: str, options: Sequence[T], default: T | None = None) -> T:
        """One of *options*, which stand in order."""
        ...

    def require(self, condition: object, text: str) -> None:
        """Rule the candidate out unless *condition* holds."""
        ...


Template: TypeAlias = Callable[[Schedule, list[Tensor], KnobsLike, DeviceSpec], None]
"""``template(s, args, knobs, spec)`` schedules *s* as *knobs* decide, for a device of *spec*."""


class Operator:
    """A named computation for any shape.

    Args:
        name: what ``fs.Task(name)`` and the command line call it.
        define: ``define(*shape, dtype=..., **options) -> [inputs..., output]``, the te definition.
        shape: the shape used where none is given; the parameters of *define* name its parts.
        dtypes: the element types that it takes.
        reference: ``reference(*inputs, **options)``, the same in NumPy; without it the default nest is the reference.
        rounding: ``rounding(options)``, by how many times an algorithm that the options choose rounds worse than the
            sums in its graph do by themselves; 1 by default.
    """

    def __init__(
        self,
        name: str,
        define: Callable[..., Sequence[Tensor]],
        shape: Sequence[int],
        dtypes: Sequence[str] = ("float32", "float64"),
        reference: Callable[..., Any] | None = None,
        rounding: Callable[[Mapping[str, Any]], float] | None = None,
    ) -> None:
        self.name = name
        self.define = define
        self.shape = tuple(shape)
        self.dtypes = tuple(dtypes)
        self.reference = reference
        self.rounding = rounding
        self.templates: dict[str, Template] = {}
        self.__doc__ = define.__doc__

    def __repr__(self) -> str:
        return f"<operator {self.name}({', '.join(self.shape_names)})>"

    @property
    def shape_names(self) -> tuple[str, ...]:
        """What the parts of its shape are called."""
        parameters = inspect.signature(self.define).parameters.values()
        return tuple(p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)

    @property
    def options(self) -> dict[str, Any]:
        """Its options, with their defaults."""
        parameters = inspect.signature(self.define).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "dtype"}

    def template(self, kind: str) -> Callable[[Template], Template]:
        """Register the decorated function as the template for devices of *kind*: ``"cpu"``, ``"gpu"``, …"""

        def register_template(function: Template) -> Template:
            self.templates[kind] = function
            return function

        return register_template

    def args(
        self, shape: Sequence[int] | None = None, dtype: str = "float32", options: Mapping[str, Any] | None = None
    ) -> list[Tensor]:
        """Its te definition for one shape: inputs, then the output.

        Raises:
            TuneError: the shape has another number of parts, a part below 0, or a dtype or option is not one of its.
        """
        sizes = self.shape if shape is None else tuple(shape)
        names = self.shape_names
        if len(sizes) != len(names) and names:
            raise TuneError(
                f"{self.name} takes a shape of {counted(len(names), 'number')} ({','.join(names)}), and "
                f"got {len(sizes)}: "
                f"{','.join(map(str, sizes))}",
                hint=f"for example {','.join(map(str, self.shape))}",
            )
        for part, size in zip(names, sizes, strict=False):
            if type(size) is not int or size < 0:
                raise TuneError(f"{self.name}: {part} must be an integer from 0 up, got {size!r}")
        if dtype not in self.dtypes:
            cast = "float64" if dtypes.bits(dtype) > 32 and "float64" in self.dtypes else "float32"
            raise TuneError(
                f"{self.name} does not take {dtype!r}: it takes {', '.join(self.dtypes)}",
                hint=f"cast to one of these: x.astype({cast!r})" if cast in self.dtypes else None,
            )
        for key in options or {}:
            if key not in self.options:
                raise TuneError(
                    f"{self.name} has no option {key!r}", hint=did_you_mean(key, self.options or ["(it has none)"])
                )
        takes_dtype = "dtype" in inspect.signature(self.define).parameters
        given = {"dtype": dtype} if takes_dtype else {}
        made = list(self.define(*sizes, **given, **(options or {})))
        if len(made) < 1 or not all(isinstance(tensor, Tensor) for tensor in made):
            raise TuneError(f"{self.name}: its definition must return tensors, the inputs and then the output")
        for tensor in made[:-1]:
            if not isinstance(tensor.op, PlaceholderOp):
                raise TuneError(f"{self.name}: {tensor.name} comes before the output, and is no input")
        return made


OPERATORS: dict[str, Operator] = {}
"""The operators that are known by name."""


def register(op: Operator) -> Operator:
    """Make *op* known by its name."""
    OPERATORS[op.name] = op
    return op


def operator(
    *,
    shape: Sequence[int] = (),
    name: str | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    reference: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Sequence[Tensor]]], Operator]:
    """Make an operator of the decorated te definition; see `Operator` for the arguments."""

    def make(define: Callable[..., Sequence[Tensor]]) -> Operator:
        return Operator(name or define.__name__, define, shape, dtypes, reference)

    return make


def find_operator(name: str) -> Operator:
    """The operator called *name*.

    Raises:
        TuneError: there is none; the message names the nearest.
    """
    if name not in OPERATORS:
        raise TuneError(f"no operator named {name!r}", hint=did_you_mean(name, OPERATORS))
    return OPERATORS[name]
