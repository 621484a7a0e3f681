"""Rows on a GPU: the block's threads compute what the operator says, in one kernel, by vectors."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from flashsched.codegen.analysis import nest_works
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.errors import Infeasible
from flashsched.hw.registry import devices
from flashsched.te import dtypes
from flashsched.te.evaluate import run_graph
from flashsched.testing.gpu_threads import run_on_threads
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task

SPEC, ARCH = devices["h100-sim"], GpuArch("sm_90")


@pytest.mark.parametrize(
    ("op", "shape", "options"),
    [
        ("softmax", (5, 67), {}),
        ("layernorm", (3, 96), {}),
        ("rmsnorm", (4, 64), {"dtype": "float16"}),
        ("sum", (5, 130), {}),
        ("max", (3, 1), {}),
        ("mean", (16, 5), {"axis": 0}),
    ],
    ids=str,
)
def test_the_threads_compute_the_operator(op: str, shape: tuple[int, int], options: dict[str, Any]) -> None:
    task, rng, done = Task(op, shape, **options), random.Random(0), 0
    while done < 3:
        try:
            candidate = task.candidate(RandomKnobs(rng) if done else FirstKnobs(), SPEC)
        except Infeasible:
            continue
        feeds = [
            np.random.default_rng(done).integers(-3, 4, t.shape).astype(dtypes.numpy_dtype(t.dtype))
            for t in candidate.args[:-1]
        ]
        kernel = build_gpu(candidate.schedule, candidate.args, ARCH, op)
        (wanted,) = run_graph([candidate.args[-1]], dict(zip(candidate.args, feeds, strict=False)))
        loose = 1e-2 if dtypes.bits(task.dtype) < 32 else 1e-5
        (got,) = run_on_threads(kernel.plan, feeds, done)
        np.testing.assert_allclose(got.astype("float64"), wanted.astype("float64"), rtol=loose, atol=loose)
        done += 1


def test_a_softmax_is_one_kernel_that_loads_vectors() -> None:
    candidate = Task("softmax", (4096, 1024)).candidate(FirstKnobs(), SPEC)
    kernel = build_gpu(candidate.schedule, candidate.args, ARCH, "softmax")
    (launch,) = kernel.launches
    assert launch.block == (64, 2, 1)
    loads = [line for line in kernel.ptx().splitlines() if "ld.global" in line]
    assert loads
    assert all(".v4.b32" in line for line in loads)


def test_a_row_that_does_not_fit_is_computed_again() -> None:
    candidate = Task("softmax", (64, 100_000)).candidate(FirstKnobs(), SPEC)
    assert not candidate.decisions["keep"]
    assert [stage.name for stage in candidate.schedule.stages] == ["most", "total", "Y"]


def test_every_candidate_has_room_in_shared_memory() -> None:
    task, rng, done = Task("softmax", (8192, 4096)), random.Random(0), 0
    while done < 8:
        try:
            candidate = task.candidate(RandomKnobs(rng), SPEC)
        except Infeasible:
            continue
        build_gpu(candidate.schedule, candidate.args, ARCH, "softmax")
        done += 1


def test_a_row_of_threads_computes_its_own_row_only() -> None:
    candidate = Task("softmax", (4096, 128)).candidate(FirstKnobs(), SPEC)
    (work,) = nest_works(candidate.schedule, SPEC)
    assert work.flops == work.useful_flops
    kernel = build_gpu(candidate.schedule, candidate.args, ARCH, "softmax")
    (launch,) = kernel.launches
    _, rows, _ = launch.block
    assert rows > 1
    row = 4 * (128 + 2)  # its elements, their greatest and their sum
    assert work.shared_bytes_per_block == rows * row
    assert rows * row <= kernel.shared_bytes(launch) <= rows * (row + 3 * 16)  # aligned


def test_no_rows_are_no_work() -> None:
    for shape in ((0, 8), (8, 0)):
        candidate = Task("softmax", shape).candidate(FirstKnobs(), SPEC)
        assert not candidate.schedule.trace.steps
