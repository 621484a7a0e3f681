"""``flashsched costmodel``: how good the cost model is, on the table that ships and on logs of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flashsched.cli.run import DONE, USAGE, CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option
from flashsched.errors import counted

__all__ = ["costmodel"]


@click.group(short_help="How well schedules are ranked before they are run.")
def costmodel() -> None:
    """How well schedules are ranked before they are run.

    \b
    Example:
      flashsched costmodel eval
    """


@costmodel.command(name="eval")
@click.argument("logs", nargs=-1, type=click.Path(path_type=Path), metavar="[LOG]...")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the folds.")
@click.option("--operators", is_flag=True, help="Score the tasks of each operator by themselves, too.")
@json_option
def evaluate(logs: tuple[Path, ...], seed: int, operators: bool, as_json: bool) -> int:
    """Score the cost model on tasks that it did not see.

    The tasks of the table that ships are dealt into five parts, and each part is predicted by a model that was fitted
    to the other four. With LOGs, their records are added, and only their tasks are scored. PAIRS is the share of pairs
    of schedules of one task put in order (pairs within 5 % are left out), CLEAR the share of those that are further
    apart than repeated timings of the two were; TOP-1 and TOP-5 are how near the best of the first one and five come to
    the fastest, 1 being there. Beside it stand the device's own model, its roofline, which can't tell schedules of one
    task apart, and chance.

    \b
    Examples:
      flashsched costmodel eval
      flashsched costmodel eval --operators
      flashsched costmodel eval runs/matmul.jsonl
    """
    from flashsched.hw import devices
    from flashsched.tune.costmodel.heldout import predictions, scores
    from flashsched.tune.costmodel.table import joined, shipped
    from flashsched.tune.costmodel.tabulate import tabulate

    table, only = shipped("cpu"), None
    with usage():
        if logs:
            mine, left_out = tabulate(logs, devices["cpu"], {})
            for reason, count in left_out.items():
                say(f"{counted(count, 'record')} left out: {reason}")
            only = {str(task["hash"]) for task in mine.tasks}
            table = mine if table is None else joined(table, mine)
    if table is None or not len(table):
        raise CommandError("error: no table ships with this installation, and no log was given", USAGE)
    predicted = predictions(table, seed)
    found = scores(table, predicted, only)
    named = (
        sorted({str(task["op"]) for task in table.tasks if only is None or task["hash"] in only}) if operators else []
    )
    by_name = {name: scores(table, predicted, only, name) for name in named}
    if as_json:
        told: dict[str, Any] = {name: asdict(score) for name, score in found.items()}
        if operators:
            told["operators"] = {
                op: {name: asdict(score) for name, score in each.items()}
                for op, each in by_name.items() if each["cost model"].tasks
            }  # fmt: skip
        tell(json.dumps(told, indent=1))
        return DONE
    count = found["cost model"].tasks
    tell(f"{len(table)} schedules of {len(table.tasks)} tasks, {count} scored, each by a model that never saw it\n")
    tell(f"{'':14}{'pairs':>8}{'clear':>8}{'top-1':>8}{'top-5':>8}")
    for name, score in found.items():
        tell(f"{name:14}{score.pairwise:8.3f}{score.clear:8.3f}{score.top1:8.3f}{score.top5:8.3f}")
    if by_name:
        tell(f"\n{'cost model':18}{'tasks':>6}{'pairs':>8}{'clear':>8}{'top-1':>8}{'top-5':>8}    device model: pairs")
    for name, each in by_name.items():
        score, prior = each["cost model"], each["device model"]
        if score.tasks:
            tell(f"{name:18}{score.tasks:6}{score.pairwise:8.3f}{score.clear:8.3f}{score.top1:8.3f}{score.top5:8.3f}"
                 f"{prior.pairwise:24.3f}")  # fmt: skip
    return DONE
