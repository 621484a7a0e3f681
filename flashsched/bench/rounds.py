"""Running the peers in turns: every round asks each for one sample, so that what slows the machine slows them all.

While one works, the others are stopped where the system can do that: the idle threads of many libraries go on spinning
for a while, on the cores of whoever comes next.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from flashsched.bench.cases import Case
from flashsched.bench.cores import bound_to
from flashsched.bench.peers import Peer
from flashsched.bench.results import CaseResult

__all__ = ["run_cases"]

_THREADS = (
    "FLASHSCHED_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NPROC", "TVM_NUM_THREADS", "HL_NUM_THREADS",
)  # fmt: skip
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""What is freed stays with the process (glibc): else a library without preallocated outputs gets fresh pages from the
system at each call, and faults them in one by one, as nobody who measures it would let it."""

_STOPS = hasattr(signal, "SIGSTOP") and os.name == "posix"
_SETTLE_S = 0.2  # before a sample where processes cannot be stopped: a BLAS's idle threads spin for some 100 ms


class _Process:
    """A peer's process, started when it is first asked, and again after it died."""

    def __init__(self, peer: Peer, threads: int) -> None:
        self.name = peer.name
        self._env = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), **_MEMORY, **peer.env}
        self._threads = threads
        self._patience_s = peer.patience_s
        self._process: subprocess.Popen[str] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to *request*; ``{"failed": ...}`` where the process ended or gave none in time."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        self._signal("SIGCONT")
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            if os.name == "posix" and not select.select([process.stdout], [], [], self._patience_s)[0]:
                self._end(kill=True)
                return {"failed": f"no answer in {self._patience_s:g} s"}
            line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            return {"failed": f"its process ended with {code}{self._last_words()}"}
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """The last line that it wrote to standard error."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {said[:200]}" if said else ""

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._said.seek(0)
            self._said.truncate()
            with bound_to(self._threads):
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "flashsched.bench.process", self.name, str(self._threads)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._said,
                    text=True,
                    env=self._env,
                )
        return self._process

    def _signal(self, name: str) -> None:
        if _STOPS and self._process is not None:
            self._process.send_signal(getattr(signal, name))

    def _end(self, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        if _STOPS and process.poll() is None:
            process.send_signal(signal.SIGCONT)
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(0 if kill else 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._said.close()


def run_cases(
    cases: Sequence[Case], peers: Sequence[Peer], threads: int, rounds: int = 11, sample_s: float = 0.02
) -> Iterator[CaseResult]:
    """Measure *cases* with each of *peers* on *threads* threads, in interleaved rounds; each case as it is done.

    Args:
        cases: what is computed.
        peers: who computes it; each gets a process of its own.
        threads: how many threads each may use.
        rounds: samples a peer gives for a case; the order of peers turns from round to round.
        sample_s: about how long a sample takes.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(_Process(peer, threads)) for peer in peers]
        for case in cases:
            result = CaseResult(case)
            ready = _prepared(running, case, result)
            for turn in range(rounds):
                shift = turn % max(len(ready), 1)
                for process in (*ready[shift:], *ready[:shift]):
                    if not _STOPS:
                        time.sleep(_SETTLE_S)
                    answer = process.ask({"sample": sample_s})
                    if "seconds" in answer:
                        result.seconds.setdefault(process.name, []).append(answer["seconds"])
                    else:
                        result.notes[process.name] = answer.get("failed", "")
                        result.seconds.pop(process.name, None)
                        ready = [other for other in ready if other is not process]
            for process in ready:
                process.ask({"forget": True})
            yield result


def _prepared(running: Sequence[_Process], case: Case, result: CaseResult) -> list[_Process]:
    """Those that can do *case*, and do it right; the others get a note. All are given the same arrays."""
    ready = []
    with tempfile.TemporaryDirectory(prefix="flashsched-bench-") as folder:
        _write(case, Path(folder))
        for process in running:
            answer = process.ask({"prepare": case.to_json(), "folder": folder})
            if "way" in answer:
                result.ways[process.name] = answer["way"]
                result.errors[process.name] = answer["error"]
                if answer["notes"]:
                    result.failing[process.name] = answer["notes"]
                ready.append(process)
            else:
                result.notes[process.name] = answer.get("skipped") or answer.get("failed", "")
    return ready


def _write(case: Case, folder: Path) -> None:
    """The inputs, as they lie in memory, and the exact result."""
    inputs = case.inputs()
    for index, array in enumerate(inputs):
        np.save(folder / f"i{index}.npy", array.swapaxes(-1, -2) if index in case.transposed else array)
    np.save(folder / "exact.npy", case.exact(inputs))
