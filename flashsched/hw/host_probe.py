"""Asking the system about this machine: cores we may use, caches, vector width, clock, memory.

Each question has an answer on every system; where the system gives none, a stated default stands in, and the
``…_source`` says so. Nothing here raises, and nothing is timed.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["VECTOR_FLAGS", "Host", "probe_host", "widest_vectors"]

_VECTORS = (
    ("avx512", "avx512f", 512),
    ("avx2", "avx2", 256),
    ("avx", "avx", 256),
    ("sse2", "sse2", 128),
    ("sve", "sve", 128),  # at least; code for longer vectors asks the machine
    ("neon", "asimd", 128),
    ("neon", "neon", 128),
)

VECTOR_FLAGS = tuple(flag for _, flag, _ in _VECTORS)
"""What systems, NumPy and LLVM call the extensions that say how wide vectors are, the widest first."""

_DEFAULT_CLOCK = 2.5e9
_DEFAULT_CACHES = {"l1": (32 * 1024, False), "l2": (512 * 1024, False), "l3": (8 * 1024**2, True)}
_DEFAULT_MEMORY = 8 * 1024**3


@dataclass(frozen=True, slots=True)
class Host:
    """What the system says of this machine.

    ``cores`` counts physical cores that this process may use (affinity and container quota respected). ``caches``
    holds, by level name, the bytes of one data cache and whether all cores share it. ``isa`` is the widest vector
    extension ("avx512", "avx2", "avx", "sse2", "sve", "neon", "scalar"), ``clock_hz`` the highest clock that the
    system admits to.
    """

    model: str
    vendor: str
    cores: int
    caches: dict[str, tuple[int, bool]]
    isa: str
    vector_bits: int
    clock_hz: float
    memory_bytes: int
    cores_source: str
    caches_source: str
    clock_source: str
    memory_source: str


@functools.lru_cache(maxsize=1)
def probe_host() -> Host:
    """This machine, asked once per process."""
    facts = _cpuinfo()
    isa, bits = widest_vectors(facts.get("flags", facts.get("Features", "")).split())
    cores, cores_source = _cores()
    caches, caches_source = _caches(cores)
    clock, clock_source = _clock(facts)
    memory, memory_source = _memory()
    model = facts.get("model name") or _sysctl("machdep.cpu.brand_string") or _registry("ProcessorNameString")
    vendor = (
        facts.get("vendor_id") or facts.get("CPU implementer") or ("Apple" if platform.system() == "Darwin" else "")
    )
    return Host(
        model=str(model or platform.processor() or platform.machine() or "unknown processor"),
        vendor=str(vendor),
        cores=cores,
        caches=caches,
        isa=isa,
        vector_bits=bits,
        clock_hz=clock,
        memory_bytes=memory,
        cores_source=cores_source,
        caches_source=caches_source,
        clock_source=clock_source,
        memory_source=memory_source,
    )


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty elsewhere."""
    facts: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    return facts


def _sysctl(name: str) -> str:
    """A value of macOS's sysctl; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    import subprocess

    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _registry(name: str) -> str:
    """A value of Windows's description of its first processor; empty elsewhere."""
    if platform.system() != "Windows":
        return ""
    winreg: Any = importlib.import_module("winreg")
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, name)[0]).strip()
    except OSError:
        return ""


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def widest_vectors(flags: Iterable[str]) -> tuple[str, int]:
    """The widest vector extension and its bits: from the processor's flags, else NumPy's, else the machine's name."""
    found = {flag.lower() for flag in flags} or _numpy_features()
    for isa, flag, bits in _VECTORS:
        if flag in found:
            return isa, bits
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return "neon", 128
    return ("sse2", 128) if machine in ("x86_64", "amd64") else ("scalar", 64)


def _numpy_features() -> set[str]:
    """Processor features that NumPy found for its own dispatch; empty where this NumPy does not tell."""
    try:
        features = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return set()
    return {name.lower().replace("avx512_skx", "avx512f") for name, present in features.items() if present}


def _cores() -> tuple[int, str]:
    """Physical cores this process may use."""
    try:
        allowed = os.sched_getaffinity(0)
    except (AttributeError, OSError):
        physical = int(_number(_sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu")))
        return (physical, "sysctl") if physical else (max(1, os.cpu_count() or 1), "os.cpu_count")
    siblings = {_read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in allowed}
    cores, source = max(1, len(siblings)), "affinity mask and thread siblings"
    quota = _quota()
    if quota and quota < cores:
        return max(1, math.ceil(quota)), "container quota"
    return cores, source


def _quota() -> float:
    """Cores' worth of time that the container grants (cgroup v2, then v1); 0 where it sets no limit."""
    granted = _read("/sys/fs/cgroup/cpu.max").split()
    if len(granted) == 2 and _number(granted[0]) and _number(granted[1]):
        return _number(granted[0]) / _number(granted[1])
    quota = _number(_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
    period = _number(_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    return quota / period if quota and period else 0.0


def _size(text: str) -> int:
    """Bytes of "48K" or "260M"."""
    factor = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:].upper(), 1)
    return int(_number(text.rstrip("KMGkmg")) * factor)


def _count(cpus: str) -> int:
    """Processors in a list like "0-3,8"."""
    total = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        total += int(_number(last) - _number(first)) + 1 if last else 1
    return total


def _caches(cores: int) -> tuple[dict[str, tuple[int, bool]], str]:
    """Data caches by level: bytes of one, and whether all cores share it."""
    found: dict[str, tuple[int, bool]] = {}
    threads = _count(_read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list") or "0")
    for index in range(8):
        folder = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}")
        level, size = _read(folder / "level"), _size(_read(folder / "size"))
        if level and size and _read(folder / "type") in ("Data", "Unified"):
            shared = _count(_read(folder / "shared_cpu_list") or "0") > threads or (cores == 1 and level == "3")
            found[f"l{level}"] = (size, shared)
    if not found and platform.system() == "Darwin":
        core = "hw.perflevel0." if _sysctl("hw.perflevel0.l1dcachesize") else "hw."
        for name, key in (("l1", "l1dcachesize"), ("l2", "l2cachesize"), ("l3", "l3cachesize")):
            size = int(_number(_sysctl(core + key)))
            if size:
                found[name] = (size, name != "l1")
    if not found:
        return dict(_DEFAULT_CACHES), "the system does not tell; 32 KiB, 512 KiB, 8 MiB assumed"
    return dict(sorted(found.items())), "sysctl" if platform.system() == "Darwin" else "sysfs"


def _clock(facts: dict[str, str]) -> tuple[float, str]:
    """The highest clock that the system admits to, in hertz."""
    for hertz, source in (
        (_number(_read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")) * 1e3, "cpufreq, highest"),
        (_number(facts.get("cpu MHz", "")) * 1e6, "/proc/cpuinfo, now"),
        (_number(_sysctl("hw.cpufrequency_max")), "sysctl, highest"),
        (_number(_registry("~MHz")) * 1e6, "Windows registry, base"),
    ):
        if 1e8 <= hertz <= 1e10:
            return hertz, source
    return _DEFAULT_CLOCK, "the system does not tell; 2.5 GHz assumed"


def _memory() -> tuple[int, str]:
    """Bytes of main memory that we may use."""
    whole, source = 0, "os.sysconf"
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        whole, source = int(_number(_sysctl("hw.memsize"))), "sysctl"
    limit = int(_number(_read("/sys/fs/cgroup/memory.max")))
    if limit and (not whole or limit < whole):
        return limit, "container limit"
    return (whole, source) if whole > 0 else (_DEFAULT_MEMORY, "the system does not tell; 8 GiB assumed")
