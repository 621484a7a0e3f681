"""Options that several commands take alike, each declared once."""

from __future__ import annotations

import click

__all__ = ["jobs_option", "json_option", "quiet_option", "resume_option", "seed_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="Put one JSON document on standard output.")
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Compilations at once.  [default: one a core]"
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
resume_option = click.option(
    "--resume", is_flag=True, help="Go on from the log: its trials count, and none is repeated."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of everything random.")
