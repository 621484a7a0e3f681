"""A compiled kernel on its way to another process of the same machine, which need not lower it again.

What travels is the LLVM text, by which the object cache finds the code, and what a caller has to know of its arguments;
of a GPU's kernel its plan and its assembly.
Lowering takes as long as LLVM does, so who only calls a kernel saves half of a compilation.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.codegen.gpu.kernel import GpuKernel
from flashsched.codegen.gpu.plan import Plan
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.signature import Param
from flashsched.te.expr import Expr, SizeVar, Var

__all__ = ["GpuParcel", "Parcel", "opened", "parcel_of"]


@dataclass(frozen=True)
class Parcel:
    """What a kernel is made of, but for code at addresses. It pickles."""

    ir_text: str
    params: tuple[Param, ...]
    name: str
    scalars: tuple[Var, ...]
    needs: tuple[Expr, ...]
    passed: tuple[tuple[int, SizeVar], ...]
    may_lack_memory: bool
    brief: bool


@dataclass(frozen=True)
class GpuParcel:
    """What a GPU's kernel is made of, compiled. It pickles."""

    plan: Plan
    arch: GpuArch
    params: tuple[Param, ...]
    ir_text: str
    text: str


def parcel_of(kernel: Kernel) -> Parcel | GpuParcel | None:
    """*kernel*, packed; None for one that calls Python functions, which do not travel."""
    caller = kernel.caller
    if isinstance(kernel, GpuKernel):
        return GpuParcel(kernel.plan, kernel.arch, caller.params, kernel.module.ir_text, kernel.asm())
    if caller.externs is not None:
        return None
    return Parcel(
        kernel.module.ir_text, caller.params, kernel.name, caller.scalars, caller.needs, caller.passed,
        caller.may_lack_memory, caller.brief,
    )  # fmt: skip


def opened(parcel: Parcel | GpuParcel) -> Kernel:
    """The kernel, for arrays that are contiguous: its code from the object cache, or compiled again where that is off.
    A GPU's needs neither.

    Raises:
        LoweringError: as for a compilation.
    """
    if isinstance(parcel, GpuParcel):
        return GpuKernel(parcel.plan, parcel.arch, parcel.params, (parcel.ir_text, parcel.text))
    from flashsched.codegen.jit import compile_module
    from flashsched.codegen.target import host_target

    return Kernel(
        compile_module(parcel.ir_text, host_target()),
        parcel.params,
        parcel.name,
        scalars=parcel.scalars,
        needs=parcel.needs,
        passed=parcel.passed,
        may_lack_memory=parcel.may_lack_memory,
        brief=parcel.brief,
    )
