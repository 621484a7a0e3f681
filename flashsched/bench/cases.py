"""What is measured: named cases, each an operator of one shape."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flashsched.errors import TuneError, did_you_mean
from flashsched.tune.task import Task

__all__ = ["CASES", "Case", "find_cases"]


@dataclass(frozen=True)
class Case:
    """One computation that all peers do."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)

    def task(self) -> Task:
        """The case as a task of the tuner."""
        return Task(self.op, self.shape, self.dtype, **self.options)

    def to_json(self) -> dict[str, Any]:
        """The case as JSON values."""
        return {
            "name": self.name,
            "op": self.op,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "options": self.options,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Case:
        """The case that `to_json` gave."""
        return cls(data["name"], data["op"], tuple(data["shape"]), data["dtype"], data["options"])


def _matmul(m: int, n: int, k: int) -> Case:
    name = f"matmul-{m}" if m == n == k else f"matmul-{m}x{n}x{k}"
    return Case(name, "matmul", (m, n, k))


CASES = (
    _matmul(64, 64, 64),
    _matmul(128, 128, 128),
    _matmul(512, 512, 512),
    _matmul(1024, 1024, 1024),
    _matmul(384, 3072, 768),
    _matmul(509, 491, 499),
    Case("matmul-bias-relu-512", "matmul", (512, 512, 512), options={"bias": True, "activation": "relu"}),
    Case("add-4096", "add", (4096, 4096)),
    Case("relu-4096", "relu", (4096, 4096)),
    Case("conv2d-64x56x56", "conv2d", (1, 64, 56, 56, 64, 3, 1, 1)),
    Case("conv2d-3x224x224", "conv2d", (1, 3, 224, 224, 64, 7, 2, 3)),
)
"""The cases, from small to large."""


def find_cases(patterns: Sequence[str]) -> list[Case]:
    """The cases whose names match one of *patterns* (``matmul-*``); all of them where none are given.

    Raises:
        TuneError: a pattern matches nothing.
    """
    if not patterns:
        return list(CASES)
    found: dict[str, Case] = {}
    for pattern in patterns:
        hits = [case for case in CASES if fnmatch.fnmatchcase(case.name, pattern) or case.op == pattern]
        if not hits:
            raise TuneError(f"no benchmark case {pattern!r}", hint=did_you_mean(pattern, [c.name for c in CASES]))
        found.update({case.name: case for case in hits})
    return list(found.values())
