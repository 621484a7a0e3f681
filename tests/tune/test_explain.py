from __future__ import annotations

import json
import math

import pytest

import flashsched as fs
from flashsched.errors import LogError, TuneError
from flashsched.tune.explaining.explain import explain
from flashsched.tune.logs.log import TuningLog

RELU = fs.Task("relu", (64, 192))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A log of a small ReLU, tuned here."""
    path = tmp_path_factory.mktemp("logs") / "relu.jsonl"
    fs.tune(RELU, device="cpu", trials=3, log=path, seed=0)
    return path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "matmul.jsonl"
    task = fs.Task("relu", (512, 512))
    fs.tune(task, device="a100-sim", trials=2, log=path, seed=0)
    return path, task


def test_a_measured_schedule_taken_apart(measured):
    told = []
    found = explain(measured, RELU, progress=lambda done, of: told.append((done, of)))
    assert found.record.status == "correct"
    assert len(found.ablations) == len(found.steps) > 0
    assert all(each.timed.status == "correct" for each in found.ablations)
    assert found.speedup > 0
    assert found.share_of_roofline > 0
    assert sum(worth.share for worth in found.worths) == pytest.approx(1.0)
    assert math.prod(worth.factor for worth in found.worths) == pytest.approx(found.speedup, rel=1e-6)
    assert told[-1][0] == told[-1][1] == len(told)
    assert {"l1", "dram"} <= set(found.prediction.bytes)
    said = str(found)
    for words in ("relu 64,192 float32 on cpu", "bound by", "bytes moved", "without one step", "as the default nest"):
        assert words in said
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["steps"][0]["status"] == "correct"
    frame = found.to_frame()
    assert list(frame.columns) == ["step", "group", "falls", "time_s", "slower", "low", "high", "status"]
    assert len(frame) == len(found.steps)


def test_a_simulated_schedule_is_predicted_and_the_same_each_time(simulated):
    path, task = simulated
    one, other = (explain(path, task, "a100-sim", orders=4, seed=3) for _ in range(2))
    assert one.to_json() == other.to_json()
    assert one.orders == 4
    assert one.fma_use == pytest.approx(task.flops / one.time_s / one.peak)
    assert one.speedup > 10
    assert all(each.slower >= 0.5 or not each.timed.times_s for each in one.ablations)
    assert "(simulated)" in str(one)
    assert "just now" not in str(one)


def test_what_cannot_be_run_is_said_so(simulated):
    path, task = simulated
    found = explain(path, task, "a100-sim", orders=2)
    failed = [each for each in found.ablations if not each.timed.times_s]
    for each in failed:
        assert math.isnan(each.slower)
        assert each.timed.error.splitlines()[0] in str(found)


def test_a_look_up_that_missed_names_the_nearest(measured):
    found = fs.explain(measured, fs.Task("relu", (64, 96)))
    assert found.record is None
    assert [each.what for each in found.missed[0].differences] == ["shape"]
    assert "is for shape 64,192 (1)" in str(found)
    assert list(found.to_frame()["what"]) == ["shape"] * len(found.missed)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["missed"][0]["distance"] == 1.0


def test_an_empty_log_has_no_nearest(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "no record at all" in str(explain(tmp_path / "empty.jsonl", RELU))


def test_a_schedule_of_no_steps_is_the_default_nest(tmp_path, measured):
    from dataclasses import replace

    from flashsched.tune.logs.log import read

    bare = replace(next(read(measured)), trace={"version": 1, "steps": []})
    TuningLog(tmp_path / "bare.jsonl").append(bare)
    found = explain(tmp_path / "bare.jsonl", RELU)
    assert (found.ablations, found.worths) == ([], [])
    assert "the schedule is the default nest" in str(found)


def test_wrong_usage(tmp_path, measured):
    with pytest.raises(TuneError, match="orders must be at least 1"):
        explain(measured, RELU, orders=0)
    with pytest.raises(LogError, match="there is no log"):
        explain(tmp_path / "gone.jsonl", RELU)
