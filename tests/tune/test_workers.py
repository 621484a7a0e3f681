from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from flashsched.errors import LoweringError, TuneError
from flashsched.tune.measuring.workers import Job, WorkerPool

MIB = 1 << 20

JOBS = """
import ctypes, os, re, subprocess, sys, threading, time
from flashsched.errors import LoweringError

warm = []

def warm_up():
    warm.append(os.getpid())

def who(_): return os.getpid()
def how_warm(_): return warm
def echo(value): return value
def environment(name): return os.environ.get(name)
def sleep_and_echo(value): time.sleep(value[0]); return value
def raises(_): raise LoweringError("no such register", hint="use fewer")
def closure(_): return lambda: 0
def broken_init(): raise RuntimeError("no licence")
def deadly_init(): os.abort()

def c_exit(code): ctypes.CDLL(None).exit(code)
def spin(_):
    while True: pass
def spin_holding_the_gil(_): re.match("(a+)+b", "a" * 60)
def spin_with_a_child(path):
    with open(path, "w") as file:
        file.write(str(subprocess.Popen(["sleep", "60"]).pid))
    spin(None)
def die_with_a_child(path):
    with open(path, "w") as file:
        file.write(str(subprocess.Popen(["sleep", "60"]).pid))
    os.abort()
def die_and_leave_a_fork(path):
    child = os.fork()
    if child == 0: time.sleep(60); os._exit(0)
    with open(path, "w") as file:
        file.write(str(child))
    os.abort()
def hoard(_):
    kept = []
    while True: kept.append(bytearray(1 << 20))
def recurse(_): return recurse(_)
def llvm_runs_out(_): os.write(2, b"LLVM ERROR: out of memory\\n"); os.abort()
def llvm_refuses(_): os.write(2, b"LLVM ERROR: no such cpu\\n"); os._exit(1)
def allocate(count): return len(bytearray(count))
def noise(count):
    libc = ctypes.CDLL(None)
    for n in range(count): print("python", n); libc.puts(b"from C"); os.write(1, b"raw\\n")
    libc.fflush(None)
    return sys.stdin.read()
def scribble(_):
    for fd in range(3, 30):
        try: os.write(fd, b"x" * 64)
        except OSError: pass
    return 1
def close_everything(_): os.closerange(1, 3)
"""


@pytest.fixture(scope="module", autouse=True)
def _jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "jobs.py").write_text(JOBS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def pool(_jobs):
    with WorkerPool(1, memory_limit_bytes=200 * MIB) as pool:
        yield pool


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether process *pid* ends in time (a zombie has ended)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def eventually(read, within_s: float = 10.0):
    deadline = time.monotonic() + within_s
    while not (value := read()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


# -- one job --------------------------------------------------------------------------------------------------------


def test_a_job_gives_its_value_and_the_worker_stays_warm(pool):
    first, second = pool.submit("jobs:who"), pool.submit("jobs:who", timeout_s=5)
    assert first.ok
    assert first.value == second.value != os.getpid()
    assert 0 <= second.elapsed_s < 1


def test_what_a_job_raises_comes_back_whole(pool):
    outcome = pool.submit("jobs:raises")
    assert (outcome.status, outcome.error_type) == ("error", "LoweringError")
    assert isinstance(outcome.exception, LoweringError)
    assert outcome.exception.hint == "use fewer"
    assert "no such register" in outcome.error
    assert "in raises" in outcome.traceback


@pytest.mark.parametrize(
    ("function", "payload", "status", "says"),
    [
        ("os:abort", None, "error", "takes no arguments"),
        ("jobs:llvm_refuses", None, "crash", "ended its process with exit code 1: LLVM ERROR: no such cpu"),
        ("os:_exit", 3, "crash", "ended its process with exit code 3"),
        ("jobs:c_exit", 0, "crash", "ended its process with exit code 0"),
        ("sys:exit", 4, "error", "4"),
        ("ctypes:string_at", 0, "crash", "died of SIGSEGV"),
        ("signal:raise_signal", signal.SIGABRT, "crash", "died of SIGABRT"),
        ("signal:raise_signal", signal.SIGILL, "crash", "died of SIGILL"),
        ("signal:raise_signal", signal.SIGFPE, "crash", "died of SIGFPE"),
        ("signal:raise_signal", signal.SIGKILL, "crash", "killed from outside with SIGKILL"),
        ("jobs:recurse", None, "error", "maximum recursion depth"),
        ("jobs:hoard", None, "oom", "MemoryError"),
        ("builtins:bytearray", 1 << 34, "oom", "MemoryError"),
        ("jobs:llvm_runs_out", None, "oom", "out of memory, SIGABRT: LLVM ERROR"),
        ("jobs:scribble", None, "crash", "reply was garbled"),
        ("jobs:spin", None, "timeout", "not done after 0.3 s and was killed"),
        ("jobs:spin_holding_the_gil", None, "timeout", "not done after 0.3 s"),
        ("jobs:closure", None, "error", "ickle"),
        ("jobs:absent", None, "error", "has no attribute 'absent'"),
        ("nowhere:absent", None, "error", "No module named 'nowhere'"),
        ("jobs", None, "error", "a job is named 'module:function', got 'jobs'"),
        ("jobs:warm", None, "error", "'jobs:warm' is list, and a job must be callable"),
        ("json:loads", "{", "error", "Expecting property name"),
    ],
)
def test_whatever_a_job_does_it_gets_its_outcome_and_the_next_one_runs(pool, function, payload, status, says):
    outcome = pool.submit(function, payload, timeout_s=0.3 if "spin" in function else 10)
    assert (outcome.status, outcome.ok) == (status, False)
    assert says in outcome.error
    assert pool.submit("jobs:echo", "still here", timeout_s=10).value == "still here"


def test_a_crash_leaves_its_last_words(pool):
    tail = pool.submit("ctypes:string_at", 0).stderr_tail
    assert "Fatal Python error: Segmentation fault" in tail
    assert "in string_at" in tail


def test_noise_neither_disturbs_nor_blocks(pool):
    outcome = pool.submit("jobs:noise", 3)
    assert outcome.value == ""
    assert {"python 2", "from C", "raw"} <= set(outcome.stderr_tail.split("\n"))
    outcome = pool.submit("jobs:noise", 30_000, timeout_s=10)
    assert outcome.ok
    assert 1000 < len(outcome.stderr_tail) <= 16 << 10
    assert pool.submit("jobs:echo").stderr_tail == ""


def test_a_job_that_closes_its_output_does_not_slow_the_next(pool):
    assert pool.submit("jobs:close_everything").ok
    start = time.monotonic()
    for _ in range(5):
        assert pool.submit("jobs:echo", 1).value == 1
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("function", ["jobs:spin_with_a_child", "jobs:die_with_a_child", "jobs:die_and_leave_a_fork"])
def test_children_of_a_job_die_with_it(pool, tmp_path, function):
    assert pool.submit(function, str(tmp_path / "pid"), timeout_s=1).status in ("timeout", "crash")
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_large_payload_and_a_large_value(pool):
    data = os.urandom(20 * MIB)
    assert pool.submit("jobs:echo", data, timeout_s=10).value == data


def test_memory_is_given_back_for_the_next_job(pool):
    for _ in range(3):
        assert pool.submit("jobs:allocate", 150 * MIB, timeout_s=10).ok


def test_a_payload_that_does_not_pickle_is_the_callers_mistake(pool):
    with pytest.raises(TuneError, match=r"(?s)payload of jobs:echo does not pickle.*hint: send plain data"):
        pool.submit("jobs:echo", lambda: 0)


# -- killed from outside --------------------------------------------------------------------------------------------


def test_a_worker_killed_between_jobs_is_no_jobs_fault(pool):
    for _ in range(3):
        os.kill(pool.submit("jobs:who").value, signal.SIGKILL)
        assert pool.submit("jobs:echo", 1).value == 1


def test_a_worker_killed_in_the_middle_of_a_job(pool):
    victim = pool.submit("jobs:who").value
    threading.Timer(0.1, os.kill, (victim, signal.SIGKILL)).start()
    outcome = pool.submit("time:sleep", 30)
    assert (outcome.status, "SIGKILL" in outcome.error) == ("crash", True)
    assert 0.05 < outcome.elapsed_s < 5


def test_a_stopped_worker_times_out(pool):
    os.kill(pool.submit("jobs:who").value, signal.SIGSTOP)
    assert pool.submit("jobs:echo", 1, timeout_s=0.3).status == "timeout"
    assert pool.submit("jobs:echo", 1).ok


def test_a_worker_ignores_ctrl_c(pool):
    worker = pool.submit("jobs:who").value
    threading.Timer(0.05, os.kill, (worker, signal.SIGINT)).start()
    assert pool.submit("jobs:sleep_and_echo", (0.2, "done")).value == (0.2, "done")


PARENT = """
import sys
sys.path.insert(0, {folder!r})
from flashsched.tune.measuring.workers import WorkerPool
with WorkerPool(2) as pool:
    for pid in {{pool.submit("jobs:who").value for _ in range(8)}}:
        print(pid, flush=True)
    print("ready", flush=True)
    pool.submit({function!r}, 60)
"""


@pytest.mark.parametrize("function", ["time:sleep", "jobs:spin_holding_the_gil"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, -signal.SIGINT)])
def test_workers_die_with_their_parent(tmp_path, function, number, code):
    (tmp_path / "jobs.py").write_text(JOBS)
    program = PARENT.format(folder=str(tmp_path), function=function)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    with parent, parent.stdout:
        try:
            lines = [line.strip() for line in iter(parent.stdout.readline, b"ready\n")]
            workers = [child.pid for child in psutil.Process(parent.pid).children()]
            assert {int(line) for line in lines} <= set(workers)
            parent.send_signal(number)
            assert parent.wait(10) == code
        finally:
            parent.kill()  # which would be waited for where one of these fails
    assert all(gone(pid) for pid in workers)


# -- many jobs ------------------------------------------------------------------------------------------------------


def test_many_jobs_run_n_at_once_and_come_as_they_end():
    jobs = [Job("jobs:sleep_and_echo", (0.6, "slow"))] + [Job("jobs:sleep_and_echo", (0.02, n)) for n in range(4)]
    with WorkerPool(2) as pool:
        list(pool.run_all([Job("jobs:echo")] * 2))
        outcomes = list(pool.run_all(jobs))
    assert [index for index, _ in outcomes] == [1, 2, 3, 4, 0]
    assert [outcome.value[1] for _, outcome in outcomes] == [0, 1, 2, 3, "slow"]


def test_jobs_are_drawn_only_as_workers_become_free():
    drawn = []

    def jobs():
        for n in range(6):
            drawn.append(n)
            yield Job("jobs:echo", n)

    with WorkerPool(2) as pool:
        running = pool.run_all(jobs())
        next(running)
        assert drawn == [0, 1]
        assert len(list(running)) == 5


def test_a_run_that_is_left_early_kills_what_is_under_way():
    with WorkerPool(2) as pool:
        running = pool.run_all([Job("jobs:echo", 1), Job("time:sleep", 60), Job("time:sleep", 60)])
        assert next(running)[1].value == 1
        running.close()
        start = time.monotonic()
        assert [pool.submit("jobs:echo", n).value for n in range(4)] == [0, 1, 2, 3]
        assert time.monotonic() - start < 5


def test_threads_may_share_a_pool():
    values = []
    with WorkerPool(2) as pool:
        threads = [
            threading.Thread(target=lambda n=n: values.append(pool.submit("jobs:echo", n).value)) for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(values) == list(range(16))


def test_faults_and_good_jobs_side_by_side():
    jobs = [Job("jobs:echo", 1), Job("os:_exit", 1), Job("ctypes:string_at", 0), Job("jobs:spin", timeout_s=0.3)] * 3
    with WorkerPool(2) as pool:
        found = {index: outcome.status for index, outcome in pool.run_all(jobs)}
    assert [found[index] for index in range(12)] == ["ok", "crash", "crash", "timeout"] * 3


# -- the pool's own life --------------------------------------------------------------------------------------------


def test_init_runs_once_in_each_worker():
    with WorkerPool(1, init="jobs:warm_up", env={"FLASHSCHED_TEST_COLOUR": "blue"}) as pool:
        pid = pool.submit("jobs:who").value
        assert pool.submit("jobs:how_warm").value == [pid]
        assert pool.submit("jobs:environment", "FLASHSCHED_TEST_COLOUR").value == "blue"
        pool.submit("os:_exit", 1)
        assert pool.submit("jobs:how_warm").value == [pool.submit("jobs:who").value] != [pid]


@pytest.mark.parametrize(
    ("init", "says"),
    [
        ("jobs:broken_init", r"(?s)cannot start: its init raised.*no licence.*hint: flashsched doctor"),
        ("jobs:deadly_init", r"(?s)cannot start, and died 3 times: the worker died of SIGABRT"),
        ("os:abort", r"died 3 times"),
        ("nowhere:init", "No module named 'nowhere'"),
    ],
)
def test_a_worker_that_cannot_start_is_told(init, says):
    with WorkerPool(1, init=init) as pool, pytest.raises(TuneError, match=says):
        pool.submit("jobs:echo")


def test_a_worker_that_is_never_ready_is_told():
    says = r"cannot start: it was not ready after 0\.3 s"
    with WorkerPool(1, init="signal:pause", start_timeout_s=0.3) as pool, pytest.raises(TuneError, match=says):
        pool.submit("jobs:echo")


def test_workers_are_replaced_before_their_leaks_add_up():
    with WorkerPool(1, jobs_per_worker=2) as pool:
        pids = [pool.submit("jobs:who").value for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_a_closed_pool_ends_its_workers_and_refuses_jobs():
    with WorkerPool(2) as pool:
        pids = {pool.submit("jobs:who").value for _ in range(4)}
    assert all(gone(pid) for pid in pids)
    pool.close()
    with pytest.raises(TuneError, match="the worker pool is closed"):
        pool.submit("jobs:echo")


def test_closing_ends_jobs_that_run_and_jobs_that_wait():
    pool = WorkerPool(1)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            pool.submit("time:sleep", 60)
        except TuneError as error:
            errors.append(error)

    pool.submit("jobs:echo")
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    pool.close()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 3


def test_a_pool_needs_a_worker():
    with pytest.raises(TuneError, match="at least 1 worker, got n=0"):
        WorkerPool(0)
