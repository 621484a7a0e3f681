"""The threads behind `parallel`: a fork-join runtime of our own, written in LLVM text and compiled once per process.

`threads.ll` is the runtime itself; this file compiles it, tells it how many threads to use, and resets it in a forked
child. Compiled kernels call its one function::

    void fs_parallel_for(void (*task)(void *context, int64_t begin, int64_t end), void *context, int64_t n)

which covers 0..n with calls of *task*, each over a piece of the range, and returns when all are done. It runs the whole
range on the caller's thread when there is one thread, one turn, no worker to be had, or when the pool is busy, be it
with another thread's job or with the one that this call comes from. So it never waits for what waits for it.

Workers never run Python, start at the first parallel kernel, spin for a millisecond after a job and then sleep.
``FLASHSCHED_NUM_THREADS`` says how many threads run a kernel, the caller's among them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flashsched.codegen.target import Target, host_target
from flashsched.errors import KernelError
from flashsched.hw.host_probe import probe_host

__all__ = ["follow", "num_threads", "runtime_text", "set_num_threads", "symbols"]

MAX_THREADS = 1024
SPIN_NS = 1_000_000
"""How long an idle worker watches for the next job before it sleeps. Waking it costs 10 to 60 µs, and more where the
core itself has gone to sleep: a 512x512x512 matmul called after pauses took 1.15 ms with 50 µs here, and 1.05 ms with
1 ms, both medians, measured on a 2-core virtual machine."""

_lock = threading.Lock()
_asked: int | None = None
_followers: list[Callable[[int], object]] = []


def num_threads() -> int:
    """How many threads run a parallel kernel: as set, as ``FLASHSCHED_NUM_THREADS`` says, or one per usable core.

    Raises:
        KernelError: the variable holds something else than a whole number of at least 1.
    """
    if _runtime.cache_info().currsize:
        return int(_runtime().threads())
    if _asked is not None:
        return _asked
    said = os.environ.get("FLASHSCHED_NUM_THREADS", "").strip()
    if not said:
        return min(probe_host().cores, MAX_THREADS)
    if not said.isdecimal() or int(said) < 1:
        raise KernelError(
            f"FLASHSCHED_NUM_THREADS={said!r} is not a whole number of at least 1",
            hint="set it to a number of threads, or leave it unset to use every core",
        )
    return min(int(said), MAX_THREADS)


def set_num_threads(n: int) -> None:
    """Use *n* threads for parallel kernels from now on, in the whole process.

    Raises:
        KernelError: *n* is not between 1 and 1024.
    """
    global _asked
    if n not in range(1, MAX_THREADS + 1):
        raise KernelError(f"set_num_threads({n!r}): a number of threads lies between 1 and {MAX_THREADS}")
    with _lock:
        _asked = int(n)
        if _runtime.cache_info().currsize:
            _runtime().set_threads(_asked)
        for set_threads in _followers:
            set_threads(_asked)


def follow(set_threads: Callable[[int], object]) -> None:
    """Tell a library with threads of its own how many to use, now and whenever `set_num_threads` is called."""
    with _lock:
        _followers.append(set_threads)
    set_threads(num_threads())


def symbols(ir_text: str) -> Mapping[str, int]:
    """The runtime's functions that *ir_text* calls, by address; compiles the runtime when it is first asked for."""
    if "@fs_parallel_for" not in ir_text:
        return {}
    with _lock:
        return {"fs_parallel_for": _runtime().address}


def started_workers() -> int:
    """How many worker threads this process has started."""
    return int(_runtime().workers()) if _runtime.cache_info().currsize else 0


class _Runtime:
    """The compiled runtime: one in a process, and never unloaded, since workers stand in its code to the very end."""

    def __init__(self) -> None:
        from flashsched.codegen import llvm, object_cache  # here, since to ask for the number of threads needs no LLVM

        target = host_target()
        text = runtime_text(target)
        code, _ = object_cache.object_code(text, target)
        loaded = llvm.load_object(code, text, {})
        loaded.pin()
        found = loaded.addresses
        self.address = found["fs_parallel_for"]
        self.reset: Any = ctypes.CFUNCTYPE(None)(found["fs_reset"])
        self.threads: Any = ctypes.CFUNCTYPE(ctypes.c_int)(found["fs_threads"])
        self.workers: Any = ctypes.CFUNCTYPE(ctypes.c_int)(found["fs_workers"])
        self.set_threads: Any = ctypes.CFUNCTYPE(None, ctypes.c_int)(found["fs_set_threads"])
        self.set_threads(num_threads())
        self.reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.reset)


@functools.cache
def _runtime() -> _Runtime:
    return _Runtime()


_CORES_LINUX = """
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)

define internal void @say_core() {
  %here = call i32 @sched_getcpu()
  store atomic i32 %here, ptr @core monotonic, align 4
  ret void
}

; Linux may wake a worker on the core of the thread that woke it, and leave both there for 10 ms and more. A worker that
; finds itself there forbids itself that core, which moves it at once, and allows it again.
define internal void @avoid_core() {
entry:
  %mask = alloca [128 x i8], align 8
  %here = call i32 @sched_getcpu()
  %owner = load atomic i32, ptr @core monotonic, align 4
  %same = icmp eq i32 %here, %owner
  %known = icmp ult i32 %here, 1024
  %move = and i1 %same, %known
  br i1 %move, label %ask, label %done
ask:
  %asked = call i32 @sched_getaffinity(i32 0, i64 128, ptr %mask)
  %failed = icmp ne i32 %asked, 0
  br i1 %failed, label %done, label %leave
leave:
  %byte = lshr i32 %here, 3
  %bit = and i32 %here, 7
  %bit.8 = trunc i32 %bit to i8
  %set = shl i8 1, %bit.8
  %clear = xor i8 %set, -1
  %at = getelementptr i8, ptr %mask, i32 %byte
  %old = load i8, ptr %at
  %new = and i8 %old, %clear
  store i8 %new, ptr %at
  %left = call i32 @sched_setaffinity(i32 0, i64 128, ptr %mask)
  store i8 %old, ptr %at
  %back = call i32 @sched_setaffinity(i32 0, i64 128, ptr %mask)
  br label %done
done:
  ret void
}
"""
_CORES_ELSEWHERE = """
define internal void @say_core() {
  ret void
}

define internal void @avoid_core() {
  ret void
}
"""


_PAUSES = {  # the instruction that says that this thread only waits, and its parameter
    "x86_64": ("llvm.x86.sse2.pause", ""),
    "aarch64": ("llvm.aarch64.hint", "i32"),
    "arm64": ("llvm.aarch64.hint", "i32"),
}


def runtime_text(target: Target) -> str:
    """The runtime's text for *target*'s system; the numbers are those of its <signal.h> and <time.h>."""
    apple = target.system in ("darwin", "ios")
    crashes = (4, 5, 6, 8, 10 if apple else 7, 11)  # SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGBUS, SIGSEGV
    pause, parameter = _PAUSES.get(target.arch, ("llvm.sideeffect", ""))
    words = {
        "@PAUSE_NAME@": pause,
        "@PAUSE_TYPE@": parameter,
        "@PAUSE@": f"{pause}({parameter and f'{parameter} 1'})",
        "@UNBLOCK@": "\n  ".join(f"call i32 @sigdelset(ptr %all, i32 {signal})" for signal in crashes),
        "@SIG_SETMASK@": "3" if apple else "2",
        "@MAX_THREADS@": str(MAX_THREADS),
        "@CLOCK_MONOTONIC@": "6" if apple else "1",
        "@SPIN_NS@": str(SPIN_NS),
        "@CORES@": _CORES_LINUX if target.system == "linux" else _CORES_ELSEWHERE,
    }
    text = Path(__file__).with_name("threads.ll").read_text(encoding="utf-8")
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text
