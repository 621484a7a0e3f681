from __future__ import annotations

import pytest

import flashsched as fs
from flashsched.codegen.target import host_target
from flashsched.tune.logs.nearest import Misfit, differences, nearest
from flashsched.tune.logs.record import Record

TASK = fs.Task("matmul", (64, 64, 64))
HERE = host_target().to_json()


def record(task=TASK, **changes):
    given = {
        "task": task.to_json(),
        "trace": {"steps": []},
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": 0,
        "times_s": [1e-3],
        "verified": {"max_error": 0.0, "tolerance": 1.0},
        "target": HERE,
    }
    return Record(**{**given, **changes})


def test_nothing_keeps_a_record_that_fits():
    assert differences(record(), TASK, HERE) == []
    simulated = record(device="a100-sim", source="simulated", status="unverified", verified=None)
    assert differences(simulated, TASK, {}, "a100-sim") == []


@pytest.mark.parametrize(
    ("changes", "what", "distance"),
    [
        ({"task": fs.Task("matmul", (128, 64, 32))}, "shape", 2.0),
        ({"task": fs.Task("matmul", (64, 64, 64), "float64")}, "dtype", 8.0),
        ({"task": fs.Task("matmul", (64, 64, 64), bias=True)}, "options", 10.0),
        ({"status": "crash", "times_s": [], "verified": None}, "status", 3.0),
        ({"source": "simulated", "device": "a100-sim"}, "device", 6.0),
        ({"target": {**HERE, "triple": "sparc64-sun-solaris"}}, "target", 4.0),
    ],
)
def test_each_way_to_miss_has_its_distance(changes, what, distance):
    (found,) = differences(record(**changes), TASK, HERE)
    assert (found.what, found.distance) == (what, distance)
    assert found.reason


def test_several_ways_add_up_and_both_sides_are_told():
    misfit = Misfit(
        *(lambda r: (r, tuple(differences(r, TASK, HERE))))(record(fs.Task("matmul", (64, 64, 128), bias=True)))
    )
    assert misfit.distance == 11.0
    assert misfit.text == "is for shape 64,64,128; has bias=True, not False"
    shape, options = misfit.differences
    assert (shape.there, shape.here) == ([64, 64, 128], [64, 64, 64])
    assert (options.there, options.here) == ({"bias": True}, {"bias": False})


def test_another_operator_is_far_and_its_options_are_not_asked():
    found = differences(record(fs.Task("relu", (64, 64))), TASK, HERE)
    assert [each.what for each in found] == ["op", "shape"]


def test_another_definition_under_one_name():
    task = fs.Task.from_te(fs.Task("add", (4, 4)).args(), name="mine")
    other = fs.Task.from_te(fs.Task("relu", (4, 4)).args(), name="mine")
    (found,) = differences(record(other), task, HERE)
    assert found.reason == "computes something else under the same name"


def test_the_nearest_come_first_one_of_each_task():
    records = [
        record(fs.Task("matmul", (64, 64, 256)), times_s=[1e-3]),
        record(fs.Task("matmul", (64, 64, 128)), times_s=[5e-3], record_id="slow"),
        record(fs.Task("matmul", (64, 64, 128)), times_s=[2e-3], record_id="fast"),
        record(fs.Task("relu", (64, 64))),
    ]
    found = nearest([Misfit(r, tuple(differences(r, TASK, HERE))) for r in records], 2)
    assert [misfit.distance for misfit in found] == [1.0, 2.0]
    assert found[0].record.record_id == "fast"
    assert nearest([]) == []
