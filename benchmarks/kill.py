"""Kill tuners, workers and schedulers at random for minutes, and see that nothing is lost and nothing doubled.

python benchmarks/kill.py [SECONDS] [SEED]    by default 120 s

A Dask scheduler and two workers run on this machine, and a tuner that measures on them. Every few seconds one of the
four is killed (SIGKILL) and started again, the tuner with --resume. At the end the log must be whole, number every
trial once, and hold no schedule twice; what the tuner told must be in it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import flashsched as fs
from flashsched.tune.logs.log import read, verify

TRIALS = 100_000  # more than there is time for


class Fleet:
    """The four processes, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"
        self.scheduler_file = folder / "scheduler.json"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        words = ["--scheduler-file", str(self.scheduler_file), "--host", "127.0.0.1", "--no-dashboard"]
        if name == "scheduler":
            self.scheduler_file.unlink(missing_ok=True)
            command = ["-m", "distributed.cli.dask_scheduler", *words, "--port", "0", "--no-show"]
        elif name == "tuner":
            address = json.loads(self.scheduler_file.read_text())["address"]
            command = ["-m", "flashsched", "tune", "matmul", "--shape", "33,20,40", "--trials", str(TRIALS)]
            command += ["--log", str(self.log), "--resume", "--fleet", address]
        else:
            place = ["--local-directory", str(self.folder / name)]
            command = ["-m", "distributed.cli.dask_worker", *words, *place, "--nthreads", "1", "--no-nanny"]
            command += ["--resources", "flashsched-cpu=1"]
        with (self.folder / f"{name}.said").open("ab") as said:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command], stdout=said, stderr=said, start_new_session=True
            )
        while name == "scheduler" and not (self.scheduler_file.exists() and self.scheduler_file.read_text()):
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        process = self.running[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def revive(self) -> None:
        """Start again what is dead; a fleet without its scheduler is dead as a whole."""
        if self.running["scheduler"].poll() is not None:
            for name in self.running:
                self.kill(name)
        for name in ("scheduler", "worker 1", "worker 2", "tuner"):
            if self.running[name].poll() is not None:
                self.start(name)


def main(seconds: float, seed: int) -> None:
    rng, killed = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        for name in ("scheduler", "worker 1", "worker 2", "tuner"):
            fleet.start(name)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(2, 15))
            victim = rng.choices(list(fleet.running), weights=(1, 3, 3, 3))[0]
            known = sum(1 for _ in read(fleet.log)) if fleet.log.exists() else 0
            fleet.kill(victim)
            killed[victim] += 1
            print(f"{known:>6} records, killed the {victim}", flush=True)
            fleet.revive()
        for name in reversed(fleet.running):
            fleet.kill(name)
        found = verify(fleet.log)
        assert found.duplicates == 0, found
        assert len(found.damaged) <= killed["tuner"] + 1, found.damaged  # a line that was being written, at most
        trials = [record for record in read(fleet.log) if "retimes" not in record.extra]
        assert sorted(record.trial for record in trials) == list(range(len(trials))), (
            "a trial is missing, or twice there"
        )
        ran = Counter(fs.Trace.from_json(record.trace).canonical() for record in trials)
        assert max(ran.values()) == 1, "a schedule was run twice"
        print(f"{len(trials)} trials, killed {dict(killed)}: {found.statuses}; nothing lost, nothing doubled")


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 120.0, int(sys.argv[2]) if sys.argv[2:] else 0)
