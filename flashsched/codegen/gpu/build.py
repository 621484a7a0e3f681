"""build_gpu: from a schedule to kernels for a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.codegen.emit import entry_name
from flashsched.codegen.gpu.kernel import GpuKernel
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.lower import GPU_PASSES, OnPass, program_of, run_passes
from flashsched.codegen.passes.combine_threads import combine_threads
from flashsched.codegen.signature import param_of
from flashsched.schedule.program import Program
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import Expr
from flashsched.te.external import ExternOp
from flashsched.te.tensor import Tensor

__all__ = ["build_gpu", "lower_gpu"]


def lower_gpu(
    schedule: Schedule,
    args: Sequence[Tensor | Expr] | None = None,
    name: str = "kernel",
    on_pass: OnPass | None = None,
    shuffles: bool = True,
) -> Program:
    """The program of *schedule* as code for a GPU is made of it: with its barriers, and trees in place of threads that
    combine into one element; warps have *shuffles* for that on NVIDIA's.

    Raises:
        KernelError: *args* leaves out an input or an output, or names something that is neither.
        LoweringError: the nest can't be run by a GPU.
    """
    program = program_of(schedule, args, name)
    reducers = {}
    for known in schedule.state.stages.values():
        whole = None if isinstance(known.now, ExternOp) else known.now.reduction
        if whole is not None:
            reducers[known.name] = whole.reducer
    return run_passes(program.with_body(combine_threads(program.body, reducers, shuffles)), GPU_PASSES, on_pass)


def build_gpu(
    schedule: Schedule, args: Sequence[Tensor | Expr] | None, arch: GpuArch, name: str = "kernel"
) -> GpuKernel:
    """Compile *schedule* for *arch*.

    Raises:
        KernelError: *args* leaves out an input or an output, or names something that is neither.
        LoweringError: the nest has no code on that GPU.
    """
    program = lower_gpu(schedule, args, name, shuffles=arch.is_nvidia)
    params = [param_of(buffer, output=False) for buffer in program.params]
    params += [param_of(buffer, output=True) for buffer in program.outputs]
    return GpuKernel(plan_of(program, entry_name(name).replace(".", "_")), arch, tuple(params))
