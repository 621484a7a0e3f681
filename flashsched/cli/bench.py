"""``flashsched bench``: our kernels beside other libraries', in one run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.run import CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option, quiet_option
from flashsched.cli.workload import Shape, find_task, option_words
from flashsched.errors import counted

if TYPE_CHECKING:
    from flashsched.bench.cases import Case
    from flashsched.bench.results import Results

__all__ = ["bench"]


_NEW = click.Path(dir_okay=False, path_type=Path)
_OLD = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Time kernels beside other libraries.")
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--set", "group", default="table", metavar="NAME", help="table, wide or all.  [default: table]")
@click.option("--shape", "shapes", type=Shape(), multiple=True,
              help="A shape of your own, of the operator that CASE names; may be repeated.")  # fmt: skip
@click.option("--dtype", metavar="NAME", help="Element type of a shape of your own.  [default: float32]")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE",
              help="An option of the operator, for a shape of your own; may be repeated.")  # fmt: skip
@click.option("--vs", metavar="NAME,...", help="The other libraries.  [default: all that are installed]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For each of them.  [default: all cores]")
@click.option("--rounds", type=click.IntRange(min=3), default=11, metavar="N", help="Samples of each, taken in turns.")
@click.option("--save", type=_NEW, metavar="FILE", help="Keep the results, as JSON, after each case.")
@click.option("--from", "source", type=_OLD, metavar="FILE",
              help="Show results that were kept; measure nothing.")  # fmt: skip
@click.option("--page", type=_OLD, metavar="FILE",
              help="Write a document's tables anew from their files.")  # fmt: skip
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@json_option
@click.option("--list", "list_cases", is_flag=True, help="List the cases and the libraries, and stop.")
@quiet_option
def bench(
    cases: tuple[str, ...],
    group: str,
    shapes: tuple[tuple[int, ...], ...],
    dtype: str | None,
    options: tuple[str, ...],
    vs: str | None,
    threads: int | None,
    rounds: int,
    save: Path | None,
    source: Path | None,
    page: Path | None,
    markdown: bool,
    as_json: bool,
    list_cases: bool,
    quiet: bool,
) -> None:
    """Time our kernels beside other libraries, each in a process of its own, round by round in turns.

    CASE is a name, a pattern (`matmul-*`) or an operator, of any set; a whole set by default. Our kernels come from the
    logs that the functions use (./tuning_logs, $FLASHSCHED_LOGS), or are the templates' first choice where nothing was
    tuned. Each library does a case in its own best way: several are tried, the fastest that is right counts. Results
    are checked against float64, rates are medians, and a ratio is the median over rounds of theirs / ours. The limit is
    the FMA peak or the bandwidth of the memory that holds the arrays, whichever binds, as measured before the run.

    A document's table stands between the lines `<!-- bench: FILE -->` and `<!-- /bench -->`.

    \b
    Examples:
      flashsched bench matmul-512 matmul-1024 --vs numpy,torch
      flashsched bench matmul --shape 300,700,1100 --shape 1,1000,2048 -o bias=true
      flashsched bench --set all --threads 1 --save 1-thread.json
      flashsched bench --from 1-thread.json --markdown
      flashsched bench --page README.md
    """
    from flashsched.bench.results import Results
    from flashsched.bench.table import to_markdown, to_text, update

    if list_cases:
        tell(_listed())
        return
    if page is not None:
        if not (count := update(page)):
            raise CommandError(f"error: {page} has no line <!-- bench: FILE -->", 2)
        say(f"{page}: {counted(count, 'table')}")
        return
    if source:
        results = Results.read(source)
    else:
        results = _measured(_chosen(cases, group, shapes, dtype, options), vs, threads, rounds, save, quiet)
    if as_json:
        tell(results.to_json())
    else:
        tell(to_markdown(results) if markdown else to_text(results))


def _listed() -> str:
    from flashsched.bench.cases import SETS
    from flashsched.bench.peers import PEERS

    lines = []
    for name in ("table", "wide"):
        lines += [f"cases: {name}", *(f"  {case.name}" for case in SETS[name])]
    lines += ["peers", *(f"  {p.name}{'' if p.installed else ' (not installed)'}" for p in PEERS.values())]
    return "\n".join(lines)


def _chosen(
    names: tuple[str, ...],
    group: str,
    shapes: tuple[tuple[int, ...], ...],
    dtype: str | None,
    options: tuple[str, ...],
) -> list[Case]:
    """The cases that are named; or, where shapes are given, the one operator that is named, at these."""
    from flashsched.bench.cases import case_of, find_cases
    from flashsched.errors import TuneError

    with usage():
        if shapes:
            if len(names) != 1:
                raise TuneError("--shape is of one operator", hint="as in flashsched bench matmul --shape 300,700,1100")
            words = option_words(options, False, None)
            tasks = [find_task(names[0], shape, dtype, words) for shape in shapes]
            return [case_of(task.op, task.shape, task.dtype, task.options) for task in tasks]
        if dtype or options:
            raise TuneError("--dtype and --option are of a shape of your own", hint="give --shape")
        return find_cases(names, group)


def _measured(
    chosen: list[Case],
    vs: str | None,
    threads: int | None,
    rounds: int,
    save: Path | None,
    quiet: bool,
) -> Results:
    from flashsched.bench.machine import describe
    from flashsched.bench.peers import find_peers
    from flashsched.bench.results import CaseResult, Results
    from flashsched.bench.rounds import run_cases
    from flashsched.codegen.probe import measure
    from flashsched.codegen.threads import num_threads
    from flashsched.hw import used_host

    with usage():
        peers = find_peers([name.strip() for name in vs.split(",") if name.strip()] if vs else [])
    for peer in peers:
        if peer.remark and not quiet:
            say(f"{peer.name}: {peer.remark}")
    used = threads or num_threads()
    machine = describe(used_host(), measure(), used, peers)
    done: list[CaseResult] = []
    results = Results(done, machine, datetime.now(UTC).isoformat(timespec="seconds"))
    for number, result in enumerate(run_cases(chosen, peers, used, rounds), 1):
        done.append(result)
        if save is not None:  # after each case, so that a run that is stopped leaves what it found
            save.write_text(results.to_json() + "\n", encoding="utf-8")
        if not quiet:
            ours = result.seconds.get("flashsched")
            ratio = f"{result.ratio(result.best):.2f}x of {result.best}" if ours and result.best else "not compared"
            say(f"[{number}/{len(chosen)}] {result.case.name}: {ratio}")
    return results
