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
from flashsched.tune.search.knobs import FirstKnobs


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


def calls() -> None:
    """Print microseconds of a kernel call by the number of arrays, of which the last is the output."""
    print("a call with so many arrays         f(*arrays)  without output  f.bind(...)()  in Python")
    for count in (2, 4, 8, 16):
        given = [te.placeholder((3, 4), name=f"x{n}") for n in range(count - 1)]
        y = te.compute(
            (3, 4), lambda i, j, given=given: sum((x[i, j] for x in given), te.const(0, "float32")), name="y"
        )
        kernel = fs.build(te.create_schedule(y), [*given, y])
        arrays = [np.ones((3, 4), np.float32) for _ in range(count)]
        inputs, bound, caller = arrays[:-1], kernel.bind(*arrays), kernel.caller
        each = (lambda: kernel(*arrays), lambda: kernel(*inputs), bound, lambda: caller(*arrays))  # noqa: B023
        print(f"{count:18}" + "".join(f"{micros(call, 1000):15.2f}" for call in each) + " us")
    a, b = np.ones((64, 64), np.float32), np.ones((64, 64), np.float32)
    ours, theirs = micros(lambda: fs.matmul(a, b), 1000), micros(lambda: np.matmul(a, b), 1000)
    print(f"fs.matmul on 64 x 64           {ours:8.2f} us, and np.matmul {theirs:.2f} us")


def main() -> None:
    calls()
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
