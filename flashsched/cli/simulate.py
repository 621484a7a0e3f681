"""``flashsched simulate``: how long a workload would take on a device that need not be here, and what limits it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.progress import ProgressLine, progress_text
from flashsched.cli.run import NOTHING_FOUND, CommandError, say, tell, usage
from flashsched.cli.shared_options import json_option, quiet_option
from flashsched.cli.show import best_of_log
from flashsched.cli.tune import canonical_device
from flashsched.cli.workload import task_title, workload_options
from flashsched.errors import counted
from flashsched.tune.explaining.explain_text import bytes_text
from flashsched.tune.figures import figure_text, percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.hw import Prediction
    from flashsched.schedule import Schedule
    from flashsched.tune.result import Result
    from flashsched.tune.task import Task

__all__ = ["simulate"]


@click.command(short_help="Predict the time of a workload on a device.")
@workload_options
@click.option("--device", required=True, metavar="NAME", help="The device; `flashsched devices` lists them.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Take the best of N schedules instead.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the search for it.")
@click.option(
    "--log", type=click.Path(path_type=Path), metavar="FILE", help="Take the best schedule of this log instead."
)
@json_option
@quiet_option
def simulate(
    task: Task, device: str, trials: int | None, seed: int, log: Path | None, as_json: bool, quiet: bool
) -> None:
    """Predict the time of WORKLOAD on a device, and what limits it, from a model of the device.

    It is the time of the vendor's library, where there is a model of the operator on such a device. Elsewhere, or with
    --trials, it is that of the best schedule that a search finds, and with --log that of the log's best. The answer
    says which, and how far such predictions were off. Nothing is written, and nothing is measured, unless the search
    is for --device cpu.

    \b
    Examples:
      flashsched simulate matmul --shape 4096,4096,4096 --device a100-sim
      flashsched simulate matmul --dtype float16 --device a100-sim --trials 200
      flashsched simulate conv2d --device mine.toml --json
    """
    from flashsched.codegen.analysis.compiled import simulate_compiled
    from flashsched.hw import devices
    from flashsched.tune.comparison.simulate import TRIALS, library_prediction, searched

    if log is not None and trials is not None:
        raise click.UsageError("--log names schedules, and --trials searches some: give one of them.")
    with usage():
        device = canonical_device(device)
        spec = devices.for_simulation(device)
        found = library_prediction(task, spec) if log is None and trials is None else None
        if found is None:
            task.template(spec.kind)
    registers = ""
    if found is None and log is not None:
        found, registers = simulate_compiled(_from_log(log, task, device), spec)
        found = dataclasses.replace(found, how=f"best of {log}")
    elif found is None:
        if trials is None and not quiet:
            say(f"no operator model speaks of {task_title(task)} on {spec.name}, so schedules of ours are searched")
        result = _searched(task, device, TRIALS if trials is None else trials, seed, quiet)
        found, registers = simulate_compiled(result.schedule().schedule, spec)
        found = searched(found, result)
    if as_json:
        document = {"task": task.to_json(), "device": spec.name, **_json(found, task)}
        document |= {"registers": registers} if registers else {}
        tell(json.dumps(document, allow_nan=False, indent=1))
    else:
        tell(_told(found, task, spec.name, registers))


def _from_log(log: Path, task: Task, device: str) -> Schedule:
    from flashsched.schedule import Trace

    with usage():
        record = best_of_log(log, task, device)
        return task.replay(Trace.from_json(record.trace)).schedule


def _searched(task: Task, device: str, trials: int, seed: int, quiet: bool) -> Result:
    from flashsched.tune.tuner import tune

    if not quiet:
        say(f"searching schedules of {task_title(task)} for {device}: at most {counted(trials, 'trial')}")
    with ProgressLine(quiet) as line:
        result = tune(task, device, trials, seed=seed, progress=lambda now: line.show(progress_text(now, task.flops)))
    if result.best is None:
        raise CommandError(
            f"error: no valid schedule of {task_title(task)} for {device}\n  {result.why_nothing()}", NOTHING_FOUND
        )
    return result


def _json(found: Prediction, task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    fields |= {"bytes": dict(found.bytes), "breakdown": dict(found.breakdown)}
    fields |= {name: None for name in ("occupancy", "waves") if math.isnan(fields[name])}
    gflops = task.flops / found.time_s / 1e9 if found.time_s > 0 else None
    return {**fields, "share_of_roofline": found.share_of_roofline, "gflops": gflops, "source": "simulated"}


def _told(found: Prediction, task: Task, device: str, registers: str) -> str:
    rate = f"   {figure_text(task.flops / found.time_s / 1e9)} GFLOP/s" if task.flops and found.time_s > 0 else ""
    share = f"{percent_text(found.share_of_roofline)} of the roofline ({seconds_text(found.roofline_s)})"
    lines = [
        f"{task_title(task)} on {device}, simulated: {_whose(found)}",
        "",
        f"  time         {seconds_text(found.time_s)}{rate}   {share}",
        f"  limited by   {found.bound}",
        f"  arithmetic   {percent_text(found.utilization)} of its peak",
    ]
    if not math.isnan(found.occupancy):
        held = f"{percent_text(found.occupancy)}, limited by {found.occupancy_limit}"
        lines.append(f"  occupancy    {held}; {found.waves:.3g} waves")
    if registers:
        lines.append(f"  registers    {registers}")
    lines.append(f"  to trust     {found.trust}")
    if found.note:
        lines.append(f"  but          {found.note}")
    if found.energy_j is not None:
        lines.append(f"  energy       {found.energy_j:.3g} J")
    lines += ["", "  what each limit alone would take"]
    slowest_first = sorted(found.breakdown.items(), key=lambda item: -item[1])
    lines += [f"    {name:<22}{seconds_text(seconds):>10}" for name, seconds in slowest_first if seconds > 0]
    lines += ["", "  bytes moved"]
    lines += [f"    {name:<22}{bytes_text(moved):>10}" for name, moved in found.bytes.items()]
    return "\n".join(lines)


def _whose(found: Prediction) -> str:
    """Whose time it is, in words."""
    if found.how.startswith("library"):
        return f"the vendor's {found.how}"
    return found.how
