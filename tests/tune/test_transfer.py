from __future__ import annotations

import pytest

import flashsched as fs
from flashsched.hw import devices
from flashsched.tune.logs.log import read
from flashsched.tune.search.transfer import ValueKnobs, seeds
from flashsched.tune.task import Task

SPEC = devices.for_simulation("a100-sim")

pytestmark = pytest.mark.usefixtures("quick_finals", "small_pools")


def test_a_decision_becomes_the_option_nearest_to_what_it_meant():
    knobs = ValueKnobs({"tile": 48, "same": 8, "word": "rows", "gone": "x", "flag": True})
    assert knobs.choice("tile", [8, 16, 32, 64]) == 64  # 64 / 48 is less than 48 / 32
    assert knobs.choice("same", [2, 4, 8]) == 8
    assert knobs.choice("word", ["columns", "rows"]) == "rows"
    assert knobs.choice("gone", ["a", "b"], default="b") == "b"
    assert knobs.choice("new", [1, 2, 3], default=2) == 2
    assert knobs.choice("flag", [0, 1, True]) is True


def test_a_search_starts_from_the_nearest_shape_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "tuning_logs" / "near.jsonl"
    near = fs.tune(Task("matmul", (256, 256, 256)), device="a100-sim", trials=6, log=log)
    fs.tune(Task("relu", (64, 64)), device="a100-sim", trials=2, log=log)
    task = Task("matmul", (256, 256, 128))
    found = seeds(task, SPEC, [log, tmp_path / "missing.jsonl"])
    assert [seed.text for seed in found] == [f"matmul 256,256,256 float32 on a100-sim ({log})"]
    assert found[0].decisions == near.best.trace["decisions"]
    knobs = ValueKnobs(found[0].values)
    task.candidate(knobs, SPEC)
    result = fs.tune(task, device="a100-sim", trials=4)
    assert result.notes == ("starts from matmul 256,256,256 float32 on a100-sim (tuning_logs/near.jsonl)",)
    assert knobs.decisions in [record.trace["decisions"] for record in result.records]
    assert fs.tune(task, device="a100-sim", trials=1, warm_start=False).notes == ()


def test_the_log_that_is_written_is_none_to_start_from(tmp_path):
    log = tmp_path / "a.jsonl"
    fs.tune(Task("relu", (64, 64)), device="a100-sim", trials=2, log=log, warm_start=False)
    assert seeds(Task("relu", (64, 128)), SPEC, [log], own=log) == []
    assert len(seeds(Task("relu", (64, 128)), SPEC, [log])) == 1
    assert next(read(log)).task["op"] == "relu"
