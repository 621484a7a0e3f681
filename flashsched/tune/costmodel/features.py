"""What the cost model sees of a schedule: a fixed list of finite numbers, read off its nests and their `Work`.

The numbers say why a schedule is fast (work, bytes for each level, reuse, lanes, chains, parallel work, registers,
waste), not what it is called, so one model serves all operators, shapes and templates of a kind of device. Counts are
logarithms to base 2: the model should see ratios. The device model's own estimate and its limiters are among them, so
that the learned model only has to correct it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from flashsched.codegen.analysis import nests_and_works
from flashsched.codegen.analysis.reading import Nest
from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec, Prediction, Work, predict
from flashsched.schedule import Schedule
from flashsched.tune.costmodel.access import NEST_FEATURES, nest_features

__all__ = ["FEATURES", "features", "features_of", "times_repeated_calls"]

_LEVELS = ("l1", "l2", "l3")
_LIMITERS = ("fma", "issue", "special", "shared", "l1", "l2", "l3", "dram", "latency", "launch")


def _log(value: float) -> float:
    return math.log2(1.0 + max(0.0, value))


def _ratio(part: float, whole: float) -> float:
    """log2 of a ratio that may have nothing above or below: 0 where it has not."""
    return math.log2(part / whole) if part > 0 and whole > 0 else 0.0


def _total(table: Mapping[str, float] | None) -> float:
    return sum((table or {}).values())


def _useful(work: Work) -> float:
    return _total(work.counted_flops)


_OF_MAIN: dict[str, Callable[[Work], float]] = {
    "bits": lambda w: math.log2(w.element_bits),
    "fma_share": lambda w: w.fma_share,
    "coalescing": lambda w: w.coalescing,
    "lanes": lambda w: math.log2(w.vector_lanes),
    "accumulators": lambda w: _log(w.accumulators),
    "registers": lambda w: _log(w.registers_per_thread),
    "overhead": lambda w: _log(w.overhead_per_op),
    "threads": lambda w: _log(w.threads),
    "parallel_items": lambda w: _log(w.parallel_items),
    "imbalance": lambda w: _ratio(
        math.ceil(w.parallel_items / max(1, w.threads)) * max(1, w.threads), w.parallel_items
    ) if w.threads > 1 else 0.0,
    "blocks": lambda w: _log(w.blocks),
    "threads_per_block": lambda w: _log(w.threads_per_block),
    "shared_per_block": lambda w: _log(w.shared_bytes_per_block),
    "shared_reuse": lambda w: _ratio(w.shared_load_bytes, w.shared_store_bytes),
    "bank_conflict": lambda w: math.log2(w.bank_conflict),
    "steps": lambda w: _log(w.steps),
    "barriers": lambda w: _log(w.barriers),
    "stages": lambda w: float(w.stages),
    "in_flight": lambda w: _log(w.bytes_in_flight),
}  # fmt: skip
"""Features of the nest with most operations."""

_OF_ALL: dict[str, Callable[[Work], float]] = {
    "flops": lambda w: _total(w.flops),
    "useful_flops": _useful,
    "special": lambda w: w.special_ops,
    "compulsory_bytes": lambda w: w.compulsory_bytes,
    "dram_bytes": lambda w: w.compulsory_bytes if w.dram_bytes is None else max(w.dram_bytes, w.compulsory_bytes),
    "lane_bytes": lambda w: w.global_lane_bytes or 0.0,
    "shared_bytes": lambda w: (w.shared_load_bytes + w.shared_store_bytes) * w.blocks,
    "global_bytes": lambda w: (w.l2_read_bytes or 0.0) + (w.l2_write_bytes or 0.0),
    **{f"{level}_bytes": (lambda w, level=level: w.level_bytes.get(level, 0.0)) for level in _LEVELS},  # type: ignore[misc]
}
"""Features summed over the nests."""

_DERIVED = ("nests", "intensity", "tail_waste", "bytes_per_compulsory")

_PREDICTED = ("predicted_time", "share_of_roofline", "utilization", "occupancy", "waves", "fits")

FEATURES: tuple[str, ...] = (
    *(f"log_{name}" for name in _OF_ALL),
    *_OF_MAIN,
    *_DERIVED,
    *_PREDICTED,
    *(f"share_{name}" for name in _LIMITERS),
    *NEST_FEATURES,
)
"""The names of all features, in their order."""


def times_repeated_calls(spec: DeviceSpec) -> bool:
    """Whether a time on *spec* is that of one of many calls on the same data: what is measured on a CPU is.

    A simulated CPU tells what a first call takes.
    """
    return spec.kind == "cpu" and not spec.name.partition("[")[0].endswith("-sim")


def features(schedule: Schedule, spec: DeviceSpec) -> dict[str, float]:
    """The features of *schedule* on the device *spec*: those of `FEATURES`, in that order, all finite.

    A schedule that the device cannot hold has them too; ``fits`` is 0 there.

    Raises:
        DeviceError: no nest can be read for devices of this kind.
        LoweringError: a loop's length is known at run time only.
    """
    read = nests_and_works(schedule, spec, warm=times_repeated_calls(spec))
    return features_of([nest for nest, _ in read], [work for _, work in read], spec)


def features_of(nests: Sequence[Nest], works: Sequence[Work], spec: DeviceSpec) -> dict[str, float]:
    """The features of a kernel made of *nests*, one after another, and what each asks of the device."""
    sums = {name: sum(of(work) for work in works) for name, of in _OF_ALL.items()}
    found = {f"log_{name}": _log(number) for name, number in sums.items()}
    main = max(works, key=lambda w: (_total(w.flops), w.compulsory_bytes), default=None)
    found |= {name: of(main) if main is not None else 0.0 for name, of in _OF_MAIN.items()}
    found["nests"] = float(len(works))
    found["intensity"] = _ratio(sums["useful_flops"], sums["compulsory_bytes"])
    found["tail_waste"] = _ratio(sums["flops"], sums["useful_flops"])
    found["bytes_per_compulsory"] = _ratio(sums["dram_bytes"], sums["compulsory_bytes"])
    found |= _of_predictions(works, spec)
    found |= nest_features(nests, works, spec)
    return {name: _finite(found[name]) for name in FEATURES}


def _of_predictions(works: Sequence[Work], spec: DeviceSpec) -> dict[str, float]:
    """What the device model says: the time, and how much of it each limiter would take alone."""
    try:
        parts: list[Prediction] = [predict(spec, work) for work in works]
    except (Infeasible, DeviceError):
        parts = []
    time = sum(part.time_s for part in parts)
    if not parts or time <= 0:
        return dict.fromkeys((*_PREDICTED, *(f"share_{name}" for name in _LIMITERS)), 0.0)
    longest = max(parts, key=lambda part: part.time_s)
    found = {
        "predicted_time": math.log2(time),
        "share_of_roofline": _ratio(sum(part.roofline_s for part in parts), time),
        "utilization": sum(part.utilization * part.time_s for part in parts) / time,
        "occupancy": longest.occupancy,
        "waves": _log(longest.waves),
        "fits": 1.0,
    }
    for name in _LIMITERS:
        found[f"share_{name}"] = sum(part.breakdown.get(name, 0.0) for part in parts) / time
    return found


def _finite(value: float) -> float:
    """*value* as a number that a regression can take."""
    return float(min(max(value, -1e6), 1e6)) if math.isfinite(value) else 0.0
