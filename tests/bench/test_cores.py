"""Processes may use as many cores as they have threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flashsched.bench.cores import bound_to, cores_apart

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system binds no processes to cores")


def test_the_cores_are_ours_each_once() -> None:
    assert sorted(cores_apart()) == sorted(os.sched_getaffinity(0))


def test_a_child_is_bound_and_we_are_not() -> None:
    before = os.sched_getaffinity(0)
    program = "import os; print(len(os.sched_getaffinity(0)))"
    with bound_to(1):
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) == 1
    assert os.sched_getaffinity(0) == before
