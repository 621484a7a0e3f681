"""``flashsched bench``: our kernels beside other libraries', in one run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flashsched.cli.run import say, tell, usage

if TYPE_CHECKING:
    from flashsched.bench.rounds import CaseResult

__all__ = ["bench"]


@click.command(short_help="Time kernels beside other libraries.")
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--vs", metavar="NAME,...", help="The other libraries.  [default: all that are installed]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For each of them.  [default: all cores]")
@click.option("--rounds", type=click.IntRange(min=3), default=11, metavar="N", help="Samples of each, taken in turns.")
@click.option("--json", "as_json", is_flag=True, help="Put one JSON document on standard output.")
@click.option("--list", "list_cases", is_flag=True, help="List the cases and the libraries, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def bench(
    cases: tuple[str, ...],
    vs: str | None,
    threads: int | None,
    rounds: int,
    as_json: bool,
    list_cases: bool,
    quiet: bool,
) -> None:
    """Time our kernels beside other libraries, each in a process of its own, round by round in turns.

    CASE is a name or a pattern (`matmul-*`); all cases by default. Our kernels come from the logs that the functions
    use (./tuning_logs, $FLASHSCHED_LOGS), or are the templates' first choice where nothing was tuned. Results are
    checked against float64, rates are medians, and a ratio is the median over rounds of theirs / ours.

    \b
    Examples:
      flashsched bench matmul-512 matmul-1024 --vs numpy
      flashsched bench 'matmul-*' --threads 1 --rounds 21 --json
    """
    from flashsched.bench.cases import CASES, find_cases
    from flashsched.bench.peers import PEERS, find_peers
    from flashsched.bench.rounds import run_cases
    from flashsched.bench.table import to_json, to_text
    from flashsched.codegen.probe import measured
    from flashsched.codegen.threads import num_threads

    if list_cases:
        tell("\n".join(["cases", *(f"  {case.name}" for case in CASES)]))
        tell("\n".join(["peers", *(f"  {p.name}{'' if p.installed else ' (not installed)'}" for p in PEERS.values())]))
        return
    with usage():
        chosen = find_cases(cases)
        peers = find_peers([name.strip() for name in vs.split(",") if name.strip()] if vs else [])
    used = threads or num_threads()
    machine = measured()

    def done(result: CaseResult) -> None:
        if not quiet:
            say(f"{result.case.name}: done")

    results = run_cases(chosen, peers, used, rounds, on_case=done)
    if as_json:
        tell(json.dumps(to_json(results, machine, used), allow_nan=False, indent=1))
    else:
        tell(f"{used} thread(s) each, medians of {rounds} interleaved rounds\n")
        tell(to_text(results, machine, used))
