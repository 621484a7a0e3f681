"""What happens to a tuning run when processes are killed for real, at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import Counter

import psutil
import pytest

import flashsched as fs
from flashsched.tune import tuner
from flashsched.tune.costmodel import cost_model
from flashsched.tune.logs.log import LogWarning, read, verify
from flashsched.tune.runner import CpuRunner
from flashsched.tune.search import pool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

TASK = fs.Task("matmul", (33, 20, 40))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few candidates for a batch, and nothing learned: none of this is about either."""
    monkeypatch.setattr(pool, "_FIRST", 8)
    monkeypatch.setattr(pool, "_FRESH", 6)
    monkeypatch.setattr(cost_model, "_FEWEST", 10_000)


TUNE = """
import os, sys, time
import flashsched as fs
from flashsched.testing.programs import pointwise
from flashsched.tune.costmodel import cost_model
from flashsched.tune.search import pool

pool._FIRST, pool._FRESH, cost_model._FEWEST = 8, 6, 10_000  # for the sake of time: nothing is learned
device, log, trials, seed, resume = sys.argv[1:]

def two_splits(s, args, knobs, spec):
    for name, axis in zip("ij", args[-1].op.axis):
        s[args[-1]].split(axis, factor=knobs.choice(name, tuple(range(1, 20))))

small = fs.Task.from_te(pointwise(33, 40), template={"gpu": two_splits})
task = fs.Task("matmul", (33, 20, 40)) if device == "cpu" else small
print(0, "ready", flush=True)
while os.path.exists(log + ".wait"):
    time.sleep(0.002)
done = lambda at: print(at.done, at.stage, flush=True)
result = fs.tune(task, device=device, trials=int(trials), log=log, seed=int(seed), resume=resume == "resume",
                 jobs=1, progress=done, pretrained=False)
print("best", result.best.record_id, flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """``start(device, log, trials, seed, resume)``: a tuner in a process of its own, in a group of its own."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(TUNE))
    started = []

    def go(device, log, trials, seed=0, resume=""):
        command = [sys.executable, str(script), device, str(log), str(trials), str(seed), resume or "no"]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield go
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found


def workers(pid):
    """The worker processes of a tuner."""
    try:
        return [p for p in psutil.Process(pid).children() if "worker_process" in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def gone(processes):
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


def assert_whole(log, trials):
    """Each trial stands in the log once, and so does each schedule."""
    assert verify(log).ok
    assert verify(log).duplicates == 0
    records = [record for record in read(log) if "retimes" not in record.extra]
    assert sorted(record.trial for record in records) == list(range(trials))
    ran = Counter(fs.Trace.from_json(record.trace).canonical() for record in records)
    assert max(ran.values()) == 1
    return records


# -- a worker ----------------------------------------------------------------------------------------------------


def test_a_measuring_worker_killed_in_the_middle_of_a_trial_costs_that_trial_and_no_more(tmp_path, monkeypatch):
    """The second trial is held up in its worker, which is killed there, by SIGKILL."""
    held = tmp_path / "held"
    monkeypatch.setenv("HOLD", str(held))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "holding_jobs.py").write_text(
        textwrap.dedent("""
        import os, time
        from flashsched.tune.measuring.jobs import measure_candidate

        def measure(payload):
            with open(os.environ["HOLD"], "a") as file:
                file.write(f"{os.getpid()}\\n")
            with open(os.environ["HOLD"]) as file:
                second = len(file.readlines()) == 2
            if second:
                time.sleep(60)
            return measure_candidate(payload)
        """)
    )
    original = tuner.runner_for

    def runner_for(device, seed=0, jobs=None):
        runner = original(device, seed, 1)
        submit = runner._measurer.submit
        holding = {"flashsched.tune.measuring.jobs:measure_candidate": "holding_jobs:measure"}
        runner._measurer.submit = lambda job, *rest: submit(holding.get(job, job), *rest)
        return runner

    monkeypatch.setattr(tuner, "runner_for", runner_for)

    def kill():
        pids = wait_for(lambda: held.exists() and (lines := held.read_text().split()) and len(lines) == 2 and lines)
        os.kill(int(pids[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    log = tmp_path / "a.jsonl"
    result = fs.tune(TASK, trials=4, log=log, pretrained=False)
    killer.join()
    records = assert_whole(log, 4)
    assert [record.status for record in records] == ["correct", "crash", "correct", "correct"]
    assert "SIGKILL" in records[1].error
    assert result.best is not None
    fs.load(log, TASK)


def test_compiling_workers_killed_at_random_moments_lose_no_trial(tmp_path, monkeypatch):
    rng, stop, allowed = random.Random(0), threading.Event(), [2]

    def harass():
        """Five are killed, but no three between two trials: a worker that dies thrice while it starts ends a run."""
        killed = 0
        while not stop.wait(rng.uniform(0.05, 1.2)) and killed < 5:
            for worker in workers(os.getpid())[:1]:
                if allowed[0] > 0:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker.kill()
                    killed, allowed[0] = killed + 1, allowed[0] - 1

    harasser = threading.Thread(target=harass)
    harasser.start()
    log = tmp_path / "a.jsonl"
    try:
        fs.tune(TASK, trials=8, log=log, pretrained=False, progress=lambda now: allowed.__setitem__(0, 2))
    finally:
        stop.set()
        harasser.join()
    records = assert_whole(log, 8)
    assert {record.status for record in records} <= {"correct", "crash"}


# -- the tuner itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "trials"), [("cpu", 9), ("a100-sim", 40)])
def test_a_tuner_killed_and_resumed_loses_no_record_and_doubles_none(start, tmp_path, device, trials):
    log = tmp_path / "a.jsonl"
    told, rounds = 0, 0
    while rounds < 2:  # killed twice, after a few trials more each time
        process = start(device, log, trials, rounds, "resume")
        for line in process.stdout:
            told = int(line.split()[0])
            if told >= (trials // 3) * (rounds + 1):
                break
        children = workers(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda children=children: gone(children))  # a dead tuner leaves no worker behind
        done = [record for record in read(log) if "retimes" not in record.extra]
        assert len(done) >= told  # what was told is in the log
        rounds += 1
    process = start(device, log, trials, 9, "resume")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    records = assert_whole(log, trials)
    assert int(out.splitlines()[1].split()[0]) > told  # it went on, and did not begin again
    assert {record.seed for record in records} == {0, 1, 9}
    if device == "cpu":
        fs.load(log, TASK)


def test_a_tuner_killed_while_it_writes_leaves_a_log_that_heals(tmp_path):
    """The last line is cut at every place where the write may have stopped."""
    log, task = tmp_path / "a.jsonl", fs.Task("relu", (33, 20))
    fs.tune(task, device="a100-sim", trials=2, log=log)
    whole = log.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in (last + 1, (last + len(whole)) // 2, len(whole) - 1):
        log.write_bytes(whole[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LogWarning)
            fs.tune(task, device="a100-sim", trials=3, log=log, resume=True)
        assert_whole(log, 3)


def test_ctrl_c_ends_it_at_once_with_a_whole_log_and_no_process_left(start, tmp_path, monkeypatch):
    log = tmp_path / "a.jsonl"
    process = start("cpu", log, 1000)
    for line in process.stdout:
        if int(line.split()[0]) >= 3:
            break
    children = workers(process.pid)
    assert children
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    assert process.returncode in (1, -signal.SIGINT, 130)
    assert "KeyboardInterrupt" in err
    wait_for(lambda: gone(children))
    count = sum("retimes" not in record.extra for record in read(log))
    assert count >= 3
    assert_whole(log, count)
    fs.tune(TASK, trials=count + 1, log=log, resume=True, pretrained=False)
    assert_whole(log, count + 1)


def test_a_disk_that_fills_up_ends_the_run_with_a_whole_log(tmp_path):
    """The file may grow by so much and no more; then there is room again."""
    import resource

    log, task = tmp_path / "a.jsonl", fs.Task("relu", (33, 20))
    fs.tune(task, device="a100-sim", trials=2, log=log)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 4000, hard))
    try:
        with pytest.raises(fs.LogError, match=r"cannot write .*File too large(.|\n)*make room(.|\n)*--resume"):
            fs.tune(task, device="a100-sim", trials=12, log=log, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    done = sum("retimes" not in record.extra for record in read(log))
    assert 2 < done < 12
    fs.tune(task, device="a100-sim", trials=12, log=log, resume=True)
    assert_whole(log, 12)


# -- two of them -------------------------------------------------------------------------------------------------


def test_two_tuners_write_one_log_at_once(start, tmp_path):
    log = tmp_path / "a.jsonl"
    wait = tmp_path / "a.jsonl.wait"
    wait.touch()
    both = [start("a100-sim", log, 60, seed) for seed in (1, 2)]
    for process in both:
        assert process.stdout.readline() == "0 ready\n"
    wait.unlink()
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    summary = verify(log)
    assert summary.ok
    assert summary.duplicates == 0
    records = list(read(log))
    for seed in (1, 2):
        mine = [record for record in records if record.seed == seed]
        assert sorted(r.trial for r in mine if "retimes" not in r.extra) == list(range(60))
        assert sum("retimes" in r.extra for r in mine) == 4
    order = [record.seed for record in records]
    assert order != sorted(order), "they did not run at once"


def test_the_runner_leaves_no_process_and_no_file_behind():
    with CpuRunner(jobs=1) as runner:
        folder = runner._folder.name
        made = [TASK.candidate(fs.tune.search.knobs.FirstKnobs(), runner.spec)]
        assert [trial.status for _, trial in runner.run(TASK, made, None)] == ["correct"]
        children = workers(os.getpid())
        assert children
        assert os.path.isdir(folder)
    assert gone(children)
    assert not os.path.exists(folder)
