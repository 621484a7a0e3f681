"""What may be watched while a kernel runs, beside its time: events of the CPU, energy.

An observer is a plug-in with a name. It runs in the process that measures, around calls of a kernel that are made for
it after the kernel was timed, so that watching costs no time that counts. What it finds stands in the record, under
``observed``, each figure for one call. An observer that is not permitted or not there says why, and the run goes on.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from flashsched.errors import TuneError, did_you_mean

__all__ = [
    "OBSERVERS",
    "Observer",
    "ObserverWarning",
    "Perf",
    "Rapl",
    "Unobservable",
    "check_observers",
    "find_observer",
    "watch",
]

_MIN_S = {"rapl": 0.05}  # how long calls go on for an observer whose counter moves once a millisecond
_DEFAULT_MIN_S = 2e-3


class Unobservable(TuneError):  # noqa: N818  (told once, and the run goes on)
    """What an observer needs is not on this machine, or not permitted."""


class ObserverWarning(UserWarning):
    """An observer that was asked for sees nothing here; told once a run."""


class Observer(Protocol):
    """Counts something between two moments.

    Made without arguments, in the process that measures; it raises `Unobservable` where it cannot work.
    """

    def start(self) -> None:
        """Begin to count."""
        ...

    def stop(self) -> Mapping[str, float]:
        """End, and say what was counted since `start`."""
        ...


_HARDWARE, _SOFTWARE = 0, 1
_EVENTS = {
    "cycles": (_HARDWARE, 0),
    "instructions": (_HARDWARE, 1),
    "cache_references": (_HARDWARE, 2),
    "cache_misses": (_HARDWARE, 3),
    "branch_misses": (_HARDWARE, 5),
    "page_faults": (_SOFTWARE, 2),
    "context_switches": (_SOFTWARE, 3),
}
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_RESET, _ENABLE, _DISABLE = 0x2403, 0x2400, 0x2401
_DISABLED, _INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1, 2, 1 << 5, 1 << 6
_ATTRIBUTES = 128  # bytes


class Perf:
    """Events of the CPU and of the system, by Linux's ``perf_event_open``: of this thread and those it starts later.

    Those that this machine counts: many virtual machines have ``page_faults`` and ``context_switches`` only.
    """

    def __init__(self) -> None:
        number = _PERF_EVENT_OPEN.get(platform.machine())
        if sys.platform != "linux" or number is None:
            raise Unobservable(f"perf is for Linux, and this is {sys.platform} on {platform.machine()}")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._counters: dict[str, int] = {}
        failed = 0
        for name, (kind, event) in _EVENTS.items():
            flags = _DISABLED | _INHERIT | _NO_HYPERVISOR | (_NO_KERNEL if kind == _HARDWARE else 0)
            attributes = bytearray(_ATTRIBUTES)
            struct.pack_into("<IIQ", attributes, 0, kind, _ATTRIBUTES, event)
            struct.pack_into("<Q", attributes, 40, flags)
            given = (ctypes.c_char * _ATTRIBUTES).from_buffer(attributes)
            counter = self._libc.syscall(number, given, 0, -1, -1, 0)
            if counter >= 0:
                self._counters[name] = counter
            else:
                failed = ctypes.get_errno()
        if not self._counters:
            raise Unobservable(
                f"perf_event_open: {os.strerror(failed)}", hint="as root: sysctl kernel.perf_event_paranoid=1"
            )

    def __del__(self) -> None:
        for counter in getattr(self, "_counters", {}).values():
            with suppress(OSError):
                os.close(counter)

    def start(self) -> None:
        """Begin at zero."""
        for counter in self._counters.values():
            self._libc.ioctl(counter, _RESET, 0)
            self._libc.ioctl(counter, _ENABLE, 0)

    def stop(self) -> Mapping[str, float]:
        """The events by name."""
        for counter in self._counters.values():
            self._libc.ioctl(counter, _DISABLE, 0)
        return {name: float(*struct.unpack("<Q", os.read(fd, 8))) for name, fd in self._counters.items()}


class Rapl:
    """Energy of the processor's packages in joules, by Linux's powercap: of all that runs on them meanwhile."""

    folder = Path("/sys/class/powercap")

    def __init__(self) -> None:
        self._zones: dict[Path, int] = {}
        for zone in sorted(self.folder.glob("intel-rapl:[0-9]*")):
            if zone.name.count(":") == 1:  # a package; what has more colons is a part of one
                with suppress(OSError, ValueError):
                    int((zone / "energy_uj").read_text())
                    self._zones[zone] = int((zone / "max_energy_range_uj").read_text())
        if not self._zones:
            there = any(self.folder.glob("intel-rapl:*"))
            raise Unobservable(
                f"rapl: {'no energy counter may be read' if there else 'there is no energy counter'} in {self.folder}",
                hint="energy counters are root's: chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" if there
                else "virtual machines have none",
            )  # fmt: skip
        self._before: dict[Path, int] = {}

    def _now(self) -> dict[Path, int]:
        return {zone: int((zone / "energy_uj").read_text()) for zone in self._zones}

    def start(self) -> None:
        """Read the counters."""
        self._before = self._now()

    def stop(self) -> Mapping[str, float]:
        """``energy_j``; the counters may have turned over once."""
        after = self._now()
        used = ((after[zone] - before) % (self._zones[zone] + 1) for zone, before in self._before.items())
        return {"energy_j": 1e-6 * sum(used)}


OBSERVERS: dict[str, Callable[[], Observer]] = {"perf": Perf, "rapl": Rapl}
"""Observers by name. Any other is named ``module:Class``."""


def check_observers(names: Sequence[str]) -> tuple[str, ...]:
    """*names*, if each is an observer's.

    Raises:
        TuneError: one is not.
    """
    for name in names:
        if name not in OBSERVERS and ":" not in name:
            raise TuneError(
                f"there is no observer {name!r}", hint=f"{did_you_mean(name, OBSERVERS)}; yours is 'module:Class'"
            )
    return tuple(names)


def find_observer(name: str) -> Observer:
    """The observer called *name*.

    Raises:
        Unobservable: it cannot work here, or cannot be imported.
    """
    if name in OBSERVERS:
        return OBSERVERS[name]()
    module, _, attribute = name.partition(":")
    try:
        made: Observer = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise Unobservable(f"observer {name} cannot be made: {error}") from error
    return made


def watch(name: str, observer: Observer, run: Callable[[int], float], call_s: float) -> dict[str, float]:
    """What *observer* counts for one call, the mean of as many calls of *run* as its counter needs."""
    calls = max(1, round(_MIN_S.get(name, _DEFAULT_MIN_S) / max(call_s, 1e-9)))
    observer.start()
    run(calls)
    return {what: value / calls for what, value in observer.stop().items()}
