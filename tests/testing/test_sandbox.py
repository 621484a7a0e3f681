"""A function run apart: what it raises, how it dies, and that it cannot hang."""

from __future__ import annotations

import ctypes
import os
import time

import pytest

from flashsched.testing.sandbox import Died, TimedOut, run_apart


def test_what_goes_well_says_nothing() -> None:
    run_apart(lambda: None)


def test_an_error_comes_back_with_its_traceback() -> None:
    def fails() -> None:
        raise ValueError("seven")

    with pytest.raises(AssertionError, match=r"in fails(.|\n)*ValueError: seven"):
        run_apart(fails)


def test_a_crash_names_its_signal() -> None:
    with pytest.raises(Died, match="SIGSEGV"):
        run_apart(lambda: ctypes.string_at(0) and None)


def test_a_silent_exit_is_no_success() -> None:
    with pytest.raises(Died, match="status 3"):
        run_apart(lambda: os._exit(3))


def test_what_hangs_is_killed() -> None:
    begin = time.monotonic()
    with pytest.raises(TimedOut, match=r"0\.2 s"):
        run_apart(lambda: time.sleep(60), 0.2)
    assert time.monotonic() - begin < 10


def test_a_long_message_arrives() -> None:
    def fails() -> None:
        raise ValueError("x" * 50_000)

    with pytest.raises(AssertionError, match=r"x{50000}"):
        run_apart(fails)
