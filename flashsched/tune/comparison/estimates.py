"""What a task takes on a device that need not be here, by the best means that there is for the two.

In order, and told in ``how``:

1. ``library``: a model of the operator as the vendor's library runs it (`flashsched.hw.operators`), and its error;
2. ``template``: the first choice of the operator's template, simulated; nothing is searched, so a comparison is quick;
3. ``roofline``: the least that any schedule takes, where nothing else is known of this kind of device.

A convolution without a model of its own is the product that an implicit GEMM makes of it (``library, as a product``).
Fused epilogues (a bias, an activation) are free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flashsched.errors import DeviceError, FlashschedError, Infeasible, TuneError
from flashsched.hw import DeviceSpec, Prediction, roofline_s
from flashsched.hw.combine import energy_j
from flashsched.hw.constants import constants_for
from flashsched.hw.operators import OPERATORS, estimate, operator_model, section_of
from flashsched.hw.operators.asked import asked_sizes
from flashsched.hw.operators.elementwise import FUNCTIONS
from flashsched.schedule import Schedule
from flashsched.tune.figures import figure_text
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

__all__ = ["Estimate", "estimate_schedule", "estimates", "has_library_model", "memory_seconds"]

_START_S = 20e-6  # a kernel below this, far from its roofline, is bound by its start
_NAN = math.nan


@dataclass(frozen=True)
class Estimate:
    """What one workload takes on one device.

    Attributes:
        time_s: predicted; NaN where the device cannot run it, and *note* says why.
        roofline_s: the least that it may take.
        utilization: share of the peak arithmetic that is reached.
        bound: what limits it.
        energy_j: NaN where the device's power is not known.
        transfer_s: to bring inputs there and the result back over the link to the host; 0 for a host, NaN if unknown.
        tier: of the constants behind the prediction, see `flashsched.hw.constants`; "" where none are.
        error_pct: mean error over measurements that the fit did not see; NaN where there were none.
        how: ``library``, ``template``, ``schedule`` or ``roofline``.
        note: why there is no time, or what is missing: the operator's model, or room in the device's memory.
    """

    time_s: float
    roofline_s: float = _NAN
    utilization: float = _NAN
    bound: str = ""
    energy_j: float = _NAN
    transfer_s: float = _NAN
    tier: str = ""
    error_pct: float = _NAN
    how: str = ""
    note: str = ""


def estimates(tasks: Sequence[Task], spec: DeviceSpec) -> list[Estimate]:
    """What each of *tasks* takes on *spec*; those of one operator and dtype are judged together."""
    found: dict[int, Estimate] = {}
    batches: dict[tuple[str, str], list[tuple[int, dict[str, int]]]] = {}
    for number, task in enumerate(tasks):
        try:
            operation = _operation(task, spec)
        except DeviceError as error:  # it lacks the dtype
            found[number] = Estimate(_NAN, note=error.reason)
            continue
        if operation is None:
            found[number] = _by_template(task, spec)
        else:
            batches.setdefault((operation[0], task.dtype), []).append((number, operation[1]))
    for (op, dtype), rows in batches.items():
        columns = {name: [sizes[name] for _, sizes in rows] for name in rows[0][1]}
        try:
            seconds, fitted = estimate(spec, op, dtype, columns)
            model = operator_model(op, spec)
            least = model.roofline(spec, dtype, asked_sizes(op, model.SIZES, columns))
        except DeviceError as error:
            found |= {number: Estimate(_NAN, note=error.reason) for number, _ in rows}
            continue
        for (number, _), time_s, bound_s in zip(rows, seconds, least, strict=True):
            how = "library" if tasks[number].op != "conv2d" or op == "conv2d" else "library, as a product"
            made = _of_task(tasks[number], spec, float(time_s), how, float(bound_s))
            error_pct = _NAN if fitted.error_pct is None else fitted.error_pct
            found[number] = replace(made, tier=fitted.tier, error_pct=error_pct)
    return [found[number] for number in range(len(tasks))]


def has_library_model(task: Task, spec: DeviceSpec) -> bool:
    """Whether a model of an operator says what a vendor's library takes for *task* on *spec*."""
    return _operation(task, spec) is not None


def estimate_schedule(schedule: Schedule, spec: DeviceSpec, moved: float) -> Estimate:
    """What *schedule*, as it stands, takes on *spec*; *moved*: bytes of its inputs and outputs."""
    from flashsched.codegen.analysis import simulate

    try:
        return _of_prediction(simulate(schedule, spec), spec, moved, "schedule")
    except (Infeasible, DeviceError) as error:
        return Estimate(_NAN, how="schedule", note=error.reason)


def _operation(task: Task, spec: DeviceSpec) -> tuple[str, dict[str, int]] | None:
    """The operator's model that speaks of *task* on *spec*, and its sizes; None where there is none.

    One that was never fitted to anything is asked about products only: what it takes for granted is nearer to a library
    there than the first choice of a template, and elsewhere not.
    """
    for op, sizes in _operations(task):
        if (op, spec.kind) not in OPERATORS:
            continue
        model = operator_model(op, spec)
        fitted = constants_for(spec, section_of(model, spec, task.dtype), model.CONSTANTS)
        if (fitted.origin or op == "gemm") and set(model.SIZES) <= set(sizes):
            return op, {name: sizes[name] for name in model.SIZES}
    return None


def _operations(task: Task) -> list[tuple[str, dict[str, int]]]:
    """The names under which a model may know *task*, the most particular first."""
    shape = task.shape
    functions = {one.name: number for number, one in enumerate(FUNCTIONS)}
    match task.op:
        case "matmul":
            return [("gemm", {"m": shape[0], "n": shape[1], "k": shape[2], "batch": 1})]
        case "batch_matmul":
            return [("gemm", {"batch": shape[0], "m": shape[1], "n": shape[2], "k": shape[3]})]
        case "attention":
            batch, heads, length, dim = shape
            sizes = {"batch": batch, "seqlen": length, "kv_len": length, "heads": heads, "kv_heads": heads}
            return [("attention", {**sizes, "head_dim": dim, "causal": int(bool(task.options.get("causal", False)))})]
        case "softmax":
            return [("softmax", {"m": shape[0], "n": shape[1]})]
        case "layernorm" | "rmsnorm" | "sum" if len(shape) == 2:
            passes = {"layernorm": 2, "rmsnorm": 1, "sum": 0}[task.op]
            return [("row_wise", {"m": shape[0], "n": shape[1], "passes": passes})]
        case "conv2d":
            return _convolution(task)
        case op if op in functions and len(shape) == 2:
            return [("elementwise", {"m": shape[0], "n": shape[1], "function": functions[op]})]
        case _:
            return []


def _convolution(task: Task) -> list[tuple[str, dict[str, int]]]:
    batch, channels, height, width, out, kernel, stride, padding = task.shape
    groups, dilation = int(task.options.get("groups", 1)), int(task.options.get("dilation", 1))
    reach = dilation * (kernel - 1) + 1
    rows, columns = ((n + 2 * padding - reach) // stride + 1 for n in (height, width))
    product = {"m": batch * rows * columns, "n": out // groups, "k": channels // groups * kernel**2, "batch": groups}
    as_product = ("gemm", product)
    if groups > 1 or dilation > 1:  # of which the model of convolutions knows nothing
        return [as_product]
    own = {
        "batch": batch, "cin": channels, "hin": height, "win": width, "cout": out, "kh": kernel, "kw": kernel,
        "stride_h": stride, "stride_w": stride, "pad_h": padding, "pad_w": padding, "pass": 0,
    }  # fmt: skip
    return [("conv2d", own), as_product]


def _by_template(task: Task, spec: DeviceSpec) -> Estimate:
    """The template's first choice, simulated; the roofline where there is no template or it does not fit."""
    from flashsched.codegen.analysis import simulate

    try:
        schedule = task.candidate(FirstKnobs(), spec).schedule
        return _of_prediction(simulate(schedule, spec), spec, float(task.bytes), "template")
    except (TuneError, Infeasible, DeviceError) as error:
        reason = error.reason
    except FlashschedError as error:
        reason = f"{type(error).__name__}: {error.reason}"
    try:
        made = _of_task(task, spec, _roofline(task, spec), "roofline")
    except DeviceError as error:
        return Estimate(_NAN, note=error.reason)
    return replace(made, note=reason)


def _roofline(task: Task, spec: DeviceSpec) -> float:
    return roofline_s(spec, {task.dtype: float(task.flops)}, float(task.bytes))


def memory_seconds(task: Task, spec: DeviceSpec, roofline_s: float) -> float:
    """What main memory takes for the operands of *task*, of which a library's may lie in a cache already: no more than
    its *roofline_s*."""
    return min(task.bytes / spec.dram.bandwidth_bytes_per_s, roofline_s)


def _of_task(task: Task, spec: DeviceSpec, time_s: float, how: str, roofline_s: float | None = None) -> Estimate:
    """The figures that follow from a time. *roofline_s* is the operator's own: an algorithm may do with fewer
    operations than the definition, and a cache may hold operands."""
    try:
        peak = spec.peak(task.dtype)
    except DeviceError:  # what moves data needs no arithmetic of the dtype
        peak = math.inf
    arithmetic, memory = task.flops / peak, task.bytes / spec.dram.bandwidth_bytes_per_s
    roofline = max(arithmetic, memory)
    if roofline_s is not None:
        roofline, memory = roofline_s, memory_seconds(task, spec, roofline_s)
    bound = "arithmetic" if arithmetic >= memory else "memory"
    if time_s < _START_S and roofline < time_s / 3:
        bound = "start"
    used = min(1.0, arithmetic / time_s) if time_s > 0 else 0.0
    energy = energy_j(spec, time_s, used, float(task.bytes))
    return Estimate(
        time_s,
        roofline,
        used,
        bound,
        _NAN if energy is None else energy,
        _transfer(spec, task.bytes),
        how=how,
        note=_too_large(spec, float(task.bytes)),
    )


def _of_prediction(found: Prediction, spec: DeviceSpec, moved: float, how: str) -> Estimate:
    energy = _NAN if found.energy_j is None else found.energy_j
    return Estimate(
        found.time_s, found.roofline_s, found.utilization, found.bound, energy, _transfer(spec, moved), found.tier,
        _NAN if found.error_pct is None else found.error_pct, how, _too_large(spec, moved),
    )  # fmt: skip


def _too_large(spec: DeviceSpec, moved: float) -> str:
    """What to know of a time where inputs and result are more than the device can hold."""
    if moved <= spec.dram.size_bytes:
        return ""
    needed, there = (figure_text(number / 1e9) for number in (moved, spec.dram.size_bytes))
    return f"inputs and result take {needed} GB, and {spec.dram.name} holds {there}"


def _transfer(spec: DeviceSpec, moved: float) -> float:
    """Seconds over the link to the host."""
    if spec.kind == "cpu":
        return 0.0
    return moved / spec.host_link_bytes_per_s if spec.host_link_bytes_per_s else _NAN


def total(parts: Sequence[tuple[Estimate, float]]) -> Estimate:
    """Several workloads one after another, each so many times: times and energies summed, the bound of the longest.

    What is brought to the device in between stays there: the transfer is that of the largest part.
    """
    missing = next((one for one, _ in parts if math.isnan(one.time_s)), None)
    if missing is not None:
        return missing
    time_s = math.fsum(one.time_s * count for one, count in parts)
    by_bound: dict[str, float] = {}
    for one, count in parts:
        by_bound[one.bound] = by_bound.get(one.bound, 0.0) + one.time_s * count
    weights = [one.time_s * count / time_s for one, count in parts]
    used = math.fsum(one.utilization * weight for (one, _), weight in zip(parts, weights, strict=True))
    errors = math.fsum(one.error_pct * weight for (one, _), weight in zip(parts, weights, strict=True))
    tiers = sorted({one.tier for one, _ in parts}, key=_TIERS.index)
    hows = sorted({one.how for one, _ in parts})
    return Estimate(
        time_s,
        math.fsum(one.roofline_s * count for one, count in parts),
        used,
        max(by_bound, key=lambda name: by_bound[name]),
        math.fsum(one.energy_j * count for one, count in parts),
        float(np.max([one.transfer_s for one, _ in parts])),
        tiers[-1],
        errors,
        "; ".join(hows),
        next((one.note for one, _ in parts if one.note), ""),
    )


_TIERS = ("calibrated", "family", "specs", "")


def columns_of(one: Estimate) -> Mapping[str, object]:
    """The figures of an estimate by name."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}
