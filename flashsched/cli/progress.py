"""One line that tells where a run stands: rewritten in place on a terminal, printed now and then elsewhere.

It goes to standard error, and nothing that happens to standard error ends a run.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flashsched.tune.figures import figure_text, percent_text, seconds_text

if TYPE_CHECKING:
    from flashsched.tune.tuner import Progress

__all__ = ["ProgressLine", "clear_line", "duration_text", "failures_text", "progress_text"]

_TERMINAL_EVERY_S = 0.1
_ELSEWHERE_EVERY_S = 5.0

_live: ProgressLine | None = None


class ProgressLine:
    """Shows the latest text given to it; a context manager, which leaves no half line behind.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._off = quiet or sys.stderr is None
        self._terminal = not self._off and sys.stderr.isatty()
        self._shown_at = float("-inf")
        self._width = 0

    def __enter__(self) -> ProgressLine:
        global _live
        _live = self
        return self

    def __exit__(self, *error: object) -> None:
        global _live
        self.clear()
        _live = None

    def show(self, text: str, now: bool = False) -> None:
        """Show *text*, unless the line was renewed a moment ago; *now* shows it all the same."""
        due = self._shown_at + (_TERMINAL_EVERY_S if self._terminal else _ELSEWHERE_EVERY_S)
        clock = time.monotonic()
        if self._off or (clock < due and not now):
            return
        self._shown_at = clock
        if self._terminal:
            text = text[: max(20, shutil.get_terminal_size().columns - 1)]
            self._write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._write(text + "\n")

    def clear(self) -> None:
        """Take the line off the terminal, to make room for another text."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it any more
            self._off, self._width = True, 0


def clear_line() -> None:
    """Make room on the terminal where a progress line stands."""
    if _live is not None:
        _live.clear()


def progress_text(now: Progress, flops: int) -> str:
    """Where a tuning run of a task of *flops* operations stands.

    >>> from flashsched.tune.tuner import Progress
    >>> progress_text(Progress(12, 64, 1.3e-3, 0.75, 7.0, 31.0, {"compile": 1}), 268435456)
    '12/64 trials, best 1.30 ms (206 GFLOP/s, 75.0 % of the roofline), 31 s left, failed: 1 compile'
    """
    parts = [f"{now.done}/{now.trials} trials"]
    if now.best_s is not None:
        rate = f"{figure_text(flops / now.best_s / 1e9)} GFLOP/s, " if flops and now.best_s > 0 else ""
        share = f"{percent_text(now.share)} of the roofline" if now.share is not None else "roofline unknown"
        parts.append(f"best {seconds_text(now.best_s)} ({rate}{share})")
    else:
        parts.append("no valid schedule yet")
    if now.stage == "finals":
        parts.append("settling among the best")
    elif now.done > 1:  # the first trial, which comes after a long look around, says nothing of the others
        parts.append(f"{duration_text(now.left_s)} left")
    if now.notes and now.done <= 1:
        parts.append(now.notes[0])
    if now.failed:
        parts.append(f"failed: {failures_text(now.failed)}")
    return ", ".join(parts)


def failures_text(counts: Mapping[str, int]) -> str:
    """How many of which status, most frequent first: ``3 compile, 1 timeout``."""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: -item[1]))


def duration_text(seconds: float) -> str:
    """A length of time for people.

    >>> duration_text(0.4), duration_text(59.6), duration_text(61), duration_text(7322)
    ('0 s', '60 s', '1 min 1 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole <= 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
