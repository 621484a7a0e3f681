"""What a GPU's assembler says of a schedule's kernels, in place of what was estimated of their registers.

Compiling takes a tenth of a second and more, so a search goes by the estimate, and whoever looks at one schedule asks
the assembler.
"""

from __future__ import annotations

from flashsched.codegen.analysis.works import nest_works, simulate
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.ptxas import Resources, find_ptxas
from flashsched.codegen.gpu.target import arch_of
from flashsched.errors import DeviceError, LoweringError
from flashsched.hw import DeviceSpec, Prediction
from flashsched.schedule.schedule import Schedule

__all__ = ["assembled", "simulate_compiled"]


def assembled(schedule: Schedule, spec: DeviceSpec) -> list[Resources] | str:
    """What each kernel of *schedule* takes on *spec*, in the order in which they run; why that is not known, else."""
    if spec.gpu is None or spec.vendor != "NVIDIA":
        return f"{spec.name} is not of NVIDIA's"
    if find_ptxas() is None:
        return "ptxas is not installed"
    try:
        kernel = build_gpu(schedule, None, arch_of(spec))
        found = kernel.resources()
    except (DeviceError, LoweringError) as error:
        return error.reason
    return [found[launch.name] for launch in kernel.launches]


def simulate_compiled(schedule: Schedule, spec: DeviceSpec) -> tuple[Prediction, str]:
    """As `simulate`, by the registers that the assembler counts where there is one; and a sentence that says which.

    Raises:
        DeviceError, Infeasible, LoweringError: as `simulate`.
    """
    if spec.gpu is None:
        return simulate(schedule, spec), ""
    estimated = [work.registers_per_thread for work in nest_works(schedule, spec)]
    shown = ", ".join(map(str, estimated))
    found = assembled(schedule, spec)
    if isinstance(found, str) or len(found) != len(estimated):
        why = found if isinstance(found, str) else "kernels and nests differ"
        return simulate(schedule, spec), f"{shown} a thread, estimated ({why})"
    counted = [used.registers for used in found]
    spilled = sum(used.spill_store_bytes + used.spill_load_bytes for used in found)
    spills = f", {spilled} bytes spilled" if spilled else ""
    told = f"{', '.join(map(str, counted))} a thread by ptxas for {found[0].arch}{spills} ({shown} estimated)"
    return simulate(schedule, spec, counted), told
