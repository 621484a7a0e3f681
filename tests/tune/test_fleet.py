"""A fleet of Dask workers: real ones on this machine, and ones that a test lets die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flashsched as fs
from flashsched.errors import TuneError
from flashsched.testing import programs
from flashsched.tune import tuner
from flashsched.tune.costmodel import cost_model
from flashsched.tune.logs.log import read, verify
from flashsched.tune.measuring import fleet as fleet_module
from flashsched.tune.measuring.fleet import FleetError, FleetRunner, FleetWarning
from flashsched.tune.measuring.fleet_worker import introduce
from flashsched.tune.runner import runner_for
from flashsched.tune.search import pool
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task
from flashsched.tune.trial import Trial
from flashsched.tune.versions import versions

pytest.importorskip("distributed", reason="needs flashsched[fleet]")

MATMUL = Task("matmul", (33, 20, 40))
ROOT = Path(__file__).resolve().parents[2]


def candidates(count, task=MATMUL, spec=fs.devices["cpu"]):
    import random

    found, rng = {}, random.Random(0)
    while len(found) < count:
        try:
            made = task.candidate(RandomKnobs(rng) if found else FirstKnobs(), spec)
        except fs.Infeasible:
            continue
        found.setdefault(made.trace.canonical(), made)
    return list(found.values())


# -- a real cluster -----------------------------------------------------------------------------------------------


class Cluster:
    """A scheduler and workers, each a process that can be killed."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.file = folder / "scheduler.json"
        self.scheduler = self.start("dask_scheduler", "--scheduler-file", str(self.file), "--port", "0", "--no-show")
        self.workers = []

    def start(self, module, *words):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *words, "--host", "127.0.0.1", "--no-dashboard"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd=self.folder, env=environment, start_new_session=True
            )
        self.processes.append(process)
        return process

    def add_worker(self, tag="flashsched-cpu"):
        place = str(self.folder / f"worker-{len(self.workers)}")
        words = ["--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny", "--local-directory", place]
        self.workers.append(self.start("dask_worker", *words, "--resources", f"{tag}=1"))
        return self.workers[-1]

    @property
    def address(self):
        import json

        deadline = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text():
            assert time.monotonic() < deadline, (self.folder / "said").read_text()
            time.sleep(0.05)
        return json.loads(self.file.read_text())["address"]

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.add_worker()
    made.add_worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def runner(cluster):
    with FleetRunner(cluster.address, jobs=1) as runner:
        deadline = time.monotonic() + 60
        while len(runner._devices) < 2:
            assert time.monotonic() < deadline
            runner._look(wait=True)
        yield runner


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
class TestRealFleet:
    """In this order: the last of them kills the cluster."""

    def test_candidates_are_measured_by_the_workers(self, runner):
        trials = dict(runner.run(MATMUL, candidates(5), None))
        assert [trials[n].status for n in range(5)] == ["correct"] * 5
        assert all(trial.times_s and trial.verified and trial.extra["host"] for trial in trials.values())
        assert list(runner.run(MATMUL, [], None)) == []
        assert runner.target()["cpu"]
        assert runner.spec.name == "cpu"

    def test_finalists_are_settled_by_one(self, runner):
        trials = runner.finals(MATMUL, candidates(3))
        assert [trial.status for trial in trials] == ["correct"] * 3
        assert len({len(trial.times_s) for trial in trials}) == 1
        assert runner.finals(MATMUL, []) == []

    def test_a_reference_of_the_user_travels_as_numbers(self, runner):
        task = Task.from_te(programs.matmul(9, 8, 7), reference=lambda a, b: a @ b + 1)  # it says something else
        given = candidates(1, task)
        ((_, trial),) = runner.run(task, given, None)
        (final,) = runner.finals(task, given)
        assert trial.status == final.status == "wrong"
        assert "wrong result at" in trial.error

    def test_a_worker_and_then_the_scheduler_are_killed(self, cluster, tmp_path, monkeypatch):
        """The worker's candidates go elsewhere; without a scheduler the run ends, and goes on here from the log."""
        monkeypatch.setattr(pool, "_FIRST", 8)  # few candidates for a batch, and nothing learned
        monkeypatch.setattr(pool, "_FRESH", 6)
        monkeypatch.setattr(cost_model, "_FEWEST", 10_000)
        log, killed = tmp_path / "a.jsonl", []

        def progress(now):
            if now.done == 2:
                killed.append(cluster.workers[0])
            elif now.done == 8:
                killed.append(cluster.scheduler)
            else:
                return
            killed[-1].kill()
            killed[-1].wait()

        with pytest.raises(FleetError, match=r"scheduler at .* is gone(.|\n)*--resume"):
            fs.tune(MATMUL, trials=40, log=log, pretrained=False, fleet=cluster.address, progress=progress)
        assert len(killed) == 2
        assert verify(log).ok
        records = list(read(log))
        assert len(records) >= 8
        assert [record.trial for record in records] == list(range(len(records)))
        assert {record.status for record in records} <= {"correct", "crash"}
        monkeypatch.setattr(tuner, "runner_for", lambda *_, **__: runner_for("cpu", jobs=1))
        fs.tune(MATMUL, trials=len(records) + 1, log=log, resume=True, pretrained=False)
        records = [record for record in read(log) if "retimes" not in record.extra]
        assert len({fs.Trace.from_json(record.trace).canonical() for record in records}) == len(records)


def test_no_scheduler_is_told(monkeypatch):
    monkeypatch.setattr(fleet_module, "_CONNECT_S", 0.5)
    with pytest.raises(FleetError, match=r"no Dask scheduler at tcp://127.0.0.1:9(.|\n)*dask scheduler --port"):
        FleetRunner("tcp://127.0.0.1:9")


def test_only_what_is_measured_has_a_fleet():
    with pytest.raises(TuneError, match="a fleet measures, and a100-sim is no CPU"):
        runner_for("a100-sim", fleet="tcp://127.0.0.1:9")


# -- one that a test lets die --------------------------------------------------------------------------------------


class Future:
    def __init__(self, value):
        self.value, self.status, self.told = value, "pending", None

    def add_done_callback(self, told):
        self.told = told

    def finish(self, status="finished"):
        self.status = status
        if self.told:
            self.told(self)

    def result(self, timeout=None):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def exception(self):
        return self.value if isinstance(self.value, Exception) else None

    def cancel(self):
        self.status = "cancelled"


class Client:
    """Workers by address; *does* says what becomes of a piece of work: ``does(address, work, future)``."""

    workers = None
    does = None
    status = "running"

    def __init__(self, address, **_):
        self.scheduler = self

    def sync(self, question, callback_timeout, **given):
        return question(**given)

    def identity(self, n_workers):
        return {"workers": {a: {"resources": {f["tag"]: 1.0}} for a, f in self.workers.items()}}

    def submit(self, function, given, workers, resources, pure):
        (address,) = workers
        assert list(resources.values()) == [1]
        if function is introduce:
            return Future(self.workers[address]["facts"])
        future = Future([(n, Trial("correct", [1.0])) for n in range(len(given.traces))])
        type(self).does(address, given, future)
        return future

    def close(self, timeout):
        pass


def facts(cpu="znver4", **changes):
    target = {"cpu": cpu, "vector_bits": 512, "cores": 2}
    return {"spec": fs.devices["cpu"], "target": target, "versions": versions(), "host": cpu, **changes}


@pytest.fixture
def fake(monkeypatch):
    """``fake(workers, does)``: the fleet is made of these from now on; gives its client class."""

    def make(workers, does=lambda address, work, future: future.finish()):
        later = lambda address, work, future: fleet_module.threading_later(does, address, work, future)  # noqa: E731
        made = type("Made", (Client,), {"workers": dict(workers), "does": staticmethod(later)})
        monkeypatch.setattr("distributed.Client", made)
        monkeypatch.setattr(fleet_module, "_LOOK_S", 0.01)
        monkeypatch.setattr(fleet_module, "_ABSENT_S", 0.1)
        return made

    def later(does, *given):
        import threading

        threading.Timer(0.005, does, given).start()

    monkeypatch.setattr(fleet_module, "threading_later", later, raising=False)
    return make


A, B, C = "tcp://a", "tcp://b", "tcp://c"
HERE = {"tag": "flashsched-cpu", "facts": facts()}


def test_a_batch_is_spread_over_the_devices(fake):
    pieces = []
    fake(
        {A: HERE, B: HERE}, lambda address, work, future: (pieces.append((address, len(work.traces))), future.finish())
    )
    with FleetRunner("tcp://s") as runner:
        assert runner.batch == 16
        assert sorted(n for n, _ in runner.run(MATMUL, candidates(6), None)) == list(range(6))
    assert sorted(pieces) == [(A, 3), (B, 3)]


def test_work_of_a_lost_worker_goes_elsewhere_one_by_one(fake):
    pieces = []

    def does(address, work, future):
        pieces.append((address, len(work.traces)))
        if address == A:
            made.workers.pop(A, None)
        else:
            future.finish()

    made = fake({A: HERE, B: HERE}, does)
    with FleetRunner("tcp://s") as runner:
        trials = dict(runner.run(MATMUL, candidates(4), None))
    assert [trials[n].status for n in range(4)] == ["correct"] * 4
    assert sorted(pieces) == [(A, 2), (B, 1), (B, 1), (B, 2)]


def test_a_candidate_that_loses_its_worker_twice_is_a_crash(fake):
    deadly = candidates(4)[2].trace.to_json()

    def does(address, work, future):
        if deadly in work.traces:
            made.workers[f"{address}'"] = HERE  # another is started in its place, before it goes: one is always there
            made.workers.pop(address, None)
        else:
            future.finish()

    made = fake({A: HERE}, does)
    with FleetRunner("tcp://s") as runner:
        trials = dict(runner.run(MATMUL, candidates(4), None))
        finals = runner.finals(MATMUL, candidates(4))
    assert [trials[n].status for n in range(4)] == ["correct", "correct", "crash", "correct"]
    assert "its worker was lost twice" in trials[2].error
    assert [trial.status for trial in finals] == ["crash"] * 4  # they are timed together


def test_a_worker_that_does_not_answer_is_left_out(fake, monkeypatch):
    monkeypatch.setattr(fleet_module, "_SLACK_S", 0.05)
    fake({A: HERE, B: HERE}, lambda address, work, future: future.finish() if address == B else None)
    with (
        FleetRunner("tcp://s", timeout_s=0.01) as runner,
        pytest.warns(FleetWarning, match="tcp://a takes no part: it does not answer"),
    ):
        assert len(dict(runner.run(MATMUL, candidates(4), None))) == 4


def test_an_answer_that_came_late_is_an_answer(fake, monkeypatch):
    """A laptop that was shut has waited too long for everybody when it wakes; what lies there is taken all the same."""
    monkeypatch.setattr(fleet_module, "_SLACK_S", -1e6)
    fake({A: HERE, B: HERE}, lambda address, work, future: future.finish())
    with FleetRunner("tcp://s") as runner:
        assert len(dict(runner.run(MATMUL, candidates(4), None))) == 4


def test_what_dask_gives_up_is_tried_again_and_a_bug_of_ours_is_raised(fake):
    lost = type("KilledWorker", (Exception,), {"__module__": "distributed.scheduler"})
    errors = [lost("gone"), KeyError("ours")]

    def does(address, work, future):
        if errors:
            future.value = errors.pop(0)
        future.finish("error")

    fake({A: HERE}, does)
    with FleetRunner("tcp://s") as runner, pytest.raises(KeyError, match="ours"):
        dict(runner.run(MATMUL, candidates(1), None))
    with FleetRunner("tcp://s") as runner:
        assert dict(runner.run(MATMUL, candidates(1), None))[0].status == "correct"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (facts("znver5"), "it is a znver5 with 2 cores, and the others are znver4 with 2 cores"),
        (facts(versions={**versions(), "flashsched": "0.0.1"}), r"it has flashsched 0\.0\.1, and this is"),
        (RuntimeError("no LLVM"), "it cannot measure: no LLVM"),
    ],
)
def test_a_worker_of_another_kind_takes_no_part(fake, other, says):
    fake({A: HERE, B: {"tag": "flashsched-cpu", "facts": other}, C: {"tag": "gpu", "facts": facts()}})
    with pytest.warns(FleetWarning, match=f"worker tcp://b takes no part: {says}"):
        runner = FleetRunner("tcp://s")
    assert list(runner._devices) == [A]


def test_a_tag_of_ones_own(fake):
    fake({A: HERE, B: {"tag": "flashsched-zen5", "facts": facts("znver5")}})
    with FleetRunner("tcp://s#zen5") as runner:
        assert runner.target()["cpu"] == "znver5"
    with pytest.raises(FleetError, match=r'has the tag flashsched-arm(.|\n)*--resources "flashsched-arm=1"'):
        FleetRunner("tcp://s#arm")


def test_a_scheduler_that_is_gone_ends_the_run(fake):
    made = fake({A: HERE}, lambda address, work, future: setattr(made, "status", "closed"))
    with FleetRunner("tcp://s") as runner, pytest.raises(FleetError, match="the Dask scheduler at tcp://s is gone"):
        dict(runner.run(MATMUL, candidates(2), None))
