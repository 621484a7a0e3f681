"""What runs inside a worker: a fresh Python process that does one job after another until its parent is gone.

The other end, which starts such processes, watches and buries them, is ``workers.py``. The two talk over the
worker's standard input and output in frames: CRC-32 and length, then a pickle. Before any job runs, the streams are
moved away, so that what a job prints goes to standard error and what it reads is empty; a frame that a wild kernel
scribbled over fails its checksum.

A worker dies with its parent, in two ways: its standard input ends (also in the middle of a job, wherever the job
gives up the GIL), and on Linux the system kills it (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import pickle
import queue
import signal
import struct
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = [
    "BrokenFrameError",
    "Done",
    "Failed",
    "Order",
    "Ready",
    "Setup",
    "Started",
    "end_mark",
    "main",
    "read_frame",
    "write_frame",
]

_HEADER = struct.Struct("<IQ")
_LARGEST = 1 << 32


class BrokenFrameError(Exception):
    """The bytes on the pipe are no frame."""


@dataclass(frozen=True)
class Setup:
    """First frame to a worker: who its parent is, ``module:function`` to call once, bytes it may add to its size.

    *cores* are those that it may run on, where it may not run on all.
    """

    parent: int
    init: str | None
    memory_limit_bytes: int | None
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Order:
    """A job: call ``module:function`` with the unpickled *payload*."""

    number: int
    function: str
    payload: bytes


@dataclass(frozen=True)
class Ready:
    """The worker is up."""


@dataclass(frozen=True)
class Failed:
    """The worker's init raised."""

    traceback: str


@dataclass(frozen=True)
class Started:
    """The job begins: from here on a death is the job's own doing."""

    number: int


@dataclass(frozen=True)
class Done:
    """The job is over: *status* is ok, error or oom; *value* and *exception* are pickles."""

    number: int
    status: str
    elapsed_s: float
    value: bytes | None = None
    error: str | None = None
    error_type: str | None = None
    exception: bytes | None = None
    traceback: str = ""


def write_frame(stream: BinaryIO, message: object) -> None:
    """Send *message* as one frame."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(zlib.crc32(body), len(body)) + body)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """Receive one frame; None at the end of the stream.

    Raises:
        BrokenFrameError: what arrived is no frame, or ends within one.
    """
    header = stream.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise BrokenFrameError("the stream ended within a frame")
    check, size = _HEADER.unpack(header)
    if size > _LARGEST:
        raise BrokenFrameError(f"a frame of {size} bytes was announced")
    body = stream.read(size)
    if len(body) < size or zlib.crc32(body) != check:
        raise BrokenFrameError("a frame is short or its checksum does not fit")
    return pickle.loads(body)


def end_mark(number: int) -> bytes:
    """What a worker writes to standard error behind job *number*, so that its words are told from the next job's."""
    return b"\x00end of job %d\x00" % number


def main() -> None:
    """Serve until the parent closes the pipe. Meant for a process that ``workers.py`` has started."""
    requests, replies = _move_streams()
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(2)
    setup = read_frame(requests)
    if not isinstance(setup, Setup):
        return
    _die_with_parent(setup.parent)
    _no_core_dumps()
    if setup.cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # a core may have gone
            os.sched_setaffinity(0, setup.cores)
    try:
        if setup.init:
            _find(setup.init)()
    except BaseException:
        write_frame(replies, Failed(traceback.format_exc()))
        return
    gc.freeze()  # what was imported stays: it need not be looked through for garbage
    limit = _limit_memory(setup.memory_limit_bytes)
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, orders), daemon=True).start()
    write_frame(replies, Ready())
    while True:
        order = orders.get()
        write_frame(replies, Started(order.number))
        done = _do(order)
        with limit.lifted():
            _flush(order.number)
            write_frame(replies, done)


def _do(order: Order) -> Done:
    """Run one job, whatever it does short of ending the process."""
    start = time.perf_counter()
    try:
        value = _find(order.function)(pickle.loads(order.payload))
        elapsed = time.perf_counter() - start
        return Done(order.number, "ok", elapsed, value=pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
    except BaseException as error:  # SystemExit too: a job may not end the worker
        elapsed = time.perf_counter() - start
        status = "oom" if isinstance(error, MemoryError) else "error"
        exception = None
        with contextlib.suppress(Exception):
            exception = pickle.dumps(error)
        text = str(error) or type(error).__name__
        name = type(error).__name__
        return Done(order.number, status, elapsed, None, text, name, exception, traceback.format_exc(limit=-30))


def _find(path: str) -> Callable[..., Any]:
    """The function that ``package.module:name`` names."""
    module, colon, name = path.partition(":")
    if not colon:
        raise ValueError(f"a job is named 'module:function', got {path!r}")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{path!r} is {type(found).__name__}, and a job must be callable")
    return found  # type: ignore[no-any-return]


def _move_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take the pipes away from descriptors 0 and 1, which then are empty and standard error."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return requests, replies


def _listen(requests: BinaryIO, orders: queue.SimpleQueue[Order]) -> None:
    """Pass on what arrives; when the parent is gone, so is this process, in the middle of a job too."""
    try:
        while isinstance(order := read_frame(requests), Order):
            orders.put(order)
    finally:
        os._exit(0)


def _flush(number: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(OSError):
        os.write(2, end_mark(number))


def _die_with_parent(parent: int) -> None:
    """On Linux, have the system kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it went before we asked
            os._exit(0)


def _no_core_dumps() -> None:
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class _Limit:
    """The soft limit on this process's memory, which is lifted for a moment to say that it was reached."""

    def __init__(self, kind: int | None, soft: int, hard: int) -> None:
        self.kind, self.soft, self.hard = kind, soft, hard

    @contextlib.contextmanager
    def lifted(self) -> Any:
        self._set(self.hard)
        yield
        self._set(self.soft)

    def _set(self, soft: int) -> None:
        if sys.platform != "win32" and self.kind is not None:
            import resource

            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(self.kind, (soft, self.hard))


def _limit_memory(extra_bytes: int | None) -> _Limit:
    """Let this process grow by *extra_bytes* over what it is now.

    On Linux the limit is on private writable memory (``RLIMIT_DATA``, which since Linux 4.7 covers ``mmap`` too):
    the whole address space would count what allocators and thread stacks only reserve. Elsewhere on POSIX it is
    ``RLIMIT_AS``; on Windows there is none.
    """
    if extra_bytes is None or sys.platform == "win32":
        return _Limit(None, 0, 0)
    import resource

    if sys.platform == "linux":
        kind, now = resource.RLIMIT_DATA, _status_bytes("VmData")
    else:
        kind, now = resource.RLIMIT_AS, 0
    hard = resource.getrlimit(kind)[1]
    soft = now + extra_bytes if hard == resource.RLIM_INFINITY else min(now + extra_bytes, hard)
    limit = _Limit(kind, soft, hard)
    limit._set(soft)
    return limit


def _status_bytes(name: str) -> int:
    """A size of this process from ``/proc/self/status``, in bytes."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0
