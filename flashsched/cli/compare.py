"""``flashsched compare``: a workload, or the schedules of a log, on many devices."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.run import USAGE, CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option
from flashsched.cli.workload import Shape, find_task, option_words, task_title
from flashsched.errors import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]


@click.command(short_help="Compare devices on a workload, or on the schedules of a log.")
@click.argument("what", metavar="WORKLOAD|LOG")
@click.option("--devices", required=True, metavar="A,B,C", help="Names of devices; `all` stands for every one.")
@click.option("--shape", type=Shape(), help="Sizes of the workload; matmul takes M,N,K.  [default: its own]")
@click.option("--dtype", metavar="NAME", help="Element type of the inputs.  [default: float32]")
@click.option("--bias", is_flag=True, help="Add a bias, of operators that take one; -o bias=true.")
@click.option("--activation", metavar="NAME", help="Fuse relu, gelu or silu; -o activation=NAME.")
@click.option(
    *("-o", "--option", "options"), multiple=True, metavar="KEY=VALUE", help="Any other option; may be repeated."
)
@click.option("--workload", metavar="WORKLOAD", help="Of a LOG about several: which one, with --shape and so on.")
@click.option("--price", "prices", multiple=True, metavar="DEVICE=X", help="What an hour of a device costs.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One row a device, as CSV.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with a drawing.")
def compare(
    what: str,
    devices: str,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    bias: bool,
    activation: str | None,
    options: Sequence[str],
    workload: str | None,
    prices: Sequence[str],
    as_json: bool,
    as_csv: bool,
    html: Path | None,
) -> None:
    """Compare devices on WORKLOAD: time, use of the peak, bound, energy, transfer over the host's link, and how far to
    trust it. A star marks devices that no other beats in time, energy and cost together. Whose time it is, is told in
    the column `how`: library is the vendor's, by a model of the operator; template is our template's first choice, not
    searched further; roofline is the least that any schedule takes.

    Of a LOG (a file that ends in .jsonl), the schedules that were tried are simulated on each device: do the ranks
    agree with the log's times, and what would the device choose?

    \b
    Examples:
      flashsched compare matmul --shape 4096,4096,4096 --dtype float16 --devices a100-sim,h100-sim,t4-sim
      flashsched compare softmax --devices all --html softmax.html
      flashsched compare matmul --devices a100-sim,t4-sim --price a100-sim=1.6 --price t4-sim=0.35
      flashsched compare tuning_logs/cpu/relu.jsonl --devices cpu,cpu-xeon,epyc-7763
    """
    from flashsched.tune.comparison.compare import compare_devices
    from flashsched.tune.comparison.picture import comparison_page, comparison_text
    from flashsched.tune.comparison.replayed import compare_log

    if sum((as_json, as_csv, html is not None)) > 1:
        raise click.UsageError("--json, --csv and --html exclude each other.")
    is_log = what.endswith(".jsonl") or (Path(what).is_file() and not what.endswith(".py"))
    with usage():
        names = _names(devices)
        costs = dict(map(_price, prices))
        words = option_words(options, bias, activation)
        named = workload if is_log else what
        task = find_task(named, shape, dtype, words) if named is not None else None
        if task is None or is_log:
            df = compare_log(what, names, task, prices=costs)
            title = f"the schedules of {what}"
        else:
            df = compare_devices(task, names, prices=costs)
            title = task_title(task)
    if as_json:
        tell(json.dumps({"what": title, "devices": _rows(df)}, allow_nan=False, indent=1))
    elif as_csv:
        tell(df.to_csv(index=False, lineterminator="\n"), end="")
    elif html is not None:
        with usage():
            page = comparison_page(df, title)
        try:
            html.write_text(page, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"error: cannot write {html}: {error.strerror}", USAGE) from None
        say(f"wrote {html}: {counted(len(df), 'device')}")
    else:
        tell(f"{title}\n\n{comparison_text(df)}")


def _names(text: str) -> str | list[str]:
    if text.strip() == "all":
        return "all"
    return [name.strip() for name in text.split(",") if name.strip()]


def _price(text: str) -> tuple[str, float]:
    device, equals, number = text.partition("=")
    try:
        price = float(number)
    except ValueError:
        price = math.nan
    if not equals or not price >= 0:
        raise click.UsageError(f"--price {text!r} is no DEVICE=X, as in a100-sim=1.6")
    return device.strip(), price


def _rows(df: pd.DataFrame) -> list[dict[str, object]]:
    """One object a row; what is not known is null."""
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in df.to_dict("records")
    ]
