"""A function run in a process of its own, which may crash or hang without taking the caller along.

A fork costs a few milliseconds, against a hundred for a fresh process, so each kernel that a test does not trust can
have one. The child must not rely on threads of the parent.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

__all__ = ["Died", "TimedOut", "run_apart"]


class Died(AssertionError):  # noqa: N818  (a verdict on the function)
    """The child was ended by a signal, or left without a word."""


class TimedOut(AssertionError):  # noqa: N818
    """The child was not done in time."""


def run_apart(function: Callable[[], None], seconds: float = 60.0) -> None:
    """Call *function* in a forked child.

    Raises:
        AssertionError: it raised something; the message is its traceback.
        Died: it crashed (the message names the signal).
        TimedOut: it took longer than *seconds*, and was killed.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:  # pragma: no cover - no coverage is kept of a process that ends by os._exit
        code = 0
        try:
            os.close(reading)
            faulthandler.disable()  # a crash is told by the parent
            function()
        except BaseException:
            code = 1
            os.write(writing, traceback.format_exc()[-60_000:].encode())
        finally:
            os._exit(code)
    os.close(writing)
    try:
        text, in_time = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not in_time:
        raise TimedOut(f"not done after {seconds:g} s")
    if os.WIFSIGNALED(status):
        raise Died(f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
    if text:
        raise AssertionError(text)
    if os.WEXITSTATUS(status):
        raise Died(f"ended with status {os.WEXITSTATUS(status)}, and said nothing")


def _read(pipe: int, deadline: float) -> tuple[str, bool]:
    """What comes through *pipe* until it is closed, and whether that was before *deadline*."""
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return "", False
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts).decode(errors="replace"), True
        parts.append(part)
