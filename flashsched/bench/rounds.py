"""Running the peers in turns: every round asks each for one sample, so that what slows the machine slows them all."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from flashsched.bench.cases import Case
from flashsched.bench.peers import Peer

__all__ = ["CaseResult", "run_cases"]

_THREADS = (
    "FLASHSCHED_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip


_SETTLE_S = 0.2  # between samples: a BLAS's idle threads spin for some 100 ms, on the cores of whoever comes next


@dataclass
class CaseResult:
    """What one case took.

    Attributes:
        case: what was computed.
        flops: arithmetic operations of one call.
        bytes: bytes that a call must move at least.
        seconds: for each peer its samples, seconds per call, one a round.
        errors: for each peer its largest error over what was allowed there.
        notes: for each peer that gave no times, why.
    """

    case: Case
    flops: int
    bytes: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def median(self, peer: str) -> float:
        """The median of a peer's samples, seconds per call."""
        return statistics.median(self.seconds[peer])

    def ratio(self, peer: str, ours: str = "flashsched") -> float:
        """How many times faster *ours* is than *peer*: the median over rounds of the quotient."""
        pairs = zip(self.seconds[peer], self.seconds[ours], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)


class _Process:
    """A peer's process."""

    def __init__(self, peer: Peer, threads: int) -> None:
        env = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), **peer.env}
        self.name = peer.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flashsched.bench.process", peer.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=env,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to *request*; ``{"failed": ...}`` where the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            return {"failed": f"its process ended with {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run_cases(
    cases: Sequence[Case],
    peers: Sequence[Peer],
    threads: int,
    rounds: int = 11,
    sample_s: float = 0.02,
    on_case: Callable[[CaseResult], None] | None = None,
) -> list[CaseResult]:
    """Measure *cases* with each of *peers* on *threads* threads, in interleaved rounds.

    Args:
        cases: what is computed.
        peers: who computes it; each gets a process of its own.
        threads: how many threads each may use.
        rounds: samples a peer gives for a case; the order of peers turns from round to round.
        sample_s: about how long a sample takes.
        on_case: called when a case is done.
    """
    return list(_run(cases, peers, threads, rounds, sample_s, on_case))


def _run(
    cases: Sequence[Case],
    peers: Sequence[Peer],
    threads: int,
    rounds: int,
    sample_s: float,
    on_case: Callable[[CaseResult], None] | None,
) -> Iterator[CaseResult]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        running = [stack.enter_context(_Process(peer, threads)) for peer in peers]
        for case in cases:
            task = case.task()
            result = CaseResult(case, task.flops, task.bytes)
            ready = [process for process in running if _prepared(process, case, result)]
            for turn in range(rounds):
                shift = turn % max(len(ready), 1)
                for process in (*ready[shift:], *ready[:shift]):
                    time.sleep(_SETTLE_S)
                    answer = process.ask({"sample": sample_s})
                    if "seconds" in answer:
                        result.seconds.setdefault(process.name, []).append(answer["seconds"])
                    else:
                        result.notes[process.name] = answer.get("failed", "")
                        result.seconds.pop(process.name, None)
                        ready = [other for other in ready if other is not process]
            if on_case is not None:
                on_case(result)
            yield result


def _prepared(process: _Process, case: Case, result: CaseResult) -> bool:
    answer = process.ask({"prepare": case.to_json()})
    if "ok" not in answer:
        result.notes[process.name] = answer.get("skipped") or answer.get("failed", "")
        return False
    if not answer["ok"]:
        result.notes[process.name] = f"wrong: off by {answer['max_error']:.3g}, allowed {answer['tolerance']:.3g}"
        return False
    result.errors[process.name] = answer["max_error"] / answer["tolerance"] if answer["tolerance"] else 0.0
    return True
