"""Runners: how a candidate gets its time, measured here or predicted by a device's model, behind one contract."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from flashsched.errors import FlashschedError, Infeasible, LoweringError, ScheduleError
from flashsched.hw import DeviceSpec, devices
from flashsched.tune.task import Candidate, Task
from flashsched.tune.verify import Reference
from flashsched.tune.workers import Job, Outcome, WorkerPool

__all__ = ["CpuRunner", "Outcomes", "Runner", "SimulatedRunner", "Trial", "runner_for"]

_MEMORY = 4 << 30  # bytes that a worker may grow by
_CHECK_TIMEOUT_S = 60.0  # for a finalist of a simulated device, interpreted and compiled

_EXPECTED = (FlashschedError, MemoryError, ArithmeticError, OSError)
"""What a candidate may raise where it is compiled and run."""

Outcomes = Iterator[tuple[int, "Trial"]]


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

    def run(self, task: Task, candidates: Sequence[Candidate], best_s: float | None) -> Outcomes:
        """Each candidate's index and trial, as they are done; *best_s* is the best time so far."""
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


class CpuRunner:
    """Measures on this machine, in worker processes: candidates are compiled side by side, then timed one at a time.

    Args:
        jobs: compilations at once; by default one a core.
        seed: of the random inputs.
        timeout_s: how long one candidate may take to compile, and again to run.
        memory_limit_bytes: how much a worker may grow.
        timing: settings of `flashsched.tune.measure.time_callable` in place of the usual ones.
    """

    source = "measured"

    def __init__(
        self,
        jobs: int | None = None,
        seed: int = 0,
        timeout_s: float = 20.0,
        memory_limit_bytes: int = _MEMORY,
        timing: Mapping[str, float] | None = None,
    ) -> None:
        from flashsched.codegen.target import host_target

        self.spec = devices["cpu"]
        self.batch = 8
        self._target = host_target()
        self._seed = seed
        self._timeout_s = timeout_s
        self._timing = dict(timing or {})
        init = "flashsched.tune.jobs:warm_up"
        self._folder = tempfile.TemporaryDirectory(prefix="flashsched-")
        self._compilers = WorkerPool(jobs or self._target.cores, init, memory_limit_bytes)
        self._measurer = WorkerPool(1, init, memory_limit_bytes)

    def __enter__(self) -> CpuRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._measurer.close()
        self._compilers.close()
        self._folder.cleanup()

    def target(self) -> dict[str, Any]:
        """Triple, cpu, features, caches and cores."""
        return self._target.to_json()

    def run(self, task: Task, candidates: Sequence[Candidate], best_s: float | None) -> Outcomes:
        """Compile all of *candidates* side by side; then, with the cores to itself, check and time each."""
        blob, expected = pickle.dumps(task), self._expected(task, self._seed)
        traces = [candidate.trace.to_json() for candidate in candidates]
        compiling = [
            Job("flashsched.tune.jobs:compile_candidate", {"task": blob, "trace": t}, self._timeout_s) for t in traces
        ]
        compiled: list[int] = []
        for index, outcome in self._compilers.run_all(compiling):
            if outcome.ok:
                compiled.append(index)
            else:
                yield index, _failed(outcome, "compile")
        for index in sorted(compiled):
            payload = {
                "task": blob,
                "trace": traces[index],
                "seed": self._seed,
                "expected": expected,
                "stop_if_slower_than_s": None if best_s is None else 3.0 * best_s,
                "timing": self._timing,
            }
            outcome = self._measurer.submit("flashsched.tune.jobs:measure_candidate", payload, self._patience(best_s))
            trial = _measured(outcome)
            if trial.status == "correct":
                median = sorted(trial.times_s)[len(trial.times_s) // 2]
                best_s = median if best_s is None else min(best_s, median)
            yield index, trial

    def _patience(self, best_s: float | None) -> float:
        """Seconds until a candidate counts as hung: what the best takes hundreds of times, within limits."""
        return self._timeout_s if best_s is None else min(self._timeout_s, max(10.0, 400.0 * best_s))

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """Check on other inputs, and time in interleaved rounds in one process."""
        payload = {
            "task": pickle.dumps(task),
            "traces": [candidate.trace.to_json() for candidate in candidates],
            "seed": self._seed + 1,
            "expected": self._expected(task, self._seed + 1),
        }
        outcome = self._measurer.submit("flashsched.tune.jobs:retime", payload, 3 * self._timeout_s)
        if outcome.ok:
            return [_trial_of(found) for found in outcome.value]
        if len(candidates) == 1:
            return [_failed(outcome, "runtime")]
        return [trial for candidate in candidates for trial in self.finals(task, [candidate])]  # one took all with it

    def _expected(self, task: Task, seed: int) -> str | None:
        """The file of what a user's reference says of the inputs of *seed*; None where a worker can say it itself."""
        if task.is_registered or task.operator.reference is None:
            return None
        path = Path(self._folder.name) / f"{task.hash}-{seed}.npy"
        if not path.exists():
            np.save(path, Reference(task, seed).output)
        return str(path)


def _measured(outcome: Outcome) -> Trial:
    return _trial_of(outcome.value) if outcome.ok else _failed(outcome, "runtime")


def _trial_of(found: Any) -> Trial:
    if found.wrong is not None:
        return Trial("wrong", [], found.wrong, found.verified)
    times_s = [float(f"{time:.7g}") for time in found.times_s]  # more digits are noise, and slow to read from a log
    return Trial("correct", times_s, None, found.verified, {"stopped_early": True} if found.stopped_early else {})


def _failed(outcome: Outcome, phase: str) -> Trial:
    """The trial of a job that did not come back with a value."""
    status = outcome.status if outcome.status in ("crash", "timeout", "oom") else phase
    if isinstance(outcome.exception, LoweringError | ScheduleError):
        status = "compile"
    raised = outcome.exception
    if raised is not None and not isinstance(raised, _EXPECTED):
        raise raised  # a bug of ours, not of the candidate
    detail = {"stderr": outcome.stderr_tail[-2000:]} if outcome.stderr_tail else {}
    return Trial(status, [], outcome.error or status, None, detail)


class SimulatedRunner:
    """Asks the model of a device that need not be here.

    A simulated trial stays ``unverified`` until its schedule was run against an oracle, which happens to the finalists
    (see `flashsched.tune.shrink`).
    """

    source = "simulated"

    def __init__(self, spec: DeviceSpec, seed: int = 0, jobs: int | None = None) -> None:
        self.spec = spec
        self.batch = 16
        self._seed = seed
        self._jobs = jobs or 2

    def __enter__(self) -> SimulatedRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def target(self) -> dict[str, Any]:
        """The device model's name and the fingerprint of its spec."""
        return {"device": self.spec.name, "spec": self.spec.fingerprint}

    def run(self, task: Task, candidates: Sequence[Candidate], best_s: float | None) -> Outcomes:
        """The model's prediction for each candidate."""
        from flashsched.codegen.analysis import simulate

        for index, candidate in enumerate(candidates):
            try:
                found = simulate(candidate.schedule, self.spec)
            except Infeasible as error:
                yield index, Trial("constraints", [], error.reason)
                continue
            extra = {
                "bound": found.bound,
                "utilization": found.utilization,
                "occupancy": found.occupancy,
                "waves": found.waves,
                "energy_j": found.energy_j,
            }
            kept = {key: value for key, value in extra.items() if value is not None}
            yield index, Trial("unverified", [found.time_s], None, None, kept)

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """Run each finalist's schedule on smaller shapes, in worker processes."""
        blob = pickle.dumps(task)
        jobs = [
            Job(
                "flashsched.tune.jobs:check_simulated",
                {"task": blob, "trace": candidate.trace.to_json(), "seed": self._seed},
                _CHECK_TIMEOUT_S,
            )
            for candidate in candidates
        ]
        trials = dict(self.run(task, candidates, None))
        with WorkerPool(max(1, min(len(jobs), self._jobs)), "flashsched.tune.jobs:warm_up", _MEMORY) as pool:
            for index, outcome in pool.run_all(jobs):
                trials[index] = _checked(trials[index], outcome)
        return [trials[index] for index in range(len(candidates))]


def _checked(trial: Trial, outcome: Outcome) -> Trial:
    """*trial* of a simulated device after its schedule was run on smaller shapes."""
    if not outcome.ok:
        if isinstance(outcome.exception, ScheduleError) or outcome.error_type == "InterpreterError":
            return Trial("wrong", [], f"on a smaller shape: {outcome.error}")
        return _failed(outcome, "runtime")
    if outcome.value is None:
        return replace(trial, error="no smaller shape to check the schedule on")
    check = outcome.value.check
    extra = {**trial.extra, "verified_shapes": [list(shape) for shape in outcome.value.shapes]}
    if check.ok:
        return Trial("correct", trial.times_s, None, check.to_json(), extra)
    return Trial("wrong", [], check.text(), check.to_json(), extra)


def runner_for(device: str, seed: int = 0, jobs: int | None = None) -> Runner:
    """The runner for *device*: ``"cpu"`` is this machine, any other is simulated.

    Raises:
        DeviceError: there is no such device, or no model of its kind.
    """
    if device == "cpu":
        return CpuRunner(jobs, seed)
    return SimulatedRunner(devices.for_simulation(device), seed, jobs)
