"""``flashsched log``: tuning logs as files: are they whole, put together, cut down. What records say of schedules is
``log_explain.py``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.log_explain import diff, explain
from flashsched.cli.progress import failures_text
from flashsched.cli.report import log_paths
from flashsched.cli.run import DONE, FAILED, USAGE, CommandError, tell, usage
from flashsched.cli.shared_options import json_option
from flashsched.errors import counted

if TYPE_CHECKING:
    from flashsched.tune.logs.log import LogSummary

__all__ = ["log"]

_LOG = click.Path(path_type=Path)


@click.group(subcommand_metavar="COMMAND ...", no_args_is_help=False)
def log() -> None:
    """Check tuning logs, merge them, cut them down, compare them, and explain their best schedules.

    \b
    Examples:
      flashsched log verify tuning_logs
      flashsched log merge all.jsonl mine.jsonl yours.jsonl
      flashsched log compact all.jsonl --keep 3
      flashsched log explain all.jsonl matmul --shape 512,512,512
      flashsched log diff mine.jsonl yours.jsonl
    """


log.add_command(explain)
log.add_command(diff)


@log.command(short_help="Check every line of logs.")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=_LOG)
@json_option
def verify(logs: tuple[Path, ...], as_json: bool) -> int:
    """Check every line of the logs; exit code 1 if one is damaged.

    A folder stands for all logs (*.jsonl) in it. Nothing is changed.

    \b
    Example:
      flashsched log verify tuning_logs/cpu/matmul.jsonl
    """
    from flashsched.tune.logs.log import verify as check

    found = []
    for path in log_paths(logs):
        with usage():
            found.append(check(path))
        if not as_json:
            tell(_told(found[-1]))
    if as_json:
        tell(json.dumps([{"ok": item.ok, **dataclasses.asdict(item)} for item in found], indent=1))
    return DONE if all(item.ok for item in found) else FAILED


@log.command(short_help="Put several logs into one.")
@click.argument("out", type=_LOG)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=_LOG)
def merge(out: Path, logs: tuple[Path, ...]) -> None:
    """Put the records of all LOGs into OUT, each once, in order of time.

    If OUT exists, its own records stay. Damaged lines are left behind, with a warning. OUT changes at a stroke, or,
    if anything fails, not at all.

    \b
    Example:
      flashsched log merge all.jsonl mine.jsonl yours.jsonl
    """
    from flashsched.tune.logs.log import merge as put_together

    for path in (path for path in logs if not path.exists()):
        raise CommandError(f"error: there is no log at {path}", USAGE)
    if not out.parent.is_dir():
        raise CommandError(f"error: there is no folder {out.parent} to write {out.name} in", USAGE)
    tell(_told(put_together(logs, out)))


@log.command(short_help="Keep the best records of a log.")
@click.argument("log", type=_LOG)
@click.option(
    "--keep", type=click.IntRange(min=1), default=5, metavar="N", help="Records to keep of each task and device."
)
def compact(log: Path, keep: int) -> None:
    """Keep the best records of each task, device and CPU in LOG, and drop the others.

    A search that is resumed afterwards no longer knows what was dropped, and may try it again.

    \b
    Example:
      flashsched log compact tuning_logs/cpu/matmul.jsonl --keep 3
    """
    from flashsched.tune.logs.log import compact as cut_down
    from flashsched.tune.logs.log import verify as check

    if not log.exists():
        raise CommandError(f"error: there is no log at {log}", USAGE)
    dropped = cut_down(log, keep)
    tell(f"{log}: {counted(check(log).records, 'record')} kept, {dropped} dropped")


def _told(summary: LogSummary) -> str:
    """What a log holds, in a line, and its damaged lines below."""
    parts = [counted(summary.records, "record")]
    parts += [counted(summary.tasks, "task")] if summary.tasks else []
    parts += [failures_text(summary.statuses)] if summary.statuses else []
    parts += [f"{summary.duplicates} twice"] if summary.duplicates else []
    verdict = "whole" if summary.ok else counted(len(summary.damaged), "DAMAGED line")
    lines = [f"{summary.path}: {verdict}; {', '.join(parts)}"]
    lines += [f"  line {item.line}: {item.reason}" for item in summary.damaged]
    return "\n".join(lines)
