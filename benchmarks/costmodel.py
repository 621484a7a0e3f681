"""The data that the shipped cost model learns from: random schedules of many tasks, timed on this machine.

python benchmarks/costmodel.py collect LOG [--each 60] [--seed 0] [--part 0/1] [--guard CMD]
python benchmarks/costmodel.py pack LOG... --out flashsched/tune/costmodel/pretrained/cpu.npz
python benchmarks/costmodel.py warm [--seeds 5] [--few 20] [--many 200]

``collect`` draws schedules of each task below (half of them at random, the rest near the template's own choice and near
the fastest drawn), compiles and checks them, then times them in one go, and once more in the opposite order, and
appends them to a tuning log: with the shorter of the two times, and how far they are apart, which says what a
difference between two schedules must be to mean anything. What keeps the machine quiet meanwhile may be named with
``--guard``: a command that is started before the timing with the name of a file behind it, and that is to end when that
file appears.
``pack`` makes the table of features that ships. ``warm`` replays the measured spaces that ship: what a search finds in
few trials that starts from the table, and in many that starts from nothing but the device's model, or without either.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flashsched import te
from flashsched.codegen.build import build
from flashsched.errors import FlashschedError, Infeasible
from flashsched.hw import devices, roofline_s
from flashsched.tune.costmodel.tabulate import tabulate
from flashsched.tune.logs.log import TuningLog
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.measuring.timing import Timing, time_callable
from flashsched.tune.measuring.verify import Reference, verify
from flashsched.tune.search.knobs import FirstKnobs, MutatedKnobs, RandomKnobs
from flashsched.tune.task import Candidate, Task
from flashsched.tune.versions import versions

CHUNK = 400  # kernels that are held at once
TIMING = {"min_time_s": 4e-3, "min_repeats": 5, "max_repeats": 9, "min_sample_s": 4e-4}
SLOWEST_S = 0.1  # a schedule whose checked call takes longer is left out
SLOWER = 15.0  # times the task's fastest: timed once


def stencil(n: int, m: int) -> list[te.Tensor]:
    a = te.placeholder((n + 2, m + 2), name="A")
    return [a, te.compute((n, m), lambda i, j: 0.25 * (a[i, j + 1] + a[i + 2, j + 1] + a[i + 1, j] + a[i + 1, j + 2])
                          - a[i + 1, j + 1], name="B")]  # fmt: skip


def distances(n: int, m: int, k: int) -> list[te.Tensor]:
    x, y = te.placeholder((n, k), name="X"), te.placeholder((m, k), name="Y")
    d = te.reduce_axis((0, k), "d")
    return [x, y, te.compute((n, m), lambda i, j: te.sum((x[i, d] - y[j, d]) * (x[i, d] - y[j, d]), d), name="D")]


def outer(b: int, n: int, m: int) -> list[te.Tensor]:
    x, y = te.placeholder((b, n), name="X"), te.placeholder((b, m), name="Y")
    return [x, y, te.compute((b, n, m), lambda i, j, k: x[i, j] * y[i, k], name="P")]


def depthwise(c: int, n: int, r: int) -> list[te.Tensor]:
    x, w = te.placeholder((c, n + r - 1, n + r - 1), name="X"), te.placeholder((c, r, r), name="W")
    p, q = te.reduce_axis((0, r), "p"), te.reduce_axis((0, r), "q")
    return [x, w, te.compute((c, n, n), lambda k, i, j: te.sum(x[k, i + p, j + q] * w[k, p, q], [p, q]), name="Y")]


def mttkrp(n: int, r: int, j: int, k: int) -> list[te.Tensor]:
    x, b, c = te.placeholder((n, j, k), name="X"), te.placeholder((j, r), name="B"), te.placeholder((k, r), name="C")
    dj, dk = te.reduce_axis((0, j), "dj"), te.reduce_axis((0, k), "dk")
    return [x, b, c, te.compute((n, r), lambda i, f: te.sum(x[i, dj, dk] * b[dj, f] * c[dk, f], [dj, dk]), name="M")]


def polynomial(n: int, m: int) -> list[te.Tensor]:
    x, y = te.placeholder((n, m), name="X"), te.placeholder((m,), name="Y")
    return [x, y, te.compute((n, m), lambda i, j: (x[i, j] * x[i, j] + 3.0) * y[j] + te.exp(x[i, j]), name="P")]


def gram(n: int, k: int) -> list[te.Tensor]:
    x, d = te.placeholder((n, k), name="X"), te.reduce_axis((0, n), "d")
    return [x, te.compute((k, k), lambda i, j: te.sum(x[d, i] * x[d, j], d), name="G")]


def scaled_product(n: int, m: int, k: int) -> list[te.Tensor]:
    x, y = te.placeholder((n, k), name="X"), te.placeholder((m, k), name="Y")
    d = te.reduce_axis((0, k), "d")
    p = te.compute((n, m), lambda i, j: te.sum(x[i, d] * y[j, d], d), name="P")
    return [x, y, te.compute((n, m), lambda i, j: te.exp(p[i, j] * 0.125) + 1.0, name="S")]


def vector_product(n: int, k: int) -> list[te.Tensor]:
    x, y, d = te.placeholder((n, k), name="X"), te.placeholder((k,), name="Y"), te.reduce_axis((0, k), "d")
    return [x, y, te.compute((n,), lambda i: te.sum(x[i, d] * y[d], d), name="V")]


def columns(n: int, m: int) -> list[te.Tensor]:
    x, d = te.placeholder((n, m), name="X"), te.reduce_axis((0, n), "d")
    return [x, te.compute((m,), lambda j: te.sum(x[d, j] * x[d, j], d), name="C")]


def filtered(n: int, m: int, r: int) -> list[te.Tensor]:
    x, w = te.placeholder((n, m + r - 1), name="X"), te.placeholder((r,), name="W")
    d = te.reduce_axis((0, r), "d")
    return [x, w, te.compute((n, m), lambda i, j: te.sum(x[i, j + d] * w[d], d), name="F")]


def pooled(c: int, n: int) -> list[te.Tensor]:
    x = te.placeholder((c, 2 * n, 2 * n), name="X")
    p, q = te.reduce_axis((0, 2), "p"), te.reduce_axis((0, 2), "q")
    return [x, te.compute((c, n, n), lambda k, i, j: te.max(x[k, 2 * i + p, 2 * j + q], [p, q]), name="M")]


def blurred(n: int, m: int) -> list[te.Tensor]:
    x = te.placeholder((n + 2, m + 2), name="X")
    rows = te.compute((n + 2, m), lambda i, j: x[i, j] + 2.0 * x[i, j + 1] + x[i, j + 2], name="R")
    return [x, te.compute((n, m), lambda i, j: rows[i, j] + 2.0 * rows[i + 1, j] + rows[i + 2, j], name="B")]


def centred(n: int, m: int) -> list[te.Tensor]:
    x, d = te.placeholder((n, m), name="X"), te.reduce_axis((0, m), "d")
    s = te.compute((n,), lambda i: te.sum(x[i, d], d), name="S")
    return [x, te.compute((n, m), lambda i, j: x[i, j] - s[i] * (1.0 / m), name="C")]


def swapped(n: int, m: int, k: int) -> list[te.Tensor]:
    x = te.placeholder((n, m, k), name="X")
    return [x, te.compute((m, n, k), lambda i, j, l: x[j, i, l] * 0.5, name="T")]  # noqa: E741


def tasks() -> list[Task]:
    """All tasks, in a fixed order."""
    made = [
        Task("matmul", shape)
        for shape in [(512, 512, 512), (256, 256, 256), (128, 128, 128), (384, 384, 384), (1000, 1000, 300),
                      (64, 1024, 256), (1024, 64, 512), (1, 1024, 1024), (8, 2048, 512), (33, 77, 129), (96, 96, 2048),
                      (200, 300, 64), (768, 256, 768), (640, 48, 640)]
    ]  # fmt: skip
    made += [Task("matmul", shape, bias=True, activation="relu") for shape in [(128, 768, 256), (256, 128, 96)]]
    made += [Task("matmul", (192, 384, 192), bias=True, activation="gelu"), Task("matmul", (256, 256, 256), "float64")]
    made += [Task("batch_matmul", shape) for shape in [(16, 64, 64, 64), (8, 128, 128, 32), (4, 200, 100, 50)]]
    made += [
        Task("conv2d", shape)
        for shape in [(1, 64, 28, 28, 64, 3, 1, 1), (1, 32, 56, 56, 32, 3, 1, 1), (1, 3, 64, 64, 32, 7, 2, 3),
                      (1, 128, 14, 14, 128, 3, 1, 1), (2, 64, 28, 28, 96, 1, 1, 0), (1, 48, 30, 30, 64, 5, 1, 2)]
    ]  # fmt: skip
    made += [Task("softmax", shape) for shape in [(128, 1000), (1024, 256), (64, 4096), (2000, 33)]]
    made += [Task("layernorm", shape) for shape in [(256, 768), (1024, 128), (32, 4096)]]
    made += [Task("rmsnorm", shape) for shape in [(256, 1024), (1500, 96)]]
    made += [Task("attention", shape) for shape in [(1, 4, 128, 64), (2, 2, 64, 32), (1, 2, 200, 48)]]
    made += [Task("relu", shape) for shape in [(256, 256), (1024, 1024), (333, 777)]]
    made += [Task("add", shape) for shape in [(512, 512), (2000, 700), (64, 100)]]
    made += [Task("gelu", shape) for shape in [(256, 512), (1000, 300)]]
    made += [Task("transpose", shape) for shape in [(512, 512), (1000, 700), (96, 2048)]]
    made += [Task(op, shape) for op in ("sum", "max", "mean") for shape in [(256, 1024), (2000, 100)]]
    generic = [
        ("stencil", stencil(256, 256)), ("stencil", stencil(1000, 600)), ("distances", distances(128, 160, 64)),
        ("distances", distances(300, 200, 16)), ("outer", outer(16, 64, 96)), ("outer", outer(4, 300, 200)),
        ("depthwise", depthwise(32, 28, 3)), ("depthwise", depthwise(16, 56, 5)), ("mttkrp", mttkrp(64, 32, 24, 40)),
        ("mttkrp", mttkrp(100, 16, 30, 20)), ("polynomial", polynomial(256, 512)), ("polynomial", polynomial(900, 700)),
    ]  # fmt: skip
    made += [Task.from_te(args, name) for name, args in generic]
    # kernels that are bound by memory, of sizes that fit each level: whether to store past the caches, and to fork
    sizes = [(64, 64), (150, 200), (200, 700), (512, 512), (700, 1000), (1500, 1100), (2048, 1536)]
    made += [Task(op, shape) for op in ("relu", "gelu", "transpose") for shape in sizes if (op, shape) not in _TWICE]
    made += [Task("add", shape) for shape in [(30, 40), (300, 333), (1000, 1000)]]
    made += [Task("rmsnorm", shape) for shape in [(32, 128), (100, 3000), (700, 512), (3000, 300)]]
    made += [Task("layernorm", shape) for shape in [(64, 64), (400, 1500), (2500, 400)]]
    made += [Task("softmax", shape) for shape in [(32, 64), (500, 700), (3000, 128)]]
    made += [Task(op, shape) for op in ("sum", "max") for shape in [(64, 64), (700, 700), (5000, 60), (40, 8000)]]
    derived = [
        ("gram", gram(300, 96)), ("gram", gram(2000, 40)), ("scaled_product", scaled_product(160, 200, 96)),
        ("scaled_product", scaled_product(64, 500, 33)), ("vector_product", vector_product(700, 900)),
        ("vector_product", vector_product(64, 5000)), ("columns", columns(800, 700)), ("columns", columns(5000, 48)),
        ("filtered", filtered(64, 1500, 9)), ("filtered", filtered(600, 500, 5)), ("pooled", pooled(24, 28)),
        ("pooled", pooled(3, 200)), ("blurred", blurred(200, 300)), ("blurred", blurred(900, 800)),
        ("centred", centred(300, 400)), ("centred", centred(2000, 64)), ("swapped", swapped(50, 60, 70)),
        ("swapped", swapped(300, 100, 16)),
    ]  # fmt: skip
    return made + [Task.from_te(args, name) for name, args in derived]


_TWICE = {("transpose", (512, 512))}


def draw(task: Task, count: int, seed: int, known: list[tuple[float, dict[str, int]]]) -> Iterator[Candidate]:
    """Up to *count* schedules of *task*, all different; *known* are decisions whose times are known."""
    spec, rng, seen = devices["cpu"], random.Random(seed), set()
    first = FirstKnobs()
    given = 0
    best = [decisions for _, decisions in sorted(known, key=lambda entry: entry[0])[:6]]
    for turn in range(8 * count):
        if given == count:
            return
        near = first.decisions if not best or turn % 4 == 1 else rng.choice(best)
        knobs = first if turn == 0 else RandomKnobs(rng) if turn % 2 else MutatedKnobs(near, rng)
        with contextlib.suppress(FlashschedError):
            candidate = task.candidate(knobs, spec)
            if candidate.trace.canonical() not in seen:
                seen.add(candidate.trace.canonical())
                given += 1
                yield Candidate(candidate.schedule, candidate.args, dict(knobs.decisions), task)


@contextlib.contextmanager
def guarded(command: str | None) -> Iterator[None]:
    """Until the end of the block, *command* runs."""
    if command is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder, "stop")
        process = subprocess.Popen([*command.split(), str(stop)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it says when it has begun
        try:
            yield
        finally:
            stop.touch()
            process.wait()


def collect(path: Path, each: int, seed: int, part: str, skip: int, guard: str | None) -> None:
    number, parts = map(int, part.split("/"))
    log, spec = TuningLog(path), devices["cpu"]
    target = CpuRunner(jobs=1)
    target_json = target.target()
    target.__exit__(None, None, None)
    known: dict[str, list[tuple[float, dict[str, int]]]] = {}
    kept: list[tuple[Task, Candidate, object, dict[str, object]]] = []
    inputs: dict[str, Reference] = {}

    def flush() -> None:
        if not kept:
            return
        print(f"timing {len(kept)} kernels", flush=True)
        fastest: dict[str, float] = {}
        timings: list[list[Timing]] = [[] for _ in kept]
        with guarded(guard):
            begun = time.perf_counter()
            for at in (*range(len(kept)), *reversed(range(len(kept)))):
                task, _, kernel, _ = kept[at]
                run = kernel.bound(*inputs[task.hash].inputs)  # type: ignore[attr-defined]
                slow = SLOWER * fastest.get(task.hash, 1.0)
                timing = time_callable(run, **TIMING, stop_if_slower_than_s=slow)  # type: ignore[arg-type]
                fastest[task.hash] = min(timing.median_s, fastest.get(task.hash, 1.0))
                timings[at].append(timing)
            print(f"  took {time.perf_counter() - begun:.1f} s", flush=True)
        for n, ((task, candidate, _, verified), both) in enumerate(zip(kept, timings, strict=True)):
            less, more = sorted(both, key=lambda timing: timing.median_s)
            known.setdefault(task.hash, []).append((less.median_s, candidate.decisions))
            extra = {
                "roofline_s": roofline_s(spec, {task.dtype: float(task.flops)}, float(task.bytes), warm=True),
                "noise": math.log(more.median_s / less.median_s),
            }
            log.append(
                Record(
                    task.to_json(), {**candidate.trace.to_json(), "decisions": candidate.decisions}, "cpu", "measured",
                    "correct", n, None, list(less.samples_s), verified, target_json, versions(), seed, extra=extra,
                )
            )  # fmt: skip
        kept.clear()

    mine = tasks()[skip:][number::parts]
    for half in range(2):
        for task in mine:
            begun = time.perf_counter()
            reference = inputs.setdefault(task.hash, Reference(task, 0))
            made = 0
            for candidate in draw(task, each // 2, seed + 1000 * half, known.get(task.hash, [])):
                try:
                    kernel = build(candidate.schedule, candidate.args, name=task.op)
                    start = time.perf_counter()
                    check = verify(kernel, reference)
                except (FlashschedError, Infeasible) as error:
                    print("  failed:", str(error).splitlines()[0])
                    continue
                if not check.ok or time.perf_counter() - start > SLOWEST_S + 0.1:
                    continue
                kept.append((task, candidate, kernel, check.to_json()))
                made += 1
            print(f"{task.op} {task.shape}: {made} in {time.perf_counter() - begun:.1f} s", flush=True)
            if len(kept) >= CHUNK:
                flush()
        flush()


def pack(logs: list[Path], out: Path) -> None:
    spec = devices["cpu"]
    about = {"cpu": spec.title, "cores": spec.units, "vector_bits": spec.cpu.vector_bits if spec.cpu else 0,
             "made": time.strftime("%Y-%m-%d", time.gmtime()), "versions": versions()}  # fmt: skip
    table, left_out = tabulate(logs, spec, {task.hash: task for task in tasks()}, about)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.save(out)
    print(f"{len(table)} rows of {len(table.tasks)} tasks, {out.stat().st_size / 1e3:.0f} KB; left out: {left_out}")


def warm(seeds: int, few: int, many: int) -> None:
    from flashsched.tune.spaces.replay import Strategy, random_curve, replay
    from flashsched.tune.spaces.table import load_space, shipped_spaces

    spaces = [space for space in map(load_space, shipped_spaces()) if space.source == "measured"]
    runs = [("pretrained", "tpe-pretrained", few), ("cold", "tpe", few), ("cold", "tpe", many),
            ("no model", "tpe-alone", many)]  # fmt: skip
    heads = [f"{name} {trials}" for name, _, trials in runs] + [f"random {many}"]
    print(
        f"fraction of the optimum, mean of {seeds} seeds (worst)\n\n{'space':14}" + "".join(f"{h:>18}" for h in heads)
    )
    means: list[list[float]] = [[] for _ in heads]
    for space in spaces:
        cells = []
        for column, (_, strategy, trials) in enumerate(runs):
            found = replay([space], [Strategy.of(strategy)], seeds, trials).courses
            ends = [course.fractions[-1] for course in found]
            means[column].append(sum(ends) / len(ends))
            cells.append(f"{means[column][-1]:.3f} ({min(ends):.3f})")
        means[-1].append(random_curve(space, many)[-1])
        cells.append(f"{means[-1][-1]:.3f}")
        print(f"{space.name:14}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    print(f"{'mean':14}" + "".join(f"{sum(column) / len(column):>18.3f}" for column in means))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("collect")
    one.add_argument("log", type=Path)
    one.add_argument("--each", type=int, default=60)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--part", default="0/1", help="of the tasks: 0/2 and 1/2 are the halves")
    one.add_argument("--skip", type=int, default=0, help="so many tasks at the beginning")
    one.add_argument("--guard")
    two = commands.add_parser("pack")
    two.add_argument("logs", type=Path, nargs="+")
    two.add_argument("--out", type=Path, required=True)
    three = commands.add_parser("warm")
    three.add_argument("--seeds", type=int, default=5)
    three.add_argument("--few", type=int, default=20)
    three.add_argument("--many", type=int, default=200)
    given = vars(parser.parse_args())
    command = given.pop("command")
    if command == "collect":
        collect(given.pop("log"), **given)
    else:
        {"pack": pack, "warm": warm}[command](**given)
