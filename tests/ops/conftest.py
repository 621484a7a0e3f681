"""How a kernel of an operator is made and held against NumPy."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from flashsched.codegen.build import build
from flashsched.errors import Infeasible
from flashsched.hw import devices
from flashsched.tune.measuring.verify import Reference, verify
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Candidate, Task


def feasible(task: Task, seed: int | None) -> Candidate | None:
    """What the CPU template makes of the first answers, or of the first random ones of a few that are feasible."""
    rng = random.Random(seed)
    for _ in range(20):
        try:
            return task.candidate(FirstKnobs() if seed is None else RandomKnobs(rng), devices["cpu"])
        except Infeasible:
            continue
    return None


@pytest.fixture(scope="session")
def assert_right() -> Callable[..., bool]:
    """``assert_right(task, seed)``: the kernel that the CPU template makes of random knobs (of none: of its defaults).

    Returns whether there was one; random knobs are drawn a few times until they are feasible.
    """

    def check(task: Task, seed: int | None = None) -> bool:
        candidate = feasible(task, seed)
        if candidate is None:
            return False
        found = verify(build(candidate.schedule, candidate.args, name=task.op), Reference(task, seed=1))
        assert found.ok, f"{task!r} with {candidate.decisions}: {found.text()}"
        return True

    return check
