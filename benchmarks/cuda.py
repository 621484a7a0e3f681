"""Kernels on a real CUDA device against what the device's model says of them.

    python benchmarks/cuda.py draw FILE [--count 12] [--chosen 4] [--device h100-sim]
    python benchmarks/cuda.py measure FILE            (where the GPU is)
    python benchmarks/cuda.py report FILE [--device h100-sim] [--same-code]

*draw* takes candidates of the GPU templates: the first choice, then feasible ones at random, and those that the model
likes best of many. *measure* compiles each, checks it against the reference, times it by the device's clock, and times
PyTorch's kernel for the same work where PyTorch is, in the same way. *report* asks the model for each candidate's time,
and prints for each case how many were right, Spearman's rank correlation of predicted and measured times, the share of
pairs more than 5 % apart whose order is told rightly (where most are alike, no more can be told), the median error, how
far the model's pick is from the measured best, and the best beside PyTorch. FILE holds a line of JSON a candidate, its
trace included, so that *report* judges a later model by the same measurements, with *--same-code* by those alone whose
PTX is still what it was (a minute); ``results/h100-sxm5.jsonl.gz`` are those
of an H100 SXM5 (driver 580, 27 November 2026).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flashsched.codegen.analysis import simulate
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.errors import FlashschedError, Infeasible, ScheduleError
from flashsched.hw.registry import devices
from flashsched.hw.validation.scores import score
from flashsched.schedule import Trace
from flashsched.tune.measuring.timing import time_callable
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Candidate, Task

CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("matmul", (4096, 4096, 4096), {"dtype": "float16"}),
    ("matmul", (4096, 4096, 4096), {"dtype": "bfloat16"}),
    ("matmul", (1024, 1024, 1024), {"dtype": "float16"}),
    ("matmul", (4096, 4096, 4096), {}),
    ("matmul", (1024, 1024, 1024), {}),
    ("matmul", (512, 512, 512), {}),
    ("matmul", (256, 4096, 1024), {"bias": True, "activation": "relu"}),
    ("matmul", (1009, 1013, 1019), {}),
    ("batch_matmul", (64, 256, 256, 256), {}),
    ("softmax", (4096, 1024), {}),
    ("softmax", (8192, 4096), {}),
    ("layernorm", (8192, 1024), {}),
    ("sum", (16384, 4096), {}),
    ("conv2d", (8, 64, 56, 56, 64, 3, 1, 1), {}),
    ("conv2d", (8, 256, 14, 14, 256, 3, 1, 1), {}),
    ("conv2d", (32, 64, 56, 56, 64, 3, 1, 1), {"dtype": "float16"}),
    ("conv2d", (32, 256, 14, 14, 256, 3, 1, 1), {"dtype": "float16"}),
    ("add", (4096, 4096), {}),
    ("relu", (8192, 4096), {}),
    ("relu", (8192, 4096), {"dtype": "float16"}),
    ("gelu", (4096, 4096), {}),
    ("transpose", (4096, 8192), {}),
]
DRAWS = 400  # proposals looked at for one case, at most
SECONDS = 8.0  # for the candidates of one case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["draw", "measure", "report"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--chosen", type=int, default=4)
    parser.add_argument("--device", default="h100-sim")
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--same-code", action="store_true", help="report on kernels that are compiled as when measured")
    given = parser.parse_args()
    if given.action == "draw":
        only = given.only.split(",") if given.only else None
        _write(given.file, drawn(given.device, given.count, given.chosen, only, given.seed))
    elif given.action == "measure":
        _write(given.file, measured(_read(given.file)))
    else:
        rows = _read(given.file)
        print(report([row for row in rows if _is_as_measured(row)] if given.same_code else rows, given.device))


# -- draw ------------------------------------------------------------------------------------------------------------


def drawn(device: str, count: int, chosen: int, only: list[str] | None, seed: int) -> Iterator[dict[str, Any]]:
    """Candidates of each case, as lines."""
    for op, shape, options in CASES:
        if only is None or op in only:
            task = Task(op, shape, **options)
            for candidate in _candidates(task, device, count, chosen, seed):
                yield {
                    "op": op, "shape": list(shape), "options": options, "decisions": candidate.decisions,
                    "trace": candidate.trace.to_json(),
                }  # fmt: skip
            print(f"{op} {shape} {options}", file=sys.stderr)


def _candidates(task: Task, device: str, count: int, chosen: int, seed: int) -> list[Candidate]:
    """The first choice and *count* - 1 random ones, then the *chosen* that the model takes for the fastest of all."""
    spec, rng = devices[device], random.Random(seed)
    found: dict[str, Candidate] = {}
    for turn in range(DRAWS):
        try:
            candidate = task.candidate(RandomKnobs(rng) if turn else FirstKnobs(), spec)
        except (Infeasible, ScheduleError):
            continue
        found.setdefault(json.dumps(candidate.trace.to_json()), candidate)
    drawn, others = list(found.values())[:count], list(found.values())[count:]
    return drawn + sorted(others, key=lambda one: _seconds(one, device))[:chosen]


def _seconds(candidate: Candidate, device: str) -> float:
    try:
        return simulate(candidate.schedule, devices[device]).time_s
    except Infeasible:
        return math.inf


# -- measure ---------------------------------------------------------------------------------------------------------


def measured(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """*rows* with what the device says, and a line of PyTorch's for each case."""
    from flashsched.tune.measuring.cuda_runner import CudaRunner

    with CudaRunner(timeout_s=40.0) as runner:
        device = runner.target()["device"]
        for case, mine in _cases(rows).items():
            task, started = _task(mine[0]), time.perf_counter()
            for index, trial in runner.run_traces(task, [row["trace"] for row in mine], None):
                told = {"status": trial.status, "device": device, "error": trial.error, "code": _code(mine[index])}
                if trial.times_s:
                    told["time_s"] = statistics.median(trial.times_s)
                yield mine[index] | told
                if time.perf_counter() - started > SECONDS:
                    break
            peer = _peer(task)
            if peer is not None:
                yield {key: mine[0][key] for key in ("op", "shape", "options")} | {"peer": "torch", "time_s": peer}
            print(f"{case} {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


def _peer(task: Task) -> float | None:
    """Seconds of PyTorch's kernel for *task*; None without PyTorch, or where nothing of its is the same."""
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    arrays = task.inputs(0)
    x = [torch.from_numpy(a.astype("float32")).cuda().to(getattr(torch, task.dtype)) for a in arrays]
    ways: dict[str, Callable[[], Any]] = {
        "matmul": lambda: _after(torch, torch.matmul(x[0], x[1]), x[2:], task.options),
        "batch_matmul": lambda: torch.bmm(x[0], x[1]),
        "add": lambda: torch.add(x[0], x[1]),
        "relu": lambda: torch.relu(x[0]),
        "gelu": lambda: torch.nn.functional.gelu(x[0]),
        "softmax": lambda: torch.softmax(x[0], 1),
        "layernorm": lambda: torch.nn.functional.layer_norm(x[0], x[0].shape[1:], x[1], x[2]),
        "sum": lambda: torch.sum(x[0], 1),
        "transpose": lambda: x[0].t().contiguous(),
        "conv2d": lambda: torch.conv2d(x[0], x[1], stride=task.shape[6], padding=task.shape[7]),
    }
    if task.op not in ways:
        return None
    call = ways[task.op]
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def run(calls: int) -> float:
        """How long the device takes for so many *calls*, by its own clock, as our kernels are timed."""
        start.record()
        for _ in range(calls):
            call()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) * 1e-3

    return time_callable(run).median_s


def _after(torch: Any, product: Any, bias: list[Any], options: dict[str, Any]) -> Any:
    value = product + bias[0] if bias else product
    return torch.relu(value) if options.get("activation") == "relu" else value


# -- report ----------------------------------------------------------------------------------------------------------


def report(rows: list[dict[str, Any]], device: str) -> str:
    """A table, a line a case."""
    head = (
        "case",
        "right",
        "spearman",
        "pairs",
        "error %",
        "pick/best",
        "best us",
        "model us",
        "TFLOP/s",
        "torch/best",
    )
    lines = [head]
    for case, mine in _cases(rows).items():
        tried = [row for row in mine if "peer" not in row and "status" in row]
        right = [row for row in tried if row["status"] == "correct"]
        pairs = [(row["time_s"], says) for row in right if math.isfinite(says := predicted(row, device) or math.inf)]
        peer = next((row["time_s"] for row in mine if "peer" in row), math.nan)
        if not pairs:
            lines.append((case, f"{len(right)}/{len(tried)}", *[""] * 8))
            continue
        times, says = np.array(pairs).T
        best, found = times.min(), score(says, times)
        flops = _task(mine[0]).flops
        lines.append((
            case, f"{len(right)}/{len(tried)}", f"{found.spearman:.2f}", f"{_in_order(says, times):.2f}",
            f"{found.median:.0f}", f"{times[says.argmin()] / best:.2f}",
            f"{best * 1e6:.1f}", f"{says.min() * 1e6:.1f}", f"{flops / best / 1e12:.1f}", f"{peer / best:.2f}",
        ))  # fmt: skip
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def _is_as_measured(row: dict[str, Any]) -> bool:
    return "peer" in row or row.get("code") == _code(row)


def _code(row: dict[str, Any]) -> str:
    """What tells one PTX from another: a digest of it without comments; of an H100's, wherever this runs."""
    try:
        schedule = _task(row).replay(Trace.from_json(row["trace"])).schedule
        ptx = build_gpu(schedule, None, GpuArch("sm_90")).ptx()
    except FlashschedError:
        return ""
    return hashlib.sha256(re.sub(r"//.*", "", ptx).encode()).hexdigest()[:12]


def _in_order(says: Any, times: Any) -> float:
    """The share of pairs told rightly of those whose times are more than 5 % apart; NaN where there are none."""
    apart = times[:, None] > 1.05 * times
    return float((says[:, None] > says)[apart].mean()) if apart.any() else math.nan


def predicted(row: dict[str, Any], device: str) -> float | None:
    """Seconds that the model of *device* says; None where it refuses."""
    try:
        return _seconds(_task(row).replay(Trace.from_json(row["trace"])), device)
    except ScheduleError as error:
        print(f"{row['op']}: {error}", file=sys.stderr)
        return None


# -- files -----------------------------------------------------------------------------------------------------------


def _task(row: dict[str, Any]) -> Task:
    return Task(row["op"], row["shape"], **row["options"])


def _cases(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        options = "".join(f" {value}" for value in row["options"].values() if value is not True)
        found.setdefault(f"{row['op']} {'x'.join(map(str, row['shape']))}{options}", []).append(row)
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write *rows* as they come, then put them in the place of what was there."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()
    part.replace(path)


if __name__ == "__main__":
    main()
