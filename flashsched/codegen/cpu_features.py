"""What LLVM knows of a CPU: whether it exists, and its instruction sets; asked of LLVM in a process of its own.

It stands apart from `target` because LLVM ends the process that hands it an x86 CPU name it does not know. This file
is therefore also a script, run by path, that imports nothing of flashsched.

LLVM prints the names of CPUs and features when it is asked for help, but has no call that lists a CPU's features. Its
inliner knows them: a function may be inlined into a caller only if the caller's CPU has every feature that the function
has. So one caller for the CPU in question calls one tiny function for each feature, which has that one alone of those
in question, and the calls that disappear name the features.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["CpuAnswer", "ask_cpu", "features_of"]


@dataclass(frozen=True, slots=True)
class CpuAnswer:
    """What LLVM knows for an architecture, and of one CPU of it.

    Attributes:
        cpus: the CPU names of the architecture.
        features: its feature names.
        has: of the features that were asked for, those that the CPU has; None where there is no such CPU.
    """

    cpus: tuple[str, ...]
    features: tuple[str, ...]
    has: frozenset[str] | None


def features_of(cpu: str) -> frozenset[str] | None:
    """The LLVM feature names of *cpu*, of this process's architecture; None where LLVM knows no such CPU.

    Starts a Python process, about 0.2 s.
    """
    answer = ask_cpu(None, cpu)
    return None if answer is None else answer.has


@functools.lru_cache(maxsize=64)
def ask_cpu(triple: str | None, cpu: str, plus: str = "", wanted: tuple[str, ...] = ()) -> CpuAnswer | None:
    """What LLVM knows of *cpu*; None where LLVM has no such architecture. Starts a Python process, about 0.2 s.

    Args:
        triple: of the architecture; None for this process's.
        cpu: a CPU's name.
        plus: features on top of those that the CPU has, LLVM's way: ``+v,-c``; all must exist.
        wanted: the features to ask for; by default those that LLVM can tell of the machine that it runs on.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", os.path.abspath(__file__), json.dumps([triple, cpu, plus, wanted])],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    cpus, features, has = json.loads(done.stdout)
    return CpuAnswer(tuple(cpus), tuple(features), None if has is None else frozenset(has))


def _answer(triple: str | None, cpu: str, plus: str, wanted: Iterable[str]) -> list[object]:
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple = triple or binding.get_process_triple()
    family = binding.Target.from_triple(triple)
    cpus, features = _names(lambda: family.create_target_machine(cpu="help"))
    if cpu not in cpus:
        return [cpus, features, None]
    asked = wanted or sorted(binding.get_host_cpu_features())
    return [cpus, features, _inlined(triple, family, cpu, plus, [name for name in asked if name in features])]


def _names(ask: Callable[[], object]) -> tuple[list[str], list[str]]:
    """The CPUs and the features that LLVM lists on the standard error stream when it is asked for help."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            ask()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        text = file.read().decode(errors="replace")
    first, _, second = text.partition("Available features")
    cpus, features = ([line.split()[0] for line in part.splitlines() if " - " in line] for part in (first, second))
    return cpus, features


def _inlined(triple: str, family: object, cpu: str, plus: str, wanted: list[str]) -> list[str]:
    import llvmlite.binding as binding

    without = ",".join(f"-{name}" for name in wanted if name != "64bit")  # which LLVM does not do without
    text = [
        f"""
        define internal i32 @"needs.{name}"(i32 %x) "target-cpu"="{cpu}" "target-features"="{without},{_with(name)}" {{
          %y = add i32 %x, 1
          ret i32 %y
        }}
        define i32 @"{name}"(i32 %x) "target-cpu"="{cpu}" "target-features"="{plus}" {{
          %y = call i32 @"needs.{name}"(i32 %x)
          ret i32 %y
        }}"""
        for name in wanted
    ]
    module = binding.parse_assembly("\n".join(text))
    machine = family.create_target_machine(cpu=cpu)  # type: ignore[attr-defined]
    module.triple, module.data_layout = triple, str(machine.target_data)
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(1))
    builder.getModulePassManager().run(module, builder)
    callers = [f for f in module.functions if not f.is_declaration and not f.name.startswith("needs.")]
    return [f.name for f in callers if "call" not in str(f)]


def _with(name: str) -> str:
    """*name* switched on; LLVM refuses a vector length of RISC-V without vectors."""
    return f"+zve32x,+{name}" if name.startswith("zvl") else f"+{name}"


if __name__ == "__main__":
    print(json.dumps(_answer(*json.loads(sys.argv[1]))))
