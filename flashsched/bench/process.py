"""One peer in a process of its own: ``python -m flashsched.bench.process PEER`` answers requests, a line of JSON each.

``{"prepare": case}`` makes the arrays, runs the case once and answers with its largest error against float64;
``{"sample": seconds}`` runs it for about that long and answers with the seconds of one call.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from flashsched.bench.cases import Case
from flashsched.bench.peers import PEERS, Run
from flashsched.tune.verify import Reference, compare

__all__ = ["main"]


class _Server:
    """The case that is prepared, and how many calls make a sample."""

    def __init__(self, peer: str) -> None:
        self.peer = PEERS[peer]
        self.run: Run | None = None
        self.calls = 1

    def prepare(self, case: Case) -> dict[str, Any]:
        reference = Reference(case.task(), seed=0)
        self.run = self.peer.prepare(case, reference.inputs)
        if self.run is None:
            return {"skipped": f"{self.peer.name} has no such operator"}
        check = compare(np.asarray(self.run(1)), reference)
        self.calls = 1
        return {"max_error": check.max_error, "tolerance": check.tolerance, "ok": check.ok}

    def sample(self, seconds: float) -> dict[str, Any]:
        if self.run is None:
            return {"skipped": "nothing is prepared"}
        self.run(1)  # wakes threads and refills caches after the other peers' turns
        while True:
            start = time.perf_counter()
            self.run(self.calls)
            taken = time.perf_counter() - start
            if taken >= seconds / 2:
                return {"seconds": taken / self.calls}
            self.calls = max(2 * self.calls, min(1000 * self.calls, int(self.calls * seconds / max(taken, 1e-9))))


def main() -> None:
    """Answer requests until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    server = _Server(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                answer = server.prepare(Case.from_json(request["prepare"]))
            else:
                answer = server.sample(float(request["sample"]))
        except Exception as error:  # a peer's failure is its result, not the benchmark's end
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
