"""The fork-join runtime, with real threads: every index once, no deadlock, quiet when idle, and alive after a fork."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.codegen import threads
from flashsched.codegen.jit import compile_module
from flashsched.codegen.target import host_target
from flashsched.errors import KernelError

# fill(p, n): p[i] += i + 1 for each i, in parallel. nest(p, n, m): n rows of m, each filled by a loop of its own.
TEXT = """
declare void @fs_parallel_for(ptr, ptr, i64)

define internal void @fill.task(ptr %p, i64 %begin, i64 %end) {
entry:
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %at = getelementptr i64, ptr %p, i64 %i
  %next = add i64 %i, 1
  %old = load i64, ptr %at
  %new = add i64 %old, %next
  store i64 %new, ptr %at
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}
define void @fill(ptr %p, i64 %n) {
  call void @fs_parallel_for(ptr @fill.task, ptr %p, i64 %n)
  ret void
}
define internal void @row.task(ptr %c, i64 %begin, i64 %end) {
entry:
  %p = load ptr, ptr %c
  %m.at = getelementptr i64, ptr %c, i64 1
  %m = load i64, ptr %m.at
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %first = mul i64 %i, %m
  %row = getelementptr i64, ptr %p, i64 %first
  call void @fs_parallel_for(ptr @fill.task, ptr %row, i64 %m)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}
define void @nest(ptr %p, i64 %n, i64 %m) {
  %c = alloca [2 x i64]
  store ptr %p, ptr %c
  %m.at = getelementptr i64, ptr %c, i64 1
  store i64 %m, ptr %m.at
  call void @fs_parallel_for(ptr @row.task, ptr %c, i64 %n)
  ret void
}
define internal void @spin.task(ptr %p, i64 %begin, i64 %end) {
entry:
  %each = load i64, ptr %p
  %tasks = sub i64 %end, %begin
  %count = mul i64 %each, %tasks
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %x = phi double [ 1.0, %entry ], [ %y, %loop ]
  %y = fmul double %x, 0x3FF0000000000001
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  %never = fcmp olt double %y, 0.0
  br i1 %never, label %keep, label %out
keep:
  store double %y, ptr %p
  br label %out
out:
  ret void
}
"""

PROGRAM = f"""
import ctypes, os, sys, threading, time
import numpy as np
from flashsched.codegen import threads
from flashsched.codegen.jit import compile_module
from flashsched.codegen.target import host_target
module = compile_module('''{TEXT}''', host_target())
fill = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(module.address("fill"))
def check(n=1000):
    a = np.zeros(n, np.int64)
    fill(a.ctypes.data, n)
    assert np.array_equal(a, np.arange(1, n + 1)), a
"""


def in_a_process(program: str, **environment: str) -> str:
    """Run *program* after PROGRAM in a fresh interpreter; a deadlock fails by its time limit."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        env={**os.environ, "FLASHSCHED_NUM_THREADS": "3", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def module():
    return compile_module(TEXT, host_target())


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = threads.num_threads()
    yield
    threads.set_num_threads(before)


def fill(module, n: int) -> np.ndarray:
    array = np.zeros(n, np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(module.address("fill"))(array.ctypes.data, n)
    return array


@given(n=st.integers(0, 3000), count=st.integers(1, 5))
def test_each_index_is_visited_once(module, n: int, count: int) -> None:
    threads.set_num_threads(count)
    assert np.array_equal(fill(module, n), np.arange(1, n + 1))


def test_many_joins_in_a_row(module) -> None:
    threads.set_num_threads(4)
    for _ in range(3000):
        assert fill(module, 7).sum() == 28


def test_a_thread_takes_its_own_share_first() -> None:
    threads.set_num_threads(2)
    pieces = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    run = ctypes.CFUNCTYPE(None, pieces, ctypes.c_void_p, ctypes.c_int64)(threads._runtime().address)
    worked = 0
    for _ in range(10):
        taken: dict[int, list[int]] = {}

        @pieces
        def task(_: int, begin: int, end: int, taken: dict[int, list[int]] = taken) -> None:
            taken.setdefault(threading.get_native_id(), []).extend(range(begin, end))
            time.sleep(0.001)

        run(task, None, 16)
        mine = taken.pop(threading.get_native_id())
        assert mine[0] == 0
        assert sorted([*mine, *(index for part in taken.values() for index in part)]) == list(range(16))
        for others in taken.values():
            worked += 1
            assert others[0] >= 8, "the other half is its own, call after call"
    assert worked, "no worker came in time, ten times"


def test_a_parallel_loop_inside_a_parallel_loop(module) -> None:
    threads.set_num_threads(3)
    nest = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(module.address("nest"))
    array = np.zeros((50, 40), np.int64)
    nest(array.ctypes.data, 50, 40)
    assert np.array_equal(array, np.broadcast_to(np.arange(1, 41), (50, 40)))


def test_several_python_threads_at_once(module) -> None:
    threads.set_num_threads(3)
    wrong: list[int] = []

    def work() -> None:
        for n in range(1, 400):
            if not np.array_equal(fill(module, n), np.arange(1, n + 1)):
                wrong.append(n)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not wrong
    assert not any(worker.is_alive() for worker in workers)


def test_workers_start_at_the_first_parallel_loop_and_no_more_than_asked_for() -> None:
    said = in_a_process("""
print(threads.started_workers()); check(1); print(threads.started_workers())
check(); print(threads.started_workers())
threads.set_num_threads(2); check(); print(threads.num_threads(), threads.started_workers())
threads.set_num_threads(5); check(); print(threads.num_threads(), threads.started_workers())
""")
    assert said.split("\n") == ["0", "0", "2", "2 2", "5 4"]


def test_one_thread_starts_none() -> None:
    assert in_a_process("check(); print(threads.started_workers())", FLASHSCHED_NUM_THREADS="1") == "0"


@pytest.mark.parametrize("said", ["0", "-2", "many", "1.5"])
def test_a_wrong_number_in_the_environment(said: str) -> None:
    program = """
from flashsched.errors import KernelError
try: threads.num_threads()
except KernelError as error: print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", "from flashsched.codegen import threads" + program],
        env={**os.environ, "FLASHSCHED_NUM_THREADS": said},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"FLASHSCHED_NUM_THREADS='{said}' is not a whole number of at least 1" in done.stdout


@pytest.mark.parametrize("n", [0, -1, 1.5, 5000])
def test_a_wrong_number_of_threads(n: int) -> None:
    with pytest.raises(KernelError, match="a number of threads lies between 1 and 1024"):
        threads.set_num_threads(n)


def test_idle_workers_use_no_processor_time(module) -> None:
    threads.set_num_threads(3)
    fill(module, 1000)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.03


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@fork
def test_a_forked_child_makes_its_own_workers() -> None:
    said = in_a_process("""
check()
pid = os.fork()
if pid == 0:
    before = threads.started_workers()
    check(); check()
    os._exit(10 * before + threads.started_workers())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
check()
""")
    assert said == "2"


@fork
def test_forks_of_forks_and_pools_that_fork() -> None:
    said = in_a_process("""
import multiprocessing
def work(n):
    check(n + 1)
    return n
check()
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(sum(pool.map(work, range(60))))
pid = os.fork()
if pid == 0:
    check()
    inner = os.fork()
    if inner == 0:
        check()
        os._exit(5)
    check()
    os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""")
    assert said.split("\n") == ["1770", "5"]


@fork
def test_a_fork_while_another_thread_is_in_a_kernel() -> None:
    said = in_a_process("""
stop = False
def busy():
    while not stop: check(50_000)
thread = threading.Thread(target=busy); thread.start()
codes = []
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        check(); check()
        os._exit(7)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop = True; thread.join()
print(set(codes))
""")
    assert said == "{7}"


def test_leaving_while_workers_spin_is_clean() -> None:
    for _ in range(5):
        in_a_process("check(); check(100_000)")


def test_leaving_while_a_thread_is_in_a_kernel_is_clean() -> None:
    in_a_process("""
def busy():
    while True: check(100_000)
threading.Thread(target=busy, daemon=True).start()
time.sleep(0.05)
""")


def test_a_system_with_no_thread_left_runs_the_loop_anyway() -> None:
    said = in_a_process("""
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))  # no room for a stack of 8 MiB
array = np.zeros(100, np.int64)
fill(array.ctypes.data, 100)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert array.sum() == 5050
print(threads.num_threads(), threads.started_workers())
""")
    assert said == "1 0"


def test_a_signal_reaches_the_program_and_not_the_workers() -> None:
    said = in_a_process("""
import signal
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.current_thread() is threading.main_thread()))
check()
signal.setitimer(signal.ITIMER_REAL, 0.01)
deadline = time.monotonic() + 5
while not seen and time.monotonic() < deadline: check()
print(seen)
""")
    assert said == "[True]"
