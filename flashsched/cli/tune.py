"""``flashsched tune``: search the schedules of a workload, and say what was found and how to use it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.progress import ProgressLine, duration_text, failures_text, progress_text
from flashsched.cli.run import DONE, NOTHING_FOUND, USAGE, CommandError, Stopped, say, tell, usage
from flashsched.cli.shared_options import jobs_option, json_option, quiet_option, resume_option, seed_option
from flashsched.cli.workload import shape_of, task_title, workload_options
from flashsched.errors import LogError, counted
from flashsched.tune.figures import figure_text, percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.hw import DeviceSpec
    from flashsched.tune.logs.record import Record
    from flashsched.tune.task import Task
    from flashsched.tune.tuner import Progress, Result

__all__ = ["canonical_device", "spec_of", "tune"]


@click.command(short_help="Search the schedules of a workload.")
@workload_options
@click.option(
    "--device", default="cpu", metavar="NAME", help="cpu is this machine, cuda its GPU; others are simulated."
)
@click.option("--trials", type=click.IntRange(min=1), default=64, metavar="N", help="Schedules to run at most.")
@click.option(
    "--time-budget", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Begin no trial after S seconds."
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append the trials to FILE.  [default: tuning_logs/DEVICE/OP.jsonl]",
)
@seed_option
@jobs_option
@resume_option
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "cmaes", "gp", "evolutionary"]),
    default="tpe",
    help="Who proposes.",
)
@click.option("--patience", type=click.IntRange(min=1), metavar="N", help="End when N trials found nothing better.")
@click.option(
    "--regret",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="End when it is 95 % sure that less than SHARE (0.02 is 2 %) is left.",
)
@click.option("--cold", is_flag=True, help="Start from nothing: no logs of other tasks, no pretrained cost model.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    type=click.Choice(["time", "energy", "code"]),
    help="What to search for; may be repeated, on simulated devices.  [default: time]",
)
@click.option("--fleet", metavar="ADDRESS", help="Measure on the workers of a Dask scheduler, tcp://host:8786.")
@click.option("--storage", metavar="URL", help="Search together with others through a database, postgresql://…")
@click.option(
    "--observe", "observers", multiple=True, metavar="NAME", help="Watch perf, rapl or module:Class; may be repeated."
)
@click.option("--show", is_flag=True, help="Print the best schedule as Python, too.")
@json_option
@quiet_option
@click.pass_context
def tune(
    ctx: click.Context,
    task: Task,
    device: str,
    trials: int,
    time_budget: float | None,
    log: Path | None,
    seed: int,
    jobs: int | None,
    resume: bool,
    sampler: str,
    patience: int | None,
    regret: float | None,
    cold: bool,
    objectives: tuple[str, ...],
    fleet: str | None,
    observers: tuple[str, ...],
    storage: str | None,
    show: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Search the schedules of WORKLOAD for a device, and append every trial to a log.

    WORKLOAD is an operator's name (matmul, add, relu, conv2d) or file.py:NAME, where NAME is an operator of yours,
    an fs.Task, or a function that returns te tensors.

    \b
    Examples:
      flashsched tune matmul --shape 512,512,512 --trials 64
      flashsched tune matmul --shape 384,3072,768 --bias --activation gelu --time-budget 30
      flashsched tune conv2d --shape 1,64,56,56,64,3,1,1 --device a100-sim
      flashsched tune examples/my_op.py:scaled_add --log runs/scaled_add.jsonl
      flashsched tune matmul --trials 256 --resume
    """
    from flashsched.tune.tuner import tune as run

    with usage():
        device = canonical_device(device)
        spec = spec_of(device)
        task.template(spec.kind)
    path = log if log is not None else Path("tuning_logs", _file_name(spec.name), f"{_file_name(task.op)}.jsonl")
    _check_writable(path)
    if not quiet:
        say(f"tuning {task_title(task)} on {device}: at most {counted(trials, 'trial')}, log {path}")
    started = time.perf_counter()
    last: list[Progress] = []
    try:
        with ProgressLine(quiet) as line, contextlib.redirect_stdout(sys.stderr):

            def progress(now: Progress) -> None:
                last[:] = [now]
                line.show(progress_text(now, task.flops), now=now.stage == "finals")

            result = run(
                task, device, trials, path, seed,
                time_budget=time_budget, jobs=jobs, resume=resume, sampler=sampler, patience=patience, regret=regret,
                warm_start=not cold, pretrained=not cold, objectives=objectives or ("time",),
                progress=progress,
                fleet=fleet, observers=observers, storage=storage,
            )  # fmt: skip
    except Stopped as stop:
        raise Stopped(stop.number, _stopped_text(stop.number, last, task, path, ctx.obj or [])) from None
    elapsed_s = time.perf_counter() - started
    if as_json:
        tell(json.dumps(_json(result, spec.name, path, seed, elapsed_s), allow_nan=False, indent=1))
    elif result.best is not None:
        tell(_summary(result, result.best, device, path, elapsed_s, ctx.params["workload"]))
        if show:
            tell("\n" + result.schedule().schedule.to_python().rstrip())
    if result.best is None:
        raise CommandError(
            f"error: no valid schedule of {task_title(task)} for {device} in {counted(len(result.records), 'trial')}"
            f"\n  {result.why_nothing()}",
            NOTHING_FOUND,
        )
    return DONE


def canonical_device(name: str) -> str:
    """The device's own name, for one of its other names; the path of a device file stays.

    Raises:
        DeviceError: there is no such device, or none that can be simulated.
    """
    from flashsched.hw import devices

    if name == "cpu":
        return name
    if name == "cuda":
        spec_of(name)
        return name
    spec = devices.for_simulation(name)
    return name if name.lower().endswith(".toml") else spec.name


def spec_of(device: str) -> DeviceSpec:
    """What *device* is: ``"cuda"`` the GPU that is here, any other one that is known by name or a file.

    Raises:
        DeviceError: there is none.
    """
    from flashsched.codegen.gpu.device_spec import cuda_spec
    from flashsched.hw import devices

    return cuda_spec() if device == "cuda" else devices[device]


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.=[]" else "_" for letter in text)


def _check_writable(path: Path) -> None:
    """Refuse a log that cannot be appended to, and a file that is something else, before any work is done."""
    from flashsched.tune.logs.log import read

    def refuse(reason: str) -> CommandError:
        return CommandError(f"error: cannot write the log {path}: {reason}\n  hint: name another with --log", USAGE)

    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise refuse(f"the folder {path.parent} is not writable")
            return
        with path.open("ab"):
            pass
        if not path.is_file() or path.stat().st_size == 0:
            return
    except (OSError, ValueError) as error:
        raise refuse(getattr(error, "strerror", None) or str(error)) from None
    with usage(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if next(read(path), None) is None:
            raise LogError(f"{path} is no tuning log, and nothing is appended to it", hint="name another with --log")


def _stopped_text(number: int, last: list[Progress], task: Task, path: Path, arguments: list[str]) -> str:
    by = "Ctrl-C" if number == 2 else "SIGTERM"
    if not last or last[0].done == 0:
        return f"stopped by {by} before the first trial was done"
    now = last[0]
    best = f", the best took {seconds_text(now.best_s)}" if now.best_s is not None else ""
    again = arguments if "--resume" in arguments else [*arguments, "--resume"]
    return (
        f"stopped by {by} after {now.done} of {now.trials} trials{best}\n"
        f"  the log {path} is whole; go on with: flashsched {shlex.join(again)}"
    )


def _counts(result: Result) -> dict[str, int]:
    return {status: count for status, count in result.records.statuses.items() if count}


def _summary(result: Result, best: Record, device: str, path: Path, elapsed_s: float, workload: str) -> str:
    task = result.task
    failed = {s: n for s, n in _counts(result).items() if s not in ("correct", "unverified")}
    bad = f", failed: {failures_text(failed)}" if failed else ""
    figures = _best_json(result, best)
    rate = f"   {figure_text(figures['gflops'])} GFLOP/s" if figures["gflops"] else ""
    share = f"   {percent_text(figures['share_of_roofline'])} of the roofline" if figures["share_of_roofline"] else ""
    simulated = best.source == "simulated"
    which = f"trial {best.trial}{', simulated' if simulated else ''}"
    trials = counted(len(result.records), "trial")
    lines = [
        f"{task_title(task)} on {device}: {trials} in {duration_text(elapsed_s)}{bad}",
        "",
        f"  best      {seconds_text(best.median_s)}{rate}{share}   ({which})",
    ]
    if result.ties:
        tied = ", ".join(f"{record.trial}" for record in result.ties)
        lines.append(f"  ties      trial{'s' if len(result.ties) > 1 else ''} {tied}: too close to tell apart")
    lines += [f"  note      {note}" for note in result.notes]
    if len(result.objectives) > 1:
        lines += [f"  front     {_front_text(result, record)}" for record in result.front]
    lines.append(f"  stopped   {result.stopped}")
    lines.append(f"  log       {path}")
    if simulated:
        words = shlex.join([*_words(task, workload), "--device", device, "--log", str(path)])
        lines.append(f"  look      flashsched show {words}")
    else:
        lines.append(f"  use       f = fs.load({str(path)!r}, {_task_code(task)})")
    return "\n".join(lines)


def _front_text(result: Result, record: Record) -> str:
    """A record of the Pareto front: its objectives, and which trial it is."""
    units = {
        "time": seconds_text(record.median_s),
        "energy": f"{figure_text(1e3 * record.extra.get('energy_j', 0.0))} mJ",
        "code": f"{record.extra.get('code', 0)} instructions",
    }
    return f"{', '.join(units[name] for name in result.objectives)}   (trial {record.trial})"


def _words(task: Task, workload: str) -> list[str]:
    """The workload and its options, as the command line takes them."""
    if _is_fixed(task):
        return [workload]
    words = [workload, "--shape", shape_of(task)] + ([] if task.dtype == "float32" else ["--dtype", task.dtype])
    return words + [word for key, value in task.options.items() for word in ("-o", f"{key}={value}")]


def _task_code(task: Task) -> str:
    """The task as Python makes it; a tensor expression that is fixed is just ``task``."""
    from flashsched.ops import OPERATORS

    if _is_fixed(task):
        return "task"
    op = repr(task.op) if OPERATORS.get(task.op) is task.operator else task.op
    options = "".join(f", {key}={value!r}" for key, value in task.options.items())
    return f"fs.Task({op}, shape={task.shape}, dtype={task.dtype!r}{options})"


def _is_fixed(task: Task) -> bool:
    return task.resized(task.shape) is None


def _best_json(result: Result, best: Record) -> dict[str, Any]:
    """A record as the log holds it, with ``time_s``, ``gflops`` and ``share_of_roofline``; None where unknown."""
    time_s = best.median_s
    roofline_s = best.extra.get("roofline_s")
    some = math.isfinite(time_s) and time_s > 0
    figures = {
        "time_s": time_s,
        "gflops": result.task.flops / time_s / 1e9 if some else None,
        "share_of_roofline": roofline_s / time_s if some and isinstance(roofline_s, int | float) else None,
    }
    kept: dict[str, Any] = json.loads(best.to_json_line())
    return {**figures, **kept}


def _json(result: Result, device: str, path: Path, seed: int, elapsed_s: float) -> dict[str, Any]:
    return {
        "task": result.task.to_json(),
        "device": device,
        "log": str(path),
        "seed": seed,
        "elapsed_s": elapsed_s,
        "trials": len(result.records),
        "counts": _counts(result),
        "best": None if result.best is None else _best_json(result, result.best),
        "ties": [record.record_id for record in result.ties],
        "why": result.why_nothing() if result.best is None else None,
        "stopped": result.stopped,
        "notes": list(result.notes),
        "front": [record.record_id for record in result.front],
    }
