"""One workload on one device: what the vendor's library takes of a task, or what a schedule of ours does."""

from __future__ import annotations

import dataclasses
import math

from flashsched.errors import DeviceError, TuneError
from flashsched.hw import DeviceSpec, Prediction
from flashsched.hw import devices as known
from flashsched.schedule import Schedule
from flashsched.tune.comparison.estimates import estimates, has_library_model, memory_seconds
from flashsched.tune.result import Result
from flashsched.tune.task import Task
from flashsched.tune.tuner import tune

__all__ = ["TRIALS", "check_workload", "library_prediction", "searched", "simulate"]

TRIALS = 64
"""Schedules that are tried where no operator's model answers, unless another number is asked for."""


def simulate(what: Schedule | Task | Result, device: str, trials: int | None = None) -> Prediction:
    """How long *what* takes on a device that need not be here; ``how`` of the prediction says whose time it is.

    A schedule is simulated as it stands, a tuning result at its best schedule. A task takes what the vendor's library
    takes, where there is a model of its operator, and elsewhere what the best schedule takes that a search finds.

    Args:
        what: a schedule, a task, or the result of tuning one.
        device: a device's name, or its file; ``"cpu"`` is a model of this machine.
        trials: of a task: search so many schedules, and ask no operator's model.

    Raises:
        DeviceError: there is no such device, no model of its kind, or it lacks the task's dtype.
        Infeasible: the device cannot run the schedule at all, e.g. its tiles do not fit in shared memory.
        TuneError: *what* is none of these, or a search found no schedule that the device can run.
    """
    from flashsched.codegen.analysis import simulate as run

    check_workload(what)
    spec = known.for_simulation(device)
    if isinstance(what, Schedule):
        return run(what, spec)
    if isinstance(what, Result):
        return run(what.schedule().schedule, spec)
    found = library_prediction(what, spec) if trials is None else None
    if found is None:
        result = tune(what, device, TRIALS if trials is None else trials)
        found = searched(run(result.schedule().schedule, spec), result)
    return found


def check_workload(what: object) -> None:
    """Refuse what can neither be simulated nor compared.

    Raises:
        TuneError: *what* is no task, no schedule and no result of tuning.
    """
    if not isinstance(what, Task | Schedule | Result):
        got = repr(what) if isinstance(what, str) else f"a {type(what).__name__}"
        raise TuneError(
            f"a task, a schedule or a tuning result is needed, got {got}",
            hint='for example fs.Task("matmul", (512, 512, 512))',
        )


def searched(found: Prediction, result: Result) -> Prediction:
    """*found*, of the best schedule of *result*, saying so."""
    count = len(result.records)
    return dataclasses.replace(found, how=f"best of {count} schedules" if count > 1 else "one schedule of ours")


def library_prediction(task: Task, spec: DeviceSpec) -> Prediction | None:
    """What the vendor's library takes for *task*; None where no operator's model speaks of it.

    Occupancy and waves are NaN, as nobody tells which kernel a library runs. A short kernel's time beyond its
    arithmetic and its traffic stands in ``breakdown`` as "start".

    Raises:
        DeviceError: there is a model, and the device lacks what the task needs, such as its dtype.
    """
    if not has_library_model(task, spec):
        return None
    (found,) = estimates([task], spec)
    if math.isnan(found.time_s):
        raise DeviceError(found.note)
    breakdown = {
        "arithmetic": found.utilization * found.time_s,
        "memory": memory_seconds(task, spec, found.roofline_s),
    }
    if found.bound == "start":
        breakdown["start"] = found.time_s - found.roofline_s
    return Prediction(
        time_s=found.time_s,
        roofline_s=found.roofline_s,
        bound=found.bound,
        utilization=found.utilization,
        occupancy=math.nan,
        occupancy_limit="",
        waves=math.nan,
        bytes={spec.dram.name: float(task.bytes)},
        breakdown=breakdown,
        energy_j=None if math.isnan(found.energy_j) else found.energy_j,
        tier=found.tier,
        error_pct=None if math.isnan(found.error_pct) else found.error_pct,
        how=found.how,
        note=found.note,
    )
