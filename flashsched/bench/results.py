"""What a run of the benchmark found: samples by case and peer, the machine, the date; as a JSON document and back."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flashsched.bench.cases import Case
from flashsched.bench.machine import Machine
from flashsched.errors import LogError

__all__ = ["OURS", "CaseResult", "Results"]

OURS = "flashsched"
"""The peer that all others are compared with."""

_SCHEMA = "flashsched.bench/1"


@dataclass
class CaseResult:
    """What one case took.

    Attributes:
        case: what was computed.
        seconds: for each peer its samples, seconds per call, one a round.
        ways: for each peer how it did it.
        errors: for each peer its largest error, as a share of what was allowed.
        notes: for each peer that gave no times, why.
        failing: for each peer the ways that do not work here, and why.
    """

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    failing: dict[str, dict[str, str]] = field(default_factory=dict)

    def median(self, peer: str) -> float:
        """The median of a peer's samples, seconds per call."""
        return statistics.median(self.seconds[peer])

    def rate(self, peer: str) -> float:
        """Operations a second, or bytes where the case moves data more than it computes; in billions."""
        return (self.case.bytes if self.case.moves else self.case.flops) / self.median(peer) / 1e9

    @property
    def unit(self) -> str:
        """Of `rate`."""
        return "GB/s" if self.case.moves else "GFLOP/s"

    def ratio(self, peer: str) -> float:
        """How many times faster we are than *peer*: the median over rounds of the quotient."""
        pairs = zip(self.seconds[peer], self.seconds[OURS], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)

    @property
    def best(self) -> str | None:
        """The fastest of the other peers; None where there is none."""
        others = [peer for peer in self.seconds if peer != OURS]
        return min(others, key=self.median) if others else None

    def to_json(self, machine: Machine) -> dict[str, Any]:
        """As JSON values, with what follows from them on *machine*."""
        limit = machine.limit(self.case)
        return {
            **self.case.to_json(),
            "flops": self.case.flops,
            "bytes": self.case.bytes,
            "limit_s": limit.seconds,
            "limited_by": limit.binding,
            "median_s": {peer: self.median(peer) for peer in self.seconds},
            "ratio": {peer: self.ratio(peer) for peer in self.seconds if peer != OURS and OURS in self.seconds},
            "seconds": self.seconds,
            "ways": self.ways,
            "errors": self.errors,
            "notes": self.notes,
            "failing": self.failing,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CaseResult:
        """What `to_json` gave."""
        case = Case.from_json(data)
        return cls(case, data["seconds"], data["ways"], data["errors"], data["notes"], data["failing"])


@dataclass(frozen=True)
class Results:
    """A run: its cases, in order, on a machine, on a day (ISO 8601, UTC)."""

    cases: Sequence[CaseResult]
    machine: Machine
    date: str

    @property
    def peers(self) -> list[str]:
        """All that were asked, in the order in which they were."""
        from flashsched.bench.peers import PEERS

        asked = dict.fromkeys(peer for case in self.cases for peer in (*case.seconds, *case.notes))
        return sorted(asked, key=[*PEERS].index)

    def to_json(self) -> str:
        """One JSON document, which `from_json` reads back equal."""
        data = {
            "schema": _SCHEMA,
            "date": self.date,
            "machine": self.machine.to_json(),
            "cases": [case.to_json(self.machine) for case in self.cases],
        }
        return json.dumps(data, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Read what `to_json` wrote.

        Raises:
            LogError: it is no such document.
        """
        try:
            data = json.loads(text)
            if data["schema"] != _SCHEMA:
                raise ValueError(f"its schema is {data['schema']!r}, not {_SCHEMA!r}")
            cases = [CaseResult.from_json(case) for case in data["cases"]]
            return cls(cases, Machine.from_json(data["machine"]), data["date"])
        except (ValueError, TypeError, KeyError) as problem:
            raise LogError(
                f"not the results of a benchmark: {type(problem).__name__}: {problem}",
                hint="`flashsched bench --json` and `--save FILE` write them",
            ) from problem

    @classmethod
    def read(cls, path: Path) -> Results:
        """The results in a file.

        Raises:
            LogError: it can't be read, or holds no results.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as problem:
            raise LogError(f"cannot read {path}: {problem}") from problem
