"""Which runner gives candidates of a device their times: measured here, in a fleet, or predicted by a model."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from flashsched.errors import Infeasible, ScheduleError, TuneError
from flashsched.hw import DeviceSpec, devices
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.measuring.workers import Job, Outcome, WorkerPool
from flashsched.tune.task import Candidate, Task
from flashsched.tune.trial import NOTHING, Beside, Outcomes, Runner, Trial, failed

__all__ = ["CpuRunner", "Outcomes", "Runner", "SimulatedRunner", "Trial", "runner_for"]

_MEMORY = 4 << 30  # bytes that a worker may grow by
_CHECK_TIMEOUT_S = 60.0  # for a finalist of a simulated device, interpreted and compiled


class SimulatedRunner:
    """Asks the model of a device that need not be here.

    A simulated trial stays ``unverified`` until its schedule was run against an oracle, which happens to the finalists
    (see `flashsched.tune.measuring.shrink`).
    """

    source = "simulated"

    def __init__(self, spec: DeviceSpec, seed: int = 0, jobs: int | None = None) -> None:
        self.spec = spec
        self.batch = 16
        self._seed = seed
        self._jobs = jobs or 2
        self._entered, self._ran = False, 0
        self._checkers: WorkerPool | None = None

    def __enter__(self) -> SimulatedRunner:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        if self._checkers is not None:
            self._checkers.close()
            self._checkers = None

    def _started(self) -> WorkerPool:
        return WorkerPool(self._jobs, "flashsched.tune.measuring.jobs:warm_up", _MEMORY, at_once=True)

    def target(self) -> dict[str, Any]:
        """The device model's name and the fingerprint of its spec."""
        return {"device": self.spec.name, "spec": self.spec.fingerprint}

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """The model's prediction for each candidate."""
        from flashsched.codegen.analysis import simulate

        self._ran += len(candidates)
        if self._entered and self._checkers is None and self._ran > 2 * self.batch:
            self._checkers = self._started()  # the run is no short one: they are up by the time there are finalists
        for index, candidate in enumerate(candidates):
            try:
                found = candidate.predicted or simulate(candidate.schedule, self.spec)
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
                "flashsched.tune.measuring.jobs:check_simulated",
                {"task": blob, "trace": candidate.trace.to_json(), "seed": self._seed},
                _CHECK_TIMEOUT_S,
            )
            for candidate in candidates
        ]
        trials = dict(self.run(task, candidates, None))
        with contextlib.ExitStack() as ended:
            checkers = self._checkers or ended.enter_context(self._started())
            for index, outcome in checkers.run_all(jobs):
                trials[index] = _checked(trials[index], outcome)
        return [trials[index] for index in range(len(candidates))]


def _checked(trial: Trial, outcome: Outcome) -> Trial:
    """*trial* of a simulated device after its schedule was run on smaller shapes."""
    if not outcome.ok:
        if isinstance(outcome.exception, ScheduleError) or outcome.error_type == "InterpreterError":
            return Trial("wrong", [], f"on a smaller shape: {outcome.error}")
        return failed(outcome, "runtime")
    if outcome.value is None:
        return replace(trial, error="no smaller shape to check the schedule on")
    check = outcome.value.check
    extra = {**trial.extra, "verified_shapes": [list(shape) for shape in outcome.value.shapes]}
    if check.ok:
        return Trial("correct", trial.times_s, None, check.to_json(), extra)
    return Trial("wrong", [], check.text(), check.to_json(), extra)


def runner_for(
    device: str,
    seed: int = 0,
    jobs: int | None = None,
    *,
    fleet: str | None = None,
    observers: Sequence[str] = (),
) -> Runner:
    """The runner for *device*: ``"cpu"`` is this machine, or those of *fleet*; ``"cuda"`` is its GPU; any
    other is simulated.

    Raises:
        DeviceError: there is no such device, or no model of its kind.
        TuneError: *fleet* cannot be reached, or the device is simulated and there is nothing to measure or observe.
    """
    if device != "cpu":
        if fleet is not None or observers:
            asked = "a fleet measures" if fleet is not None else "observers watch what is measured"
            raise TuneError(f"{asked}, and {device} is no CPU", hint="leave it out, or take device='cpu'")
        if device == "cuda":
            from flashsched.tune.measuring.cuda_runner import CudaRunner  # it is a CPU's runner with another device

            return CudaRunner(jobs, seed)
        return SimulatedRunner(devices.for_simulation(device), seed, jobs)
    if fleet is None:
        return CpuRunner(jobs, seed, observers=observers)
    from flashsched.tune.measuring.fleet import FleetRunner

    return FleetRunner(fleet, seed, jobs, observers=observers)
