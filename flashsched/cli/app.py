"""The list of commands, and what they share: how help looks, and --debug."""

from __future__ import annotations

from typing import Any

import click

from flashsched.cli.bench import bench
from flashsched.cli.calibrate import calibrate
from flashsched.cli.compare import compare
from flashsched.cli.costmodel import costmodel
from flashsched.cli.devices import devices
from flashsched.cli.doctor import doctor
from flashsched.cli.logs import log
from flashsched.cli.replay import replay
from flashsched.cli.report import report
from flashsched.cli.run import tell
from flashsched.cli.save import save
from flashsched.cli.show import show
from flashsched.cli.simulate import simulate
from flashsched.cli.tune import tune
from flashsched.cli.tune_many import tune_many
from flashsched.cli.validate import validate

__all__ = ["app"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    no_args_is_help=False,
    invoke_without_command=True,
    subcommand_metavar="COMMAND ...",
)
@click.version_option(package_name="flashsched", message="flashsched %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Schedules for tensor programs: tune them, look at them, and simulate devices that are not here.

    \b
    A first tour:
      flashsched doctor                                            is this machine fit, and how fast is it
      flashsched tune matmul --shape 512,512,512 --trials 32       search the schedules of an operator
      flashsched report tuning_logs                                what was found
      flashsched show matmul --shape 512,512,512 --stage asm       every stage, down to machine code
      flashsched simulate matmul --device a100-sim                 a GPU that you need not own

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no valid schedule found,
    130 or 143 stopped by Ctrl-C or SIGTERM (the log is whole, --resume goes on).
    """
    if ctx.invoked_subcommand is None:
        tell(ctx.get_help())


for command in (tune, report, replay, show, save, devices, simulate, compare, validate, calibrate, bench, doctor, log):
    app.add_command(command)
for command in (costmodel, tune_many):
    app.add_command(command)


def _with_debug(command: click.Command) -> None:
    """Let --debug stand anywhere; `run.py` looks for it."""
    ignored: Any = {"is_flag": True, "expose_value": False, "help": "Show the traceback of an error."}
    command.params.append(click.Option(["--debug"], **ignored, show_default=False))
    for inner in getattr(command, "commands", {}).values():
        _with_debug(inner)


_with_debug(app)
