from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build_program
from flashsched.codegen.lower import lower
from flashsched.hw import devices
from flashsched.ops.generic import generic_cpu
from flashsched.schedule import create_schedule
from flashsched.testing import programs
from flashsched.testing.graphs import Graph, graphs
from flashsched.tune.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=graphs(), seed=st.integers(0, 1 << 16))
def test_it_schedules_any_graph_and_computes_what_numpy_computes(drawn: Graph, seed: int) -> None:
    schedule = create_schedule(list(drawn.outputs))
    args = [*drawn.inputs, *drawn.outputs]
    generic_cpu(schedule, args, RandomKnobs(random.Random(seed)), devices["cpu"])
    note(f"{drawn!r}\n{schedule}")
    feeds = drawn.feeds(seed)
    found = build_program(lower(schedule, args))(*feeds.values())
    drawn.check(found if isinstance(found, tuple) else [found], feeds)


@pytest.mark.parametrize("shape", [(33, 20, 40), (1, 1, 1), (0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_a_matmul(assert_right, shape):
    assert assert_right(Task.from_te(programs.matmul(*shape), name="mine"), seed=0)


def test_a_single_number():
    x = te.placeholder((5,), name="X")
    k = te.reduce_axis((0, 5), name="k")
    args = [x, te.compute((), lambda: te.sum(x[k], axis=k), name="total")]
    schedule = create_schedule(args[-1])
    generic_cpu(schedule, args, FirstKnobs(), devices["cpu"])
    assert build_program(lower(schedule, args))(np.arange(5, dtype=np.float32)) == 10


def test_the_defaults_use_vectors_and_threads():
    text = str(Task.from_te(programs.matmul(64, 64, 64)).candidate(FirstKnobs(), devices["cpu"]).schedule)
    assert "# vectorize" in text
    assert "# parallel" in text
