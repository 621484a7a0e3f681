"""Which cores a peer's process may use: the limit on threads that every library obeys, whatever else it is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["bound_to", "cores_apart"]


def cores_apart() -> list[int]:
    """The processors that this process may use, one of each physical core first; none where the system doesn't say."""
    try:
        allowed = sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return []
    first: dict[str, int] = {}
    for cpu in allowed:
        first.setdefault(_siblings(cpu), cpu)
    return [*first.values(), *(cpu for cpu in allowed if cpu not in first.values())]


def _siblings(cpu: int) -> str:
    """The hardware threads of the core that *cpu* is one of."""
    try:
        return (
            Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="utf-8").strip()
        )
    except OSError:
        return str(cpu)


@contextlib.contextmanager
def bound_to(threads: int) -> Iterator[None]:
    """Processes that are started in here may use *threads* cores, where the system can say so."""
    cores = cores_apart()
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
