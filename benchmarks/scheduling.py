"""What scheduling and lowering cost: a matmul in ten primitives, graphs of 1 to 64 stages, the cost of a stage.

python benchmarks/scheduling.py

Times are medians of this process's CPU time. Beside them stand calls of Python functions, which do not depend on the
machine; they show what grows faster than the number of stages.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable

import flashsched as fs
from flashsched import te
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor

STAGES = (1, 2, 4, 8, 16, 32, 64)


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


def scheduled(output: Tensor) -> Schedule:
    """The graph, each stage in tiles, vectorized and parallel."""
    s = te.create_schedule(output)
    for view in s.stages:
        io, _, _, ji = view.tile(*view.op.axis, 8, 16)
        view.vectorize(ji)
        view.parallel(io)
    return s


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


def main() -> None:
    c = matmul()
    print(f"ten primitives and print(s)   {milliseconds(lambda: str(ten_primitives(c))):8.2f} ms")
    twenty = graph(20)
    made = scheduled(twenty)
    print(f"lowering 20 stages            {milliseconds(lambda: fs.lower(made)):8.2f} ms")
    print("\nstages   create      steps    printing   lowering  ms a stage   calls a stage: steps   lowering")
    for stages in STAGES:
        output = graph(stages)
        s = scheduled(output)
        create = milliseconds(lambda output=output: te.create_schedule(output), 5)
        steps = milliseconds(lambda output=output: scheduled(output), 5) - create
        text, low = milliseconds(lambda s=s: str(s), 5), milliseconds(lambda s=s: fs.lower(s), 5)
        each = [f"{value / stages:10.3f}" for value in (create, steps, text, low)]
        entered = calls(lambda output=output: scheduled(output)) / stages, calls(lambda s=s: fs.lower(s)) / stages
        print(f"{stages:6} {' '.join(each)} {entered[0]:31.0f} {entered[1]:10.0f}")
    if "--profile" in sys.argv:
        output = graph(64)
        show(lambda: fs.lower(scheduled(output)), 25)


if __name__ == "__main__":
    main()
