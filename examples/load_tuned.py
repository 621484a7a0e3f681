"""Load a tuned matmul from its log, check it against NumPy, and time the two side by side.

    python examples/load_tuned.py runs/cpu-matmul.jsonl

The log alone is enough: it says which task was tuned, and ``fs.load`` replays the best verified schedule and
compiles it for this machine. Both sides may use the same number of threads, and they take turns, so that a busy
moment of the machine hits both alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

import flashsched as fs


def microseconds(call: Callable[[], object], calls: int) -> float:
    """The time of one call, the mean over several. A BLAS's idle threads spin for some 100 ms: wait that long first."""
    time.sleep(0.2)
    for _ in range(3):
        call()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return 1e6 * (time.perf_counter() - start) / calls


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description="A tuned matmul from its log, beside NumPy's.")
    parser.add_argument("log", help="a tuning log of a float32 matmul on this CPU")
    parser.add_argument("--rounds", type=int, default=21, help="how often each side is timed")
    parser.add_argument("--threads", type=int, default=cores(), help="threads for each side")
    options = parser.parse_args()
    os.environ["FLASHSCHED_NUM_THREADS"] = str(options.threads)

    shape = tuple(fs.read_log(options.log)["shape"].iloc[0])
    m, n, k = shape
    kernel = fs.load(options.log, fs.Task("matmul", shape=shape, dtype="float32"))

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    c, expected = np.empty((m, n), np.float32), np.empty((m, n), np.float32)

    with threadpool_limits(options.threads, user_api="blas"):
        np.matmul(a, b, out=expected)
        np.testing.assert_allclose(kernel(a, b, c), expected, rtol=1e-4, atol=1e-5 * k)
        calls = max(1, int(1e9 / (m * n * k)))
        rounds = [
            (microseconds(lambda: kernel(a, b, c), calls), microseconds(lambda: np.matmul(a, b, out=expected), calls))
            for _ in range(options.rounds)
        ]

    ours, numpys = (statistics.median(side) for side in zip(*rounds, strict=True))
    print(f"matmul {m}x{n}x{k} float32, {options.threads} thread(s) each, median of {options.rounds} rounds in turn")
    for name, time_us in (("flashsched", ours), ("NumPy", numpys)):
        print(f"  {name:<10} {time_us:9.1f} us  {2e-3 * m * n * k / time_us:7.1f} GFLOP/s")
    print(f"  same numbers, {numpys / ours:.2f} times NumPy's speed")


if __name__ == "__main__":
    main()
