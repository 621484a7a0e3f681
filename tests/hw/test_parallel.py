"""Items on several processes: the same answers in the same order, and errors come through."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from flashsched.hw import Host, probe_host
from flashsched.hw.validation import parallel


def two_cores() -> Host:
    return replace(probe_host(), cores=2)


def test_answers_are_those_of_one_process_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "probe_host", two_cores)
    bias = 3
    found = parallel.mapped(lambda item: (item + bias, os.getpid()), [1, 2, 3])
    assert [value for value, _ in found] == [4, 5, 6]
    assert os.getpid() not in {process for _, process in found}


def test_an_error_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "probe_host", two_cores)
    with pytest.raises(ZeroDivisionError):
        parallel.mapped(lambda item: 1 // item, [1, 0])


def test_beside_a_running_thread_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "probe_host", two_cores)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert set(parallel.mapped(lambda _: os.getpid(), [1, 2])) == {os.getpid()}
    finally:
        done.set()
        thread.join()
