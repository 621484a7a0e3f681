"""A compiled function that is called with arrays.

What a person holds: it is called, bound to arrays, timed and looked into. What a call does with its arguments is told
in `caller`, how it can cost next to nothing in `python_entry`, how text becomes machine code in `jit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from flashsched.codegen.arrays import pointer
from flashsched.codegen.bound import BoundKernel
from flashsched.codegen.caller import Caller
from flashsched.codegen.python_entry import function_for
from flashsched.codegen.repeat import Timing
from flashsched.codegen.signature import Fit, Param, Signature, Strides

if TYPE_CHECKING:
    from pathlib import Path

    from flashsched.codegen.externs import Externs
    from flashsched.codegen.jit import CompiledModule
    from flashsched.codegen.target import Target
    from flashsched.te.expr import Expr, SizeVar, Var

__all__ = ["BoundKernel", "Kernel", "Param", "Strides", "Timing"]


class Kernel:
    """A compiled function over arrays, whose shapes are fixed but for the sizes that a call's arrays decide.

    ``f(a, b, c)`` fills the output ``c`` and returns it; ``f(a, b)`` returns a fresh one. Inputs come first, then
    outputs; several outputs are returned as a tuple. An array is anything in CPU memory that speaks the buffer
    protocol or DLPack. The GIL is released while the kernel runs, unless it is *brief*.

    Args:
        module: the machine code; kept alive for as long as the kernel is.
        params: inputs, then outputs, in the order of the entry function's pointers.
        name: the entry function, ``void name(ptr, ptr, ..., i64, ...)`` with one pointer for each parameter, then
            *scalars*, then, if it *may_lack_memory*, a pointer to where it says how many bytes it could not have.
        specialize: makes the kernel for arrays that are not contiguous, given the strides of each parameter; it is
            asked once for each combination. Without it, such arrays are refused.
        externs: the Python functions that the code calls.
        scalars: sizes, found in the shapes of the arrays, and strides that are no numbers.
        needs: expressions of sizes that must not be below 0.
        passed: sizes that a call passes, too, each with its place among the arguments, before the outputs.
        may_lack_memory: whether the function asks for memory of its own.
        brief: whether it runs for a few microseconds at most: then other Python threads may wait for it.

    Raises:
        KernelError: on a call, for arguments that the kernel cannot take safely.
        WorkspaceError: on a call, where the kernel can't have the memory for what it computes on the way; the outputs
            then hold anything.
    """

    # A call of the instance is a call of what its slot holds: no Python function stands between.
    __slots__ = ("__call__", "__dict__", "__weakref__")

    if TYPE_CHECKING:

        def __call__(self, *args: Any) -> Any: ...

    def __init__(
        self,
        module: CompiledModule,
        params: Sequence[Param],
        name: str,
        specialize: Callable[[Strides], Kernel] | None = None,
        externs: Externs | None = None,
        *,
        scalars: Sequence[Var] = (),
        needs: Sequence[Expr] = (),
        passed: Sequence[tuple[int, SizeVar]] = (),
        may_lack_memory: bool = False,
        brief: bool = False,
    ) -> None:
        self.caller = Caller(
            module,
            params,
            name,
            specialize,
            externs,
            scalars=scalars,
            needs=needs,
            passed=passed,
            may_lack_memory=may_lack_memory,
            brief=brief,
        )
        self.module = module
        self.params = self.caller.params
        self.name = name
        self.__call__ = function_for(self.caller) or self.caller  # type: ignore[method-assign]

    @property
    def target(self) -> Target:
        """The CPU it was compiled for."""
        return self.module.target

    def or_else(self, otherwise: Callable[..., Any]) -> Callable[..., Any] | None:
        """A function that runs the kernel on arrays as it takes them, and calls *otherwise* for any other arguments.

        So a function of many shapes finds out whether this is the kernel by calling it. None where no call of the
        kernel is plain machine code (see `flashsched doctor`).
        """
        return function_for(self.caller, otherwise)

    def bind(self, *args: Any) -> BoundKernel:
        """The kernel together with *args*, which are looked at now and never again.

        ``g = f.bind(a, b, c)``, then ``g()`` is what ``f(a, b, c)`` is, for a tenth of a microsecond less with each
        array. Without outputs fresh ones are made now, and each call fills and returns the same.

        >>> import numpy as np
        >>> import flashsched as fs
        >>> from flashsched import te
        >>> A = te.placeholder((3,), name="A")
        >>> B = te.compute((3,), lambda i: A[i] + 1, name="B")
        >>> a = np.array([1, 2, 3], "float32")
        >>> g = fs.build(te.create_schedule(B), [A, B]).bind(a)
        >>> a[:] = 7
        >>> g()
        array([8., 8., 8.], dtype=float32)

        Raises:
            KernelError: as for a call.
        """
        return self._bind(*self.caller.fitted(args))

    def _bind(self, arguments: tuple[Any, ...], fit: Fit) -> BoundKernel:
        caller, arrays = self.caller.examine(arguments, fit)
        words = [*map(pointer, arrays), *caller.scalar_values(fit, arrays)]
        return BoundKernel(caller, words, self.caller.returned(arguments), arrays)

    def bound(self, *args: Any) -> Callable[[int], float]:
        """`bind` for those who time: ``run(calls) -> seconds`` for that many calls in a compiled loop.

        Raises:
            KernelError: as for a call.
        """
        return self.bind(*args).seconds

    def time(self, *args: Any, repeat: int = 10, min_time: float = 2e-3) -> Timing:
        """Time the kernel on *args*, outputs given or not, after one call that warms the caches and the threads up.

        Each of *repeat* samples calls the kernel in a compiled loop for at least *min_time* seconds, so what a sample
        holds besides the kernel is one indirect call a turn, about 1 ns. Nothing is subtracted.

        Raises:
            KernelError: as for a call, or *repeat* is below 1.
        """
        if repeat < 1:
            raise self.caller.refusal(f"repeat must be at least 1, got {repeat}")
        run = self.bound(*args)
        calls = 1
        run(1)
        while (seconds := run(calls)) < min_time:
            calls = max(2 * calls, min(1000 * calls, math.ceil(1.2 * calls * min_time / max(seconds, 1e-9))))
        samples = [seconds] + [run(calls) for _ in range(repeat - 1)]
        return Timing(tuple(sample / calls for sample in samples), calls)

    @property
    def signature(self) -> Signature:
        """All that it takes, and what it may answer."""
        of = self.caller
        return Signature(of.params, of.scalars, of.needs, of.passed, of.may_lack_memory)

    def save(
        self, path: str | PathLike[str], *, header: bool | str | PathLike[str] = True, link: Sequence[str] = ()
    ) -> Path:
        """Write it into a ``.so``, ``.o``, ``.bc``, ``.ll`` or ``.s`` for C and for `load_library`, with a C header.

        See `flashsched.save_library` for what the arguments mean and which errors are raised.
        """
        from flashsched.codegen.ahead.save import save_kernel

        return save_kernel(self, path, header=header, link=link)

    def llvm_ir(self, *, optimized: bool = False) -> str:
        """The LLVM text the kernel was compiled from, or what LLVM's passes made of it."""
        return self.module.optimized_ir if optimized else self.module.ir_text

    def asm(self) -> str:
        """The machine code, as assembler text."""
        return self.module.asm()

    def __repr__(self) -> str:
        outputs = ", ".join(map(str, self.caller.told[self.caller.inputs :]))
        return f"<Kernel {self.name}({self.caller.inputs_text()}) -> {outputs}>"
