"""What a worker process does for the CPU runner: compile a candidate, check and time it, time finalists side by side.

A job is a plain function of a payload that pickles. The te graph travels, not the template that scheduled it: a worker
needs the trace only, so a user's own template file is never imported here. What a user's reference says travels as a
file of numbers, named in the payload.
"""

from __future__ import annotations

import pickle
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from flashsched.codegen.kernel import Kernel
from flashsched.schedule import Trace
from flashsched.tune.measure import interleave, time_callable
from flashsched.tune.shrink import SmallCheck, check_small
from flashsched.tune.task import Task
from flashsched.tune.verify import Reference, verify

__all__ = ["Measured", "check_simulated", "compile_candidate", "measure_candidate", "retime", "warm_up"]

_SETTLE_S = 0.2  # after a reference was computed: NumPy's BLAS threads spin for a while, on the cores that are timed
_KEPT = 4  # references kept: one for each task and seed, as large as its arrays
_references: OrderedDict[tuple[str, int], Reference] = OrderedDict()


@dataclass(frozen=True)
class Measured:
    """What a worker found: seconds per call, one figure a sample, and the check of the result."""

    times_s: list[float]
    verified: dict[str, Any]
    wrong: str | None
    stopped_early: bool = False


def warm_up() -> None:
    """Import what every job needs, before the worker's memory limit is set."""
    from flashsched.codegen.target import host_target

    host_target()
    import flashsched.codegen.build
    import flashsched.codegen.emit
    import flashsched.codegen.jit  # noqa: F401


def _kernel(task: Task, trace: dict[str, Any]) -> Kernel:
    from flashsched.codegen.build import build

    candidate = task.replay(Trace.from_json(trace))
    return build(candidate.schedule, candidate.args, name=task.op)


def _reference(task: Task, payload: dict[str, Any]) -> Reference:
    key = (task.hash, payload["seed"])
    if key not in _references:
        known = payload.get("expected")
        _references[key] = Reference(task, payload["seed"], None if known is None else np.load(known))
        time.sleep(_SETTLE_S)
        while len(_references) > _KEPT:
            _references.popitem(last=False)
    _references.move_to_end(key)
    return _references[key]


def compile_candidate(payload: dict[str, Any]) -> None:
    """Compile a candidate into the object cache."""
    _kernel(pickle.loads(payload["task"]), payload["trace"])


def measure_candidate(payload: dict[str, Any]) -> Measured:
    """Compile a candidate (or take it from the cache), check its result, then time it."""
    task: Task = pickle.loads(payload["task"])
    kernel = _kernel(task, payload["trace"])
    reference = _reference(task, payload)
    check = verify(kernel, reference)
    if not check.ok:
        return Measured([], check.to_json(), check.text())
    run = kernel.bound(*reference.inputs)
    settings = {"min_time_s": 0.05, "max_repeats": 50, "min_sample_s": 2e-3, **payload.get("timing", {})}
    timing = time_callable(run, **settings, stop_if_slower_than_s=payload.get("stop_if_slower_than_s"))
    return Measured(list(timing.samples_s), check.to_json(), None, timing.stopped_early)


def retime(payload: dict[str, Any]) -> list[Measured]:
    """Check finalists on inputs of another seed, and time those that pass in interleaved rounds."""
    task: Task = pickle.loads(payload["task"])
    reference = _reference(task, payload)
    kernels = [_kernel(task, trace) for trace in payload["traces"]]
    checks = [verify(kernel, reference) for kernel in kernels]
    good = [n for n, check in enumerate(checks) if check.ok]
    samples = interleave([kernels[n].bound(*reference.inputs) for n in good], payload.get("rounds", 11))
    times = dict(zip(good, samples, strict=True))
    return [
        Measured(times.get(n, []), check.to_json(), None if check.ok else check.text())
        for n, check in enumerate(checks)
    ]


def check_simulated(payload: dict[str, Any]) -> SmallCheck | None:
    """Run a schedule for a device that is not here on smaller shapes, against the oracles."""
    return check_small(pickle.loads(payload["task"]), Trace.from_json(payload["trace"]), payload["seed"])
