"""What a call costs besides its work: a kernel call, fork-join, a prediction, a schedule. Figures, not tests.

python benchmarks/overheads.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import simulate
from flashsched.hw import devices
from flashsched.tune.knobs import FirstKnobs


def micros(call: Callable[[], object], calls: int, rounds: int = 15) -> float:
    """Microseconds of one call: the median over rounds of the mean."""
    samples = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - start) / calls)
    return 1e6 * statistics.median(samples)


def counter(parallel: bool) -> float:
    """Microseconds of a loop of two turns of some 20 us each, run by two threads or by one."""
    x = te.placeholder((2, 64), name="x")
    k = te.reduce_axis((0, 256), name="k")
    y = te.compute((2, 64), lambda i, j: te.sum(te.sqrt(x[i, j] + k.astype("float32")), axis=k), name="y")
    s = te.create_schedule(y)
    if parallel:
        s[y].parallel(y.op.axis[0])
    run = fs.build(s, [x, y]).bound(np.ones((2, 64), np.float32))
    run(200)
    return 1e6 * statistics.median(run(200) / 200 for _ in range(15))


def main() -> None:
    a = np.ones((3, 4), np.float32)
    x = te.placeholder((3, 4), name="x")
    y = te.compute((3, 4), lambda i, j: x[i, j] + 1, name="y")
    kernel, out = fs.build(te.create_schedule(y), [x, y]), np.empty((3, 4), np.float32)
    print(f"a kernel call from Python      {micros(lambda: kernel(a, out), 1000):8.2f} us")
    one, two = counter(False), counter(True)
    print(f"two turns on one thread        {one:8.2f} us")
    print(f"two turns on two threads       {two:8.2f} us, so fork-join costs {two - one / 2:.2f} us")
    task, spec = fs.Task("matmul", shape=(512, 512, 512)), devices["cpu"]
    candidate = task.candidate(FirstKnobs(), spec)
    made = micros(lambda: task.candidate(FirstKnobs(), spec), 3)
    read = micros(lambda: simulate(candidate.schedule, spec), 10)
    lowered = micros(lambda: fs.lower(candidate.schedule, candidate.args), 3)
    print(f"a matmul schedule of {len(candidate.trace)} steps  {made:8.0f} us")
    print(f"reading and predicting it      {read:8.0f} us")
    print(f"lowering it                    {lowered:8.0f} us")


if __name__ == "__main__":
    main()
