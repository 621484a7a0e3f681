"""The logs that ship are whole, their schedules replay with this version, and the best computes what it should."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched.codegen.target import host_target
from flashsched.tune.logs.log import LogWarning, read, verify

FOLDER = Path(__file__).resolve().parents[1] / "tuning_logs"
LOGS = sorted(FOLDER.rglob("*.jsonl"))


def test_there_are_logs_of_this_kind_and_that() -> None:
    assert {path.parent.name for path in LOGS} >= {"cpu", "a100-sim"}


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_log_is_whole_and_replays(path: Path) -> None:
    assert verify(path).ok
    for record in read(path):
        task = fs.Task(record.task["op"], record.task["shape"], record.task["dtype"], **record.task["options"])
        assert task.hash == record.task["hash"]
        assert task.replay(fs.Trace.from_json(record.trace)).schedule.stages


def test_a_kernel_is_loaded_from_them() -> None:
    log = FOLDER / "cpu" / "matmul.jsonl"
    triple = next(iter(read(log))).target["triple"]
    if triple.split("-")[0] != host_target().arch:
        pytest.skip(f"the log is of {triple}")
    task = fs.Task("matmul", shape=(509, 491, 499))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LogWarning)  # another CPU than the one that it was tuned on is said to be so
        kernel = fs.load(log, task)
    a, b = task.inputs(seed=3)
    np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-3, atol=1e-3)
