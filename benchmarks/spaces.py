"""Measure the spaces of the benchmark of tuners, point by point, and write their tables.

    python benchmarks/spaces.py NAME...            all points, in one go
    python benchmarks/spaces.py NAME... --wait     compile, then wait for a line on standard input before timing

Each kernel is compiled, checked against the reference on random inputs, and timed; then all are timed once more in the
opposite order, and those that came within a tenth of the best a third time. A point's time is the least of its medians:
what disturbs a measurement only ever makes it longer. A simulated device's points are its model's predictions.
Times are of one machine, and are written with what it is.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from pathlib import Path

from flashsched.codegen.analysis import simulate
from flashsched.codegen.build import build
from flashsched.codegen.target import host_target
from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw import DeviceSpec, devices
from flashsched.tune.measuring.timing import time_callable
from flashsched.tune.measuring.verify import Reference, verify
from flashsched.tune.search.knobs import every
from flashsched.tune.spaces.problems import PROBLEMS, Problem
from flashsched.tune.spaces.table import Point, Space, rounded
from flashsched.tune.task import Candidate
from flashsched.tune.versions import versions

FOLDER = Path(__file__).resolve().parents[1] / "flashsched" / "tune" / "spaces" / "data"
TIMING = {"min_time_s": 4e-3, "min_repeats": 5, "max_repeats": 9, "min_sample_s": 4e-4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="+", choices=sorted(PROBLEMS), metavar="NAME")
    parser.add_argument("--wait", action="store_true", help="wait for a line on standard input before timing")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    for name in given.names:
        space = record(PROBLEMS[name], given.wait)
        space.save(given.out / f"{name}.json.gz")
        size = (given.out / f"{name}.json.gz").stat().st_size
        good = sum(p.time_s is not None and p.time_s <= space.best_s / 0.95 for p in space.points.values())
        print(
            f"{name}: {len(space)} points, {good} within 5 % of {1e6 * space.best_s:.1f} us, {size} bytes", flush=True
        )


def record(problem: Problem, wait: bool) -> Space:
    spec = devices[problem.device]
    knobs: dict[str, list[object]] = {}
    made = [
        (knobs_.decisions, candidate) for knobs_, candidate in every(lambda k: _make(problem, _Noting(k, knobs), spec))
    ]
    points = _simulated(made, spec) if problem.device != "cpu" else _measured(problem, made, wait)
    table = {
        tuple(decisions.get(name, -1) for name in knobs): point
        for (decisions, _), point in zip(made, points, strict=True)
    }
    about = {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "target": {key: host_target().to_json()[key] for key in ("triple", "cpu", "cores", "vector_bits")},
    }
    source = "measured" if problem.device == "cpu" else "simulated"
    return Space(
        problem.name, problem.title, spec.name, source, spec.to_toml(), knobs, table, about, problem=problem.name
    )


class _Noting:
    """Knobs that note all options they are asked for."""

    def __init__(self, knobs: object, seen: dict[str, list[object]]) -> None:
        self._knobs, self._seen = knobs, seen

    def choice(self, name, options, default=None):  # type: ignore[no-untyped-def]
        self._seen.setdefault(name, list(options))
        assert self._seen[name] == list(options), f"the options of {name} depend on other knobs"
        return self._knobs.choice(name, options, default)  # type: ignore[attr-defined]

    def require(self, condition: object, text: str) -> None:
        self._knobs.require(condition, text)  # type: ignore[attr-defined]


def _make(problem: Problem, knobs: object, spec: DeviceSpec) -> Candidate:
    try:
        return problem.task.candidate(knobs, spec)  # type: ignore[arg-type]
    except ScheduleError as error:
        raise Infeasible(error.reason) from None


def _simulated(made: list[tuple[dict[str, int], Candidate]], spec: DeviceSpec) -> list[Point]:
    points = []
    for _, candidate in made:
        try:
            points.append(Point(rounded(simulate(candidate.schedule, spec).time_s)))
        except Infeasible:
            points.append(Point(None, "constraints"))
    return points


def _measured(problem: Problem, made: list[tuple[dict[str, int], Candidate]], wait: bool) -> list[Point]:
    started = time.perf_counter()
    reference = Reference(problem.task, 0)
    kernels = [build(candidate.schedule, candidate.args, name="kernel") for _, candidate in made]
    checks = [verify(kernel, reference) for kernel in kernels]
    print(f"{problem.name}: {len(made)} kernels in {time.perf_counter() - started:.0f} s", flush=True)
    if wait:
        sys.stdin.readline()
    started = time.perf_counter()
    runs = [kernel.bound(*reference.inputs) for kernel in kernels]
    times = [[] for _ in runs]
    good = [n for n, check in enumerate(checks) if check.ok]

    def take(numbers: list[int]) -> None:
        for n in numbers:
            times[n].append(time_callable(runs[n], **TIMING).median_s)

    take(good)
    take(good[::-1])
    limit = 1.1 * min(min(times[n]) for n in good)
    take([n for n in good if min(times[n]) <= limit])
    print(f"{problem.name}: timed in {time.perf_counter() - started:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    return [Point(rounded(min(found)), "correct") if found else Point(None, "wrong") for found in times]


if __name__ == "__main__":
    main()
