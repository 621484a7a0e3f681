"""What a worker process does for the CPU runner: compile a candidate, check and time it, time finalists side by side.

A job is a plain function of a payload that pickles. The te graph travels, not the template that scheduled it: a worker
needs the trace only, so a user's own template file is never imported here. What a user's reference says travels as a
file of numbers, named in the payload.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flashsched.codegen.kernel import Kernel
from flashsched.codegen.parcel import GpuParcel, Parcel, opened, parcel_of
from flashsched.errors import DeviceError
from flashsched.schedule import Schedule, Trace
from flashsched.tune.measuring.control import Control
from flashsched.tune.measuring.observers import Observer, Unobservable, find_observer, watch
from flashsched.tune.measuring.shrink import SmallCheck, check_small
from flashsched.tune.measuring.timing import Run, interleave, time_callable
from flashsched.tune.measuring.verify import Reference, verify
from flashsched.tune.task import Task

__all__ = ["Measured", "check_simulated", "compile_candidate", "measure_candidate", "prepare", "retime", "warm_up"]

_SETTLE_S = 0.2  # after a reference was computed: NumPy's BLAS threads spin for a while, on the cores that are timed
_TIMING: dict[str, Any] = {"min_time_s": 0.05, "max_repeats": 30, "min_sample_s": 5e-4, "precision": 0.02}
_HOPELESS = 3.0  # times the best: one sample is enough
_WORSE = 1.5  # times the best: three samples are enough
_SECOND = 1.05  # times the best: six samples are, if the 95 % interval of the median lies above
_KEPT = 4  # tasks kept, and references: one for each task and seed, as large as its arrays
_references: OrderedDict[tuple[str, int], Reference] = OrderedDict()


@dataclass(frozen=True)
class Measured:
    """What a worker found: seconds per call, one figure a sample, and the check of the result.

    Attributes:
        times_s: the samples.
        verified: the check, as a record keeps it.
        wrong: what is wrong with the result; None if it is right.
        stopped_early: whether it was plainly slower than the best, and not timed to the end.
        drift: how many times slower than at its best this machine was meanwhile, by the control kernel.
        control_s: the control kernel's time at this machine's best.
        observed: what each observer counted for a call.
        unobserved: why an observer does not work here.
    """

    times_s: list[float]
    verified: dict[str, Any]
    wrong: str | None
    stopped_early: bool = False
    drift: float = 1.0
    control_s: float | None = None
    observed: dict[str, dict[str, float]] = field(default_factory=dict)
    unobserved: dict[str, str] = field(default_factory=dict)


def warm_up() -> None:
    """Import what every job needs, before the worker's memory limit is set."""
    from flashsched.codegen.target import host_target

    host_target()
    import flashsched.codegen.build
    import flashsched.codegen.emit
    import flashsched.codegen.jit  # noqa: F401


@contextlib.contextmanager
def _device_alive() -> Iterator[None]:
    """End this process where a kernel ruined its GPU's context: nothing more can be done with it here."""
    try:
        yield
    except DeviceError as error:
        from flashsched.codegen.gpu.driver_errors import is_lasting

        if not is_lasting(error):
            raise
        print(error.reason, file=sys.stderr, flush=True)
        os._exit(70)


@functools.lru_cache(maxsize=_KEPT)
def _task(pickled: bytes) -> tuple[Task, Schedule]:
    """A task that travelled, and its default schedule, which remembers what candidates have in common."""
    task: Task = pickle.loads(pickled)
    return task, task.start()


def _kernel(pickled: bytes, trace: dict[str, Any], target: str) -> Kernel:
    from flashsched.codegen.build import build

    task, start = _task(pickled)
    candidate = task.replay(Trace.from_json(trace), start)
    return build(candidate.schedule, candidate.args, target, task.op)


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


def compile_candidate(payload: dict[str, Any]) -> bytes | None:
    """Compile a candidate into the object cache; the kernel, packed for the process that times it."""
    parcel = parcel_of(_kernel(payload["task"], payload["trace"], payload.get("target", "cpu")))
    return None if parcel is None else pickle.dumps(parcel)


def prepare(payload: dict[str, Any]) -> None:
    """Compute what `measure_candidate` will compare with, and compile the control kernel."""
    task, _ = _task(payload["task"])
    _reference(task, payload)
    if payload["target"] == "cpu":
        _control()


def measure_candidate(payload: dict[str, Any]) -> Measured:
    """Take a compiled candidate, check its result, then time it between two samples of the control kernel."""
    task, _ = _task(payload["task"])
    packed = payload.get("kernel")
    target = payload.get("target", "cpu")
    kernel = _kernel(payload["task"], payload["trace"], target) if packed is None else opened(_unpacked(packed))
    reference = _reference(task, payload)
    with _device_alive():
        check = verify(kernel, reference)
        if not check.ok:
            return Measured([], check.to_json(), check.text())
        run = kernel.bound(*reference.inputs)
    settings = {**_TIMING, **payload.get("timing", {})}
    best_s = payload.get("best_s")
    if best_s is not None:
        settings |= {
            "stop_if_slower_than_s": _HOPELESS * best_s,
            "worse_than_s": _WORSE * best_s,
            "surely_above_s": _SECOND * best_s,
        }
    if target != "cpu":  # a GPU's own clock, which this machine's pace is nothing to
        timing = time_callable(run, **settings)
        return Measured(list(timing.samples_s), check.to_json(), None, timing.stopped_early)
    control = _control()
    control.know(payload.get("control_s"))
    timing, drift = control.timed(lambda: time_callable(run, **settings))
    observed, unobserved = _watched(payload.get("observers", ()), run, timing.median_s)
    return Measured(
        list(timing.samples_s), check.to_json(), None, timing.stopped_early, drift, control.best_s, observed, unobserved
    )


def _unpacked(packed: bytes) -> Parcel | GpuParcel:
    parcel: Parcel | GpuParcel = pickle.loads(packed)
    return parcel


@functools.cache
def _control() -> Control:
    return Control()


@functools.cache
def _observer(name: str) -> Observer | str:
    """The observer; why there is none where it cannot work."""
    try:
        return find_observer(name)
    except Unobservable as error:
        return error.reason + (f" ({error.hint})" if error.hint else "")


def _watched(names: Sequence[str], run: Run, call_s: float) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    found = {name: _observer(name) for name in names}
    observed = {name: watch(name, one, run, call_s) for name, one in found.items() if not isinstance(one, str)}
    return observed, {name: why for name, why in found.items() if isinstance(why, str)}


def retime(payload: dict[str, Any]) -> list[Measured]:
    """Check finalists on inputs of another seed, and time those that pass in interleaved rounds."""
    task, _ = _task(payload["task"])
    reference = _reference(task, payload)
    kernels = [_kernel(payload["task"], trace, payload.get("target", "cpu")) for trace in payload["traces"]]
    with _device_alive():
        checks = [verify(kernel, reference) for kernel in kernels]
    good = [n for n, check in enumerate(checks) if check.ok]
    times: dict[int, list[float]] = {}
    if good:
        made = kernels[good[0]](*reference.inputs)
        outputs = made if isinstance(made, tuple) else (made,)  # one for all: none pushes another's out of the caches
        runs = [kernels[n].bound(*reference.inputs, *outputs) for n in good]
        times = dict(zip(good, interleave(runs, payload.get("rounds", 11)), strict=True))
    return [
        Measured(times.get(n, []), check.to_json(), None if check.ok else check.text())
        for n, check in enumerate(checks)
    ]


def check_simulated(payload: dict[str, Any]) -> SmallCheck | None:
    """Run a schedule for a device that is not here on smaller shapes, against the oracles."""
    return check_small(pickle.loads(payload["task"]), Trace.from_json(payload["trace"]), payload["seed"])
