"""A search goes on from the log of another run."""

import pytest

from flashsched.testing import programs
from flashsched.tune.logs.log import TuningLog, verify
from flashsched.tune.runner import Trial
from flashsched.tune.search import pool
from flashsched.tune.task import Task

from .scripted import canonical, trials_of, tune, two_splits

pytestmark = pytest.mark.usefixtures("small_pools")


def test_resume_goes_on_without_repeating(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    scripted()
    tune(trials=10, log=log, seed=1)
    runner = scripted()
    result = tune(trials=25, log=log, seed=1, resume=True)
    assert len(runner.ran) == 15
    known = [canonical(record) for record in trials_of(log)]
    assert len(known) == len(set(known)) == len(result.records) == 25
    assert [record.trial for record in trials_of(log)] == list(range(25))
    assert result.best.median_s == min(record.median_s for record in trials_of(log))
    assert verify(log).ok


def test_resume_of_a_run_that_is_done_only_settles(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    scripted()
    one = tune(trials=6, log=log)
    runner = scripted()
    again = tune(trials=6, log=log, resume=True)
    assert runner.ran == []
    assert canonical(again.best) == canonical(one.best)
    assert len(trials_of(log)) == 6


def test_resume_starts_where_there_is_no_log(scripted, tmp_path):
    scripted()
    assert len(tune(trials=2, log=tmp_path / "new.jsonl", resume=True).records) == 2


def test_resume_takes_nothing_of_other_tasks_devices_and_specs(scripted, tmp_path, monkeypatch):
    log = tmp_path / "a.jsonl"
    scripted()
    tune(Task.from_te(programs.pointwise(33, 41), template={"gpu": two_splits}), trials=2, log=log)
    tune(trials=2, log=log)
    other = scripted()
    monkeypatch.setattr(other, "target", lambda: {"device": "a100-sim", "spec": "of another A100"})
    assert len(tune(trials=3, log=log, resume=True).records) == 3
    assert len(other.ran) == 3
    runner = scripted()
    assert len(tune(trials=3, log=log, resume=True).records) == 3
    assert len(runner.ran) == 1


def test_resume_teaches_the_cost_model(scripted, tmp_path, monkeypatch):
    log = tmp_path / "a.jsonl"
    scripted()
    tune(trials=12, log=log)
    models = []
    monkeypatch.setattr(
        pool, "CostModel", lambda *given, make=pool.CostModel: models.append(make(*given)) or models[-1]
    )
    tune(trials=12, log=log, resume=True)
    assert len(models[0]) == 12


def test_resume_does_not_trust_what_was_found_wrong_at_the_end(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    fastest = []

    def settle(candidate, trial):
        if not fastest:
            fastest.append(candidate.trace.canonical())
            return Trial("wrong", [], "wrong result")
        return Trial("correct", trial.times_s, None, {"max_error": 0.0, "tolerance": 1.0})

    scripted(settle=settle)
    assert canonical(tune(trials=6, log=log).best) != fastest[0]
    scripted()
    assert canonical(tune(trials=6, log=log, resume=True).best) != fastest[0]


def test_resume_with_a_damaged_line(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    scripted()
    tune(trials=5, log=log)
    lines = log.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"seed":0', b'"seed":9')
    log.write_bytes(b"".join(lines))
    runner = scripted()
    with pytest.warns(UserWarning, match=r"a\.jsonl:2: skipped: the checksum does not fit"):
        tune(trials=5, log=log, resume=True)
    assert len(runner.ran) == 1


def test_a_record_of_another_version_that_no_longer_replays_is_kept_and_not_repeated(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    scripted()
    tune(trials=3, log=log)
    (record, *_) = trials_of(log)
    from dataclasses import replace

    stale = replace(record, trace={**record.trace, "steps": [{"do": "gone", "stage": "C", "out": []}]}, record_id="s")
    TuningLog(tmp_path / "b.jsonl").append(stale)
    runner = scripted()
    result = tune(trials=3, log=tmp_path / "b.jsonl", resume=True)
    assert len(runner.ran) == 2
    assert len(result.records) == 3
    assert result.best.record_id != "s"
