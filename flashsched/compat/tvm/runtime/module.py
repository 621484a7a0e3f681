"""Compiled modules: ``mod(a, b, c)``, ``mod["name"]``, ``mod.time_evaluator(...)``, and files of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashsched.codegen.kernel import Kernel
from flashsched.compat.tvm.runtime.device import Device, require_cpu
from flashsched.compat.tvm.runtime.ndarray import NDArray
from flashsched.errors import KernelError, did_you_mean
from flashsched.te.dtypes import numpy_dtype

__all__ = ["BenchmarkResult", "Function", "Module", "ModuleTimer", "Order"]


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What was measured: *results* has the mean seconds of a call, one figure a repeat."""

    results: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean, in seconds."""
        return statistics.fmean(self.results)

    @property
    def median(self) -> float:
        """Their median, in seconds."""
        return statistics.median(self.results)

    @property
    def min(self) -> float:
        """The least, in seconds."""
        return min(self.results)

    @property
    def max(self) -> float:
        """The greatest, in seconds."""
        return max(self.results)

    @property
    def std(self) -> float:
        """Their standard deviation, in seconds."""
        return statistics.pstdev(self.results)

    def __str__(self) -> str:
        figures = (self.mean, self.median, self.max, self.min, self.std)
        heads = " ".join(f"{head:>12}" for head in ("mean (ms)", "median (ms)", "max (ms)", "min (ms)", "std (ms)"))
        return f"Execution time summary:\n{heads}\n{' '.join(f'{1e3 * figure:>12.4f}' for figure in figures)}"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Order:
    """Where what a kernel takes is among the arguments of a function.

    Attributes:
        places: for each input of the kernel, each size that it is passed, and each output the position of the argument.
        count: how many arguments there are.
    """

    places: tuple[int, ...]
    count: int


class Function:
    """A compiled function. ``f(a, b, c)`` fills the outputs among its arguments, and returns nothing, as in TVM."""

    def __init__(self, name: str, kernel: Kernel, order: Order) -> None:
        self.name, self.kernel, self.order = name, kernel, order

    def arguments(self, args: Sequence[Any]) -> list[Any]:
        """*args* as the kernel takes them: inputs, sizes, then outputs.

        Raises:
            KernelError: there are more or fewer than the function was built with.
        """
        if len(args) != self.order.count:
            raise KernelError(f"{self.name} takes {self.order.count} arguments, and {len(args)} were given")
        given = [args[place] for place in self.order.places]
        for n, param in enumerate(self.kernel.params):
            if not param.shape and not param.is_output and isinstance(given[n], bool | int | float):
                given[n] = np.array(given[n], numpy_dtype(param.dtype))
        return [arg.data if isinstance(arg, NDArray) else arg for arg in given]

    def __call__(self, *args: Any) -> None:
        self.kernel(*self.arguments(args))

    def __repr__(self) -> str:
        return f"Function({self.name})"


class ModuleTimer:
    """What `Module.time_evaluator` gives: called with a function's arguments, it times it."""

    def __init__(self, function: Function, number: int, repeat: int, min_repeat_ms: float, before: Any) -> None:
        self._function = function
        self._number, self._repeat, self._least_s, self._before = number, repeat, min_repeat_ms / 1e3, before

    def __call__(self, *args: Any) -> BenchmarkResult:
        run = self._function.kernel.bound(*self._function.arguments(args))
        number = self._number
        run(1)
        samples = []
        for _ in range(self._repeat):
            if self._before is not None:
                self._before(*args)
            while (seconds := run(number)) < self._least_s:
                number = math.ceil(number * max(min(self._least_s / max(seconds, 1e-9), 1e3), 1.5))
            samples.append(seconds / number)
        return BenchmarkResult(tuple(samples))


class Module:
    """Compiled functions by name; the module itself can be called where there is one (or as its first one)."""

    type_key = "llvm"
    entry_name = "__tvm_main__"

    def __init__(self, functions: dict[str, Function]) -> None:
        self.functions = functions
        self.imported_modules: list[Module] = []

    @property
    def name(self) -> str:
        """The name of its first function."""
        return next(iter(self.functions))

    @property
    def entry_func(self) -> Function:
        """The function that a call of the module runs."""
        return next(iter(self.functions.values()))

    def __call__(self, *args: Any) -> None:
        self.entry_func(*args)

    def __getitem__(self, name: str) -> Function:
        return self.get_function(name)

    def get_function(self, name: str, query_imports: bool = False) -> Function:
        """The function called *name*.

        Raises:
            KernelError: there is none.
        """
        if name == self.entry_name:
            return self.entry_func
        if name not in self.functions:
            raise KernelError(f"the module has no function {name!r}; {did_you_mean(name, self.functions)}")
        return self.functions[name]

    def implements_function(self, name: str, query_imports: bool = False) -> bool:
        """Whether there is a function called *name*."""
        return name == self.entry_name or name in self.functions

    def time_evaluator(
        self,
        func_name: str,
        dev: Device | None = None,
        number: int = 10,
        repeat: int = 1,
        min_repeat_ms: float = 0,
        limit_zero_time_iterations: int = 100,
        cooldown_interval_ms: int = 0,
        repeats_to_cooldown: int = 1,
        cache_flush_bytes: int = 0,
        f_preproc: Any = "",
    ) -> ModuleTimer:
        """What times a function: *repeat* samples of *number* calls in a compiled loop, after one call that warms up.

        *number* grows until a sample takes *min_repeat_ms*. *f_preproc* (a Python function, or the name of a registered
        one) is called before each sample.
        """
        require_cpu(dev)
        if number < 1 or repeat < 1:
            raise KernelError(f"number and repeat are at least 1, got {number} and {repeat}")
        if cache_flush_bytes or cooldown_interval_ms:
            raise NotImplementedError("time_evaluator: cache_flush_bytes and cooldown_interval_ms are not there")
        before: Callable[..., Any] | None = f_preproc if callable(f_preproc) else None
        if isinstance(f_preproc, str) and f_preproc:
            from flashsched.compat.tvm.runtime.packed_func import get_global_func

            before = get_global_func(f_preproc)
        return ModuleTimer(self.get_function(func_name), number, repeat, min_repeat_ms, before)

    def get_source(self, fmt: str = "") -> str:
        """The code as text: ``"ll"`` (LLVM, the default), ``"asm"`` or ``"s"`` (assembler)."""
        kernels = [function.kernel for function in self.functions.values()]
        if fmt in ("", "ll", "llvm"):
            return "\n".join(kernel.llvm_ir(optimized=True) for kernel in kernels)
        if fmt in ("asm", "s"):
            return "\n".join(kernel.asm() for kernel in kernels)
        raise KernelError(f"no source of form {fmt!r}", hint="ll or asm")

    def save(self, file_name: str, fmt: str = "") -> None:
        """Write the module to a file: its object code (``.o``), or text (``.ll``, ``.s``, ``.asm``)."""
        from flashsched.compat.tvm.runtime import library

        form = fmt or Path(file_name).suffix.lstrip(".")
        if form in ("ll", "s", "asm"):
            Path(file_name).write_text(self.get_source(form), encoding="utf-8")
        elif form in ("o", "obj"):
            library.write_object(self.functions, Path(file_name))
        else:
            raise KernelError(f"a module is saved as o, ll or s, not as {form!r}")

    def export_library(self, file_name: str, fcompile: Any = None, **kwargs: Any) -> None:
        """Write the module to a file that `load_module` reads; see `flashsched.compat.tvm.contrib.cc`."""
        from flashsched.compat.tvm.runtime import library

        library.export(self.functions, Path(file_name), fcompile)

    def import_module(self, module: Module) -> None:
        """Take another module's functions along."""
        self.imported_modules.append(module)

    def __repr__(self) -> str:
        return f"Module(llvm, {', '.join(self.functions)})"
