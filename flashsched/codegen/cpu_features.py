"""Which instruction sets a CPU of a given name has, asked of LLVM in a process of its own.

It stands apart from `target` because LLVM ends the process that hands it an x86 CPU name it does not know. This file
is therefore also a script, run by path, that imports nothing of flashsched.

LLVM has no call that lists a CPU's features, but its inliner knows them: a function may be inlined into a caller only
if the caller's CPU has every feature that the function asks for. So one caller for the CPU in question calls one tiny
function for each feature, and the calls that disappear name the features.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

__all__ = ["features_of"]

_BASELINE = {"x86_64": "x86-64", "aarch64": "generic", "arm64": "generic"}


def features_of(cpu: str) -> frozenset[str] | None:
    """The LLVM feature names of *cpu*, of this process's architecture; None where LLVM knows no such CPU.

    Starts a Python process, about 0.2 s.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        answer = subprocess.run(
            [sys.executable, "-P", os.path.abspath(__file__), cpu],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0 or "not a recognized processor" in answer.stderr:
        return None
    return frozenset(json.loads(answer.stdout))


def _inlined(cpu: str) -> list[str]:
    import llvmlite.binding as binding

    binding.initialize_native_target()
    triple = binding.get_process_triple()
    base = _BASELINE.get(triple.split("-")[0], "generic")
    text = [
        f"""
        define internal i32 @"needs.{name}"(i32 %x) "target-cpu"="{base}" "target-features"="+{name}" {{
          %y = add i32 %x, 1
          ret i32 %y
        }}
        define i32 @"{name}"(i32 %x) "target-cpu"="{cpu}" {{
          %y = call i32 @"needs.{name}"(i32 %x)
          ret i32 %y
        }}"""
        for name in sorted(binding.get_host_cpu_features())
    ]
    module = binding.parse_assembly("\n".join(text))
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=base)
    module.triple, module.data_layout = triple, str(machine.target_data)
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(1))
    builder.getModulePassManager().run(module, builder)
    callers = [f for f in module.functions if not f.is_declaration and not f.name.startswith("needs.")]
    return [f.name for f in callers if "call" not in str(f)]


if __name__ == "__main__":
    print(json.dumps(_inlined(sys.argv[1])))
