"""Timing: a kernel called again and again by a compiled loop, so that Python costs nothing between two calls."""

from __future__ import annotations

import ctypes
import functools
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashsched.codegen.target import Target

__all__ = ["Timing", "repeater", "seconds_of"]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a kernel took.

    Attributes:
        times_s: seconds for one call, one figure for each sample.
        calls: calls in a sample, over which its figure is the mean.
    """

    times_s: tuple[float, ...]
    calls: int

    @property
    def median_s(self) -> float:
        """The median sample, in seconds for one call."""
        return statistics.median(self.times_s)

    def __str__(self) -> str:
        return f"{self.median_s * 1e6:.3g} us (median of {len(self.times_s)} samples of {self.calls} calls)"


@functools.cache
def repeater(arrays: int, scalars: int, may_lack_memory: bool, target: Target) -> Any:
    """A compiled loop that calls a kernel of so many pointers and scalars a number of times."""
    from flashsched.codegen.jit import compile_module

    kinds = ["ptr"] * arrays + ["i64"] * scalars + ["ptr"] * may_lack_memory
    load = "  %slot{0} = getelementptr ptr, ptr %arguments, i64 {0}\n  %a{0} = load {1}, ptr %slot{0}"
    loads = "\n".join(load.format(i, kind) for i, kind in enumerate(kinds))
    text = f"""
define void @repeat(ptr %kernel, ptr %arguments, i64 %times) {{
entry:
{loads}
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %kernel({", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))})
  %next = add i64 %turn, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""
    module = compile_module(text, target)
    run: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(module.address("repeat"))
    run.module = module  # its code must live as long as the function that points at it
    return run


def seconds_of(run: Any, entry: int, pointers: Any, calls: int) -> float:
    """Seconds that *calls* of the kernel at *entry* take by `repeater`'s loop *run*."""
    start = time.perf_counter()
    run(entry, pointers, calls)
    return time.perf_counter() - start
