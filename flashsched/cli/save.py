"""``flashsched save``: a workload compiled into a file, for C, for Python without LLVM, or for another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashsched.cli.run import USAGE, CommandError, say, tell, usage
from flashsched.cli.show import find_candidate
from flashsched.cli.tune import canonical_device
from flashsched.cli.workload import task_title, workload_options

if TYPE_CHECKING:
    from flashsched.tune.task import Task

__all__ = ["save"]


@click.command(short_help="Compile a workload into a file, for C or another machine.")
@workload_options
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--target", default="cpu", metavar="NAME", help="The machine: cpu, x86-64-v3, aarch64-linux-gnu, ...")
@click.option("--name", metavar="NAME", help="The C function's name.  [default: the workload's]")
@click.option("--header/--no-header", default=True, help="Write a C header beside it.")
@click.option("--device", default="cpu", metavar="NAME", help="The CPU that it is scheduled for.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Take the best schedule of this log.")
def save(task: Task, path: Path, target: str, name: str | None, header: bool, device: str, log: Path | None) -> None:
    """Compile WORKLOAD into the file PATH, whose ending says what it is: a shared library (.so, .dylib), an object
    file (.o, .obj), LLVM's bitcode (.bc) or text (.ll), or assembler text (.s); and write a C header beside it.

    The schedule is the best one of --log, or else the first choice of the operator's template. A shared library is
    loaded in Python by fs.load_library, without LLVM.

    \b
    Examples:
      flashsched save matmul libmm.so --shape 512,512,512 --log runs/matmul.jsonl --name mm
      flashsched save matmul libmm.so --shape 512,512,512 --target x86-64-v3
      flashsched save relu relu.o --shape 4096,4096 --target aarch64-linux-gnu:neoverse-v1
      flashsched save conv2d conv.o --target wasm32-wasi --no-header
    """
    from flashsched.codegen.ahead.save import save_library
    from flashsched.codegen.build import build
    from flashsched.hw import devices

    with usage():
        device = canonical_device(device)
        if devices[device].kind != "cpu":
            raise CommandError(
                f"error: {device} is no CPU, and kernels are saved for CPUs\n"
                "  hint: --device names the CPU that the schedule is for, cpu by default",
                USAGE,
            )
        candidate, origin = find_candidate(task, device, log)
        kernel = build(candidate.schedule, candidate.args, target=target, name=name or task.op)
        called = name or "".join(letter if letter.isalnum() else "_" for letter in kernel.name)
        written = save_library(path, {called: kernel}, header=header)
    say(f"# {task_title(task)} for {kernel.target.triple} ({kernel.target.cpu}): {origin}")
    tell(str(written))
