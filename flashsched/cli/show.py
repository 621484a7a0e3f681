"""``flashsched show``: a workload at every stage on its way from expressions to machine code."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.run import USAGE, CommandError, say, tell, usage
from flashsched.cli.tune import canonical_device, spec_of
from flashsched.cli.workload import task_title, workload_options
from flashsched.errors import Infeasible, ScheduleError
from flashsched.tune.figures import seconds_text

if TYPE_CHECKING:
    from flashsched.schedule.program import Program
    from flashsched.tune.logs.record import Record
    from flashsched.tune.task import Candidate, Task

__all__ = ["best_of_log", "find_candidate", "show"]

_CODE = ("llvm", "llvm-optimized", "asm", "ptx")
_STAGES = ("te", "python", "loops", "lowered", *_CODE, "stablehlo")
_TRIES = 200  # draws for a schedule that is possible, where the template's first choice is not


@click.command(short_help="Show a workload at any stage, from expressions to asm.")
@workload_options
@click.option("--stage", type=click.Choice(_STAGES), default="loops", help="What to look at.")
@click.option("--passes", is_flag=True, help="Show the nest after each lowering pass, with its time.")
@click.option("--device", default="cpu", metavar="NAME", help="The device that it is scheduled for.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Show the best schedule of this log.")
def show(task: Task, stage: str, passes: bool, device: str, log: Path | None) -> None:
    """Show WORKLOAD at one stage of its way: te (expressions), python (the schedule as a program), loops (the
    scheduled nest), lowered (after all passes), llvm, llvm-optimized, asm; for a GPU, asm and ptx are its own code;
    stablehlo is what XLA takes for a TPU, of the expressions alone.

    The schedule is the best one of --log, or else the first choice of the operator's template, before any tuning.

    \b
    Examples:
      flashsched show matmul --stage te
      flashsched show matmul --shape 512,512,512 --log tuning_logs/cpu/matmul.jsonl
      flashsched show matmul --shape 64,64,64 --passes
      flashsched show relu --stage asm | less
      flashsched show matmul --device a100-sim --stage ptx
    """
    from flashsched.codegen.lower import lower

    with usage():
        device = canonical_device(device)
        if stage == "te":
            tell(task.text.replace("; ", "\n"))
            return
        if stage == "stablehlo":
            from flashsched.codegen.stablehlo import to_stablehlo

            tell(to_stablehlo(task.args()).rstrip())
            return
        if stage in _CODE:
            _require_code(device, stage)
        candidate, origin = find_candidate(task, device, log)
    say(f"# {task_title(task)} on {device}: {origin}")
    if passes:
        for text in _each_pass(candidate, task.op):
            tell(text)
    elif stage == "python":
        tell(candidate.schedule.to_python().rstrip())
    elif stage == "loops":
        tell(str(candidate.schedule))
    elif stage == "lowered":
        tell(_text(lower(candidate.schedule, candidate.args, task.op)))
    else:
        with usage():
            tell(_code(candidate, device, stage, task.op))


def _require_code(device: str, stage: str) -> None:
    """Refuse a *stage* of machine code for a device that there is none for."""
    if spec_of(device).gpu is None and (device != "cpu" or stage == "ptx"):
        what = "has no PTX" if device == "cpu" else "is simulated, and no code is made for it"
        raise CommandError(
            f"error: {device} {what}\n  hint: --stage lowered is as far as it goes; CPUs (--device cpu, --stage asm) "
            "and GPUs (--device a100-sim, --stage ptx) have machine code",
            USAGE,
        )


def _code(candidate: Candidate, device: str, stage: str, name: str) -> str:
    """The code of *candidate* for *device* at a stage of `_CODE`."""
    from flashsched.codegen.build import build
    from flashsched.codegen.gpu.build import build_gpu
    from flashsched.codegen.gpu.target import arch_of, gpu_arch

    spec = spec_of(device)
    if spec.gpu is None:
        kernel = build(candidate.schedule, candidate.args, name=name)
    else:
        kernel = build_gpu(candidate.schedule, candidate.args, gpu_arch(device) or arch_of(spec), name)
        if stage == "ptx":
            return kernel.ptx()
    return kernel.asm() if stage == "asm" else kernel.llvm_ir(optimized=stage == "llvm-optimized")


def find_candidate(task: Task, device: str, log: Path | None) -> tuple[Candidate, str]:
    """The schedule of *task* for *device*, the best of *log* or the template's choice, and where it comes from."""
    from flashsched.schedule import Trace
    from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs

    if log is None:
        spec, rng = spec_of(device), random.Random(0)
        try:
            return task.candidate(FirstKnobs(), spec), "the template's first choice, not tuned"
        except Infeasible as reason:
            for _ in range(_TRIES):
                with contextlib.suppress(Infeasible, ScheduleError):
                    found = task.candidate(RandomKnobs(rng), spec)
                    return found, f"a random choice, as the template's first is not possible ({reason.reason})"
            raise
    record = best_of_log(log, task, device)
    took = f"{seconds_text(record.median_s)}, {record.source}"
    return task.replay(Trace.from_json(record.trace)), f"trial {record.trial} of {log} ({took})"


def best_of_log(log: Path, task: Task, device: str) -> Record:
    """The best record of *task* for *device*, as `flashsched.load` chooses it.

    Raises:
        NoRecordError: the log has none.
    """
    from flashsched.tune.load import best_record

    return best_record(log, task, device)


def _each_pass(candidate: Candidate, name: str) -> Iterator[str]:
    """The program before the passes and after each, or that a pass changed nothing."""
    from flashsched.codegen.lower import lower, program_of

    before = _text(program_of(candidate.schedule, candidate.args, name))
    parts = [f"== scheduled ==\n{before}"]

    def on_pass(title: str, program: Program, seconds: float) -> None:
        nonlocal before
        after = _text(program)
        parts.append(f"\n== {title} ({seconds_text(seconds)}) ==\n{'(unchanged)' if after == before else after}")
        before = after

    lower(candidate.schedule, candidate.args, name, on_pass)
    yield from parts


def _text(program: Program) -> str:
    from flashsched.schedule.printer import program_text

    return program_text(program)
