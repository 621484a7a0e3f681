"""One peer in a process of its own: ``python -m flashsched.bench.process PEER THREADS`` answers requests, line by line.

- ``{"prepare": case, "folder": path}`` reads the arrays in that folder, tries each way that the peer has, checks what
  it computes, and keeps the fastest that is right;
- ``{"sample": seconds}`` runs that for about so long and answers with the seconds of one call;
- ``{"forget": true}`` frees it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flashsched.bench.cases import Case
from flashsched.bench.computations import Array
from flashsched.bench.peers import PEERS, Way, Work, aligned

__all__ = ["main"]

_TRY_S = 0.02
_WARM_S = 0.002


class _Server:
    """The way that is prepared, and how many of its calls make a sample."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = PEERS[peer]
        self.threads = threads
        self.way: Way | None = None
        self.calls = 1

    def prepare(self, case: Case, folder: Path) -> dict[str, Any]:
        self.forget()
        inputs = [_input(case, folder, index) for index in range(len(list(folder.glob("i*.npy"))))]
        exact = np.load(folder / "exact.npy")
        taken: dict[str, float] = {}
        notes: dict[str, str] = {}
        error = 0.0
        for way in _all(self.peer.ways(Work(case, inputs, self.threads)), notes):
            try:
                way.call()
                off = case.error(way.result(), exact)
                if off > 1:
                    notes[way.name] = f"wrong: {off:.3g} times the error that is allowed"
                    continue
                taken[way.name] = min(self._seconds(way.call, _TRY_S) for _ in range(2))
            except Exception as problem:  # a way that does not work here is a note
                notes[way.name] = _line(problem)
                continue
            if taken[way.name] == min(taken.values()):
                self.way, error = way, off
        if self.way is None:
            said = "; ".join(f"{name}: {note}" for name, note in notes.items())
            return {"failed": said} if said else {"skipped": "no such operator"}
        return {"way": self.way.name, "error": error, "taken": taken, "notes": notes}

    def forget(self) -> None:
        self.way = None
        gc.collect()

    def sample(self, seconds: float) -> dict[str, Any]:
        if self.way is None:
            return {"failed": "nothing is prepared"}
        self._run(self.way.call, _WARM_S)  # wakes threads, and refills caches after the other peers' turns
        return {"seconds": self._seconds(self.way.call, seconds)}

    def _run(self, call: Callable[[], Any], seconds: float) -> None:
        end = time.perf_counter() + seconds
        call()
        while time.perf_counter() < end:
            call()

    def _seconds(self, call: Callable[[], Any], seconds: float) -> float:
        """Seconds of one call, over as many as take about *seconds*."""
        calls = 1
        while True:
            turns = range(calls)
            start = time.perf_counter()
            for _ in turns:
                call()
            taken = time.perf_counter() - start
            if taken >= seconds / 2:
                return taken / calls
            calls = max(2 * calls, min(1000 * calls, int(calls * seconds / max(taken, 1e-9))))


def _input(case: Case, folder: Path, index: int) -> Array:
    array = np.load(folder / f"i{index}.npy")
    return aligned(array).swapaxes(-1, -2) if index in case.transposed else aligned(array)


def _all(ways: Any, notes: dict[str, str]) -> Iterator[Way]:
    """The *ways*, up to where the peer fails to make one."""
    try:
        yield from ways
    except Exception as problem:
        notes["preparing"] = _line(problem)


def _line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".splitlines()[0][:200]


def _die_with_parent() -> None:
    """Where the system can, end when the benchmark ends, however it ends: it may have stopped this process."""
    if sys.platform == "linux":
        import ctypes
        import signal

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    """Answer requests until standard input ends."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    sys.stdout = sys.stderr
    server = _Server(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "prepare" in request:
                answer = server.prepare(Case.from_json(request["prepare"]), Path(request["folder"]))
            elif "sample" in request:
                answer = server.sample(float(request["sample"]))
            else:
                server.forget()
        except Exception as problem:  # a peer's failure is its result, not the benchmark's end
            answer = {"failed": _line(problem)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
