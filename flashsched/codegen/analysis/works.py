"""From a schedule to a `Work` for each of its root nests, and to one prediction for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flashsched.codegen.analysis.cpu import cpu_work
from flashsched.codegen.analysis.gpu import gpu_work
from flashsched.codegen.analysis.reading import Nest, read_nests
from flashsched.codegen.analysis.systolic import systolic_work
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, Prediction, Work, predict
from flashsched.hw.roofline import roofline_s
from flashsched.schedule.schedule import Schedule

__all__ = ["Analysis", "analyse", "nest_works", "nests_and_works", "simulate"]

_READERS = {"asic": systolic_work, "cpu": cpu_work, "gpu": gpu_work, "tpu": systolic_work}


@dataclass(frozen=True)
class Analysis:
    """A kernel as it was read: its root nests, what each asks of the device, and what the device's model says."""

    nests: list[Nest]
    works: list[Work]
    prediction: Prediction


def nest_works(schedule: Schedule, spec: DeviceSpec, *, warm: bool = False) -> list[Work]:
    """What each root nest of *schedule* asks of *spec*, in order; on a GPU each is a kernel of its own.

    *warm* asks about one of many calls on the same data: a CPU's caches hold what fits them.

    Raises:
        DeviceError: no nest can be read for devices of this kind.
        LoweringError: a loop's length is known at run time only.
    """
    return [work for _, work in nests_and_works(schedule, spec, warm=warm)]


def simulate(
    schedule: Schedule, spec: DeviceSpec, registers: Sequence[int] | None = None, *, warm: bool = False
) -> Prediction:
    """How long *schedule*, as it stands, takes on *spec*, and why: its nests one after another.

    Times, bytes and limiters are summed; the roofline is that of the whole: all useful operations, and the caller's
    arrays moved once. Occupancy, its limit, and waves are those of the nest that takes longest. *warm* as of
    `nest_works`.

    Raises:
        DeviceError: the device lacks a model, a dtype or a memory level that the schedule needs.
        Infeasible: a block asks for more than a unit of the device has.
        LoweringError: a loop's length is known at run time only.
    """
    return analyse(schedule, spec, registers, warm=warm).prediction


def analyse(
    schedule: Schedule, spec: DeviceSpec, registers: Sequence[int] | None = None, *, warm: bool = False
) -> Analysis:
    """All at once: what `nest_works` and `simulate` say, for one reading of the nests.

    On a GPU *registers* are those that a thread of each kernel takes, where they are known better than by an estimate.

    Raises:
        DeviceError, Infeasible, LoweringError: as `simulate`.
    """
    read = nests_and_works(schedule, spec, warm=warm)
    if registers is not None:
        read = [
            (nest, replace(work, registers_per_thread=number))
            for (nest, work), number in zip(read, registers, strict=True)
        ]
    nests, works = [nest for nest, _ in read], [work for _, work in read]
    parts = [predict(spec, work) for work in works]
    if not parts:
        return Analysis([], [], predict(spec, Work(flops={}, dram_read_bytes=0, dram_write_bytes=0)))
    flops: dict[str, float] = {}
    for _, work in read:
        for name, number in (work.useful_flops or work.flops).items():
            flops[name] = flops.get(name, 0.0) + number
    moved = _callers_bytes(nests)
    whole = parts[0] if len(parts) == 1 else _summed(parts, roofline_s(spec, flops, moved, warm=warm))
    return Analysis(nests, works, whole)


def nests_and_works(schedule: Schedule, spec: DeviceSpec, *, warm: bool = False) -> list[tuple[Nest, Work]]:
    """Each root nest of *schedule*, and what it asks of *spec*.

    Raises:
        DeviceError, LoweringError: as `nest_works`.
    """
    if spec.kind not in _READERS:
        raise DeviceError(
            f"device {spec.name!r} cannot be simulated: no nest is read for kind {spec.kind!r}",
            hint=f"kinds that are: {', '.join(sorted(_READERS))}",
        )
    nests = read_nests(schedule.state)
    if spec.kind == "cpu" and warm:
        held = _held_bytes(nests)
        return [(nest, cpu_work(nest, spec, held)) for nest in nests]
    reader = _READERS[spec.kind]
    return [(nest, reader(nest, spec)) for nest in nests]


def _held_bytes(nests: Sequence[Nest]) -> float:
    """Bytes of all memory that the nests touch, each once."""
    sizes: dict[int, float] = {}
    for nest in nests:
        for memory in nest.memories:
            key = id(memory.buffer) if memory.kept else id(memory)
            sizes[key] = max(sizes.get(key, 0.0), float(memory.elements(nest.extents) * memory.width))
    return sum(sizes.values())


def _callers_bytes(nests: Sequence[Nest]) -> float:
    """Bytes of the caller's arrays that are touched, each once."""
    touched: dict[int, float] = {}
    for nest in nests:
        for memory in nest.memories:
            if memory.given:
                size = float(memory.elements(nest.extents) * memory.width)
                touched[id(memory.buffer)] = max(size, touched.get(id(memory.buffer), 0.0))
    return sum(touched.values())


def _summed(parts: Sequence[Prediction], roofline: float) -> Prediction:
    time = sum(part.time_s for part in parts)
    longest = max(parts, key=lambda part: part.time_s)
    breakdown: dict[str, float] = {}
    moved: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.breakdown.items():
            breakdown[name] = breakdown.get(name, 0.0) + seconds
        for name, number in part.bytes.items():
            moved[name] = moved.get(name, 0.0) + number
    energies = [part.energy_j for part in parts if part.energy_j is not None]
    return Prediction(
        time_s=max(time, roofline),
        roofline_s=roofline,
        bound=max(breakdown, key=lambda name: breakdown[name]),
        utilization=sum(part.utilization * part.time_s for part in parts) / time,
        occupancy=longest.occupancy,
        occupancy_limit=longest.occupancy_limit,
        waves=longest.waves,
        bytes=moved,
        breakdown=breakdown,
        energy_j=sum(energies) if len(energies) == len(parts) else None,
    )
