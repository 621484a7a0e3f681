from __future__ import annotations

import math
import pickle
import random
from collections import OrderedDict

import psutil
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.kernel import Kernel
from flashsched.errors import DeviceError, Infeasible, LimitError, LoweringError
from flashsched.hw import devices
from flashsched.testing import programs
from flashsched.tune.logs.record import STATUSES
from flashsched.tune.measuring import jobs
from flashsched.tune.measuring.cpu_runner import parted_cores
from flashsched.tune.measuring.jobs import retime
from flashsched.tune.measuring.workers import Outcome
from flashsched.tune.runner import CpuRunner, SimulatedRunner, Trial, runner_for
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task
from flashsched.tune.trial import failed

MATMUL = Task("matmul", (33, 20, 40))


def candidates(task, spec, count=3):
    """Different candidates, the default one first."""
    found = {}
    rng = random.Random(0)
    while len(found) < count:
        try:
            made = task.candidate(RandomKnobs(rng) if found else FirstKnobs(), spec)
        except Infeasible:
            continue
        found.setdefault(made.trace.canonical(), made)
    return list(found.values())


@pytest.fixture(scope="module")
def cpu():
    with CpuRunner(jobs=1) as runner:
        yield runner


@pytest.fixture(scope="module")
def a100():
    with SimulatedRunner(devices.for_simulation("a100-sim")) as runner:
        yield runner


class RunnerContract:
    """What holds for every runner. A subclass gives ``runner``, entered."""

    def test_each_candidate_gets_one_trial(self, runner):
        given = candidates(MATMUL, runner.spec)
        trials = dict(runner.run(MATMUL, given, None))
        assert sorted(trials) == [0, 1, 2]
        for trial in trials.values():
            assert trial.status in ("correct", "unverified"), trial.error
            assert trial.error is None
            assert trial.times_s
            assert all(math.isfinite(time) and time > 0 for time in trial.times_s)
            assert (trial.verified is not None) == (trial.status == "correct")

    def test_it_may_be_told_of_a_task_before_there_are_candidates(self, runner):
        runner.prepare(MATMUL)
        trials = dict(runner.run(MATMUL, candidates(MATMUL, runner.spec, 1), None))
        assert trials[0].status in ("correct", "unverified"), trials[0].error

    def test_finals_check_each_and_come_in_order(self, runner):
        given = candidates(MATMUL, runner.spec)
        trials = runner.finals(MATMUL, given)
        assert [trial.status for trial in trials] == ["correct"] * 3
        assert len({len(trial.times_s) for trial in trials}) == 1  # side by side: as many samples of each
        for trial in trials:
            assert trial.verified["max_error"] <= trial.verified["tolerance"]

    def test_no_candidates(self, runner):
        assert list(runner.run(MATMUL, [], None)) == []
        assert runner.finals(MATMUL, []) == []

    def test_it_says_what_it_is(self, runner):
        assert runner.source in ("measured", "simulated")
        assert runner.batch >= 1
        assert runner.target()
        assert fs.devices[runner.spec.name].kind == runner.spec.kind

    def test_it_can_be_left_early(self, runner):
        trials = runner.run(MATMUL, candidates(MATMUL, runner.spec), None)
        next(trials)
        trials.close()
        assert len(dict(runner.run(MATMUL, candidates(MATMUL, runner.spec, 1), None))) == 1


def plain(s, args, knobs, spec):
    """No schedule at all."""


class TestCpuRunner(RunnerContract):
    @pytest.fixture
    def runner(self, cpu):
        return cpu

    def test_what_is_compared_with_is_made_ready(self, runner, monkeypatch):
        monkeypatch.setattr(jobs, "_references", OrderedDict())
        jobs.prepare(runner._common(MATMUL))
        (ready,) = jobs._references.values()
        assert ready.output.shape == (33, 20)
        assert jobs._reference(MATMUL, runner._common(MATMUL)) is ready

    def test_its_target_is_this_machine(self, runner):
        assert {"triple", "cpu", "features", "caches", "cores"} <= set(runner.target())

    def test_a_candidate_much_slower_than_the_best_is_not_timed_further(self, runner):
        given = candidates(MATMUL, runner.spec, 1)
        ((_, trial),) = runner.run(MATMUL, given, best_s=1e-12)
        assert trial.extra["stopped_early"]
        assert len(trial.times_s) == 1

    def test_workers_that_are_killed_between_trials_are_replaced(self, runner):
        seen = []
        for index, trial in runner.run(MATMUL, candidates(MATMUL, runner.spec), None):
            seen.append((index, trial.status))
            for worker in psutil.Process().children():
                worker.kill()
        assert sorted(seen) == [(0, "correct"), (1, "correct"), (2, "correct")]

    def test_trials_come_in_order_and_a_failure_to_compile_holds_up_none(self, runner):
        good, alien = candidates(MATMUL, runner.spec, 2), candidates(Task("relu", (33, 20)), runner.spec, 1)
        found = [(n, trial.status) for n, trial in runner.run(MATMUL, [good[0], alien[0], good[1]], None)]
        assert sorted(found) == [(0, "correct"), (1, "compile"), (2, "correct")]
        assert [n for n, status in found if status == "correct"] == [0, 2]

    def test_a_slow_machine_is_told(self, runner, monkeypatch):
        """The control kernel is said to have been much faster before."""
        monkeypatch.setattr(runner, "_control_s", 1e-9)
        ((_, trial),) = runner.run(MATMUL, candidates(MATMUL, runner.spec, 1), None)
        assert trial.extra["noisy"]
        assert trial.extra["drift"] > 100

    def test_cores_left_over_compile_while_others_time(self, monkeypatch):
        monkeypatch.setattr("flashsched.tune.measuring.cpu_runner.parted_cores", lambda threads: ((0,), (1,)))
        with CpuRunner() as runner:
            assert (runner._compilers.n, runner._beside) == (1, True)
            given = candidates(MATMUL, runner.spec)
            assert [n for n, trial in runner.run(MATMUL, given, None) if trial.status == "correct"] == [0, 1, 2]

    def test_a_trace_that_does_not_replay_is_a_compile_error(self, runner):
        alien = candidates(Task("relu", (33, 20)), runner.spec, 1)
        ((_, trial),) = runner.run(MATMUL, alien, None)
        assert trial.status == "compile"
        assert trial.error

    def test_finals_survive_one_that_fails(self, runner):
        good, alien = candidates(MATMUL, runner.spec, 2), candidates(Task("relu", (33, 20)), runner.spec, 1)
        trials = runner.finals(MATMUL, [good[0], alien[0], good[1]])
        assert [trial.status for trial in trials] == ["correct", "compile", "correct"]

    def test_running_out_of_memory_is_oom(self):
        x = te.placeholder((1 << 26,), name="x")
        task = Task.from_te([x, te.compute((1 << 26,), lambda i: x[i] + 1, name="y")])
        with CpuRunner(jobs=1, memory_limit_bytes=64 << 20) as runner:
            ((_, trial),) = runner.run(task, candidates(task, runner.spec, 1), None)
        assert trial.status == "oom"

    def test_a_kernel_that_takes_too_long_is_a_timeout(self):
        x, k = te.placeholder((1,), name="x"), te.reduce_axis((0, 1 << 40), name="k")
        value = te.compute((1,), lambda i: te.sum(te.sin(x[i] + k.astype("float32")), axis=k), name="y")
        task = Task.from_te([x, value], reference=lambda x: x, template=plain)
        with CpuRunner(jobs=1, timeout_s=1.0) as runner:
            ((_, trial),) = runner.run(task, [task.candidate(FirstKnobs(), runner.spec)], None)
        assert trial.status == "timeout"
        assert "1 s" in trial.error

    def test_a_kernel_that_is_wrong_gets_no_time(self, runner):
        """Its reference says something else than its te graph, so every kernel of it is wrong."""
        task = Task.from_te(programs.matmul(9, 8, 7), reference=lambda a, b: a @ b + 1)
        given = candidates(task, runner.spec, 2)
        for trial in [trial for _, trial in runner.run(task, given, None)] + runner.finals(task, given):
            assert (trial.status, trial.times_s) == ("wrong", [])
            assert "wrong result at" in trial.error
            assert trial.verified["max_error"] > trial.verified["tolerance"]

    def test_a_bug_of_ours_is_raised(self):
        for bug in (KeyError("x"), AssertionError(), AttributeError("y")):
            with pytest.raises(type(bug)):
                failed(Outcome("error", error="told", error_type=type(bug).__name__, exception=bug), "runtime")

    @pytest.mark.parametrize(
        ("outcome", "status"),
        [
            (Outcome("crash", error="SIGILL"), "crash"),
            (Outcome("timeout", error="after 20 s"), "timeout"),
            (Outcome("oom", error="out of memory"), "oom"),
            (Outcome("error", error="too large", error_type="LoweringError", exception=LoweringError("x")), "compile"),
            (Outcome("error", error="refused", error_type="LimitError", exception=LimitError("x")), "compile"),
            (Outcome("error", error="no space", error_type="OSError", exception=OSError("x")), "runtime"),
        ],
    )
    def test_what_a_job_that_failed_becomes(self, outcome, status):
        trial = failed(outcome, "runtime")
        assert (trial.status, trial.error) == (status, outcome.error)
        assert status in STATUSES


class TestSimulatedRunner(RunnerContract):
    @pytest.fixture
    def runner(self, a100):
        return a100

    def test_it_names_the_device_and_its_spec(self, runner):
        assert runner.target() == {"device": "a100-sim", "spec": devices["a100-sim"].fingerprint}

    def test_the_same_candidate_takes_the_same_time(self, runner):
        given = candidates(MATMUL, runner.spec, 1) * 2
        one, again = (trial for _, trial in runner.run(MATMUL, given, None))
        assert one == again

    def test_a_schedule_that_the_device_cannot_hold_is_ruled_out(self, runner):
        A, C = programs.pointwise(64, 64)
        task = Task.from_te([A, C], template={"gpu": too_many_threads})
        ((_, trial),) = runner.run(task, [task.candidate(FirstKnobs(), runner.spec)], None)
        assert (trial.status, trial.times_s) == ("constraints", [])
        assert "thread" in trial.error

    def test_finals_say_on_which_shapes_they_were_checked(self, runner):
        (trial,) = runner.finals(MATMUL, candidates(MATMUL, runner.spec, 1))
        assert trial.extra["verified_shapes"]

    def test_a_graph_too_large_to_check_stays_unverified(self, runner):
        task = Task.from_te(programs.matmul(1000, 1000, 1000), template={"gpu": plain})
        (trial,) = runner.finals(task, [task.candidate(FirstKnobs(), runner.spec)])
        assert trial.status == "unverified"
        assert "no smaller shape" in trial.error


def too_many_threads(s, args, knobs, spec):
    s[args[-1]].bind(s[args[-1]].fuse(*args[-1].op.axis), "threadIdx.x")


@pytest.mark.parametrize(
    ("threads", "siblings", "timing", "spare"),
    [
        (4, {}, (0, 1, 2, 3), ()),
        (9, {}, (0, 1, 2, 3), ()),
        (1, {}, (0,), (1, 2, 3)),
        (2, {0: 1, 1: 0, 2: 3, 3: 2}, (0, 2), ()),  # two physical cores: their hyperthreads stay idle
        (1, {0: 1, 1: 0, 2: 3, 3: 2}, (0,), (2, 3)),
        (3, {0: 1, 1: 0, 2: 3, 3: 2}, (0, 1, 2), ()),
    ],
)
def test_cores_are_parted(monkeypatch, threads, siblings, timing, spare):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(
        "flashsched.tune.measuring.cpu_runner._siblings", lambda core: {core, siblings[core]} if siblings else {core}
    )
    assert parted_cores(threads) == (timing, spare)


def test_runner_for_a_device():
    with runner_for("cpu", jobs=1) as runner:
        assert isinstance(runner, CpuRunner)
    assert isinstance(runner_for("gpu-a100"), SimulatedRunner)
    assert runner_for("nvidia-a100").spec.name == "a100-sim"
    with pytest.raises(DeviceError, match=r"a100-sin(.|\n)*a100-sim"):
        runner_for("a100-sin")


def test_a_trial_holds_nothing_unless_told():
    assert Trial("crash") == Trial("crash", [], None, None, {})


def test_finalists_write_the_same_output(monkeypatch):
    known = candidates(MATMUL, devices["cpu"])
    seen = []
    bound = Kernel.bound

    def watched(kernel, *args):
        seen.append(args)
        return bound(kernel, *args)

    monkeypatch.setattr(Kernel, "bound", watched)
    payload = {"task": pickle.dumps(MATMUL), "traces": [c.trace.to_json() for c in known], "seed": 1, "rounds": 2}
    found = retime(payload)
    assert [len(one.times_s) for one in found] == [2] * len(known)
    assert len(seen) == len(known)
    assert {tuple(map(id, args)) for args in seen} == {tuple(map(id, seen[0]))}
    assert len(seen[0]) == 3
