from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

import flashsched as fs
from flashsched.errors import DeviceError, Infeasible, LogError, TuneError
from flashsched.hw import devices
from flashsched.testing import programs
from flashsched.tune.logs.log import read, verify
from flashsched.tune.runner import SimulatedRunner, Trial
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task

from .scripted import CHEAP, canonical, trials_of, tune

pytestmark = pytest.mark.usefixtures("small_pools")

MATMUL = Task("matmul", (33, 20, 40))


def finals_of(path):
    return [record for record in read(path) if "retimes" in record.extra]


# -- the search --------------------------------------------------------------------------------------------------


def test_the_same_seed_runs_the_same_schedules(scripted):
    ran = []
    for seed in (3, 3, 4):
        runner = scripted()
        tune(trials=20, seed=seed)
        ran.append(runner.ran)
    assert ran[0] == ran[1]
    assert ran[0] != ran[2]


def test_no_schedule_is_run_twice(scripted):
    runner = scripted()
    result = tune(trials=40)
    assert len(runner.ran) == len(set(runner.ran)) == len(result.records) == 40
    assert [record.trial for record in result.records] == list(range(40))


def test_records_share_the_steps_that_they_have_alike(scripted):
    scripted()
    steps = [step for record in tune(trials=12).records for step in record.trace["steps"]]
    assert len({id(step) for step in steps}) == len({repr(step) for step in steps}) < len(steps)


def test_a_small_space_is_searched_to_its_end(scripted):
    def template(s, args, knobs, spec):
        i, j = args[-1].op.axis
        s[args[-1]].split(j, factor=knobs.choice("factor", (2, 4, 8)))
        if knobs.choice("useless", (False, True)):
            pass  # two decisions, one schedule
        knobs.require(knobs.choice("rows", (1, 2, 3)) != 2, "not 2")
        s[args[-1]].split(i, factor=knobs.choice("rows", (1, 2, 3)))

    runner = scripted()
    result = tune(Task.from_te(programs.pointwise(6, 8), template={"gpu": template}), trials=100)
    assert len(runner.ran) == len(result.records) == 3 * 2
    assert result.best is not None
    assert result.refused == {"not 2": result.refused["not 2"]}


def test_one_trial_is_the_best_of_those_that_the_prior_saw():
    from flashsched.codegen.analysis import simulate

    spec = devices.for_simulation("a100-sim")
    result = tune(MATMUL, trials=1)
    assert len(result.records) == 1
    assert result.best.status == "correct"
    first = simulate(MATMUL.candidate(FirstKnobs(), spec).schedule, spec).time_s
    assert result.best.median_s <= first


def test_the_best_is_the_fastest_of_all_trials(scripted):
    scripted()
    result = tune(trials=20)
    times = [record.median_s for record in result.records]
    assert result.best.median_s == min(times)
    assert result.best in result.records
    assert all(tie.median_s <= 1.02 * min(times) for tie in result.ties)


def test_what_was_fast_is_searched_around(scripted):
    """Schedules that the device model likes least are made fast: later batches must find out."""
    spec = devices.for_simulation("a100-sim")
    rng = random.Random(0)
    priors = []
    while len(priors) < 60:
        try:
            made = CHEAP.candidate(RandomKnobs(rng), spec)
        except Infeasible:
            continue
        priors.append(next(SimulatedRunner(spec).run(CHEAP, [made], None))[1].times_s[0])
    upside_down = min(priors) * max(priors)
    scripted(lambda number, trial: Trial(trial.status, [upside_down / trial.times_s[0]]))
    result = tune(trials=64)
    times = [record.median_s for record in result.records]
    assert np.median(times[-16:]) < np.median(times[:16])


@pytest.mark.parametrize(
    "task", [Task("relu", (33, 20)), Task("add", (5, 7), "int32"), Task("conv2d", (1, 4, 6, 6, 8, 3, 1, 1))]
)
def test_the_other_operators(task):
    result = tune(task, trials=2)
    assert [record.status for record in result.records] == ["correct", "correct"]


def test_nothing_to_compute_on_this_cpu():
    assert fs.tune(Task("matmul", (4, 4, 0)), trials=2).best.status == "correct"


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4, 0), (1, 1, 1)])
def test_nothing_to_compute(shape):
    assert tune(Task("matmul", shape), trials=2).best is not None


# -- the end -----------------------------------------------------------------------------------------------------


def test_finalists_are_timed_again_and_say_which_record_they_time(scripted, tmp_path):
    log = tmp_path / "a.jsonl"
    scripted()
    result = tune(trials=10, log=log)
    trials, finals = trials_of(log), finals_of(log)
    assert (len(trials), len(finals)) == (10, 4)
    by_id = {record.record_id: record for record in trials}
    for final in finals:
        timed = by_id[final.extra["retimes"]]
        assert (timed.trial, canonical(timed)) == (final.trial, canonical(final))
        assert (timed.status, final.status) == ("unverified", "correct")
    fastest = sorted(trials, key=lambda record: record.median_s)[:4]
    assert {record.record_id for record in fastest} == {final.extra["retimes"] for final in finals}
    assert result.best.record_id in {final.record_id for final in finals}
    assert [record.trial for record in result.records] == list(range(10))
    assert [bool(final.extra.get("best")) for final in finals].count(True) == 1


def test_finalists_that_fail_give_way_to_the_next(scripted):
    wrong = []

    def settle(candidate, trial):
        if len(wrong) < 5:
            wrong.append(candidate.trace.canonical())
            return Trial("wrong", [], "wrong result at [0]", {"max_error": 2.0, "tolerance": 1.0})
        return Trial("correct", trial.times_s, None, {"max_error": 0.0, "tolerance": 1.0})

    scripted(settle=settle)
    result = tune(trials=12)
    assert result.best.status == "correct"
    assert canonical(result.best) not in wrong
    assert [record.status for record in result.records].count("wrong") == 5


def test_a_run_whose_every_schedule_proves_wrong_is_an_error(scripted, tmp_path):
    def settle(candidate, trial):
        return Trial("wrong", [], "wrong result at [0, 0]: 1, expected 2")

    scripted(settle=settle)
    with pytest.raises(TuneError, match=r"every finalist of Task\('custom'.* is wrong: wrong result at \[0, 0\]"):
        tune(trials=3, log=tmp_path / "a.jsonl")
    assert [record.status for record in finals_of(tmp_path / "a.jsonl")] == ["wrong"] * 3


def test_nothing_valid(scripted, tmp_path):
    scripted(lambda number, trial: Trial("crash" if number % 3 else "timeout", [], "SIGILL"))
    result = tune(trials=6, log=tmp_path / "a.jsonl")
    assert result.best is None
    assert result.ties == []
    assert result.why_nothing() == "4 x crash: SIGILL; 2 x timeout: SIGILL"
    for use in (result.schedule, lambda: result.kernel):
        with pytest.raises(TuneError, match=r"no valid schedule of Task\('custom'(.|\n)*4 x crash: SIGILL"):
            use()
    assert len(result.to_frame()) == len(trials_of(tmp_path / "a.jsonl")) == 6


def test_nothing_feasible():
    def template(s, args, knobs, spec):
        knobs.require(False, "too few registers")

    result = tune(Task.from_te(programs.pointwise(4), template={"gpu": template}), trials=3)
    assert result.best is None
    assert result.records == []
    assert "too few registers" in result.why_nothing()


def test_wrong_kernels_are_recorded_and_never_the_best(tmp_path):
    """The reference disagrees with the te graph, so all that is measured on this machine is wrong."""
    task = Task.from_te(programs.matmul(9, 8, 7), name="mine", reference=lambda a, b: a @ b + 0.5)
    result = fs.tune(task, trials=3, log=tmp_path / "a.jsonl")
    assert result.best is None
    assert [record.status for record in result.records] == ["wrong"] * 3
    assert "wrong result at" in result.why_nothing()
    with pytest.raises(fs.NoRecordError, match="has status 'wrong', not 'correct'"):
        fs.load(tmp_path / "a.jsonl", task)


def test_a_simulated_result_runs_no_kernel():
    result = tune(MATMUL, trials=1)
    with pytest.raises(TuneError, match="this schedule is for a100-sim, which is simulated here"):
        _ = result.kernel
    assert result.schedule().schedule.trace == fs.Trace.from_json(result.best.trace)


# -- limits and refusals -----------------------------------------------------------------------------------------


def test_parameters_that_stay_on_a_chip_are_no_part_of_its_roofline():
    result = fs.tune(fs.Task("matmul", (256, 256, 256), "int8"), "edge-tpu-sim", 2)
    found = fs.simulate(result, "edge-tpu-sim")
    assert result.best.extra["roofline_s"] == pytest.approx(found.roofline_s)
    assert found.roofline_s < result.task.bytes / devices["edge-tpu-sim"].dram.bandwidth_bytes_per_s


def test_a_time_budget_ends_the_search(scripted, tmp_path):
    import time

    def slow(number, trial):
        time.sleep(0.05)
        return trial

    scripted(slow)
    start = time.perf_counter()
    result = tune(trials=10_000, time_budget=1.0, log=tmp_path / "a.jsonl")
    assert time.perf_counter() - start < 5
    assert 1 <= len(result.records) < 100
    assert result.best is not None


def test_progress_is_told_after_each_trial(scripted):
    scripted(lambda number, trial: Trial("crash", [], "x") if number == 2 else trial)
    told = []
    tune(trials=5, progress=told.append)
    assert [(p.done, p.stage) for p in told] == [(n, "search") for n in range(1, 6)] + [(5, "finals")]
    assert [p.failed for p in told[1:3]] == [{}, {"crash": 1}]
    assert all(p.trials == 5 and p.elapsed_s > 0 and p.left_s >= 0 for p in told)
    best = [p.best_s for p in told]
    assert best == sorted(best, reverse=True)
    assert 0 < told[-1].share <= 1.001


def test_a_bug_in_the_template_ends_the_run():
    def template(s, args, knobs, spec):
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        tune(Task.from_te(programs.pointwise(4), template={"gpu": template}))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"objectives": "energy"}, TuneError, r"with time among them; got \('energy',\)"),
        ({"trials": 0}, TuneError, "trials must be at least 1, got 0"),
        ({"trials": "5"}, TuneError, "trials must be a whole number, got '5'"),
        ({"jobs": "2"}, TuneError, "jobs must be a whole number, got '2'"),
        ({"jobs": 0}, TuneError, "jobs must be at least 1, got 0"),
        ({"log": 3}, TuneError, "log must be a path, got 3"),
        ({"resume": True}, TuneError, "resume goes on from a log, and none was given"),
        ({"sampler": "tpee"}, TuneError, r"unknown sampler 'tpee'(.|\n)*tpe"),
        ({"device": "a100-simm"}, DeviceError, "a100-simm"),
    ],
)
def test_refusals(options, error, says):
    with pytest.raises(error, match=says):
        fs.tune(**{"task": MATMUL, "device": "a100-sim", "trials": 1, **options})


def test_a_log_that_cannot_be_written(tmp_path, scripted):
    scripted()
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError):
        tune(trials=1, log=tmp_path / "file" / "a.jsonl")


# -- on this machine ---------------------------------------------------------------------------------------------


def test_a_run_on_this_cpu_from_the_task_to_the_loaded_kernel(tmp_path):
    log = tmp_path / "deep" / "cpu.jsonl"
    task = Task("matmul", (33, 20, 40), bias=True, activation="relu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fs.tune(task, trials=5, log=log, seed=0)
        kernel = fs.load(log, task)
    assert [record.status for record in result.records] == ["correct"] * 5
    assert result.best.extra["best"] is True
    a, b, bias = task.inputs(7)
    expected = np.maximum(a @ b + bias, 0)
    np.testing.assert_allclose(result.kernel(a, b, bias), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernel(a, b, bias), expected, rtol=1e-5, atol=1e-5)
    frame = fs.read_log(log)
    assert set(frame["source"]) == {"measured"}
    assert (frame["gflops"] > 0).all()
    assert verify(log).ok
