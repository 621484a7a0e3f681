"""Ten computations that no template knows: the derived space beside numba and jax.jit of the same computation.

    python benchmarks/derived.py [NAME ...] [--trials 64] [--threads 2] [--rounds 7] [--save FILE]

Each computation of `flashsched.testing.unseen` is tuned for so many trials in its derived space (none: its first
answers are taken), and then timed beside its default nest, numba (loops as a person writes them, `parallel=True,
fastmath=True`; the faster of two loop orders where that matters) and jax.jit (whole arrays). Each peer has a process
of its own, bound to as many cores as there are threads; arrays begin at cache lines. Rounds are interleaved, the others
stopped meanwhile, and a ratio is the median over rounds. What a peer computes is checked against float64. With `--logs`
a computation that has a log there is not tuned again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flashsched.bench.peers.peer import aligned

PEERS = ("flashsched", "default", "numba", "jax")
TRY_S = 0.15
ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Tune, time, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--logs", default=None, help="folder of logs; what is there is not tuned again")
    parser.add_argument("--save", default=None)
    parser.add_argument("--serve", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    from flashsched.testing.unseen import UNSEEN

    cores = sorted(os.sched_getaffinity(0))[: options.threads]
    names = options.names or list(UNSEEN)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(options.logs or folder)
        for name in names:
            rows.append(compare(name, options.trials, options.rounds, cores, logs, Path(folder)))
            print(line(rows[-1]), flush=True)
    if options.save:
        Path(options.save).write_text(json.dumps(rows, indent=1) + "\n")


def compare(name: str, trials: int, rounds: int, cores: list[int], logs: Path, folder: Path) -> dict[str, Any]:
    """One computation: medians of seconds by peer, and how many times faster than each ours is."""
    task, inputs = prepared(name)
    np.savez(folder / f"{name}.npz", *inputs)
    peers = {peer: start(peer, name, trials, cores, logs, folder) for peer in PEERS}
    ready = {peer: json.loads(process.stdout.readline()) for peer, process in peers.items()}
    if "failed" in ready["flashsched"]:
        raise SystemExit(f"{name}: {ready['flashsched']['failed']}")
    times: dict[str, list[float]] = {peer: [] for peer in PEERS if "failed" not in ready[peer]}
    for number in range(rounds):
        for peer in [*times][number % len(times) :] + [*times][: number % len(times)]:
            process = peers[peer]
            for other in peers.values():
                if other is not process:
                    os.kill(other.pid, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGCONT)
            process.stdin.write("sample\n")
            process.stdin.flush()
            times[peer].append(float(process.stdout.readline()))
    for process in peers.values():
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
    ratios = {
        peer: statistics.median(theirs / ours for theirs, ours in zip(found, times["flashsched"], strict=True))
        for peer, found in times.items()
    }
    return {
        "name": name,
        "flops": task.flops,
        "seconds": {peer: statistics.median(found) for peer, found in times.items()},
        "ratios": ratios,
        "notes": ready,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    seconds, ratios = row["seconds"], row["ratios"]
    parts = [
        f"{row['name']:20} {seconds['flashsched'] * 1e3:8.3f} ms {row['flops'] / seconds['flashsched'] / 1e9:7.1f} GF/s"
    ]
    for peer in PEERS[1:]:
        failed = row["notes"][peer].get("failed")
        parts.append(f"{peer} {failed}" if failed else f"{peer} {seconds[peer] * 1e3:8.3f} ms {ratios[peer]:5.2f}x")
    return " | ".join([*parts, json.dumps(row["notes"]["flashsched"])])


def prepared(name: str) -> tuple[Any, list[Any]]:
    """The task of a computation, and its inputs."""
    from flashsched.testing.unseen import UNSEEN
    from flashsched.tune.task import Task

    known = UNSEEN[name]
    task = Task.from_te(known.define(*known.sizes), name=name)
    return task, task.inputs(seed=1)


def room(task: Any) -> Any:
    """An array for the output."""
    array = np.zeros(task.shape, task.dtype)
    return aligned(array) if array.dtype.kind == "f" else array


def start(peer: str, name: str, trials: int, cores: list[int], logs: Path, folder: Path) -> Any:
    """The process of a peer, bound to *cores*; it answers a line when it is ready, and one for each sample."""
    told = json.dumps({"peer": peer, "name": name, "trials": trials, "logs": str(logs), "folder": str(folder),
                       "cores": cores})  # fmt: skip
    many = str(len(cores))
    env = {**os.environ, "NUMBA_NUM_THREADS": many, "OMP_NUM_THREADS": many, "JAX_PLATFORMS": "cpu",
           "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if len(cores) > 1 else 'false'}"}  # fmt: skip
    command = [sys.executable, str(ROOT / "derived.py"), "--serve", told]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)


def serve(told: str) -> None:
    """Be a peer: make the call, check it, then time it as often as asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    given = json.loads(told)
    os.sched_setaffinity(0, given["cores"])
    with np.load(Path(given["folder"]) / f"{given['name']}.npz") as arrays:
        inputs = [aligned(arrays[key]) for key in arrays.files]
    try:
        call, note = MAKERS[given["peer"]](given, inputs)
        note |= check(given["name"], inputs, np.asarray(call()))
    except Exception as problem:
        answers.write(json.dumps({"failed": f"{type(problem).__name__}: {problem}"[:200]}) + "\n")
        answers.flush()
        return
    answers.write(json.dumps(note) + "\n")
    answers.flush()
    for _ in sys.stdin:
        answers.write(f"{seconds(call)}\n")
        answers.flush()


def seconds(call: Callable[[], Any]) -> float:
    """Seconds of one call, the median of as many as fit the time."""
    end = time.perf_counter() + TRY_S / 3
    while time.perf_counter() < end:
        call()
    found = []
    end = time.perf_counter() + TRY_S
    while time.perf_counter() < end or len(found) < 3:
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def check(name: str, inputs: list[Any], found: Any) -> dict[str, Any]:
    """How far *found* is from the same in float64, in units of what float32 may be off; refuses what is wrong."""
    from derived_peers import EXACT

    exact = EXACT[name](*[array.astype("float64") if array.dtype == np.float32 else array for array in inputs])
    if np.issubdtype(found.dtype, np.integer):
        share = float(np.mean(found != exact))
        if share > 1e-3:
            raise ValueError(f"wrong: {share:.2%} of the places differ")
        return {"differ": share}
    error = float(np.max(np.abs(found - exact)) / max(1.0, float(np.max(np.abs(exact)))))
    if not error < 2e-5:
        raise ValueError(f"wrong: off by {error:.2g} of the largest")
    return {"error": error}


def ours(given: dict[str, Any], inputs: list[Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The best of the derived space."""
    import flashsched as fs

    task, _ = prepared(given["name"])
    log = Path(given["logs"]) / f"{given['name']}.jsonl"
    begin = time.perf_counter()
    if given["trials"]:
        if not log.exists():
            fs.tune(task, device="cpu", trials=given["trials"], log=str(log), seed=0)
        kernel = fs.load(str(log), task)
    else:
        from flashsched.codegen.build import build
        from flashsched.hw import devices
        from flashsched.tune.search.knobs import FirstKnobs

        first = task.candidate(FirstKnobs(), devices["cpu"])
        kernel = build(first.schedule, first.args)
    out = room(task)
    took = time.perf_counter() - begin
    return lambda: (kernel(*inputs, out), out)[1], {"tuning_s": round(took, 1)}


def default(given: dict[str, Any], inputs: list[Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The default nest, nothing scheduled."""
    from flashsched.codegen.build import build
    from flashsched.schedule import create_schedule

    task, _ = prepared(given["name"])
    kernel = build(create_schedule(task.args()[-1]), task.args())
    out = room(task)
    return lambda: (kernel(*inputs, out), out)[1], {}


def numba(given: dict[str, Any], inputs: list[Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The fastest of numba's ways."""
    from derived_peers import numba_ways

    task, _ = prepared(given["name"])
    out = room(task)
    best = (float("inf"), "", lambda: out)
    for way, function in numba_ways(given["name"]).items():

        def call(function: Any = function) -> Any:
            function(*inputs, out)
            return out

        call()
        taken = seconds(call)
        if taken < best[0]:
            best = (taken, way, call)
    return best[2], {"way": best[1]}


def jax(given: dict[str, Any], inputs: list[Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The fastest of jax's ways."""
    import jax as library
    from derived_peers import jax_ways

    arrays = [library.numpy.asarray(array) for array in inputs]
    best = (float("inf"), "", lambda: None)
    for way, function in jax_ways(given["name"]).items():
        compiled = library.jit(function)

        def call(compiled: Any = compiled) -> Any:
            return compiled(*arrays).block_until_ready()

        call()
        taken = seconds(call)
        if taken < best[0]:
            best = (taken, way, call)
    return best[2], {"way": best[1]}


MAKERS = {"flashsched": ours, "default": default, "numba": numba, "jax": jax}

if __name__ == "__main__":
    main()
