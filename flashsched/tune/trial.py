"""The contract of runners: candidates go in, trials come out. Who runs them how is ``tune/runner.py`` and its like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from flashsched.errors import FlashschedError, LoweringError, ScheduleError
from flashsched.hw import DeviceSpec
from flashsched.tune.measuring.worker import Outcome
from flashsched.tune.task import Candidate, Task

__all__ = ["NOTHING", "Beside", "Outcomes", "Runner", "Trial", "failed"]

_EXPECTED = (FlashschedError, MemoryError, ArithmeticError, OSError)
"""What a candidate may raise where it is compiled and run."""

Outcomes = Iterator[tuple[int, "Trial"]]
Beside = Iterator[object]
NOTHING: Beside = iter(())


@dataclass(frozen=True)
class Trial:
    """What became of one candidate: a status of the log, its samples in seconds, and what a record keeps beside."""

    status: str
    times_s: list[float] = field(default_factory=list)
    error: str | None = None
    verified: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Runner(Protocol):
    """Gives candidates their times. A context manager, since some hold worker processes.

    Attributes:
        spec: the device.
        source: ``"measured"`` or ``"simulated"``.
        batch: how many candidates are best given at once.
    """

    spec: DeviceSpec
    source: str
    batch: int

    def prepare(self, task: Task) -> None:
        """Make ready what candidates of *task* will need, beside whatever else is done."""
        ...

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """Each candidate's index and trial, as they are done; *best_s* is the best time so far.

        *beside* is work of the caller, a piece of it a step, that may be done while this process would only wait, and
        never while something is timed. What is left of it is the caller's.
        """
        ...

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """Settle among the best few: checked again, and timed side by side."""
        ...

    def target(self) -> dict[str, Any]:
        """What a record says of the machine."""
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def failed(outcome: Outcome, phase: str) -> Trial:
    """The trial of a job that did not come back with a value."""
    status = outcome.status if outcome.status in ("crash", "timeout", "oom") else phase
    if isinstance(outcome.exception, LoweringError | ScheduleError):
        status = "compile"
    raised = outcome.exception
    if raised is not None and not isinstance(raised, _EXPECTED):
        raise raised  # a bug of ours, not of the candidate
    detail = {"stderr": outcome.stderr_tail[-2000:]} if outcome.stderr_tail else {}
    return Trial(status, [], outcome.error or status, None, detail)
