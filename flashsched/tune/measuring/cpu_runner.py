"""Measuring on this machine: candidates are compiled side by side in worker processes, then timed one at a time.

Who compiles and who times share no core while something is timed. Where kernels have all cores (the usual case), a
batch is compiled first and timed then. Where ``FLASHSCHED_NUM_THREADS`` leaves cores over, those compile what comes
next while the others time.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from flashsched.hw import devices
from flashsched.tune.measuring.control import DRIFT
from flashsched.tune.measuring.observers import ObserverWarning, check_observers
from flashsched.tune.measuring.verify import Reference
from flashsched.tune.measuring.workers import Job, Outcome, WorkerPool
from flashsched.tune.task import Candidate, Task
from flashsched.tune.trial import NOTHING, Beside, Outcomes, Trial, failed

__all__ = ["CpuRunner", "JsonTrace", "parted_cores"]

_MEMORY = 4 << 30  # bytes that a worker may grow by
_BATCH = 8
_TOLD = 1.05  # drift from which on a record says it

JsonTrace = dict[str, Any]


class CpuRunner:
    """Measures on this machine, in worker processes.

    Args:
        jobs: compilations at once; by default one a core.
        seed: of the random inputs.
        timeout_s: how long one candidate may take to compile, and again to run.
        memory_limit_bytes: how much a worker may grow.
        timing: settings of `flashsched.tune.measuring.timing.time_callable` in place of the usual ones.
        observers: names of what is watched beside the time, see `flashsched.tune.measuring.observers`.
    """

    source = "measured"
    code = "cpu"
    """What kernels are built for, as `flashsched.build` takes it."""

    def __init__(
        self,
        jobs: int | None = None,
        seed: int = 0,
        timeout_s: float = 20.0,
        memory_limit_bytes: int = _MEMORY,
        timing: Mapping[str, float] | None = None,
        observers: Sequence[str] = (),
    ) -> None:
        from flashsched.codegen.target import host_target
        from flashsched.codegen.threads import num_threads

        self.spec = devices["cpu"]
        self.batch = _BATCH
        self._target = host_target()
        self._seed = seed
        self._timeout_s = timeout_s
        self._timing = dict(timing or {})
        self._observers = check_observers(observers)
        self._blind: set[str] = set()  # observers that do not work here, of which that was said
        self._control_s: float | None = None  # the control kernel at its best
        timing_cores, spare = parted_cores(num_threads())
        self._beside = bool(spare)
        init = "flashsched.tune.measuring.jobs:warm_up"
        self._folder = tempfile.TemporaryDirectory(prefix="flashsched-")
        compilers, timing_on = jobs or len(spare) or self._target.cores, timing_cores if spare else ()
        self._compilers = WorkerPool(compilers, init, memory_limit_bytes, cores=spare, at_once=True)
        self._measurer = WorkerPool(1, init, memory_limit_bytes, cores=timing_on, at_once=True)

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

    def prepare(self, task: Task) -> None:
        """Have the measuring process compute what the result should be, while candidates are made here."""
        self._measurer.begin(Job("flashsched.tune.measuring.jobs:prepare", self._common(task), self._timeout_s))

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """Compile *candidates* side by side; check and time each, in order, with its cores to itself."""
        return self.run_traces(task, [candidate.trace.to_json() for candidate in candidates], best_s, beside)

    def run_traces(
        self, task: Task, traces: Sequence[JsonTrace], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """As `run`, of candidates that are known by their traces."""
        common = self._common(task)
        for index, outcome in self._compiled(common["task"], traces, beside):
            if not outcome.ok:
                yield index, failed(outcome, "compile")
                continue
            payload = {"trace": traces[index], "kernel": outcome.value, "best_s": best_s, "control_s": self._control_s}
            done = self._measurer.submit(
                "flashsched.tune.measuring.jobs:measure_candidate", {**common, **payload}, self._patience(best_s)
            )
            trial = self._trial(done)
            if trial.status == "correct":
                median = sorted(trial.times_s)[len(trial.times_s) // 2]
                best_s = median if best_s is None else min(best_s, median)
            yield index, trial

    def _common(self, task: Task) -> dict[str, Any]:
        """What all jobs of the measuring process are told."""
        return {
            "task": pickle.dumps(task),
            "target": self.code,
            "seed": self._seed,
            "expected": self._expected(task, self._seed),
            "timing": self._timing,
            "observers": self._observers,
        }

    def _compiled(self, blob: bytes, traces: Sequence[JsonTrace], beside: Beside) -> Iterator[tuple[int, Outcome]]:
        """What became of compiling each: failures as they come, then the others in order; in time to be timed."""
        jobs = [
            Job(
                "flashsched.tune.measuring.jobs:compile_candidate",
                {"task": blob, "trace": trace, "target": self.code},
                self._timeout_s,
            )
            for trace in traces
        ]
        ready: dict[int, Outcome] = {}
        given = 0
        for index, outcome in self._compilers.run_all(jobs, beside):
            ready[index] = outcome
            if self._beside or not outcome.ok:
                while given in ready and (self._beside or not ready[given].ok):
                    yield given, ready.pop(given)
                    given += 1
        for _ in beside:  # all of it, or what is proposed would hang on the time that compiling took
            pass
        yield from sorted(ready.items())

    def _patience(self, best_s: float | None) -> float:
        """Seconds until a candidate counts as hung: what the best takes hundreds of times, within limits."""
        return self._timeout_s if best_s is None else min(self._timeout_s, max(10.0, 400.0 * best_s))

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """Check on other inputs, and time in interleaved rounds in one process."""
        return self.final_traces(task, [candidate.trace.to_json() for candidate in candidates])

    def final_traces(self, task: Task, traces: Sequence[JsonTrace]) -> list[Trial]:
        """As `finals`, of candidates that are known by their traces."""
        payload = {
            "task": pickle.dumps(task),
            "target": self.code,
            "traces": list(traces),
            "seed": self._seed + 1,
            "expected": self._expected(task, self._seed + 1),
        }
        outcome = self._measurer.submit("flashsched.tune.measuring.jobs:retime", payload, 3 * self._timeout_s)
        if outcome.ok:
            return [_trial_of(found) for found in outcome.value]
        if len(traces) == 1:
            return [failed(outcome, "runtime")]
        return [trial for trace in traces for trial in self.final_traces(task, [trace])]  # one took all with it

    def expect(self, task: Task, seed: int, output: Any) -> None:
        """Take *output* for what the task's reference says of the inputs of *seed*."""
        np.save(self._expected_path(task, seed), output)

    def is_expecting(self, task: Task, seed: int) -> bool:
        """Whether `expect` was told the result for the inputs of *seed*."""
        return self._expected_path(task, seed).exists()

    def _expected(self, task: Task, seed: int) -> str | None:
        """The file of what a user's reference says of the inputs of *seed*; None where a worker can say it itself."""
        path = self._expected_path(task, seed)
        if path.exists():
            return str(path)
        if task.is_registered or task.operator.reference is None:
            return None
        self.expect(task, seed, Reference(task, seed).output)
        return str(path)

    def _expected_path(self, task: Task, seed: int) -> Path:
        return Path(self._folder.name) / f"{task.hash}-{seed}.npy"

    def _trial(self, outcome: Outcome) -> Trial:
        if not outcome.ok:
            return failed(outcome, "runtime")
        found = outcome.value
        if found.control_s is not None:
            self._control_s = found.control_s
        for name, why in found.unobserved.items():
            if name not in self._blind:
                self._blind.add(name)
                warnings.warn(f"observer {name} sees nothing here: {why}", ObserverWarning, stacklevel=2)
        return _trial_of(found)


def _trial_of(found: Any) -> Trial:
    if found.wrong is not None:
        return Trial("wrong", [], found.wrong, found.verified)
    times_s = [float(f"{time:.7g}") for time in found.times_s]  # more digits are noise, and slow to read from a log
    extra: dict[str, Any] = {"stopped_early": True} if found.stopped_early else {}
    if found.drift > _TOLD:
        extra |= {"drift": round(found.drift, 3)} | ({"noisy": True} if found.drift > DRIFT else {})
    if found.observed:
        extra["observed"] = found.observed
    return Trial("correct", times_s, None, found.verified, extra)


def parted_cores(threads: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The cores that time kernels of so many *threads*, and those that may compile meanwhile, perhaps none.

    A core that shares its execution units with one that times (a hyperthread of it) is among neither.
    """
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    usable = sorted(os.sched_getaffinity(0))
    siblings = {core: _siblings(core) for core in usable}
    timing: list[int] = []
    for core in usable:  # one of each physical core first
        if len(timing) < threads and not siblings[core] & set(timing):
            timing.append(core)
    timing += [core for core in usable if core not in timing][: max(0, threads - len(timing))]
    spare = [core for core in usable if core not in timing and not siblings[core] & set(timing)]
    return tuple(sorted(timing)), tuple(spare)


def _siblings(core: int) -> set[int]:
    """The cores that share a physical one with *core*, itself among them."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
        found: set[int] = set()
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
        return found | {core}
    except (OSError, ValueError):
        return {core}
