"""One worker process, as its parent sees it: started, given jobs, watched, killed.

What runs inside it is ``worker_process.py``; many of them make a pool in ``workers.py``. A ``Worker`` is
used by the one thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from flashsched.errors import TuneError
from flashsched.tune.measuring.worker_process import (
    BrokenFrameError,
    Done,
    Failed,
    Order,
    Ready,
    Setup,
    Started,
    end_mark,
    read_frame,
    write_frame,
)

__all__ = ["Outcome", "Worker"]

Status = Literal["ok", "crash", "timeout", "oom", "error"]

_TAIL = 16 << 10  # bytes of standard error that are kept
_TICK = 0.1  # seconds between two looks at whether the worker is gone or its job is no longer wanted
_PATIENCE = 1.0  # seconds for a process whose pipe has closed to be gone by itself
_MEMORY_WORDS = re.compile(
    r"out of memory|bad_alloc|cannot allocate memory|allocation failed|MemoryError", re.IGNORECASE
)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: ``ok``; ``error``, it raised; ``crash``, its process died; ``timeout``; ``oom``, it ran out of memory.
        value: what the function returned, if ok.
        error: what went wrong, in one text; for a crash it names the signal or the exit code.
        error_type: class name of what it raised.
        exception: what it raised, where that pickles.
        traceback: where it raised, as text.
        elapsed_s: seconds from start to end, measured in the worker if it lived.
        stderr_tail: the last of what the job printed, up to 16 KiB, standard output included.
    """

    status: Status
    value: Any = None
    error: str | None = None
    error_type: str | None = None
    exception: BaseException | None = None
    traceback: str = ""
    elapsed_s: float = 0.0
    stderr_tail: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


class Worker:
    """One process with its pipes, as seen from the thread that owns it."""

    def __init__(self, setup: Setup, env: Mapping[str, str]) -> None:
        if not sys.executable:
            raise TuneError("this Python does not know its own executable, so no worker can be started")
        self.jobs = 0
        self._killed = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from flashsched.tune.measuring.worker_process import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": _python_path(), **env},
                start_new_session=True,  # a group of its own: killed as a whole, and Ctrl-C passes it by
            )
        except OSError as error:
            raise TuneError(f"a worker process cannot start: {error}") from error
        self._requests = cast(BinaryIO, self._process.stdin)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()  # frames, then a _Gone
        self._words = _Words(cast(BinaryIO, self._process.stderr))
        threading.Thread(target=self._receive, daemon=True).start()
        with contextlib.suppress(OSError):  # it may have died; wait_ready tells
            write_frame(self._requests, setup)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float, stopped: Callable[[], bool]) -> str:
        """Wait for the worker to be up; returns '' then, and what killed it where another try may go better.

        Raises:
            TuneError: it cannot start, now or later.
        """
        deadline = time.monotonic() + timeout_s
        why = f"it was not ready after {timeout_s:g} s"
        while not stopped():
            match self._next(deadline):
                case Ready():
                    return ""
                case Failed(trace):
                    why = "its init raised\n" + trace
                    break
                case _Gone():
                    why = f"{self._death()[1]}\n{self._words.tail()}".rstrip()
                    if self._process.returncode < 0:
                        return why
                    break
                case _ if time.monotonic() >= deadline:
                    break
        self.kill()
        raise TuneError(f"a worker process cannot start: {why}", hint="flashsched doctor shows what is missing")

    def run(
        self, function: str, payload: bytes, timeout_s: float | None, stopped: Callable[[], bool]
    ) -> Outcome | None:
        """Do one job. None: the worker was gone before the job began, so that the job is not to blame.

        Raises:
            TuneError: *stopped* said so; the worker is dead then.
        """
        self.jobs += 1
        start = time.monotonic()
        deadline = start + timeout_s if timeout_s is not None else None
        began = False
        try:
            write_frame(self._requests, Order(self.jobs, function, payload))
        except OSError:
            self.kill()
            return None
        while True:
            match self._next(deadline):
                case Started():
                    began = True
                case Done() as done:
                    return self._outcome(done)
                case _Gone(reason):
                    status, error = self._death(reason)
                    return self._end(status, error, start) if began else None
                case _ if stopped():
                    self.kill()
                    raise TuneError("the job was stopped", hint="the pool was closed, or nobody waits for the job")
                case _ if deadline is not None and time.monotonic() >= deadline:
                    self.kill()
                    return self._end("timeout", f"the job was not done after {timeout_s:g} s and was killed", start)

    def kill(self) -> None:
        """End the worker and everything it started; returns when it is gone."""
        if sys.platform == "win32":
            self._process.kill()
        elif not self._killed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._killed = True
        self._process.wait()
        with contextlib.suppress(OSError):
            self._requests.close()
        self._words.finish()

    def _end(self, status: Status, error: str, start: float) -> Outcome:
        return Outcome(status, error=error, elapsed_s=time.monotonic() - start, stderr_tail=self._words.tail())

    def _outcome(self, done: Done) -> Outcome:
        tail = self._words.tail_of(done.number)
        if done.status == "oom":
            self.kill()  # its memory is in pieces, and the next job deserves better
        try:
            value = None if done.value is None else pickle.loads(done.value)
        except Exception as error:
            return Outcome(
                "error", None, f"the result does not unpickle: {error}", type(error).__name__, stderr_tail=tail
            )
        exception: BaseException | None = None
        with contextlib.suppress(Exception):  # one that does not travel is told by its text
            exception = None if done.exception is None else pickle.loads(done.exception)
        status = cast(Status, done.status)
        return Outcome(status, value, done.error, done.error_type, exception, done.traceback, done.elapsed_s, tail)

    def _next(self, deadline: float | None) -> Any:
        """The next frame, or None when it is time to look around."""
        wait = _TICK if deadline is None else min(_TICK, max(0.0, deadline - time.monotonic()))
        try:
            return self._inbox.get(timeout=wait)
        except queue.Empty:
            return None if self.alive else self._last_frame()

    def _last_frame(self) -> Any:
        """What a dead worker still said. Its pipe may stay open, held by a process that it started."""
        try:
            return self._inbox.get(timeout=_TICK)
        except queue.Empty:
            return _Gone("")

    def _receive(self) -> None:
        reason = ""
        replies = cast(BinaryIO, self._process.stdout)
        try:
            while (frame := read_frame(replies)) is not None:
                self._inbox.put(frame)
        except BrokenFrameError as error:
            reason = f"the worker's reply was garbled: {error}" if self.alive else ""
        except Exception as error:
            reason = f"the worker's reply cannot be read: {error}"
        self._inbox.put(_Gone(reason))
        replies.close()

    def _death(self, reason: str = "") -> tuple[Status, str]:
        """Bury a worker that has died by itself, or for *reason*: status and sentence."""
        if reason:
            self.kill()
            return "crash", reason
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.kill()
        code = self._process.returncode
        said = self._words.tail().split("Fatal Python error:")[0].strip().splitlines()
        last = f": {said[-1].strip()}" if said else ""
        if code >= 0:
            return "crash", f"the job ended its process with exit code {code}{last}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            return "crash", "the worker was killed from outside with SIGKILL (by the system, if memory ran out)"
        if name == "SIGABRT" and _MEMORY_WORDS.search(self._words.tail()):
            return "oom", f"out of memory, {name}{last}"
        return "crash", f"the worker died of {name}{last}"


@dataclass(frozen=True)
class _Gone:
    """Nothing more will come from a worker; *reason* is empty when it simply died."""

    reason: str


class _Words:
    """Reads a worker's standard error all the time, so that it never blocks, and keeps the end of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._tail = b""
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while chunk := os.read(self._stream.fileno(), 1 << 16):
            with self._changed:
                self._tail = (self._tail + chunk)[-_TAIL:]
                self._changed.notify_all()
        self._stream.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def tail_of(self, number: int) -> str:
        """What job *number* said; forgets it, so that what follows is the next one's."""
        mark = end_mark(number)
        with self._changed:
            self._changed.wait_for(lambda: mark in self._tail or self._ended, timeout=_PATIENCE)
            said, _, self._tail = self._tail.partition(mark)
        return said.decode(errors="replace")

    def tail(self) -> str:
        """What was said since the last :meth:`tail_of`."""
        with self._changed:
            return self._tail.decode(errors="replace")

    def finish(self) -> None:
        """Wait for the last words of a worker that is gone; not long, as a stray child of it may hold the pipe."""
        self._thread.join(_PATIENCE)


def _python_path() -> str:
    """Where a worker finds what this process finds: its module path, the place of flashsched first."""
    package = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(dict.fromkeys([package, *(os.path.abspath(entry) for entry in sys.path)]))
