"""``flashsched log explain`` and ``log diff``: what records say, once they are looked into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.progress import ProgressLine
from flashsched.cli.run import USAGE, CommandError, tell, usage
from flashsched.cli.shared_options import jobs_option, json_option, quiet_option
from flashsched.cli.tune import canonical_device
from flashsched.cli.workload import Shape, find_task, option_words, task_title

if TYPE_CHECKING:
    from flashsched.tune.logs.record import Record
    from flashsched.tune.task import Task

__all__ = ["diff", "explain"]


@click.command(short_help="Say why the best schedule of a log is fast.")
@click.argument("log", type=click.Path(path_type=Path))
@click.argument("workload", required=False)
@click.option("--shape", type=Shape(), help="Sizes of the workload; matmul takes M,N,K.  [default: its own]")
@click.option("--dtype", metavar="NAME", help="Element type of the inputs.  [default: float32]")
@click.option("--bias", is_flag=True, help="Add a bias, of operators that take one; -o bias=true.")
@click.option("--activation", metavar="NAME", help="Fuse relu, gelu or silu; -o activation=NAME.")
@click.option(
    *("-o", "--option", "options"), multiple=True, metavar="KEY=VALUE", help="Any other option; may be repeated."
)
@click.option("--device", default=None, metavar="NAME", help="Whose records.  [default: the log's, if they are of one]")
@click.option(
    "--orders", type=click.IntRange(min=1), default=8, metavar="N", help="Orders of the groups to try for their shares."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the orders and the inputs.")
@jobs_option
@json_option
@quiet_option
def explain(
    log: Path,
    workload: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    bias: bool,
    activation: str | None,
    options: Sequence[str],
    device: str | None,
    orders: int,
    seed: int,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say why the best schedule of LOG for WORKLOAD is fast, or why LOG has none for it.

    The schedule is run with each of its steps left out, and with groups of steps put in place in several orders, here
    or, for a simulated device, by its model. WORKLOAD may be left out where the log is about one.

    \b
    Examples:
      flashsched log explain tuning_logs/cpu/matmul.jsonl matmul --shape 512,512,512
      flashsched log explain runs/relu.jsonl
      flashsched log explain runs/matmul.jsonl matmul --dtype float16 --device a100-sim --json
    """
    from flashsched.tune.explaining.explain import explain as run

    with usage():
        device = None if device is None else canonical_device(device)
        if workload is None:
            asked = [word for word, value in (("--shape", shape), ("--dtype", dtype), ("--option", options)) if value]
            if asked:
                raise click.UsageError(f"{asked[0]} belongs to a WORKLOAD, and none is named.")
            task, device = _only_task(log, device)
        else:
            task = find_task(workload, shape, dtype, option_words(options, bias, activation))
            device = device or _only_device(log)
        with ProgressLine(quiet) as line:
            found = run(
                log, task, device, orders=orders, seed=seed, jobs=jobs,
                progress=lambda done, of: line.show(f"{done} of {of} schedules of {task_title(task)}"),
            )  # fmt: skip
    tell(json.dumps(found.to_json(), allow_nan=False, indent=1) if as_json else str(found))


@click.command(short_help="Compare two records, or the best of two logs.")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@json_option
def diff(old: str, new: str, as_json: bool) -> None:
    """Compare the schedules and the times of two records, or of the best records of two logs.

    A and B are logs, or records, each written LOG#ID with the beginning of its id. Of two logs, what both know is
    compared task by task, and the rest is listed.

    \b
    Examples:
      flashsched log diff yesterday.jsonl today.jsonl
      flashsched log diff runs/matmul.jsonl#9c51 runs/matmul.jsonl#fe20
    """
    from flashsched.tune.logs.log_diff import diff_logs, diff_records, record_in

    records: list[Record] = []
    with usage():
        for word in (old, new):
            path, mark, name = word.rpartition("#")
            if mark and not Path(word).exists():
                records.append(record_in(path, name))
        if len(records) == 1:
            raise click.UsageError("A and B must be two logs, or two records (LOG#ID).")
        found = diff_records(*records) if records else diff_logs(old, new)
    tell(json.dumps(found.to_json(), allow_nan=False, indent=1) if as_json else str(found))


def _only_device(log: Path) -> str:
    """The device that *log* is of; this machine where it is of several."""
    from flashsched.tune.logs.log import glances

    devices = {seen.device for _, seen in glances(log)}
    return devices.pop() if len(devices) == 1 else "cpu"


def _only_task(log: Path, device: str | None) -> tuple[Task, str]:
    """The one task of *log*, and its device."""
    from flashsched.tune.logs.log_diff import bests

    found = [record for record in bests(log).values() if device in (None, record.device)]
    if not found:
        on = "" if device is None else f" for {device}"
        raise CommandError(f"error: {log} has no valid record{on}\n  hint: flashsched report {log}", USAGE)
    if len(found) > 1:
        named = "\n".join(f"    {_words(record)}" for record in found)
        raise CommandError(f"error: {log} is about {len(found)} workloads; name one:\n{named}", USAGE)
    return _task_of(found[0]), found[0].device


def _task_of(record: Record) -> Task:
    """The task that *record* is of, made anew from its operator."""
    from flashsched.errors import TuneError
    from flashsched.tune.task import Task

    there = record.task
    try:
        task = Task(str(there["op"]), there["shape"], str(there["dtype"]), **dict(there.get("options") or {}))
    except TuneError:
        task = None
    if task is None or task.hash != there["hash"]:
        raise CommandError(
            f"error: {there['op']} is no operator that is known here\n  hint: name it, as file.py:NAME", USAGE
        )
    return task


def _words(record: Record) -> str:
    """How a record's workload is named on the command line."""
    there = record.task
    options = "".join(f" -o {key}={value}" for key, value in dict(there.get("options") or {}).items())
    shape = ",".join(map(str, there["shape"]))
    return f"{there['op']} --shape {shape} --dtype {there['dtype']}{options} --device {record.device}"
