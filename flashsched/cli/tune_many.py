"""``flashsched tune-many``: search the schedules of a whole model, the trials going where its total time gains most."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.progress import ProgressLine, duration_text, progress_text
from flashsched.cli.run import DONE, NOTHING_FOUND, USAGE, CommandError, say, tell, usage
from flashsched.cli.shared_options import jobs_option, json_option, quiet_option, resume_option, seed_option
from flashsched.cli.tune import canonical_device
from flashsched.cli.workload import Shape, find_task, task_title
from flashsched.errors import counted
from flashsched.tune.figures import percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.tune.many import ManyResult
    from flashsched.tune.result import Progress
    from flashsched.tune.task import Task

__all__ = ["tune_many"]


@click.command(name="tune-many", short_help="Search the schedules of a whole model.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--device", default="cpu", metavar="NAME", help="cpu is this machine; others are simulated.")
@click.option("--trials", type=click.IntRange(min=1), default=256, metavar="N", help="Of all workloads together.")
@click.option("--time-budget", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds for all.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="[default: tuning_logs/many.jsonl]")
@seed_option
@jobs_option
@resume_option
@json_option
@quiet_option
def tune_many(
    file: Path,
    device: str,
    trials: int,
    time_budget: float | None,
    log: Path | None,
    seed: int,
    jobs: int | None,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Search the schedules of all workloads in FILE, to the least total time of the model that they make.

    A line of FILE is a workload: its name, its shape, and perhaps how often the model runs it (x12), its dtype and
    options. What computes the same is searched once.

    \b
      matmul 128,768,768 x12
      matmul 128,3072,768 x12 bias=true activation=gelu
      softmax 1536,128 x12 dtype=float32

    \b
    Example:
      flashsched tune-many model.txt --trials 500 --time-budget 300
    """
    from flashsched.tune.many import tune_many as run

    tasks = [found for number, line in _lines(file) for found in [_workload(file, number, line)]]
    with usage():
        device = canonical_device(device)
    path = log if log is not None else Path("tuning_logs", "many.jsonl")
    if not quiet:
        say(f"tuning {counted(len(tasks), 'workload')} on {device}: at most {counted(trials, 'trial')}, log {path}")
    started = time.perf_counter()
    with ProgressLine(quiet) as shown, contextlib.redirect_stdout(sys.stderr), usage():

        def progress(task: Task, now: Progress) -> None:
            shown.show(f"{task_title(task)}: {progress_text(now, task.flops)}")

        result = run(
            tasks, device, trials, path, seed, jobs=jobs, resume=resume, time_budget=time_budget, progress=progress
        )
    if as_json:
        tell(json.dumps(json.loads(result.to_frame().to_json(orient="records")), indent=1))
    else:
        tell(_text(result, time.perf_counter() - started, path))
    missing = [found.task for found in result.results.values() if found.best is None]
    if missing:
        why = result.results[missing[0].hash].why_nothing()
        raise CommandError(f"error: no valid schedule of {task_title(missing[0])}\n  {why}", NOTHING_FOUND)
    return DONE


def _lines(file: Path) -> list[tuple[int, str]]:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return [(number, line) for number, line in lines if line.partition("#")[0].strip()]


def _workload(file: Path, number: int, line: str) -> tuple[Task, float]:
    """The task of a line, and how often it runs."""
    name, *words = shlex.split(line, comments=True)
    shape, dtype, count, options = None, None, 1.0, {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key == "dtype":
            dtype = value
        elif equals:
            options[key] = value
        elif word[:1] == "x" and word[1:].isdecimal():
            count = float(word[1:])
        elif shape is None:
            try:
                shape = Shape().convert(word, None, None)
            except click.UsageError as error:
                raise CommandError(f"error: {file}:{number}: {error.message}", USAGE) from None
        else:
            raise CommandError(f"error: {file}:{number}: {word!r} is no count (x12) and no option (key=value)", USAGE)
    return find_task(name, shape, dtype, options), count


def _text(result: ManyResult, elapsed_s: float, path: Path) -> str:
    trials = sum(len(found.records) for found in result.results.values())
    lines = [f"{counted(len(result.results), 'task')}, {counted(trials, 'trial')} in {duration_text(elapsed_s)}", ""]
    for name, found in result.results.items():
        count = result.counts[name]
        best = found.best.median_s if found.best is not None else float("nan")
        share = percent_text(count * best / result.total_s) if result.total_s > 0 else "?"
        lines.append(
            f"  {task_title(found.task):44} x{count:<5g} {seconds_text(best):>10}  {share:>7} of all  "
            f"({counted(len(found.records), 'trial')})"
        )
    lines += ["", f"  total     {seconds_text(result.total_s)}", f"  log       {path}"]
    return "\n".join(lines)
