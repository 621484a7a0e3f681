from __future__ import annotations

import pytest

import flashsched as fs
from flashsched.cli import main
from flashsched.errors import TuneError
from flashsched.tune.logs.log import read
from flashsched.tune.many import merged
from flashsched.tune.task import Task

SMALL, LARGE = Task("relu", (64, 64)), Task("matmul", (256, 256, 128))

pytestmark = pytest.mark.usefixtures("quick_finals", "small_pools")


def test_what_computes_the_same_is_one_task():
    again = Task("relu", (64, 64))
    assert merged([SMALL, (LARGE, 2), (again, 3)]) == [(SMALL, 4.0), (LARGE, 2)]
    assert merged({LARGE: 5}) == [(LARGE, 5)]
    cases = [
        ([], "there is no task to tune"),
        ([(SMALL, 0)], "is run 0 times"),
        (SMALL, "takes several tasks, got one"),
        ([("matmul", 2)], "a task is needed, got 'matmul'"),
    ]
    for wrong, says in cases:
        with pytest.raises(TuneError, match=says):
            merged(wrong)


def test_trials_go_where_the_total_gains_most(tmp_path):
    log = tmp_path / "a.jsonl"
    result = fs.tune_many([(SMALL, 1), (LARGE, 400), (SMALL, 1)], "a100-sim", 30, log, warm_start=False)
    frame = result.to_frame()
    assert list(frame["count"]) == [2, 400]
    trials = dict(zip(frame["op"], frame["trials"], strict=True))
    assert trials["matmul"] > trials["relu"] >= 1
    assert sum(trials.values()) <= 30
    assert frame["share_of_total"].sum() == pytest.approx(1)
    best = [result.results[task.hash].best.median_s for task in (SMALL, LARGE)]
    assert result.total_s == pytest.approx(2 * best[0] + 400 * best[1])
    assert {record.task["hash"] for record in read(log)} == {SMALL.hash, LARGE.hash}
    before = sum("retimes" not in record.extra for record in read(log))
    more = fs.tune_many([SMALL, LARGE], "a100-sim", before + 4, log, resume=True, warm_start=False)
    assert sum(len(found.records) for found in more.results.values()) <= before + 4
    assert more.results[LARGE.hash].best.median_s <= best[1] * 1.001


def test_fewer_trials_than_tasks():
    with pytest.raises(TuneError, match="2 tasks need at least a trial each, got trials=1"):
        fs.tune_many([SMALL, LARGE], "a100-sim", 1)


def test_the_command(tmp_path, capsys):
    model = tmp_path / "model.txt"
    model.write_text("# a model\nrelu 64,64 x2\nmatmul 32,64,32 x3 bias=true\n\nrelu 64,64\n")
    log = tmp_path / "many.jsonl"
    assert main(["tune-many", str(model), "--device", "a100-sim", "--trials", "6", "--log", str(log), "-q"]) == 0
    out = capsys.readouterr().out
    assert "2 tasks, 6 trials" in out
    assert "x3" in out
    assert "total" in out
    model.write_text("relu 64,64 twelve\n")
    assert main(["tune-many", str(model)]) == 2
    assert "model.txt:1: 'twelve' is no count" in capsys.readouterr().err
