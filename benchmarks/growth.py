"""How cost grows with the work: compile time with the nest, speed with the size of a matrix and with threads.

python benchmarks/growth.py [compile] [sizes] [threads] [--quick]

Figures, not tests; with no part named, all three. ``--quick`` leaves out matrices beyond 1024. Kernels are those that
the templates choose with no tuning. Call overhead against the number of arguments is in overheads.py.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import time
from collections.abc import Iterable

import numpy as np
from scheduling import alone, graph

import flashsched as fs
from flashsched import te
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.probe import measure
from flashsched.codegen.threads import num_threads, set_num_threads
from flashsched.functions import kernel_for
from flashsched.schedule import Schedule

STAGES = (1, 2, 4, 8, 16, 32, 64)
STATEMENTS = (1, 4, 16, 64, 256, 1024)
POWERS = (256, 512, 1024, 2048)
SIZES = sorted({*range(256, 2049, 128), *(size + near for size in POWERS for near in (-1, 1)), 3072, 4096})
QUICK = 1024 + 1
FOR_THREADS = (64, 128, 256, 512, 1024, 2048)

Rates = dict[int, float]


def unrolled(statements: int) -> Schedule:
    """A product whose inner loop is written out so many times; each is a multiply-add of its own sum."""
    a, b = te.placeholder((64, 2048), name="A"), te.placeholder((2048, 64), name="B")
    k = te.reduce_axis((0, 2048), name="k")
    c = te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    s = te.create_schedule(c)
    rows = min(statements, 8)
    io, ii = s[c].split(c.op.axis[0], factor=rows)
    jo, ji = s[c].split(c.op.axis[1], factor=16)
    ko, ki = s[c].split(k, factor=statements // rows)
    s[c].reorder(io, jo, ko, ki, ii, ji)
    s[c].unroll(ki)
    s[c].unroll(ii)
    s[c].vectorize(ji)
    return s


def compiling(s: Schedule, rounds: int = 3) -> tuple[float, float, int]:
    """Median milliseconds of lowering *s*, and of all of `fs.build` with no cache, and lines of its LLVM text."""
    lower, whole = [], []
    for _ in range(rounds):
        start = time.process_time()
        fs.lower(s)
        lowered = time.process_time()
        kernel = fs.build(s)
        lower.append(lowered - start)
        whole.append(time.process_time() - lowered)
    return 1e3 * statistics.median(lower), 1e3 * statistics.median(whole), len(kernel.llvm_ir().splitlines())


def compile_times() -> None:
    """Print what `fs.build` costs, in CPU time of this process, and its share for a stage or a statement."""
    kept = os.environ.get("FLASHSCHED_CACHE")
    os.environ["FLASHSCHED_CACHE"] = "off"
    compiling(unrolled(1))  # loads LLVM
    for title, counts, make in (
        ("stages", STAGES, lambda count: alone(graph(count))),
        ("unrolled statements", STATEMENTS, unrolled),
    ):
        print(f"\n{title:>20}   lowering   build, ms   build for each   lines of LLVM text")
        for count in counts:
            low, whole, lines = compiling(make(count))
            print(f"{count:20} {low:10.1f} {whole:10.1f}      {whole / count:12.2f} {lines:20}")
    os.environ.pop("FLASHSCHED_CACHE")
    if kept is not None:
        os.environ["FLASHSCHED_CACHE"] = kept


@functools.cache
def matmul(size: int) -> Kernel:
    """The kernel of a square float32 product, untuned."""
    return kernel_for("matmul", (size, size, size), "float32")


@functools.cache
def memory(largest: int) -> list[np.ndarray]:
    """Three arrays that the matrices of each size are made of in turn, so that all begin at the same addresses."""
    draw = np.random.default_rng(0)
    return [draw.random(largest**2, dtype=np.float32) for _ in range(3)]


def rates(sizes: Iterable[int], seconds: float = 0.02, rounds: int = 5) -> Rates:
    """FLOP/s by size: the median over rounds, each of which goes through all sizes, a sample of *seconds* of each."""
    chosen = list(sizes)
    arrays = memory(max(chosen))
    runs = {size: matmul(size).bound(*(x[: size**2].reshape(size, size) for x in arrays)) for size in chosen}
    calls = {size: max(1, round(seconds / max(run(1), 1e-7))) for size, run in runs.items()}
    samples = [
        {size: 2 * size**3 * calls[size] / run(calls[size]) for size, run in runs.items()} for _ in range(rounds)
    ]
    return {size: statistics.median(sample[size] for sample in samples) for size in chosen}


def sizes(quick: bool) -> None:
    """Print GFLOP/s by size, as a share of the FMA peak, and beside the mean of the sizes before and after."""
    chosen = [size for size in SIZES if size <= QUICK or not quick]
    peak, found = measure().fma_flops_all["float32"], rates(chosen)
    print(f"\nmatmul, float32, {num_threads()} threads; FMA peak {peak / 1e9:.0f} GFLOP/s")
    print("  size    GFLOP/s   of the peak   of its neighbours")
    ratios = {}
    for before, size, after in zip([None, *chosen], chosen, [*chosen[1:], None], strict=False):
        near = [found[other] for other in (before, after) if other is not None]
        ratios[size] = found[size] / statistics.mean(near)
        print(f"{size:6} {found[size] / 1e9:10.0f} {found[size] / peak:12.0%} {ratios[size]:18.2f}")
    worst = min(ratios, key=ratios.__getitem__)
    print(f"the deepest step down: {worst}, {ratios[worst]:.2f} of its neighbours")


def thread_counts(quick: bool) -> None:
    """Print GFLOP/s by threads and size, and how many times as fast as one thread that is."""
    before, peaks = num_threads(), measure()
    chosen = [size for size in FOR_THREADS if size <= QUICK or not quick]
    print("\nmatmul, float32: GFLOP/s, and times one thread's")
    print("threads " + "".join(f"{size:>16}" for size in chosen) + "        FMA peak")
    one: Rates = {}
    try:
        for threads in range(1, peaks.cores + 1):
            set_num_threads(threads)
            found = rates(chosen)
            one = one or found
            texts = [f"{found[size] / 1e9:8.0f} {found[size] / one[size]:5.2f} x" for size in chosen]
            every = threads == peaks.cores
            peak = peaks.fma_flops_all["float32"] if every else threads * peaks.fma_flops["float32"]
            print(f"{threads:7} " + "".join(f"{text:>16}" for text in texts) + f"{peak / 1e9:16.0f}")
    finally:
        set_num_threads(before)


def main() -> None:
    quick = "--quick" in sys.argv
    parts = [part for part in sys.argv[1:] if not part.startswith("-")] or ["compile", "sizes", "threads"]
    if "compile" in parts:
        compile_times()
    if "sizes" in parts:
        sizes(quick)
    if "threads" in parts:
        thread_counts(quick)


if __name__ == "__main__":
    main()
