"""A pool of worker processes for jobs that may abort, hang, eat memory or kill their process.

A job is a function named ``module:function`` and one payload; it runs in a fresh interpreter (never a fork, never
``__main__``), and what became of it comes back as an ``Outcome``, whatever happened. One such process is
``worker.py``; what runs inside it is ``worker_process.py``.

Each worker belongs to one thread of the pool, which starts it, feeds it, and buries it. The thread lives as long as
the pool, because Linux ends a worker when the *thread* that started it ends. Warm workers are kept between jobs:
a fresh one costs about 0.15 s.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from flashsched.errors import TuneError
from flashsched.tune.measuring.worker import Outcome, Worker
from flashsched.tune.measuring.worker_process import Setup

__all__ = ["Job", "Outcome", "WorkerPool"]

_NOTHING: Iterator[object] = iter(())
_TRIES = 3  # workers that may die before a job begins, until the job is given up


@dataclass(frozen=True)
class Job:
    """Call ``function`` ("module:function") with ``payload`` (anything that pickles) within ``timeout_s`` seconds."""

    function: str
    payload: Any = None
    timeout_s: float | None = None


class WorkerPool:
    """*n* worker processes; a context manager, which ends them all at its end.

    Args:
        n: how many jobs run at once.
        init: ``module:function``, called without arguments once in each fresh worker (imports, warm-up).
        memory_limit_bytes: how much a worker may grow over its size after init; None sets no limit.
        cores: those that workers may run on; by default all.
        env: environment variables for the workers, over those of this process.
        jobs_per_worker: a worker is replaced after so many jobs, so that what jobs leak does not add up.
        start_timeout_s: how long a fresh worker may take to be ready.
        at_once: start the workers now, beside whatever else is done, and not when there is a job for them.

    Raises:
        TuneError: (from :meth:`begin`, :meth:`submit` and :meth:`run_all`) a worker cannot start, or it is closed.
    """

    def __init__(
        self,
        n: int = 1,
        init: str | None = None,
        memory_limit_bytes: int | None = None,
        *,
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        jobs_per_worker: int = 500,
        start_timeout_s: float = 60.0,
        at_once: bool = False,
    ) -> None:
        if n < 1:
            raise TuneError(f"a pool needs at least 1 worker, got n={n}")
        self.n = n
        self._setup = Setup(os.getpid(), init, memory_limit_bytes, tuple(cores))
        self._env = dict(env or {})
        self._jobs_per_worker = jobs_per_worker
        self._start_timeout_s = start_timeout_s
        self._at_once = at_once
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        names = [f"flashsched-worker-{index}" for index in range(n)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, function: str, payload: Any = None, timeout_s: float | None = None) -> Outcome:
        """Run one job and wait for its end; may be called from several threads at once.

        When the wait is interrupted (Ctrl-C), the job is killed.
        """
        task = self._put(Job(function, payload, timeout_s))
        try:
            return task.future.result()
        except BaseException:
            task.stopped.set()
            raise

    def begin(self, job: Job) -> Future[Outcome]:
        """Run *job* as soon as a worker is free, and do not wait for it."""
        return self._put(job).future

    def run_all(self, jobs: Iterable[Job], beside: Iterator[object] = _NOTHING) -> Iterator[tuple[int, Outcome]]:
        """Run *jobs*, ``n`` at once, and yield ``(index, outcome)`` as they end; *beside* is work for this thread
        meanwhile, a piece of it a step.

        *jobs* is drawn from only as workers become free, so it may depend on what came out before. When the caller
        stops early, the jobs under way are killed.
        """
        ended: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        running: dict[Future[Outcome], tuple[int, _Task]] = {}
        numbered = enumerate(jobs)
        try:
            while True:
                while len(running) < self.n and (entry := next(numbered, None)) is not None:
                    task = self._put(entry[1])
                    running[task.future] = entry[0], task
                    task.future.add_done_callback(ended.put)
                if not running:
                    return
                future = _waited(ended, beside)
                index, _ = running.pop(future)
                yield index, future.result()
        finally:
            for _, task in running.values():
                task.stopped.set()

    def close(self) -> None:
        """Kill every worker, jobs under way included. Jobs that wait get a TuneError. A second call does nothing."""
        self._closed.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._drop_waiting()

    def _put(self, job: Job) -> _Task:
        if self._closed.is_set():
            raise _closed_error()
        try:
            payload = pickle.dumps(job.payload, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise TuneError(
                f"the payload of {job.function} does not pickle: {error}", hint="send plain data; build the rest there"
            ) from error
        task = _Task(job, payload)
        self._tasks.put(task)
        if self._closed.is_set():  # closed meanwhile: nobody may be left to take it
            self._drop_waiting()
        return task

    def _drop_waiting(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            if task is not None:
                task.future.set_exception(_closed_error())

    def _serve(self) -> None:
        """A worker's thread: take jobs, run them, keep the worker warm between them."""
        worker: Worker | None = None
        if self._at_once:
            with contextlib.suppress(TuneError):  # told by the first job, which tries again
                worker = self._start()
        while (task := self._tasks.get()) is not None:
            try:
                if self._closed.is_set() or task.stopped.is_set():
                    raise _closed_error()
                outcome = None
                for _ in range(_TRIES):
                    if worker is None or not worker.alive or worker.jobs >= self._jobs_per_worker:
                        if worker is not None:
                            worker.kill()
                        worker = self._start()
                    outcome = self._run(worker, task)
                    if outcome is not None:
                        break
                task.future.set_result(outcome or Outcome("crash", error=f"{_TRIES} workers died before the job began"))
            except BaseException as error:
                task.future.set_exception(error)
        if worker is not None:
            worker.kill()

    def _start(self) -> Worker:
        """A fresh worker that is ready. One that is killed while it starts is tried again."""
        why = ""
        for _ in range(_TRIES):
            worker = Worker(self._setup, self._env)
            why = worker.wait_ready(self._start_timeout_s, self._closed.is_set)
            if not why:
                return worker
        raise TuneError(f"a worker process cannot start, and died {_TRIES} times: {why}")

    def _run(self, worker: Worker, task: _Task) -> Outcome | None:
        def stopped() -> bool:
            return self._closed.is_set() or task.stopped.is_set()

        return worker.run(task.job.function, task.payload, task.job.timeout_s, stopped)


def _waited(ended: queue.SimpleQueue[Future[Outcome]], beside: Iterator[object]) -> Future[Outcome]:
    """The next that has ended, *beside* being gone on with until there is one."""
    for _ in beside:
        with contextlib.suppress(queue.Empty):
            return ended.get_nowait()
    return ended.get()


@dataclass(frozen=True, eq=False)
class _Task:
    """A job on its way through the pool."""

    job: Job
    payload: bytes
    future: Future[Outcome] = field(default_factory=Future)
    stopped: threading.Event = field(default_factory=threading.Event)


def _closed_error() -> TuneError:
    return TuneError("the worker pool is closed", hint="submit jobs within its `with` block")
