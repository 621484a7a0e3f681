from __future__ import annotations

import pytest

from flashsched.hw import devices
from flashsched.schedule import Trace, create_schedule
from flashsched.testing import programs
from flashsched.tune.measuring.shrink import check_small, points, shrunken
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

GPU = devices.for_simulation("a100-sim")


def scheduled(task, spec=GPU):
    return task.candidate(FirstKnobs(), spec).trace


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (programs.matmul(3, 4, 5), 60),
        (programs.pointwise(3, 4), 12),
        (programs.chain(7), 14),
        (programs.matmul(3, 0, 5), 0),
    ],
)
def test_points_of_a_default_nest(args, count):
    assert points(create_schedule(args[-1]).body) == count


def test_a_guarded_turn_counts():
    *_, out = programs.pointwise(7)
    schedule = create_schedule(out)
    schedule[out].split(out.op.axis[0], factor=4)
    assert points(schedule.body) == 8


def test_the_largest_shape_that_is_small_enough():
    task = Task("matmul", (4096, 4096, 4096))
    found = shrunken(task, scheduled(task), 10_000_000)
    assert points(found.schedule.body) <= 10_000_000
    assert all(n % 2 for n in found.task.shape)
    assert found.trace == scheduled(task)
    assert shrunken(task, scheduled(task), 1000) is None  # one block of the schedule is more


def test_a_shape_that_is_small_stays():
    task = Task("matmul", (33, 20, 40))
    assert shrunken(task, Trace(), 33 * 20 * 40).task is task


def test_small_parts_of_a_shape_stay():
    task = Task("conv2d", (32, 64, 224, 224, 64, 3, 2, 1))
    n, c, h, w, o, window, stride, padding = shrunken(task, Trace(), 1_000_000).task.shape
    assert (window, stride, padding) == (3, 2, 1)
    assert min(n, c, h, w, o) >= 5


def test_a_fixed_graph_has_no_smaller_shape():
    task = Task.from_te(programs.matmul(64, 64, 64))
    assert shrunken(task, Trace(), 64**3 - 1) is None
    assert shrunken(task, Trace(), 64**3).task is task
    assert check_small(Task.from_te(programs.matmul(2000, 2000, 2000)), Trace()) is None


@pytest.mark.parametrize(
    "task",
    [
        Task("matmul", (1024, 1024, 1024)),
        Task("matmul", (300, 200, 100), "bfloat16", bias=True, activation="gelu"),
        Task("conv2d", (2, 8, 14, 14, 32, 3, 1, 1)),
        Task("relu", (512, 511)),
    ],
    ids=repr,
)
def test_a_gpu_schedule_is_right_on_smaller_shapes(task):
    found = check_small(task, scheduled(task))
    assert found.check.ok
    assert found.shapes == sorted(found.shapes)
    assert found.shapes[-1] <= task.shape


def test_a_schedule_of_whole_tiles_is_tried_on_sizes_that_are_only_halved():
    """Tensor cores do tiles of 16 by 8 by 16, so an odd size has no such schedule."""
    task = Task("matmul", shape=(256, 256, 256), dtype="float16")
    candidate = task.candidate(FirstKnobs(), devices["a100-sim"])
    found = check_small(task, candidate.trace)
    assert found is not None
    assert found.check.ok
    assert all(size % 16 == 0 for shape in found.shapes for size in shape)


def test_sizes_are_halved_one_at_a_time_where_all_at_once_leave_no_whole_tile():
    """The pixels of 32 images of 14 x 14 are whole tiles of 128, those of 16 of 7 x 7 are not."""
    task = Task("conv2d", (32, 256, 14, 14, 256, 3, 1, 1), dtype="float16")
    found = shrunken(task, scheduled(task), 400_000_000)
    assert found.trace == scheduled(task)
    assert points(found.schedule.body) <= 400_000_000
    assert found.task.shape[2:4] == (14, 14)
    assert shrunken(task, scheduled(task), 100_000) is None


def test_a_schedule_for_another_definition_is_found_wrong():
    """What is run is the trace on the task's own graph, and what it is held against is the operator's reference."""
    minus = Task.from_te(programs.matmul(9, 9, 9), reference=lambda a, b: -(a @ b))
    found = check_small(minus, Trace())
    assert not found.check.ok
