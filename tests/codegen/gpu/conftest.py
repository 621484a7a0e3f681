"""What the tests of GPU code share: templates' candidates, and the assembler where it is installed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flashsched import te
from flashsched.codegen.gpu.ptxas import find_ptxas
from flashsched.errors import Infeasible, ScheduleError
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Candidate, Task


@pytest.fixture(scope="session")
def ptxas() -> str:
    """The path of the assembler."""
    found = find_ptxas()
    if found is None:
        pytest.skip("ptxas is not installed")
    return found


@pytest.fixture(scope="session")
def candidates() -> Callable[..., Iterator[Candidate]]:
    """``candidates(op, shape, device, count)``: the template's first choice, then random ones that are feasible."""

    def drawn(op: str, shape: tuple[int, ...], device: str, count: int, **options: Any) -> Iterator[Candidate]:
        task, rng, spec = Task(op, shape, **options), random.Random(0), devices[device]
        yield task.candidate(FirstKnobs(), spec)
        left = count - 1
        while left > 0:
            try:
                yield task.candidate(RandomKnobs(rng), spec)
            except (Infeasible, ScheduleError):
                continue
            left -= 1

    return drawn


@pytest.fixture
def reversed_in_shared() -> tuple[Schedule, list[Tensor]]:
    """A copy turned round by way of 56,000 bytes of shared memory, more than a kernel may have without asking."""
    n = 14000
    A = te.placeholder((n,), name="A")
    B = te.compute((n,), lambda i: A[i] + 1, name="B")
    C = te.compute((n,), lambda i: B[n - 1 - i], name="C")
    s = te.create_schedule(C)
    s[B].set_scope("shared")
    for stage in (B, C):
        s[stage].bind(s[stage].split("i", factor=500)[1], "threadIdx.x")
    return s, [A, C]
