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
from flashsched.tune.task import Task


@pytest.fixture(scope="session")
def assert_right() -> Callable[..., bool]:
    """``assert_right(task, seed)``: the kernel that the CPU template makes of random knobs (of none: of its defaults).

    Returns whether there was one; random knobs are drawn a few times until they are feasible.
    """

    def check(task: Task, seed: int | None = None) -> bool:
        rng = random.Random(seed)
        for _ in range(20):
            knobs = FirstKnobs() if seed is None else RandomKnobs(rng)
            try:
                candidate = task.candidate(knobs, devices["cpu"])
            except Infeasible:
                continue
            found = verify(build(candidate.schedule, candidate.args, name=task.op), Reference(task, seed=1))
            assert found.ok, f"{task!r} with {knobs.decisions}: {found.text()}"
            return True
        return False

    return check
