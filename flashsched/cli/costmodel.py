"""``flashsched costmodel``: how good the cost model is, on the table that ships and on logs of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from flashsched.cli.run import DONE, USAGE, CommandError, say, tell, usage

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
@click.option("--json", "as_json", is_flag=True, help="Put one JSON document on standard output.")
def evaluate(logs: tuple[Path, ...], seed: int, as_json: bool) -> int:
    """Score the cost model on tasks that it did not see.

    The tasks of the table that ships are dealt into five parts, and each part is predicted by a model that was fitted
    to the other four. With LOGs, their records are added, and only their tasks are scored. PAIRS is the share of pairs
    of schedules of one task put in order (pairs within 5 % are left out); TOP-1 and TOP-5 are how near the best of the
    first one and five come to the fastest, 1 being there. Beside it stand the device's own model, its roofline, which
    can't tell schedules of one task apart, and chance.

    \b
    Examples:
      flashsched costmodel eval
      flashsched costmodel eval runs/matmul.jsonl
    """
    from flashsched.hw import devices
    from flashsched.tune.costmodel.heldout import held_out
    from flashsched.tune.costmodel.table import joined, shipped
    from flashsched.tune.costmodel.tabulate import tabulate

    table, only = shipped("cpu"), None
    with usage():
        if logs:
            mine, left_out = tabulate(logs, devices["cpu"], {})
            for reason, count in left_out.items():
                say(f"{count} record{'s' * (count > 1)} left out: {reason}")
            only = {str(task["hash"]) for task in mine.tasks}
            table = mine if table is None else joined(table, mine)
    if table is None or not len(table):
        raise CommandError("error: no table ships with this installation, and no log was given", USAGE)
    scores = held_out(table, seed, only)
    if as_json:
        tell(json.dumps({name: asdict(score) for name, score in scores.items()}, indent=1))
        return DONE
    count = scores["cost model"].tasks
    tell(f"{len(table)} schedules of {len(table.tasks)} tasks, {count} scored, each by a model that never saw it\n")
    tell(f"{'':14}{'pairs':>8}{'top-1':>8}{'top-5':>8}")
    for name, score in scores.items():
        tell(f"{name:14}{score.pairwise:8.3f}{score.top1:8.3f}{score.top5:8.3f}")
    return DONE
