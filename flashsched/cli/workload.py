"""What WORKLOAD, --shape, --dtype and --option mean: from words to a `Task`.

A workload is an operator's name, or ``file.py:NAME``, where NAME is an operator, a task, tensors, or a function that
returns tensors; how such a file is read is ``user_file.py``.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flashsched.cli.run import USAGE, CommandError, usage
from flashsched.cli.user_file import file_and_name, named_in
from flashsched.errors import TuneError, counted

if TYPE_CHECKING:
    from flashsched.ops import Operator
    from flashsched.tune.task import Task

__all__ = ["Shape", "find_task", "option_words", "shape_of", "task_title", "workload_options"]

F = TypeVar("F", bound=Callable[..., Any])


class Shape(click.ParamType[tuple[int, ...]]):
    """Whole numbers from 0 up, parted by commas."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).replace("x", ",").strip("()[], ").split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is no shape: give whole numbers parted by commas, as in 512,512,512", param, ctx)
        return tuple(int(part) for part in parts)


def workload_options(command: F) -> F:
    """The argument WORKLOAD and the options that go with it, handed to the command as one, *task*."""

    @functools.wraps(command)
    def with_task(
        workload: str,
        shape: tuple[int, ...] | None,
        dtype: str | None,
        options: Sequence[str],
        bias: bool,
        activation: str | None,
        **rest: Any,
    ) -> Any:
        return command(task=find_task(workload, shape, dtype, option_words(options, bias, activation)), **rest)

    decorated: Any = with_task
    for decorate in reversed(
        (
            click.argument("workload"),
            click.option(
                "--shape", type=Shape(), help="Sizes of the workload; matmul takes M,N,K.  [default: its own]"
            ),
            click.option("--dtype", metavar="NAME", help="Element type of the inputs.  [default: float32]"),
            click.option("--bias", is_flag=True, help="Add a bias, of operators that take one; -o bias=true."),
            click.option("--activation", metavar="NAME", help="Fuse relu, gelu or silu; -o activation=NAME."),
            click.option(
                *("-o", "--option", "options"),
                multiple=True,
                metavar="KEY=VALUE",
                help="Any other option of the workload; may be repeated.",
            ),
        )
    ):
        decorated = decorate(decorated)
    made: F = decorated
    return made


def option_words(options: Sequence[str], bias: bool, activation: str | None) -> dict[str, str]:
    """The options of a workload as text by name."""
    words = dict(map(_pair, options))
    words |= {"bias": "true"} if bias else {}
    return words | ({"activation": activation} if activation is not None else {})


def find_task(
    workload: str,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    words: Mapping[str, str] | None = None,
) -> Task:
    """The task that the words name; *words* are its options as text.

    Raises:
        CommandError: they name none.
    """
    from flashsched.ops import Operator, find_operator
    from flashsched.tune.task import Task

    file, name = file_and_name(workload)
    given = dict(words or {})
    if file is None:
        with usage():
            try:
                op = find_operator(workload)
            except TuneError as error:
                raise TuneError(error.reason, hint=f"{error.hint} Or give file.py:NAME.") from None
            return _of_operator(op, shape, dtype, given)
    found = named_in(file, name)
    if isinstance(found, Operator):
        with usage():
            return _of_operator(found, shape, dtype, given)
    if isinstance(found, Task) or _are_tensors(found):
        asked = [word for word, value in (("--shape", shape), ("--dtype", dtype), ("--option", given)) if value]
        if asked:
            raise CommandError(f"error: {workload} is fixed as it stands, and takes no {asked[0]}", USAGE)
        with usage():
            return found if isinstance(found, Task) else Task.from_te(found, name=name)
    if callable(found) and not isinstance(found, type):
        with usage():
            return _of_function(found, name, shape, dtype, given)
    raise CommandError(
        f"error: {workload} is of type {type(found).__name__}, and there is nothing in it to run\n"
        "  hint: name an operator (@fs.operator), an fs.Task, or a function that returns [inputs..., output]",
        USAGE,
    )


def _of_operator(op: Operator, shape: tuple[int, ...] | None, dtype: str | None, words: Mapping[str, str]) -> Task:
    from flashsched.tune.task import Task

    if shape is None and not op.shape and op.shape_names:
        raise TuneError(
            f"{op.name} takes a shape of {counted(len(op.shape_names), 'number')} ({','.join(op.shape_names)})",
            hint="give --shape",
        )
    default = "float32" if "float32" in op.dtypes else op.dtypes[0]
    return Task(op, shape, dtype or default, **_values(op.name, words, op.options))


def _of_function(
    function: Callable[..., Any], name: str, shape: tuple[int, ...] | None, dtype: str | None, words: Mapping[str, str]
) -> Task:
    """A function of sizes is an operator of any shape; one without is called as it is."""
    from flashsched.ops import Operator
    from flashsched.te.dtypes import DTYPES
    from flashsched.tune.task import Task

    op = Operator(name, function, (), DTYPES)
    if op.shape_names:
        return _of_operator(op, shape, dtype, words)
    if shape is not None:
        raise TuneError(f"{name}() takes no sizes, so its shape cannot be chosen")
    keywords = _values(name, words, op.options)
    if "dtype" in inspect.signature(function).parameters:
        keywords |= {} if dtype is None else {"dtype": dtype}
    elif dtype is not None:
        raise TuneError(f"{name}() has no parameter dtype")
    made = function(**keywords)
    if not _are_tensors(made):
        raise TuneError(
            f"{name}() must return a list of tensors, and returned {type(made).__name__}",
            hint="return [inputs..., output]; te.placeholder makes an input, te.compute an output",
        )
    return Task.from_te(list(made), name=name)


def _are_tensors(found: Any) -> bool:
    from flashsched.te.tensor import Tensor

    return isinstance(found, list | tuple) and bool(found) and all(isinstance(item, Tensor) for item in found)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--option {text!r} is no KEY=VALUE, as in bias=true")
    return key.strip(), value.strip()


def _values(name: str, words: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the types that their defaults have."""
    return {key: _value(name, key, text, defaults.get(key)) for key, text in words.items()}


_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _value(name: str, key: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in _TRUTH:
            raise TuneError(f"{name}: option {key} is true or false, and got {text!r}")
        return _TRUTH[text.lower()]
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            raise TuneError(
                f"{name}: option {key} is a number, and got {text!r}", hint=f"as in {key}={default}"
            ) from None
    if text.lower() == "none":
        return None
    try:
        return text if isinstance(default, str) else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def task_title(task: Task) -> str:
    """The task as the command line spells it: ``matmul 512,512,512 float32 bias=True``."""
    options = "".join(f" {key}={value}" for key, value in task.options.items())
    return f"{task.op} {shape_of(task)} {task.dtype}{options}"


def shape_of(task: Task) -> str:
    """The task's shape as --shape takes it."""
    return ",".join(map(str, task.shape))
