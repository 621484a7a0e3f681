"""What a search costs by itself: how the time of a proposal grows with the trials, and what memory is held.

python benchmarks/search.py [ask] [run] [--trials 10000]

``ask`` times each sampler's ask and tell on a template that costs nothing; ``run`` a whole run on a simulated device,
with screen, cost model, log and all, and its memory. Figures, not tests.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

import flashsched as fs
from flashsched.tune.runner import SimulatedRunner
from flashsched.tune.search.proposer import SAMPLERS, Proposer
from flashsched.tune.settings import Settings
from flashsched.tune.tuner import Search


def template(knobs) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    """Twelve knobs of twelve options."""
    return tuple(knobs.choice(f"k{n}", list(range(12))) for n in range(12))


def ask(trials: int) -> None:
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


def run(trials: int) -> None:
    task = fs.Task("matmul", (1024, 1024, 1024))
    with tempfile.TemporaryDirectory() as folder, SimulatedRunner(fs.devices["a100-sim"]) as runner:
        search = Search(task, runner, Settings(trials=trials, warm_start=False), Path(folder, "log.jsonl"))
        begun, done = time.perf_counter(), 0
        print("trials   ms for a trial   MB held")
        while search.step():
            now, count = time.perf_counter(), len(search.history.records)
            if count >= done + max(200, trials // 12):
                held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{count:6}   {1e3 * (now - begun) / (count - done):14.1f}   {held:7.0f}", flush=True)
                begun, done = now, count
        print(search.stopped)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["ask", "run", []], default=[])
    parser.add_argument("--trials", type=int, default=10_000)
    given = parser.parse_args()
    for part in given.what or ["ask", "run"]:
        {"ask": ask, "run": run}[part](given.trials)
