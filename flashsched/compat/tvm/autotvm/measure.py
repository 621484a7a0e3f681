"""Measuring candidates: what is asked, what is found, and the batch that does it in worker processes."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flashsched.compat.tvm.autotvm.space import ConfigEntity
from flashsched.compat.tvm.autotvm.task import Task
from flashsched.errors import FlashschedError, TuneError
from flashsched.tune.runner import CpuRunner, Trial
from flashsched.tune.task import Candidate

__all__ = [
    "LocalBuilder",
    "LocalRunner",
    "MeasureErrorNo",
    "MeasureInput",
    "MeasureResult",
    "create_measure_batch",
    "measure_option",
]


class MeasureInput(NamedTuple):
    """A point of a task's space, to be measured for a target."""

    target: Any
    task: Task
    config: ConfigEntity


class MeasureResult(NamedTuple):
    """What was found: seconds per call for each sample (or the error), a `MeasureErrorNo`, all seconds spent, when."""

    costs: tuple[Any, ...]
    error_no: int
    all_cost: float
    timestamp: float


class MeasureErrorNo(enum.IntEnum):
    """How a measurement ended; the numbers are TVM's."""

    NO_ERROR = 0
    INSTANTIATION_ERROR = 1
    COMPILE_HOST = 2
    COMPILE_DEVICE = 3
    RUNTIME_DEVICE = 4
    WRONG_ANSWER = 5
    BUILD_TIMEOUT = 6
    RUN_TIMEOUT = 7
    UNKNOWN_ERROR = 8


_ERRORS = {
    "correct": MeasureErrorNo.NO_ERROR,
    "compile": MeasureErrorNo.COMPILE_HOST,
    "wrong": MeasureErrorNo.WRONG_ANSWER,
    "runtime": MeasureErrorNo.RUNTIME_DEVICE,
    "crash": MeasureErrorNo.RUNTIME_DEVICE,
    "oom": MeasureErrorNo.RUNTIME_DEVICE,
    "timeout": MeasureErrorNo.RUN_TIMEOUT,
}


@dataclass
class LocalBuilder:
    """How candidates are compiled: side by side, in worker processes.

    Attributes:
        timeout: seconds that one may take.
        n_parallel: how many at once; by default one a core.
        build_func: only ``"default"`` is there.
    """

    timeout: float = 10
    n_parallel: int | None = None
    build_kwargs: Any = None
    build_func: str = "default"
    do_fork: bool = False
    runtime: Any = None

    def __post_init__(self) -> None:
        if self.build_func != "default":
            raise TuneError(f"LocalBuilder(build_func={self.build_func!r}): only 'default' is there")


@dataclass
class LocalRunner:
    """How candidates are timed: one at a time, in a worker process that has the cores to itself.

    Attributes:
        timeout: seconds that one may take.
        number: takes no effect: a sample has as many calls as it needs to last 2 ms.
        repeat: samples, at least; there are more, until their median settles.
        min_repeat_ms: milliseconds that a sample lasts at least.
        cooldown_interval: seconds of rest between two candidates.
        enable_cpu_cache_flush: takes no effect: data is warm, as it is where kernels follow each other.
    """

    timeout: float = 5
    number: int = 4
    repeat: int = 3
    min_repeat_ms: int = 0
    cooldown_interval: float = 0.0
    enable_cpu_cache_flush: bool = False
    module_loader: Any = None


def measure_option(builder: Any = "local", runner: Any = "local") -> dict[str, Any]:
    """How candidates are compiled and timed: ``"local"``, or a `LocalBuilder` and a `LocalRunner`.

    Raises:
        TuneError: one of them is neither.
    """
    made = {
        "builder": LocalBuilder() if builder == "local" else builder,
        "runner": LocalRunner() if runner == "local" else runner,
    }
    for key, kind in (("builder", LocalBuilder), ("runner", LocalRunner)):
        if not isinstance(made[key], kind):
            raise TuneError(
                f"measure_option: the {key} is {made[key]!r}, and candidates are measured on this machine only",
                hint=f"autotvm.{kind.__name__}()",
            )
    return made


class _Batch:
    """Measures several points at once; call it with a list of `MeasureInput`, and `close` it at the end."""

    def __init__(self, option: dict[str, Any]) -> None:
        self._builder: LocalBuilder = option["builder"]
        self._local: LocalRunner = option["runner"]
        self.n_parallel = 8
        self._runner = CpuRunner(
            jobs=self._builder.n_parallel,
            timeout_s=max(self._builder.timeout, self._local.timeout),
            timing={
                "min_repeats": max(1, self._local.repeat),
                "max_repeats": max(50, self._local.repeat),
                "min_sample_s": max(2e-3, self._local.min_repeat_ms / 1000),
            },
        )
        self._best_s: float | None = None

    def __call__(self, inputs: Sequence[MeasureInput]) -> list[MeasureResult]:
        results: list[MeasureResult | None] = [None] * len(inputs)
        groups: dict[str, list[tuple[int, Candidate]]] = {}
        start = time.perf_counter()
        for number, item in enumerate(inputs):
            try:
                candidate = _candidate(item)
            except FlashschedError as error:  # a schedule that is refused, or that the template ruled out
                spent = time.perf_counter() - start
                results[number] = _failed(MeasureErrorNo.INSTANTIATION_ERROR, error, spent)
                continue
            groups.setdefault(candidate.task.hash, []).append((number, candidate))
        for members in groups.values():
            candidates = [candidate for _, candidate in members]
            for index, trial in self._runner.run(candidates[0].task, candidates, self._best_s):
                number = members[index][0]
                results[number] = _result(trial, time.perf_counter() - start)
                if trial.status == "correct":
                    cost = min(trial.times_s)
                    self._best_s = cost if self._best_s is None else min(self._best_s, cost)
                time.sleep(self._local.cooldown_interval)
        return [result for result in results if result is not None]

    def close(self) -> None:
        """End the worker processes."""
        self._runner.__exit__(None, None, None)


def create_measure_batch(task: Task, option: dict[str, Any]) -> Callable[[Sequence[MeasureInput]], list[MeasureResult]]:
    """What measures points of *task*, as `measure_option` said."""
    return _Batch(option)


def _candidate(item: MeasureInput) -> Candidate:
    with item.target:
        sch, arg_bufs = item.task.instantiate(item.config)
    if not item.config.valid():
        raise TuneError(f"the template rules it out: {'; '.join(item.config.errors)}")
    task = item.task.ours(sch, arg_bufs)
    return Candidate(sch.ours, task.args(), {}, task)


def _result(trial: Trial, spent: float) -> MeasureResult:
    error = _ERRORS.get(trial.status, MeasureErrorNo.UNKNOWN_ERROR)
    if error:
        return _failed(error, trial.error or trial.status, spent)
    return MeasureResult(tuple(trial.times_s), int(error), spent, time.time())


def _failed(error: MeasureErrorNo, what: Any, spent: float) -> MeasureResult:
    return MeasureResult((what,), int(error), spent, time.time())
