"""One function of many items, on as many processes as there are cores.

The processes are forked, so that they have everything that this one has and only results travel. Where a fork is not
safe (threads are running, or the system's libraries do not stand it), the items are worked off one by one.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flashsched.hw.host_probe import probe_host

__all__ = ["mapped"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: tuple[Callable[..., object], Sequence[object]] | None = None  # what forked processes find


def mapped(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``[function(item) for item in items]``; put the items that take longest first.

    >>> mapped(abs, [-2, 1])
    [2, 1]
    """
    global _work
    processes = min(len(items), probe_host().cores)
    if processes < 2 or not _can_fork():
        return [function(item) for item in items]
    _work = (function, items)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads of a linear algebra library
            pool = multiprocessing.get_context("fork").Pool(processes, _as_worker)
        with pool:
            return pool.map(_one, range(len(items)), chunksize=1)
    finally:
        _work = None


def _as_worker() -> None:
    """What this process does when it is stopped is not for its copies to do: they just end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the pool's owner gets as well


def _one(index: int) -> Any:
    assert _work is not None
    function, items = _work
    return function(items[index])


def _can_fork() -> bool:
    alone = threading.active_count() == 1 and not multiprocessing.current_process().daemon
    return alone and "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
