"""From LLVM text to functions at addresses, by way of the object cache.

`llvm` does the compiling, `object_cache` remembers its results, `threads` supplies the runtime that parallel code
calls; this file is the one call that a builder of kernels makes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from flashsched.codegen import conversions, llvm, object_cache, threads
from flashsched.codegen.target import Target
from flashsched.errors import KernelError, LoweringError

__all__ = ["MAX_LINES", "CompiledModule", "compile_module", "load_compiled"]

MAX_LINES = 60_000
"""Longest text handed to LLVM. Its time and memory grow faster than the text, and memory limits make it abort."""


@dataclass(frozen=True, eq=False)
class CompiledModule:
    """Machine code in memory, and the text that it came from. Its addresses hold for as long as it lives.

    Attributes:
        ir_text: the LLVM text as it was handed in.
        target: the CPU it was compiled for.
        from_cache: whether the object code came from the cache rather than from LLVM just now.
        jitted: whether LLVM loaded it into this process.
    """

    jitted: ClassVar[bool] = True

    ir_text: str
    target: Target
    from_cache: bool
    _loaded: llvm.LoadedObject = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The functions that can be called."""
        return tuple(self._loaded.addresses)

    def address(self, name: str) -> int:
        """Where function *name* starts.

        Raises:
            KernelError: the module defines no such function.
        """
        try:
            return self._loaded.addresses[name]
        except KeyError:
            raise KernelError(f"no function {name!r} in this module; it has {', '.join(self.names)}") from None

    @functools.cached_property
    def _optimized(self) -> Any:
        return llvm.optimize(self.ir_text, self.target)

    @property
    def optimized_ir(self) -> str:
        """LLVM text after LLVM's passes; worked out again where the object came from the cache."""
        return str(self._optimized)

    def asm(self) -> str:
        """Assembler text of the machine code."""
        return llvm.emit_assembly(self._optimized, self.target)


def compile_module(ir_text: str, target: Target, functions: Mapping[str, int] = MappingProxyType({})) -> CompiledModule:
    """Compile *ir_text* for *target* and load it; 15 ms and up, or about 0.5 ms from the object cache.

    The text may call `fs_parallel_for` (see `threads`), the C library and libm, glibc's libmvec, and *functions*, by
    address, which must live as long as the module. Each function is
    defined on one line that ends in ``{``; triple and data layout are set here.

    Raises:
        LoweringError: the text is too long, LLVM refuses it, or it calls a function that this process does not have.
    """
    lines = ir_text.count("\n")
    if lines > MAX_LINES:
        raise LoweringError(
            f"the code would be {lines} lines of LLVM text, and {MAX_LINES} is the limit",
            hint="unroll less, or vectorize what is unrolled",
        )
    code, from_cache = object_cache.object_code(ir_text, target)
    return load_compiled(code, ir_text, target, functions, from_cache=from_cache)


def load_compiled(
    code: bytes,
    ir_text: str,
    target: Target,
    functions: Mapping[str, int] = MappingProxyType({}),
    *,
    from_cache: bool = True,
) -> CompiledModule:
    """Load the object *code* that *ir_text* was compiled to for *target*; *functions* are what else it calls.

    Raises:
        LoweringError: it calls a function that this process does not have.
    """
    symbols = {**threads.symbols(ir_text), **conversions.symbols(code), **functions}
    return CompiledModule(ir_text, target, from_cache, llvm.load_object(code, ir_text, symbols))
