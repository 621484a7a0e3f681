"""A kernel for a machine that this one is not: it can be looked at and saved, and says so when it is called."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from flashsched.codegen import llvm
from flashsched.codegen.caller import Caller
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.signature import Signature
from flashsched.codegen.target import Target

__all__ = ["CrossKernel"]


@dataclass(frozen=True, eq=False)
class _CrossModule:
    """LLVM text for another machine, as far as it can be translated here."""

    jitted: ClassVar[bool] = False

    ir_text: str
    target: Target

    @functools.cached_property
    def _optimized(self) -> Any:
        return llvm.optimize(self.ir_text, self.target)

    @property
    def optimized_ir(self) -> str:
        return str(self._optimized)

    def address(self, name: str) -> int:
        return 0  # nowhere: a kernel refuses before it calls what is there

    def asm(self) -> str:
        return llvm.emit_assembly(self._optimized, self.target, ahead=True)


class CrossKernel(Kernel):
    """A kernel compiled for another machine, which `save` writes into a file for it.

    Args:
        ir_text: its LLVM text.
        target: the machine.
        signature: what it takes.
        name: its function's name.
    """

    def __init__(self, ir_text: str, target: Target, signature: Signature, name: str) -> None:
        module: Any = _CrossModule(ir_text, target)
        super().__init__(
            module,
            signature.params,
            name,
            scalars=signature.scalars,
            needs=signature.needs,
            passed=signature.passed,
            may_lack_memory=signature.may_lack_memory,
        )

        self.caller = _CrossCaller(self.caller)
        self.__call__ = self.caller  # type: ignore[method-assign]


class _CrossCaller(Caller):
    """Refuses whatever it is to call."""

    def __init__(self, caller: Caller) -> None:
        self.__dict__.update(caller.__dict__)

    def fitted(self, args: tuple[Any, ...]) -> NoReturn:
        """Refuse, and so do calling, binding and timing, which all begin here.

        Raises:
            KernelError: always; the machine is not this one.
        """
        target = self.module.target
        file = f"lib{self.name}.so" if target.system in ("linux", "darwin") else f"{self.name}.o"
        raise self.refusal(
            f"it is compiled for {target.triple} ({target.cpu}), and this machine can't run that",
            f"write it into a file for that machine: kernel.save({file!r})",
        )
