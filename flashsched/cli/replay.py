"""``flashsched replay``: how well samplers search, on spaces that were measured before; no hardware needed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.progress import ProgressLine
from flashsched.cli.run import USAGE, CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option, quiet_option

if TYPE_CHECKING:
    from flashsched.tune.spaces.replay import Replays
    from flashsched.tune.spaces.table import Space

__all__ = ["replay"]


@click.command(short_help="Try samplers on spaces that were measured before.")
@click.argument("spaces", metavar="[SPACE]...", nargs=-1)
@click.option(
    "--sampler",
    default="tpe",
    metavar="A,B",
    help="Samplers; NAME-alone without the cost model, NAME-pretrained with what ships.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, metavar="N", help="Searches of each, seeds 0 to N-1.")
@click.option("--trials", type=click.IntRange(min=1), default=100, metavar="N", help="Trials of each search at most.")
@click.option(
    "--goal", type=click.FloatRange(0, 1, min_open=True), default=0.95, metavar="F", help="Fraction of the optimum."
)
@click.option("--list", "listed", is_flag=True, help="List the spaces that come with flashsched.")
@click.option("--export", type=click.Path(path_type=Path), metavar="FILE", help="Write the one SPACE as T4 and stop.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One row for each space, sampler, seed and trial.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the curves.")
@quiet_option
def replay(
    spaces: Sequence[str],
    sampler: str,
    seeds: int,
    trials: int,
    goal: float,
    listed: bool,
    export: Path | None,
    as_json: bool,
    as_csv: bool,
    html: Path | None,
    quiet: bool,
) -> None:
    """Search each SPACE by each sampler, and tell how many trials it takes to come near the optimum.

    A SPACE is one that comes with flashsched (all of them by default), or a file: a table of ours, a T4 document, or a
    cache of Kernel Tuner's. The search is that of `flashsched tune`, its times are looked up: the same words give the
    same figures on any machine. Random search is counted exactly.

    \b
    Examples:
      flashsched replay --list
      flashsched replay blur softmax --sampler tpe,evolutionary,tpe-alone
      flashsched replay --seeds 10 --html replay.html
      flashsched replay convolution_A4000.json --sampler tpe,gp
      flashsched replay blur --export blur.t4.json
    """
    from flashsched.tune.spaces.replay import Strategy
    from flashsched.tune.spaces.replay import replay as run
    from flashsched.tune.spaces.table import load_space, shipped_spaces

    if sum((as_json, as_csv, listed, export is not None)) > 1:
        raise click.UsageError("--json, --csv, --list and --export exclude each other.")
    with usage():
        strategies = [Strategy.of(name.strip()) for name in sampler.split(",")]
        tables = [load_space(name) for name in spaces or shipped_spaces()]
    if listed:
        for space in tables:
            tell(f"{space.name:<13}{len(space):>5} points  {space.device:<9} {space.title}")
        return
    if export is not None:
        _export(tables, export)
        return
    total, done = len(tables) * len(strategies) * seeds, 0
    with ProgressLine(quiet) as line:

        def progress(course: Any) -> None:
            nonlocal done
            done += 1
            line.show(f"{done} of {total} searches: {course.space} by {course.strategy}")

        with usage():
            found = run(tables, strategies, seeds, trials, goal=goal, progress=progress)
    if html is not None:
        from flashsched.tune.spaces.curves import replay_page

        _write(html, replay_page(found))
        say(f"wrote {html}: {total} searches")
    if as_json:
        tell(json.dumps(_json(found), allow_nan=False, indent=1))
    elif as_csv:
        tell(_csv(found), end="")
    elif html is None:
        from flashsched.tune.spaces.curves import replay_text

        tell(replay_text(found))


def _export(tables: list[Space], path: Path) -> None:
    from flashsched.tune.spaces.t4 import to_t4

    if len(tables) != 1:
        raise CommandError("error: --export takes one SPACE", USAGE)
    _write(path, json.dumps(to_t4(tables[0]), allow_nan=False, indent=1))
    say(f"wrote {path}: {len(tables[0])} results")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"error: cannot write {path}: {error.strerror}", USAGE) from None


def _json(found: Replays) -> dict[str, Any]:
    courses = [
        {
            "space": course.space,
            "strategy": course.strategy,
            "seed": course.seed,
            "trials_to_goal": course.trials_to(found.goal),
            "fractions": [round(fraction, 6) for fraction in course.fractions],
        }
        for course in found.courses
    ]
    return {
        "goal": found.goal,
        "trials": found.trials,
        "rows": found.rows(),
        "overall": found.overall(),
        "searches": courses,
    }


def _csv(found: Replays) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("space", "strategy", "seed", "trial", "fraction"))
    for course in found.courses:
        for trial, fraction in enumerate(course.fractions, 1):
            writer.writerow((course.space, course.strategy, course.seed, trial, f"{fraction:.6f}"))
    return text.getvalue()
