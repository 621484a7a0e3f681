"""build: from a schedule to a kernel that can be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, overload

from flashsched.codegen.brief import is_brief
from flashsched.codegen.cross_target import target_for
from flashsched.codegen.externs import Externs
from flashsched.codegen.gpu.target import gpu_arch
from flashsched.codegen.kernel import Kernel, Param, Strides
from flashsched.codegen.lower import CPU_PASSES, lower, program_of, run_passes
from flashsched.codegen.signature import Signature, param_of
from flashsched.errors import DeviceError
from flashsched.schedule.external import with_buffers
from flashsched.schedule.program import Program
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import Expr, SizeVar
from flashsched.te.tensor import Tensor

if TYPE_CHECKING:
    from flashsched.codegen.gpu.kernel import GpuKernel
    from flashsched.codegen.target import Target

__all__ = ["build", "build_program"]


@overload
def build(
    schedule: Schedule, args: Sequence[Tensor | Expr] | None, target: Literal["cuda", "amdgpu"], name: str = "kernel"
) -> GpuKernel: ...


@overload
def build(
    schedule: Schedule,
    args: Sequence[Tensor | Expr] | None = None,
    target: str = "cpu",
    name: str = "kernel",
    *,
    specialize: Sequence[Mapping[SizeVar, int]] = (),
    check_bounds: bool = False,
) -> Kernel: ...


def build(
    schedule: Schedule,
    args: Sequence[Tensor | Expr] | None = None,
    target: str = "cpu",
    name: str = "kernel",
    *,
    specialize: Sequence[Mapping[SizeVar, int]] = (),
    check_bounds: bool = False,
) -> Kernel:
    """Compile *schedule* into a kernel, for this machine or for another.

    Args:
        schedule: what to compile.
        args: what the caller passes: inputs (tensors, scalars, and sizes that are to be passed), then outputs; by
            default all tensors and scalars, inputs in the order in which they are first read.
        target: ``"cpu"``, this machine (``FLASHSCHED_TARGET`` chooses among its instruction sets), or one that need not
            be here, to `save` for: ``"x86-64-v3"``, ``"aarch64-linux-gnu"``, ``"aarch64-linux-gnu:neoverse-v1"``,
            ``"riscv64-linux-gnu+v"``, ``"wasm32-wasi"``; see `flashsched.codegen.cross_target.target_for`. A nest for
            a GPU runs here, too: its blocks in parallel, the threads of a block one after another. ``"cuda"``,
            ``"cuda:sm_90"``, ``"amdgpu:gfx942"`` or the name of a simulated GPU (``"a100-sim"``) is a GPU's own code: a
            `flashsched.codegen.gpu.kernel.GpuKernel`, whose ``ptx()`` shows it, and which runs where a CUDA device is.
        name: the kernel's name.
        specialize: choices of sizes, ``[{n: 512}, {n: 1024}]``, for which the kernel gets code of its own, in which
            they are numbers. A call takes the first that fits, else the code for any size.
        check_bounds: look at each index that is read from memory (``A[B[i]]``), and raise a KernelError when the kernel
            is done if one lay outside. Without it such an index is trusted: one outside reads memory that is not A's.

    Raises:
        KernelError: *args* leaves out an input or an output, or names something that is neither.
        LoweringError: the nest cannot be compiled.
        DeviceError: *target* is no device that kernels are compiled for.
    """
    gpu = None if target == "cpu" else gpu_arch(target)
    if gpu is not None:
        if specialize or check_bounds:
            raise DeviceError(f"specialize and check_bounds are for kernels of a CPU, and {target!r} is a GPU")
        from flashsched.codegen.gpu.build import build_gpu

        return build_gpu(schedule, args, gpu, name)
    cpu = target_for(target)
    if not check_bounds:
        return build_program(lower(schedule, args, name, passes=CPU_PASSES, specialize=specialize), cpu)
    if cpu is not None and not cpu.runs_here:
        raise DeviceError(
            f"check_bounds is for kernels that are called from Python, and {target!r} is another machine",
            hint="check the indices on this machine (target='cpu'), and build without check_bounds for the other",
        )
    from flashsched.codegen.checked import CheckedKernel, with_checks

    plain = [title for title, _ in CPU_PASSES].index("open_blocks") + 1
    program, sites = with_checks(run_passes(program_of(schedule, args, name), CPU_PASSES[:plain]))
    program = run_passes(program, CPU_PASSES[plain:])
    kernel = build_program(program, cpu)
    return CheckedKernel(kernel, sites) if sites else build_program(lower(schedule, args, name, passes=CPU_PASSES), cpu)


def build_program(program: Program, target: Target | None = None) -> Kernel:
    """Compile a lowered program for *target*, by default this machine.

    For a machine that this one can't stand in for, the kernel can be looked at and saved, and not be called.
    Arrays that are not contiguous get a variant of it, compiled when they first come.
    """
    from flashsched.codegen.emit import emit, entry_name
    from flashsched.codegen.emit_storage import may_lack_memory
    from flashsched.codegen.jit import compile_module
    from flashsched.codegen.target import host_target

    cpu = host_target() if target is None else target
    if target is not None and not target.runs_here:
        from flashsched.codegen.cross_kernel import CrossKernel

        signature = Signature(
            tuple(_params(program)), program.scalars, program.needs, program.passed, may_lack_memory(program.body)
        )
        return CrossKernel(emit(program, target), target, signature, entry_name(program.name))
    externs = Externs(program)
    module = compile_module(emit(program, cpu), cpu, externs.symbols)

    def specialize(strides: Strides) -> Kernel:
        return build_program(_with_strides(program, strides), target)

    return Kernel(
        module,
        _params(program),
        entry_name(program.name),
        specialize,
        externs,
        scalars=program.scalars,
        needs=program.needs,
        passed=program.passed,
        may_lack_memory=may_lack_memory(program.body),
        brief=is_brief(program.body),
    )


def _params(program: Program) -> list[Param]:
    inputs = [param_of(buffer, output=False) for buffer in program.params]
    return inputs + [param_of(buffer, output=True) for buffer in program.outputs]


def _with_strides(program: Program, strides: Strides) -> Program:
    """*program* for arrays whose elements lie *strides* apart."""
    given = (*program.params, *program.outputs)
    new = {old: replace(old, strides=apart) for old, apart in zip(given, strides, strict=True)}

    inputs = tuple(new[b] for b in program.params)
    return replace(
        program, params=inputs, outputs=tuple(new[b] for b in program.outputs), body=with_buffers(program.body, new)
    )
