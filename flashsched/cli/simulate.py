"""``flashsched simulate``: how long a workload would take on a device that need not be here, and what limits it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.progress import ProgressLine, progress_text
from flashsched.cli.run import NOTHING_FOUND, CommandError, say, tell, usage
from flashsched.cli.show import best_of_log
from flashsched.cli.tune import canonical_device
from flashsched.cli.workload import task_title, workload_options
from flashsched.tune.explaining.explain_text import bytes_text
from flashsched.tune.figures import figure_text, percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.hw import Prediction
    from flashsched.schedule import Schedule
    from flashsched.tune.task import Task

__all__ = ["simulate"]


@click.command(short_help="Predict the time of a workload on a device.")
@workload_options
@click.option("--device", required=True, metavar="NAME", help="The device; `flashsched devices` lists them.")
@click.option(
    "--trials", type=click.IntRange(min=1), default=64, metavar="N", help="Schedules to try for the best one."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of the search for it.")
@click.option(
    "--log", type=click.Path(path_type=Path), metavar="FILE", help="Take the best schedule of this log instead."
)
@click.option("--json", "as_json", is_flag=True, help="Put one JSON document on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def simulate(task: Task, device: str, trials: int, seed: int, log: Path | None, as_json: bool, quiet: bool) -> None:
    """Predict the time of WORKLOAD on a device, and what limits it, from a model of the device.

    The schedule is the best of --trials found for the device, or the best of --log. Nothing is measured and nothing
    is written.

    \b
    Examples:
      flashsched simulate matmul --shape 4096,4096,4096 --device a100-sim
      flashsched simulate matmul --dtype float16 --device a100-sim --trials 200
      flashsched simulate conv2d --device mine.toml --json
    """
    from flashsched.codegen.analysis.compiled import simulate_compiled
    from flashsched.hw import devices

    with usage():
        device = canonical_device(device)
        spec = devices.for_simulation(device)
        task.template(spec.kind)
    schedule = _from_log(log, task, device) if log is not None else _searched(task, device, trials, seed, quiet)
    found, registers = simulate_compiled(schedule, spec)
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


def _searched(task: Task, device: str, trials: int, seed: int, quiet: bool) -> Schedule:
    from flashsched.tune.tuner import tune

    if not quiet:
        say(f"searching schedules of {task_title(task)} for {device}: at most {trials} trials")
    with ProgressLine(quiet) as line:
        result = tune(task, device, trials, seed=seed, progress=lambda now: line.show(progress_text(now, task.flops)))
    if result.best is None:
        raise CommandError(
            f"error: no valid schedule of {task_title(task)} for {device}\n  {result.why_nothing()}", NOTHING_FOUND
        )
    return result.schedule().schedule


def _json(found: Prediction, task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    fields |= {"bytes": dict(found.bytes), "breakdown": dict(found.breakdown)}
    gflops = task.flops / found.time_s / 1e9 if found.time_s > 0 else None
    return {**fields, "share_of_roofline": found.share_of_roofline, "gflops": gflops, "source": "simulated"}


def _told(found: Prediction, task: Task, device: str, registers: str) -> str:
    rate = f"   {figure_text(task.flops / found.time_s / 1e9)} GFLOP/s" if task.flops and found.time_s > 0 else ""
    share = f"{percent_text(found.share_of_roofline)} of the roofline ({seconds_text(found.roofline_s)})"
    lines = [
        f"{task_title(task)} on {device}, simulated",
        "",
        f"  time         {seconds_text(found.time_s)}{rate}   {share}",
        f"  limited by   {found.bound}",
        f"  arithmetic   {percent_text(found.utilization)} of its peak",
        f"  occupancy    {percent_text(found.occupancy)}, limited by {found.occupancy_limit}; {found.waves:.3g} waves",
    ]
    if registers:
        lines.append(f"  registers    {registers}")
    lines.append(f"  to trust     {found.trust}")
    if found.energy_j is not None:
        lines.append(f"  energy       {found.energy_j:.3g} J")
    lines += ["", "  what each limit alone would take"]
    slowest_first = sorted(found.breakdown.items(), key=lambda item: -item[1])
    lines += [f"    {name:<22}{seconds_text(seconds):>10}" for name, seconds in slowest_first if seconds > 0]
    lines += ["", "  bytes moved"]
    lines += [f"    {name:<22}{bytes_text(moved):>10}" for name, moved in found.bytes.items()]
    return "\n".join(lines)
