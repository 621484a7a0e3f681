"""Which runner gives candidates of a device their times: measured here, in a fleet, or predicted by a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from flashsched.errors import Infeasible, ScheduleError, TuneError
from flashsched.hw import DeviceSpec, devices
from flashsched.tune.measuring.checkers import Checkers
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.measuring.workers import Outcome
from flashsched.tune.settings import require_whole
from flashsched.tune.task import Candidate, Task
from flashsched.tune.trial import NOTHING, Beside, Outcomes, Runner, Trial, failed

__all__ = ["CpuRunner", "Outcomes", "Runner", "SimulatedRunner", "Trial", "runner_for"]


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
        self._checkers: Checkers | None = None

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

    def target(self) -> dict[str, Any]:
        """The device model's name and the fingerprint of its spec."""
        return {"device": self.spec.name, "spec": self.spec.fingerprint}

    def prepare(self, task: Task) -> None:
        """Start the processes that check finalists, while candidates are made here."""
        if self._entered and self._checkers is None:
            self._checkers = Checkers(self._jobs, self._seed)

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """The model's prediction for each candidate."""
        self._ran += len(candidates)
        for index, candidate in enumerate(candidates):
            trial = self._predicted(candidate)
            if self._checkers is not None and trial.times_s:
                self._checkers.note(task, candidate, trial.times_s[0])
            yield index, trial
        if self._checkers is not None and self._ran > 2 * self.batch:  # what leads a short run is soon overtaken
            self._checkers.go_on(task)

    def _predicted(self, candidate: Candidate) -> Trial:
        from flashsched.codegen.analysis import simulate

        try:
            found = candidate.predicted or simulate(candidate.schedule, self.spec)
        except Infeasible as error:
            return Trial("constraints", [], error.reason)
        extra = {
            "bound": found.bound,
            "utilization": found.utilization,
            "occupancy": found.occupancy,
            "waves": found.waves,
            "energy_j": found.energy_j,
            # parameters that stay on such a chip are not moved, which a task's bytes do not tell
            "roofline_s": found.roofline_s if self.spec.kind == "asic" else None,
        }
        kept = {key: value for key, value in extra.items() if value is not None}
        return Trial("unverified", [found.time_s], None, None, kept)

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """Run each finalist's schedule on smaller shapes, in worker processes, as far as that was not done yet."""
        with contextlib.ExitStack() as ended:
            checkers = self._checkers
            if checkers is None:
                checkers = ended.enter_context(contextlib.closing(Checkers(self._jobs, self._seed)))
            checks = checkers.outcomes(task, candidates)
        return [_checked(self._predicted(one), check) for one, check in zip(candidates, checks, strict=True)]


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
        TuneError: *fleet* cannot be reached, or the device is simulated and there is nothing to measure or observe; or
            *jobs* is no whole number from 1 up.
    """
    require_whole("jobs", jobs)
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
