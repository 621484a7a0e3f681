"""Templates, the tasks made of them, and which configuration a template gets when it is called.

A template is a function of its arguments that returns ``(schedule, [tensors])``. When it is called, the innermost
`DispatchContext` says which configuration `get_config` gives it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from flashsched.compat.tvm.autotvm.space import ConfigEntity, ConfigSpace, FallbackConfigEntity
from flashsched.compat.tvm.target import Target
from flashsched.errors import TuneError, UnknownNameError, did_you_mean
from flashsched.te.tensor import Tensor
from flashsched.tune.task import Task as OurTask

__all__ = [
    "ApplyConfig",
    "ApplyHistoryBest",
    "DispatchContext",
    "FallbackContext",
    "TASK_TABLE",
    "Task",
    "Workload",
    "apply_history_best",
    "args_to_workload",
    "create",
    "get_config",
    "template",
]

Workload = tuple[Any, ...]
"""A template's name, and its arguments."""

TASK_TABLE: dict[str, Callable[..., Any]] = {}
"""The templates by name."""


def args_to_workload(args: Sequence[Any], task_name: str | None = None) -> Workload:
    """*args* as a log keeps them, after the name: tensors by shape and dtype, all else as plain values."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return ("TENSOR", tuple(int(n) for n in value.shape), value.dtype)
        if isinstance(value, list | tuple):
            return tuple(plain(item) for item in value)
        if isinstance(value, bool | int | float | str) or value is None:
            return value
        if hasattr(value, "value"):
            return value.value
        raise TuneError(f"{value!r} can't be an argument of a template: a log keeps numbers, texts and tuples of them")

    named = () if task_name is None else (task_name,)
    return (*named, *(plain(value) for value in args))


class DispatchContext:
    """Says which configuration a template gets; the innermost one that was entered counts."""

    current: DispatchContext
    _outer: DispatchContext

    def query(self, target: Any, workload: Workload | None) -> Any:
        """The configuration for *workload* on *target*."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        self._outer, DispatchContext.current = DispatchContext.current, self
        return self

    def __exit__(self, *exc: object) -> None:
        DispatchContext.current = self._outer


class ApplyConfig(DispatchContext):
    """The same configuration for all."""

    def __init__(self, config: ConfigSpace) -> None:
        self._config = config
        self.workload: Workload | None = None

    def query(self, target: Any, workload: Workload | None) -> ConfigSpace:
        """That configuration."""
        self.workload = workload
        return self._config


class FallbackContext(DispatchContext):
    """The first option of everything, and a word about it, once for each workload."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def query(self, target: Any, workload: Workload | None) -> FallbackConfigEntity:
        """A fresh fallback."""
        key = f"{target} {workload}"
        if key not in self._told:
            self._told.add(key)
            warnings.warn(
                f"no configuration is known for target={target}, workload={workload}: each question of the template "
                "gets its first answer, which may be slow",
                stacklevel=4,
            )
        return FallbackConfigEntity()

    def clear_cache(self, target: Any, workload: Workload) -> None:
        """Tell of *workload* again."""
        self._told.discard(f"{target} {workload}")


DispatchContext.current = FallbackContext()


class ApplyHistoryBest(DispatchContext):
    """The best of what logs hold, for each target and workload; what they do not know, the outer context answers.

    Args:
        records: a log's path, or ``(MeasureInput, MeasureResult)`` pairs, or several of them.
    """

    def __init__(self, records: Any) -> None:
        self._best: dict[tuple[str, Workload], tuple[float, ConfigEntity]] = {}
        if records:
            self.load(records)

    def load(self, records: Any) -> None:
        """Take in more records."""
        from flashsched.compat.tvm.autotvm.record import load_from_file

        if isinstance(records, list | tuple) and records and isinstance(records[0], str):
            for path in records:
                self.load(path)
            return
        pairs = records if isinstance(records, list | tuple) else load_from_file(records)
        for inp, result in pairs:
            if result.error_no == 0 and isinstance(inp.config, ConfigEntity):
                self._keep(inp.target, inp.task.workload, inp.config, sum(result.costs) / len(result.costs))

    def update(self, target: Any, workload: Workload, cfg: ConfigEntity) -> None:
        """Say which configuration is the best."""
        self._keep(target, workload, cfg, 0.0)

    def _keep(self, target: Any, workload: Workload, cfg: ConfigEntity, cost: float) -> None:
        for key in _keys(target):
            known = self._best.get((key, workload))
            if known is None or cost < known[0]:
                self._best[key, workload] = (cost, cfg)

    def query(self, target: Any, workload: Workload | None) -> Any:
        """The best configuration known."""
        for key in _keys(target) if workload is not None else ():
            known = self._best.get((key, workload or ()))
            if known is not None:
                return known[1]
        outer = getattr(self, "_outer", None) or DispatchContext.current
        return outer.query(target, workload)


def apply_history_best(*records: Any) -> ApplyHistoryBest:
    """A context in which templates get the best of what *records* hold: ``with autotvm.apply_history_best(log):``."""
    return ApplyHistoryBest(records[0] if len(records) == 1 else list(records))


def _keys(target: Any) -> list[str]:
    """What a target is looked up by: its model first, then its general kind."""
    known = Target(target) if target is not None else Target("llvm")
    return [f"model {known.model}"] * (known.model != "unknown") + [f"key {key}" for key in known.keys]


def get_config() -> Any:
    """The configuration of the template that is being called: what questions are asked of, and answered by."""
    return DispatchContext.current.query(Target.current(), None)


class _Template:
    """A template's function; called, it gets its configuration from the context."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.task_name = name
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        target = Target.current()
        workload = args_to_workload(args, self.task_name)
        config = DispatchContext.current.query(target, workload)
        with ApplyConfig(config):
            return self.function(*args)


def template(task_name: Any, func: Callable[..., Any] | None = None) -> Any:
    """Register a template: ``@autotvm.template("my/matmul")``, or plainly ``@autotvm.template``.

    Raises:
        TuneError: another template has the name.
    """
    if callable(task_name):
        return template(task_name.__name__, task_name)

    def register(function: Callable[..., Any]) -> _Template:
        known = TASK_TABLE.get(task_name)
        if known is not None and getattr(known, "__qualname__", "") != function.__qualname__:
            raise TuneError(f"another template is named {task_name!r}", hint="give each template a name of its own")
        TASK_TABLE[task_name] = made = _Template(function, task_name)
        return made

    return register if func is None else register(func)


class Task:
    """A template with its arguments.

    Attributes:
        name: the template's name.
        args: its arguments.
        config_space: its questions.
        target: what it is tuned for.
        workload: name and arguments, as a log keeps them.
        flop: operations that it takes.
    """

    def __init__(self, name: str, args: Sequence[Any]) -> None:
        self.name = name
        self.args = tuple(args)
        self.kwargs: dict[str, Any] = {}
        self.workload = args_to_workload(args, name)
        self.config_space = ConfigSpace()
        self.target: Any = None
        self.target_host: Any = None
        self.flop: float = 0.0

    @property
    def func(self) -> Any:
        """The template.

        Raises:
            UnknownNameError: it is not registered in this process.
        """
        if self.name not in TASK_TABLE:
            raise UnknownNameError(f"no template named {self.name!r}", hint=did_you_mean(self.name, TASK_TABLE))
        return TASK_TABLE[self.name]

    def instantiate(self, config: ConfigSpace) -> tuple[Any, list[Tensor]]:
        """The schedule and the tensors that the template makes of *config*."""
        config.errors.clear()
        with ApplyConfig(config):
            sch, arg_bufs = self.func.function(*self.args)
        config.code_hash = config.code_hash or self.config_space.code_hash
        return sch, list(arg_bufs)

    def ours(self, sch: Any, arg_bufs: Sequence[Tensor]) -> OurTask:
        """The task of flashsched that the tensors are.

        Raises:
            TuneError: they are not the inputs and then one output.
        """
        sch.settle(final=True)
        outputs = [tensor for tensor in arg_bufs if any(tensor is out for out in sch.ours.outputs)]
        if len(outputs) != 1 or len(sch.ours.outputs) != 1:
            raise TuneError(f"template {self.name!r} has {len(outputs)} outputs; one with a single output can be tuned")
        inputs = [tensor for tensor in arg_bufs if tensor is not outputs[0]]
        return OurTask.from_te([*inputs, *outputs], name=self.name)

    def __repr__(self) -> str:
        return f"Task(func_name={self.name}, args={self.args}, kwargs={self.kwargs}, workload={self.workload})"


def create(task_name: Any, args: Sequence[Any], target: Any, target_host: Any = None) -> Task:
    """The task of a template (or its name) with *args*: its space is collected by calling it once.

    Raises:
        UnknownNameError: there is no such template.
    """
    name = task_name if isinstance(task_name, str) else task_name.task_name
    task = Task(name, args)
    task.target = Target(target) if target is not None else Target.current() or Target("llvm")
    with task.target:
        sch, arg_bufs = task.instantiate(task.config_space)
    task.config_space.code_hash = None
    known = task.ours(sch, arg_bufs)
    task.flop = task.config_space.flop or float(known.flops)
    return task
