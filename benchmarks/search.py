"""What a search costs by itself: trials a second, what the time goes into, and how both grow with the trials.

python benchmarks/search.py [phases] [ask] [run] [--trials 10000] [--shape 96,96,96] [--device cpu] [--seconds 15]

``phases`` tunes a product, with nothing known before, for so many seconds or trials, and tells trials a second and the
share of each phase; ``ask`` times each sampler's ask and tell on a template that costs nothing; ``run`` a whole run on
a simulated device, with screen, cost model, log and all, and its memory. Figures, not tests.
"""

from __future__ import annotations

import argparse
import functools
import random
import resource
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import flashsched as fs
from flashsched import te
from flashsched.tune.costmodel.cost_model import CostModel
from flashsched.tune.measuring import workers
from flashsched.tune.measuring.workers import WorkerPool
from flashsched.tune.runner import SimulatedRunner
from flashsched.tune.search.candidates import Maker
from flashsched.tune.search.history import History
from flashsched.tune.search.proposer import SAMPLERS, Proposer
from flashsched.tune.search.screen import Screen
from flashsched.tune.settings import Settings
from flashsched.tune.tuner import Search


class Watch:
    """Seconds of this process's time by phase, those of phases inside another counted once."""

    PHASES = (
        (Screen, "propose", "propose"),
        (Proposer, "ask", "ask"),
        (Maker, "make", "build"),
        (Maker, "ranked", "read"),
        (CostModel, "predict", "fit and predict"),
        (workers, "_waited", "compile (waiting)"),
        (WorkerPool, "submit", "measure"),
        (History, "write", "log"),
    )

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside = [0.0]
        for owner, name, phase in self.PHASES:
            setattr(owner, name, self._watched(getattr(owner, name), phase))

    def _watched(self, function: Any, phase: str) -> Any:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            self._inside.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                self.spent[phase] += whole - self._inside.pop()
                self.calls[phase] += 1
                self._inside[-1] += whole

        return watched


def phases(given: argparse.Namespace) -> None:
    """A run from its first import of a learner to its finals, after the imports of this file."""
    shape = tuple(map(int, given.shape.split(",")))
    task, budget = fs.Task("matmul", shape), given.seconds if given.device == "cpu" else None
    watch, begun, used = Watch(), time.perf_counter(), time.process_time()
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        result = fs.tune(
            task, given.device, trials=given.trials, log=Path(folder, "log.jsonl"), time_budget=budget,
            warm_start=False, progress=lambda _: marks.append(time.perf_counter() - begun),
        )  # fmt: skip
    whole, used, count = time.perf_counter() - begun, time.process_time() - used, len(result.records)
    print(f"matmul {given.shape} on {given.device}: {count} trials in {whole:.1f} s, {count / whole:.1f} a second")
    print(f"the first after {marks[0]:.1f} s, then {(count - 1) / max(marks[count - 1] - marks[0], 1e-9):.1f} a second")
    print(f"{used:.1f} s of CPU time in this process, {1e3 * used / count:.0f} ms a trial")
    for phase, spent in [*watch.spent.most_common(), ("the rest", whole - watch.spent.total())]:
        calls = watch.calls[phase]
        each = f"{calls:7} times {1e3 * spent / calls:8.2f} ms" if calls else ""
        print(f"  {phase:18}{spent:7.2f} s {spent / whole:6.1%}  {each}")


def template(knobs) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    """Twelve knobs of twelve options."""
    return tuple(knobs.choice(f"k{n}", list(range(12))) for n in range(12))


def ask(given: argparse.Namespace) -> None:
    trials = given.trials
    print(f"{'sampler':14}{'ms for an ask and a tell, at the trial':>40}")
    marks = [n for n in (100, 300, 1000, 3000, 10_000, 30_000) if n <= trials]
    for name in SAMPLERS:
        proposer, rng = Proposer(0, name), random.Random(0)
        spent: list[float] = []
        shown = []
        for n in range(1, trials + 1):
            start = time.perf_counter()
            proposal = proposer.ask(template)
            proposer.tell(proposal, 1 + sum((value - 5) ** 2 for value in proposal.value) * rng.uniform(0.98, 1.02))
            spent.append(time.perf_counter() - start)
            if n in marks:
                shown.append(f"{n}: {1e3 * statistics.median(spent[-60:]):.1f}")
            if sum(spent) > 120:
                shown.append(f"(stopped at {n}, after 120 s)")
                break
        print(f"{name:14}{'   '.join(shown)}", flush=True)


def noted(s, args, knobs, spec) -> None:  # type: ignore[no-untyped-def]
    """A template whose schedules cost next to nothing: what is left is the tuner's own cost."""
    loop = s[args[-1]].split("i", factor=knobs.choice("tile", [2**n for n in range(1, 13)]))[0]
    for n in range(8):
        s[args[-1]].annotate(loop, f"k{n}", knobs.choice(f"k{n}", list(range(12))))


def run(given: argparse.Namespace) -> None:
    """A run of so many trials of one task, with sampler, screen, cost model and log."""
    a = te.placeholder((1 << 20,), name="A")
    task = fs.Task.from_te([a, te.compute((1 << 20,), lambda i: a[i] + 1, name="B")], "noted", {"gpu": noted})
    watch, trials = Watch(), given.trials
    marks = [n for n in (100, 300, 1000, 2000, 5000, 10_000, 20_000) if n <= trials]
    with tempfile.TemporaryDirectory() as folder, SimulatedRunner(fs.devices["a100-sim"]) as runner:
        search = Search(task, runner, Settings(trials=trials, warm_start=False), Path(folder, "log.jsonl"))
        before, done, asks, asked = time.process_time(), 0, 0.0, 0
        print("trials   ms for a trial   of which an ask   MB held   MB of log")
        while search.step():
            count = len(search.history.records)
            if not marks or count < marks[0]:
                continue
            now, held = time.process_time(), _resident_mb()
            ask_ms = 1e3 * (watch.spent["ask"] - asks) / max(watch.calls["ask"] - asked, 1)
            size = Path(folder, "log.jsonl").stat().st_size / 1e6
            each = 1e3 * (now - before) / (count - done)
            print(f"{count:6}   {each:14.1f}   {ask_ms:15.1f}   {held:7.0f}   {size:9.1f}", flush=True)
            before, done, asks, asked = now, count, watch.spent["ask"], watch.calls["ask"]
            marks = [mark for mark in marks if mark > count]
        print(search.stopped)


def _resident_mb() -> float:
    """Megabytes that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["phases", "ask", "run", []], default=[])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--shape", default="96,96,96")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=15.0, help="of phases, where trials are measured")
    asked = parser.parse_args()
    for part in asked.what or ["phases", "ask", "run"]:
        {"phases": phases, "ask": ask, "run": run}[part](asked)
