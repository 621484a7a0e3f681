from __future__ import annotations

import numpy as np
import pytest

import flashsched as fs
from flashsched.errors import TuneError
from flashsched.tune.logs.report import fronts
from flashsched.tune.search.pareto import front, in_fronts
from flashsched.tune.task import Task

pytestmark = pytest.mark.usefixtures("quick_finals")


def test_a_front_by_its_definition():
    values = np.random.default_rng(0).integers(0, 12, size=(120, 3)).astype(float)
    found = set(front(values))
    for at, row in enumerate(values):
        beaten = any((other <= row).all() and (other < row).any() for other in values)
        twin = any((values[n] == row).all() for n in range(at))
        assert (at in found) == (not beaten and not twin)


def test_all_come_in_fronts():
    values = np.random.default_rng(1).random((40, 2))
    order = in_fronts(values)
    assert sorted(order) == list(range(40))
    first = set(front(values))
    assert set(order[: len(first)]) == first
    assert {int(values[:, 0].argmin()), int(values[:, 1].argmin())} <= set(order[:2])


def test_a_run_for_time_energy_and_code():
    result = fs.tune(
        Task("matmul", (128, 128, 64)), device="a100-sim", trials=20, objectives=("time", "code"), warm_start=False
    )
    assert result.objectives == ("time", "code")
    points = [(record.median_s, record.extra["code"]) for record in result.front]
    assert points == sorted(points)
    assert len(points) >= 2  # a small and slow one beside a large and fast one
    for record in result.records:
        assert not all(record.median_s < time and record.extra["code"] < code for time, code in points)
    assert result.best.median_s <= points[0][0] * 1.02
    told = fronts(result.to_frame())
    assert [*zip(told["time_s"], told["code"], strict=True)] == points
    assert set(told["objectives"]) == {"time, code"}
    with pytest.raises(TuneError, match="cpu is measured, which tells the time only"):
        fs.tune(Task("relu", (4, 4)), objectives=("time", "energy"), warm_start=False)
