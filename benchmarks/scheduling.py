"""What scheduling and lowering cost: a matmul in ten primitives, a tuner's candidates, graphs of 2 to 64 stages.

python benchmarks/scheduling.py

Times are medians of this process's CPU time. Beside them stand calls of Python functions, which do not depend on the
machine; they show what grows faster than the number of stages.
"""

from __future__ import annotations

import cProfile
import pstats
import random
import statistics
import sys
import time
from collections.abc import Callable

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import analyse
from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw import devices
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.search.knobs import RandomKnobs

STAGES = (2, 4, 8, 16, 32, 64)


def matmul() -> Tensor:
    """A matmul of 512."""
    a, b = te.placeholder((512, 512), name="A"), te.placeholder((512, 512), name="B")
    k = te.reduce_axis((0, 512), name="k")
    return te.compute((512, 512), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")


def ten_primitives(c: Tensor) -> Schedule:
    """A register tile, vectors and threads."""
    s = te.create_schedule(c)
    near = s.cache_write(c, "local")
    io, jo, ii, ji = s[c].tile(*s[c].op.axis, 8, 16)
    s[near].compute_at(s[c], jo)
    ko, ki = s[near].split(s[near].op.reduce_axis[0], factor=4)
    s[near].reorder(ko, ki, *s[near].op.axis)
    s[near].unroll(ki)
    s[near].vectorize(s[near].op.axis[1])
    s[c].unroll(ii)
    s[c].vectorize(ji)
    s[c].parallel(io)
    return s


def graph(stages: int) -> Tensor:
    """A chain of *stages* stages: sums of two elements, every fourth one of three."""
    x = te.placeholder((256, 256), name="x")
    for n in range(stages):
        before = x
        if n % 4 == 3:
            x = te.compute(
                (256, 256),
                lambda i, j, before=before: before[i, j] + before[i, te.minimum(j + 1, 255)] + before[0, j],
                name=f"S{n}",
            )
        else:
            x = te.compute((256, 256), lambda i, j, before=before: before[i, j] * 2 + before[j, i], name=f"S{n}")
    return x


def alone(output: Tensor) -> Schedule:
    """The graph, each stage in tiles, vectorized and parallel."""
    s = te.create_schedule(output)
    for view in s.stages:
        io, _, _, ji = view.tile(*view.op.axis, 8, 16)
        view.vectorize(ji)
        view.parallel(io)
    return s


def in_pairs(output: Tensor) -> Schedule:
    """The graph, each second stage in tiles, and the one before it computed in them."""
    s = te.create_schedule(output)
    for first, second in zip(s.stages[::2], s.stages[1::2], strict=False):
        io, tile, _, ji = second.tile(*second.op.axis, 8, 16)
        second.vectorize(ji)
        second.parallel(io)
        first.compute_at(second, tile)
        first.set_scope("local")
    return s


def candidates(op: str, shape: tuple[int, ...], device: str, drawn: int = 40) -> str:
    """What it costs to make a candidate of random decisions, and to read what it asks of *device*; medians."""
    task, spec, rng = fs.Task(op, shape), devices[device], random.Random(0)
    begun = task.start()
    made, read = [], []
    for _ in range(drawn):
        knobs = RandomKnobs(rng)
        start = time.process_time()
        try:
            found = task.candidate(knobs, spec, begun)
        except (Infeasible, ScheduleError):
            continue
        between = time.process_time()
        analyse(found.schedule, spec)
        made.append(between - start)
        read.append(time.process_time() - between)
    title = f"a candidate of {op} for {device}"
    return f"{title:40} {1e3 * statistics.median(made):8.2f} ms made, {1e3 * statistics.median(read):6.2f} ms read"


def milliseconds(call: Callable[[], object], rounds: int = 9) -> float:
    """The median CPU time of a call."""
    call()
    samples = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        samples.append(time.process_time() - start)
    return 1e3 * statistics.median(samples)


def calls(call: Callable[[], object]) -> int:
    """How many functions a call enters."""
    profile = cProfile.Profile()
    profile.runcall(call)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def show(what: Callable[[], object], count: int) -> None:
    """Where a call spends its time."""
    profile = cProfile.Profile()
    profile.runcall(what)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(count)


def row(stages: int, make: Callable[[Tensor], Schedule]) -> None:
    """What a stage costs among *stages*, to create, schedule by *make*, print and lower."""
    output = graph(stages)
    s = make(output)
    create = milliseconds(lambda: te.create_schedule(output), 5)
    steps = milliseconds(lambda: make(output), 5) - create
    text, low = milliseconds(lambda: str(s), 5), milliseconds(lambda: fs.lower(s), 5)
    each = [f"{value / stages:10.3f}" for value in (create, steps, text, low)]
    entered = calls(lambda: make(output)) / stages, calls(lambda: fs.lower(s)) / stages
    print(f"{stages:6} {' '.join(each)} {entered[0]:31.0f} {entered[1]:10.0f}")


def main() -> None:
    c = matmul()
    print(f"ten primitives and print(s)   {milliseconds(lambda: str(ten_primitives(c))):8.2f} ms")
    twenty = graph(20)
    made = alone(twenty)
    print(f"lowering 20 stages            {milliseconds(lambda: fs.lower(made)):8.2f} ms")
    print(candidates("matmul", (4096, 4096, 4096), "a100-sim"))
    print(candidates("softmax", (8192, 1024), "a100-sim"))
    print(candidates("matmul", (1024, 1024, 1024), "cpu-xeon-sim"))
    for title, make in (("each stage alone", alone), ("stages in pairs", in_pairs)):
        print(f"\n{title}")
        print("stages   create      steps    printing   lowering  ms a stage   calls a stage: steps   lowering")
        for stages in STAGES:
            row(stages, make)
    if "--profile" in sys.argv:
        output = graph(64)
        show(lambda: fs.lower(alone(output)), 25)


if __name__ == "__main__":
    main()
