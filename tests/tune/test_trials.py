"""The trials of a long run: the latest in memory, the others in their log, and all of them a sequence."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched.errors import LogError
from flashsched.tune.logs import trials as trials_file
from flashsched.tune.logs.log import TuningLog, compact, merge, read
from flashsched.tune.logs.record import Record
from flashsched.tune.logs.trials import Trials
from flashsched.tune.search import pareto, pool
from flashsched.tune.search.pareto import front, front_of
from flashsched.tune.spaces.runner import TableRunner, task_of
from flashsched.tune.spaces.table import load_space

TASK = {"op": "add", "shape": [4], "dtype": "float32", "text": "", "hash": "0"}
SPACE = load_space("columns")


def record(number: int, status: str = "unverified") -> Record:
    times = [1e-6 * (number + 1)] if status == "unverified" else []
    return Record(dict(TASK), {"steps": []}, "a100-sim", "simulated", status, number, times_s=times)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(trials_file, "_AT_HAND", 4)


def logged(path, count):
    """So many records, and the trials that keep them in a log with lines of others between."""
    log, trials = TuningLog(path), Trials(path)
    records = [record(n, "crash" if n % 3 == 2 else "unverified") for n in range(count)]
    for one in records:
        log.append(record(99))
        trials.append(one, log.append(one))
    return records, trials


@pytest.mark.usefixtures("few")
def test_it_is_as_a_list_and_holds_the_latest(tmp_path):
    records, trials = logged(tmp_path / "a.jsonl", 12)
    assert len(trials._at_hand) == 4
    assert (len(trials), list(trials)) == (12, records)
    assert trials == records
    assert trials != records[:-1]
    assert trials != records[::-1]
    assert (trials[0], trials[-1], trials[-12]) == (records[0], records[-1], records[0])
    assert trials[2:11:3] == records[2:11:3]
    assert records[1] in trials
    assert trials.statuses == {"unverified": 8, "crash": 4}
    with pytest.raises(IndexError):
        trials[12]


@pytest.mark.usefixtures("few")
def test_what_no_log_has_is_kept(tmp_path):
    records = [record(n) for n in range(12)]
    trials = Trials()
    for one in records:
        trials.append(one, None)
    assert trials == records
    assert TuningLog("/dev/null").append(records[0]) is None  # it can't be read again


@pytest.mark.usefixtures("few")
def test_one_is_put_in_the_place_of_another(tmp_path):
    records, trials = logged(tmp_path / "a.jsonl", 12)
    final = replace(records[1], status="wrong", times_s=[])
    trials.amend(records[1], final)
    assert trials == [records[0], final, *records[2:]]
    assert trials.statuses == {"unverified": 7, "crash": 4, "wrong": 1}


@pytest.mark.usefixtures("few")
def test_a_log_that_was_rewritten_is_read_all_the_same(tmp_path):
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    records, trials = logged(path, 12)
    TuningLog(other).append(replace(record(0), started_at="2000-01-01T00:00:00.000000Z"))
    merge([other], path)
    assert trials == records


@pytest.mark.usefixtures("few")
def test_a_record_that_the_log_has_no_more_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    records, trials = logged(path, 12)
    compact(path, keep=1)
    assert trials[0] == records[0]  # the fastest
    assert trials[-4:] == records[-4:]
    with pytest.raises(
        LogError, match=r"(?s)trial 1 of this run stands no longer in .*a.jsonl.*until its run has ended"
    ):
        trials[1]


@pytest.mark.usefixtures("few")
def test_a_run_with_a_log_tells_what_one_without_tells_and_holds_few_records(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_FIRST", 12)
    monkeypatch.setattr(pool, "_FRESH", 8)
    from flashsched.tune.settings import Settings
    from flashsched.tune.tuner import Search

    def searched(log, trials, resume=False):
        search = Search(
            task_of(SPACE),
            TableRunner(SPACE, 8),
            Settings(trials=trials, sampler="random", warm_start=False, pretrained=False),
            log,
            resume=resume,
        )
        while search.step():
            pass
        return search

    path = tmp_path / "a.jsonl"
    gc.collect()
    before = sum(isinstance(one, Record) for one in gc.get_objects())
    running = searched(path, 20)
    gc.collect()
    assert sum(isinstance(one, Record) for one in gc.get_objects()) - before <= 4 + 16 + 8  # at hand, best, batch
    steps = [one.trace for one in running.history.records]
    assert steps == [one.trace for one in searched(None, 20).history.records]
    assert len({fs.Trace.from_json(trace).canonical() for trace in steps}) == 20
    again = searched(path, 24, resume=True)
    assert [one.trial for one in again.history.records] == list(range(24))
    assert again.history.records[:20] == list(running.history.records)
    assert list(read(path)) == list(again.history.records)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40), st.integers(1, 8))
def test_the_front_of_a_stream_is_that_of_the_whole(values, held):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "_HELD", held)
        found = front_of(iter(enumerate(values)), lambda item: item[1])
    assert [at for at, _ in found] == (front(values) if values else [])
