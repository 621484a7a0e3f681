"""A program compiled for a GPU: its code to look at, what it takes of the GPU, and calls where a GPU is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from flashsched.codegen import llvm
from flashsched.codegen.caller import Caller
from flashsched.codegen.gpu.driver import open_cuda
from flashsched.codegen.gpu.emit import emit_gpu, shared_bytes
from flashsched.codegen.gpu.plan import Launch, Plan
from flashsched.codegen.gpu.ptxas import Resources, assemble
from flashsched.codegen.gpu.run import DeviceArrays, Loaded
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.signature import Fit, Param, Signature
from flashsched.codegen.target import Target
from flashsched.errors import KernelError

__all__ = ["GpuKernel"]


@dataclass(frozen=True, eq=False)
class _GpuModule:
    """The LLVM text of a program's kernels, and what LLVM makes of it."""

    jitted: ClassVar[bool] = False

    ir_text: str
    target: Target
    made: str | None = None
    """The assembly, where another process compiled it."""

    @functools.cached_property
    def optimized(self) -> llvm.Module:
        return llvm.optimize(self.ir_text, self.target)

    @property
    def optimized_ir(self) -> str:
        return str(self.optimized)

    def address(self, name: str) -> int:
        return 0  # nowhere in this process

    @functools.cached_property
    def text(self) -> str:
        return self.made if self.made is not None else llvm.emit_assembly(self.optimized, self.target, ahead=True)

    def asm(self) -> str:
        return self.text


class GpuKernel(Kernel):
    """The kernels of a program for one GPU architecture.

    It is called as any kernel is, where a CUDA device is: the arrays are copied there, and the outputs back.

    Args:
        plan: the kernels, and how the host runs them.
        arch: the architecture.
        params: what it takes.
        made: its LLVM text and its assembly, where another process made them.
    """

    def __init__(
        self, plan: Plan, arch: GpuArch, params: tuple[Param, ...], made: tuple[str, str] | None = None
    ) -> None:
        program = plan.program
        self.plan, self.arch = plan, arch
        signature = Signature(params, program.scalars, program.needs, program.passed)
        ir_text, text = made or (emit_gpu(plan, arch), None)
        module: Any = _GpuModule(ir_text, arch.target, text)
        super().__init__(
            module,
            params,
            program.name,
            scalars=signature.scalars,
            needs=signature.needs,
            passed=signature.passed,
        )
        self.caller = _GpuCaller(self.caller, plan, arch)
        self.__call__ = self.caller  # type: ignore[method-assign]

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The kernels, in the order in which the host comes to them."""
        return self.plan.launches

    def ptx(self) -> str:
        """The PTX.

        Raises:
            KernelError: it is compiled for a GPU that has none.
        """
        if not self.arch.is_nvidia:
            raise KernelError(
                f"{self.name} is compiled for {self.arch.name}, which has no PTX",
                hint="asm() gives its assembly; build(..., target='cuda') makes PTX",
            )
        return self.asm()

    def object_code(self) -> bytes:
        """An ELF object, for AMD's GPUs; PTX is assembled by the driver.

        Raises:
            KernelError: it is compiled for NVIDIA's.
        """
        if self.arch.is_nvidia:
            raise KernelError(f"{self.name} is PTX, which the driver assembles", hint="ptx() gives it")
        module: Any = self.module
        return llvm.emit_object(module.optimized, self.arch.target, ahead=True)

    def shared_bytes(self, launch: Launch) -> int:
        """Bytes of shared memory that a block of *launch* has."""
        return shared_bytes(launch)[0]

    def resources(self) -> dict[str, Resources]:
        """What each kernel takes of the GPU, by its name, as ``ptxas`` says.

        Raises:
            KernelError: it is compiled for a GPU that has no PTX.
            LoweringError: there is no ptxas, or it refuses the code.
        """
        return assemble(self.ptx(), self.arch.name)

    def bound(self, *args: Any) -> Callable[[int], float]:
        """``run(calls) -> seconds`` on the device, by its own clock; the arrays are there already.

        Raises:
            KernelError: as for a call.
            DeviceError: there is no such device here.
        """
        caller = self.caller
        assert isinstance(caller, _GpuCaller)
        on_device = caller.arrays(*caller.fitted(args))
        on_device.start()
        on_device.fetch()
        return on_device.seconds

    def bind(self, *args: Any) -> NoReturn:
        """Refuse: what is bound is addresses of this machine's memory.

        Raises:
            KernelError: always.
        """
        raise self.caller.refusal("arrays are copied to a GPU with each call", "call it, or time it with bound()")

    def save(self, path: str | PathLike[str], *, header: bool | str | PathLike[str] = True, link: Any = ()) -> Path:
        """Write its code into a file: ``.ptx`` or ``.s`` (assembler text), ``.ll``, or ``.o`` for AMD's GPUs.

        Raises:
            KernelError: it is another sort of file.
        """
        target = Path(path)
        match target.suffix:
            case ".ptx":
                target.write_text(self.ptx())
            case ".s":
                target.write_text(self.asm())
            case ".ll":
                target.write_text(self.llvm_ir())
            case ".o":
                target.write_bytes(self.object_code())
            case _:
                raise KernelError(
                    f"a kernel for {self.arch.name} is not written into {target.name}",
                    hint="name a file .ptx, .s, .ll, or .o for AMD's GPUs",
                )
        return target

    def __repr__(self) -> str:
        return f"<GpuKernel {self.name} for {self.arch.name}: {', '.join(launch.name for launch in self.launches)}>"


class _GpuCaller(Caller):
    """Calls kernels by way of the driver."""

    def __init__(self, caller: Caller, plan: Plan, arch: GpuArch) -> None:
        self.__dict__.update(caller.__dict__)
        self._plan, self._arch = plan, arch
        self._known: Loaded | None = None

    def _loaded(self) -> Loaded:
        if self._known is not None:
            return self._known
        if not self._arch.is_nvidia:
            raise self.refusal(
                f"it is compiled for {self._arch.name}, and kernels are run on CUDA devices only",
                "save it (.s, .o) for a program that speaks to that GPU's driver",
            )
        device = open_cuda()
        if int(device.arch[3:]) < self._arch.capability:
            raise self.refusal(
                f"it is compiled for {self._arch.name}, and the device here, {device.name}, is {device.arch}",
                f"build it with target='cuda:{device.arch}'",
            )
        self._known = Loaded(self._plan, self.module.asm(), device)
        return self._known

    def arrays(self, args: tuple[Any, ...], fit: Fit) -> DeviceArrays:
        """The arrays *args* on the device."""
        _, arrays = self.examine(args, fit)
        scalars = self.scalar_values(fit, arrays)
        return DeviceArrays(self._loaded(), arrays, dict(zip(self.scalars, scalars, strict=True)))

    def called(self, args: tuple[Any, ...], fit: Fit) -> Any:
        """Run the kernels on what `fitted` gave."""
        on_device = self.arrays(args, fit)
        try:
            on_device.start()
            on_device.fetch()
        finally:
            on_device.close()
        return self.returned(args)
