"""What this machine's cores and memory really do, timed with small kernels of LLVM text.

`hw` keeps the figures and makes a device of them (`hw.host`); it takes numbers only, so the code that has to be
generated to get them is here. A probe takes one to two seconds, and `measured` takes them once a machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.codegen import threads
from flashsched.codegen.jit import CompiledModule, compile_module
from flashsched.codegen.target import Target, host_target
from flashsched.hw.host import Measured, host_fingerprint, load_measured, save_measured, used_host
from flashsched.hw.host_probe import Host

__all__ = ["measure", "measured"]

_SAMPLE_S = 3e-3
_SAMPLES = 7
_DRAM_SAMPLES = 3
_SETTLE_SAMPLES = 60
_MOST_DRAM_BYTES = 1 << 30
_BITS = {"float": 32, "double": 64}
_DTYPES = {"float32": "float", "float64": "double"}


@functools.cache
def measured() -> Measured:
    """This machine's figures: those saved before, or measured now and saved where that is possible.

    Under ``FLASHSCHED_TARGET`` they are those of the lesser CPU that it names, and saved as such.
    """
    known = load_measured()
    if known is None:
        known = measure()
        with contextlib.suppress(OSError):
            save_measured(known)
    return known


def measure() -> Measured:
    """Time this machine, whatever was saved; 1 to 2 s, during which other work on the machine shows.

    The FMA peak is that of a loop over registers only, two operations a fused multiply-add. Bandwidth is that of a read
    loop over a working set that fits half of the level (twice the last cache, for ``dram``); ``dram_copy`` counts the
    bytes read and the bytes written. Figures are the best of several samples; "all" is one thread a core.
    """
    host, target = used_host(), host_target()
    before = threads.num_threads()
    threads.set_num_threads(host.cores)
    try:
        probe = _Probe(compile_module(_text(target), target), host.cores)
        probe.run("fma_float32", 0, _SAMPLES * 2)  # lets the clock settle
        probe.run_all("fma_float32", 0, _SETTLE_SAMPLES)  # and new threads come to cores of their own
        peaks = {name: probe.run(f"fma_{name}", 0) for name in _DTYPES}
        peaks_all = {name: probe.run_all(f"fma_{name}", 0) for name in _DTYPES}
        flops = {name: 2.0 * _accumulators(target) * (target.vector_bits // _BITS[t]) for name, t in _DTYPES.items()}
        one, every = _bandwidths(probe, host)
    finally:
        threads.set_num_threads(before)
    return Measured(
        fingerprint=host_fingerprint(host),
        cores=host.cores,
        fma_flops={name: flops[name] * peaks[name].best for name in _DTYPES},
        fma_flops_all={name: flops[name] * peaks_all[name].best for name in _DTYPES},
        bandwidth=one,
        bandwidth_all=every,
        noise=peaks["float32"].noise,
    )


@dataclass(frozen=True, slots=True)
class _Rates:
    """Turns a second of a kernel's loop, one figure a sample."""

    samples: list[float]

    @property
    def best(self) -> float:
        return max(self.samples)

    @property
    def noise(self) -> float:
        low, middle, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / 2 / middle


class _Probe:
    """The compiled kernels, and the memory that they go over."""

    def __init__(self, module: CompiledModule, cores: int) -> None:
        self._module = module
        self._cores = cores
        task = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._tasks: dict[str, Any] = {name: task(module.address(name)) for name in module.names if name != "all"}
        self._all: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(module.address("all"))
        self.memory = np.ones(0, np.uint8)

    def run(self, name: str, bytes: int, samples: int = _SAMPLES) -> _Rates:
        """One core runs kernel *name* over *bytes* of memory."""
        return self._rates(lambda context: self._tasks[name](context, 0, 1), bytes, samples)

    def run_all(self, name: str, bytes: int, samples: int = _SAMPLES, tasks: int = 4) -> _Rates:
        """All cores run kernel *name*, each over *bytes* of its own, in *tasks* runs a core.

        Several runs a core, so that on a busy machine a thread that starts late still takes part.
        """
        address = self._module.address(name)
        rates = self._rates(lambda context: self._all(address, context, self._cores * tasks), bytes, samples)
        return _Rates([rate * self._cores * tasks for rate in rates.samples])

    def _rates(self, run: Callable[[Any], None], bytes: int, samples: int) -> _Rates:
        context = (ctypes.c_int64 * 4)(1, self.memory.ctypes.data, bytes, self._cores)
        while (seconds := _seconds(run, context)) < _SAMPLE_S:
            context[0] *= max(2, min(1000, int(1.2 * _SAMPLE_S / max(seconds, 1e-8))))
        return _Rates([context[0] / _seconds(run, context) for _ in range(samples)])


def _seconds(run: Callable[[Any], None], context: Any) -> float:
    start = time.perf_counter()
    run(context)
    return time.perf_counter() - start


def _bandwidths(probe: _Probe, host: Host) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes a second by level, of one core and of all."""
    sets = {
        name: (size // 2, size // 2 // (host.cores if shared else 1)) for name, (size, shared) in host.caches.items()
    }
    last = max(size for size, _ in host.caches.values())
    dram = min(2 * last * (1 if _shared(host) else host.cores), _MOST_DRAM_BYTES, host.memory_bytes // 4)
    largest = max(dram, *(max(one, every * host.cores) for one, every in sets.values() if one <= dram))
    probe.memory = _aligned_ones(largest)
    one, every = {}, {}
    for name, sizes in sets.items():
        own, share = (_whole(min(size, _MOST_DRAM_BYTES // 16)) for size in sizes)
        one[name] = own * probe.run("read", own).best
        every[name] = share * probe.run_all("read", share).best
    own, share = _whole(dram), _whole(dram // host.cores)
    one["dram"] = own * probe.run("read", own, _DRAM_SAMPLES).best
    every["dram"] = share * probe.run_all("read", share, _DRAM_SAMPLES, 1).best
    one["dram_copy"] = own * probe.run("copy", own, _DRAM_SAMPLES).best
    every["dram_copy"] = share * probe.run_all("copy", share, _DRAM_SAMPLES, 1).best
    probe.memory = np.ones(0, np.uint8)
    return one, every


def _aligned_ones(count: int) -> NDArray[np.uint8]:
    """*count* bytes from the start of a page: a vector that straddles two cache lines is read at half the rate."""
    room = np.ones(count + 4096, np.uint8)
    first = -room.ctypes.data % 4096
    return room[first : first + count]


def _shared(host: Host) -> bool:
    return any(shared for _, shared in host.caches.values())


def _whole(bytes: int) -> int:
    """*bytes* rounded down to the kernels' step, two pages."""
    return max(bytes // 8192, 1) * 8192


def _accumulators(target: Target) -> int:
    """Independent chains of FMAs: enough to fill the pipelines, and fewer than there are registers."""
    return 12 if target.vector_bits == 256 or target.cpu == "x86-64-v2" else 24


def _text(target: Target) -> str:
    fma = [_fma(name, kind, target.vector_bits // _BITS[kind], _accumulators(target)) for name, kind in _DTYPES.items()]
    vector = f"<{target.vector_bits // 32} x i32>"
    return "\n".join(
        [*fma, _pass("read", vector, target.vector_bits // 8), _pass("copy", vector, target.vector_bits // 8), _ALL]
    )


_ALL = """
declare void @fs_parallel_for(ptr, ptr, i64)
define void @all(ptr %task, ptr %context, i64 %n) {
  call void @fs_parallel_for(ptr %task, ptr %context, i64 %n)
  ret void
}"""

_HEAD = """
define void @{name}(ptr %context, i64 %begin, i64 %end) {{
entry:
  %turns = load i64, ptr %context
  %base.at = getelementptr i64, ptr %context, i64 1
  %base = load ptr, ptr %base.at
  %bytes.at = getelementptr i64, ptr %context, i64 2
  %bytes = load i64, ptr %bytes.at
  %cores.at = getelementptr i64, ptr %context, i64 3
  %cores = load i64, ptr %cores.at
  br label %task
task:
  %index = phi i64 [ %begin, %entry ], [ %index.1, %task.end ]
  %core = urem i64 %index, %cores
  %offset = mul i64 %core, %bytes
  %memory = getelementptr i8, ptr %base, i64 %offset
  br label %turn"""

_TAIL = """
task.end:
  %index.1 = add i64 %index, 1
  %tasks.left = icmp slt i64 %index.1, %end
  br i1 %tasks.left, label %task, label %done
done:
  ret void
}}
@{name}.sink = global {vector} zeroinitializer, align 64"""


def _fma(name: str, kind: str, lanes: int, count: int) -> str:
    """A loop of *count* independent multiply-adds on vectors that never leave their registers."""
    vector = f"<{lanes} x {kind}>"
    phis = [f"  %a{i} = phi {vector} [ zeroinitializer, %task ], [ %s{i}, %turn ]" for i in range(count)]
    steps = [
        f"  %p{i} = fmul contract {vector} %a{i}, %x\n  %s{i} = fadd contract {vector} %p{i}, %x" for i in range(count)
    ]
    return "\n".join(
        [
            _HEAD.format(name=f"fma_{name}").replace(
                "br label %task\n", f"{_splat(vector, lanes, kind)}  br label %task\n"
            ),
            "turn:",
            "  %t = phi i64 [ 0, %task ], [ %t.1, %turn ]",
            *phis,
            *steps,
            "  %t.1 = add i64 %t, 1",
            "  %more = icmp slt i64 %t.1, %turns",
            "  br i1 %more, label %turn, label %sum",
            "sum:",
            *_folded("fadd", vector, [f"%s{i}" for i in range(count)]),
            f"  store {vector} %all, ptr @fma_{name}.sink",
            "  br label %task.end" + _TAIL.format(name=f"fma_{name}", vector=vector),
        ]
    )


def _splat(vector: str, lanes: int, kind: str) -> str:
    """``%x``: 1 / turns in every lane, which the optimiser cannot know and which keeps the sums far from subnormals."""
    return (
        f"  %turns.{kind} = sitofp i64 %turns to {kind}\n"
        f"  %x.one = fdiv {kind} 1.0, %turns.{kind}\n"
        f"  %x.lane = insertelement {vector} poison, {kind} %x.one, i32 0\n"
        f"  %x = shufflevector {vector} %x.lane, {vector} poison, <{lanes} x i32> zeroinitializer\n"
    )


def _pass(name: str, vector: str, step: int) -> str:
    """A loop that reads memory (``read``), or copies its first half to its second (``copy``), eight vectors a turn."""
    count = 8
    copies = name == "copy"
    body = []
    for i in range(count):
        body.append(f"  %p{i} = getelementptr i8, ptr %at, i64 {i * step}")
        body.append(f"  %v{i} = load {vector}, ptr %p{i}, align 1")
        if copies:
            body.append(f"  %q{i} = getelementptr i8, ptr %to, i64 {i * step}")
            body.append(f"  store {vector} %v{i}, ptr %q{i}, align 1")
        else:
            body.append(f"  %s{i} = xor {vector} %a{i}, %v{i}")
    phis = [
        f"  %o{i} = phi {vector} [ zeroinitializer, %task ], [ %s{i}, %inner ]" for i in range(0 if copies else count)
    ]
    inner = [f"  %a{i} = phi {vector} [ %o{i}, %turn ], [ %s{i}, %inner ]" for i in range(0 if copies else count)]
    fold = [] if copies else _folded("xor", vector, [f"%s{i}" for i in range(count)])
    return "\n".join(
        [
            _HEAD.format(name=name),
            "turn:",
            "  %t = phi i64 [ 0, %task ], [ %t.1, %turn.end ]",
            *[phi.replace("%inner ]", "%turn.end ]") for phi in phis],
            f"  %length = {'lshr' if copies else 'add'} i64 %bytes, {1 if copies else 0}",
            "  %second = getelementptr i8, ptr %memory, i64 %length",
            "  br label %inner",
            "inner:",
            "  %i = phi i64 [ 0, %turn ], [ %i.1, %inner ]",
            *inner,
            "  %at = getelementptr i8, ptr %memory, i64 %i",
            "  %to = getelementptr i8, ptr %second, i64 %i",
            *body,
            f"  %i.1 = add i64 %i, {count * step}",
            "  %inner.more = icmp slt i64 %i.1, %length",
            "  br i1 %inner.more, label %inner, label %turn.end",
            "turn.end:",
            "  %t.1 = add i64 %t, 1",
            "  %more = icmp slt i64 %t.1, %turns",
            "  br i1 %more, label %turn, label %sum",
            "sum:",
            *fold,
            *([] if copies else [f"  store {vector} %all, ptr @{name}.sink"]),
            "  br label %task.end" + _TAIL.format(name=name, vector=vector),
        ]
    )


def _folded(operation: str, vector: str, values: list[str]) -> list[str]:
    """Lines that combine *values* into ``%all``."""
    lines = []
    whole = values[0]
    for i, value in enumerate(values[1:]):
        name = "%all" if i == len(values) - 2 else f"%all.{i}"
        lines.append(f"  {name} = {operation} {vector} {whole}, {value}")
        whole = name
    return lines
