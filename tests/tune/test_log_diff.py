from __future__ import annotations

import json

import pytest

import flashsched as fs
from flashsched.errors import LogError, NoRecordError
from flashsched.tune.logs.log import TuningLog
from flashsched.tune.logs.log_diff import bests, diff_logs, diff_records, record_in
from flashsched.tune.logs.record import Record

RELU = fs.Task("relu", (8, 64))


def trace(factor):
    s = RELU.replay(fs.Trace()).schedule
    stage = s.stages[0]
    stage.vectorize(stage.split(stage.loops[1], factor=factor)[1])
    return s.trace.to_json()


def record(name, times_s=(1.0,), task=RELU, **changes):
    given = {
        "task": task.to_json(),
        "trace": trace(8),
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": 0,
        "times_s": list(times_s),
        "verified": {"max_error": 0.0, "tolerance": 1.0},
        "record_id": name,
    }
    return Record(**{**given, **changes})


SIX = (1.0, 1.01, 1.02, 0.99, 0.98, 1.0)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [([2 * t for t in SIX], "slower"), ([t / 2 for t in SIX], "faster"), ([t * 1.01 for t in SIX], "tie")],
)
def test_times_are_compared_with_their_intervals(times, verdict):
    found = diff_records(record("a", SIX), record("b", times))
    assert found.verdict == verdict
    ratio, low, high = found.ratio
    assert low < ratio < high
    assert {"tie": "too close to tell apart"}.get(verdict, verdict) in str(found)


def test_few_samples_say_how_little_they_are_worth():
    assert "too few samples for 95 %: 75 %" in str(diff_records(record("a", SIX), record("b", (2.0, 2.1, 2.2))))


def test_schedules_are_compared():
    found = diff_records(record("a"), record("b", trace=trace(16)))
    assert "factor 8 -> 16" in str(found)
    assert found.to_json()["trace"]["changed"]
    assert "the schedules are the same" in str(diff_records(record("a"), record("b")))
    assert "a trace of another version" in str(
        diff_records(record("a"), record("b", trace={"version": 9, "steps": []}))
    )


def test_what_cannot_be_compared_is_not():
    simulated = record("b", device="a100-sim", source="simulated", status="unverified", verified=None)
    found = diff_records(record("a", SIX), simulated)
    assert (found.ratio, found.verdict) == (None, "not comparable")
    assert "are not compared" in str(found)
    failed = record("c", (), status="crash", verified=None)
    assert "trial 0: crash" in str(diff_records(record("a"), failed))


def test_simulated_times_have_no_spread():
    made = [record(n, (t,), source="simulated", device="a100-sim") for n, t in (("a", 1.0), ("b", 1.1))]
    assert diff_records(*made).ratio == pytest.approx((1.1, 1.1, 1.1))


def test_the_best_of_each_task_counts_and_what_was_overruled_does_not(tmp_path):
    lucky, again = record("lucky", (0.1,)), record("again", (1.5,), extra={"retimes": "lucky", "best": True})
    slow = record("slow", (2.0,))
    wrong = record("wrong", (), status="wrong", verified=None, trace=trace(16))
    was_right = record("was", (0.2,), trace=trace(16), started_at="2020-01-01T00:00:00.000000Z")
    TuningLog(tmp_path / "a.jsonl").append(lucky, slow, again, was_right, wrong)
    found = bests(tmp_path / "a.jsonl")
    assert [r.record_id for r in found.values()] == ["again"]


def test_two_logs(tmp_path):
    add = fs.Task("add", (4, 4))
    TuningLog(tmp_path / "a.jsonl").append(record("a1", SIX), record("a2", task=add, trace={"steps": []}))
    TuningLog(tmp_path / "b.jsonl").append(record("b1", [3 * t for t in SIX]))
    found = diff_logs(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert [(pair.old.record_id, pair.new.record_id, pair.verdict) for pair in found.pairs] == [("a1", "b1", "slower")]
    assert [r.record_id for r in found.only_old] == ["a2"]
    assert found.only_new == []
    assert "- add 4,4 float32 on cpu" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["pairs"][0]["same_schedule"] is True
    (tmp_path / "empty.jsonl").touch()
    assert str(diff_logs(tmp_path / "empty.jsonl", tmp_path / "empty.jsonl")) == "neither log has a valid record"


def test_records_by_the_beginning_of_their_id(tmp_path):
    TuningLog(tmp_path / "a.jsonl").append(record("abc1"), record("abd2"))
    assert record_in(tmp_path / "a.jsonl", "abc").record_id == "abc1"
    with pytest.raises(NoRecordError, match="has no record 'x'"):
        record_in(tmp_path / "a.jsonl", "x")
    with pytest.raises(LogError, match="2 records whose id begins with 'ab': abc1, abd2"):
        record_in(tmp_path / "a.jsonl", "ab")
