"""Kernels on a real CUDA device, held against NumPy; elsewhere all of this is skipped."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu.driver import cuda_available, open_cuda
from flashsched.errors import LoweringError
from flashsched.schedule.schedule import Schedule
from flashsched.te import dtypes
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_programs import MMA, mma_product, staged_sums, warp_product
from flashsched.testing.graphs import Graph, some_sizes
from flashsched.testing.schedules import bound_programs, is_bound

pytestmark = pytest.mark.skipif(not cuda_available(), reason="no CUDA device here")

OPERATORS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("matmul", (128, 128, 64), {}),
    ("matmul", (67, 33, 29), {"bias": True, "activation": "gelu"}),
    ("matmul", (128, 128, 128), {"dtype": "float16"}),
    ("matmul", (64, 96, 128), {"dtype": "bfloat16"}),
    ("add", (7, 999), {}),
    ("relu", (3, 500), {"dtype": "float16"}),
    ("softmax", (33, 257), {}),
    ("layernorm", (16, 384), {}),
    ("conv2d", (1, 3, 17, 19, 5, 3, 1, 1), {}),
    ("conv2d", (2, 16, 14, 14, 32, 3, 1, 1), {}),
    ("conv2d", (2, 16, 14, 14, 32, 3, 1, 1), {"dtype": "float16"}),
    ("conv2d", (3, 20, 13, 11, 33, 3, 2, 1), {"dtype": "bfloat16", "layout": "NHWC", "bias": True}),
]
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "tanh": np.tanh, "sqrt": np.sqrt,
    "floor": np.floor, "abs": np.abs,
}  # fmt: skip


@pytest.mark.parametrize(("op", "shape", "options"), OPERATORS, ids=str)
def test_templates_compute_their_operators(
    op: str, shape: tuple[int, ...], options: dict[str, Any], candidates: Any
) -> None:
    for seed, candidate in enumerate(candidates(op, shape, "h100-sim", 6, **options)):
        rng = np.random.default_rng(seed)
        feeds = [rng.integers(-3, 4, t.shape).astype(dtypes.numpy_dtype(t.dtype)) for t in candidate.args[:-1]]
        (wanted,) = run_graph([candidate.args[-1]], dict(zip(candidate.args, feeds, strict=False)))
        got = fs.build(candidate.schedule, candidate.args, target="cuda", name=op)(*feeds)
        loose = 1e-2 if dtypes.bits(candidate.args[-1].dtype) < 32 else 1e-5
        np.testing.assert_allclose(got.astype("float64"), wanted.astype("float64"), rtol=loose, atol=loose)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "loose"), [("float32", 4e-6), ("float64", 1e-12)])
def test_functions_are_as_exact_as_their_dtype(name: str, dtype: str, loose: float) -> None:
    n = 4099
    A = te.placeholder((n,), dtype, name="A")
    C = te.compute((n,), lambda i: getattr(te, name)(A[i]), name="C")
    s = te.create_schedule(C)
    block, thread = s[C].split("i", factor=128)
    s[C].bind(block, "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    a = np.linspace(1e-3, 9, n).astype(dtype)
    np.testing.assert_allclose(fs.build(s, [A, C], target="cuda")(a), FUNCTIONS[name](a), rtol=loose, atol=loose)


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("dtype", MMA)
def test_tensor_cores_multiply(dtype: str, staged: bool) -> None:
    s, args = mma_product(96, 64, 80, dtype, staged)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, t.known_shape).astype(dtypes.numpy_dtype(t.dtype)) for t in args[:2])
    got = fs.build(s, args, target="cuda")(a, b)
    np.testing.assert_array_equal(got, a.astype("float32") @ b.astype("float32"))


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("turned", ["", "A", "B"])
def test_a_warp_loads_the_fragments_of_its_product(turned: str, stages: int) -> None:
    s, args = warp_product(64, 40, 96, turned=turned, stages=stages)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, t.known_shape).astype("float16") for t in args[:2])
    wanted = (a.T if "A" in turned else a).astype("float32") @ (b.T if "B" in turned else b).astype("float32")
    np.testing.assert_array_equal(fs.build(s, args, target="cuda")(a, b), wanted)


@pytest.mark.parametrize(("rounds", "ahead"), [(16, 1), (1, 1), (1, 3), (2, 2), (3, 2), (9, 3)])
def test_tiles_that_are_copied_ahead_arrive(rounds: int, ahead: int) -> None:
    s, args = staged_sums(rounds, ahead, operands=2)
    feeds = list(np.random.default_rng(0).integers(-3, 4, (2, 8 * rounds, 128)).astype("float32"))
    np.testing.assert_array_equal(fs.build(s, args, target="cuda")(*feeds), sum(feeds).sum(0)[::-1])


def test_a_block_may_have_much_shared_memory(reversed_in_shared: tuple[Schedule, list[Tensor]]) -> None:
    s, args = reversed_in_shared
    a = np.arange(14000, dtype="float32")
    np.testing.assert_array_equal(fs.build(s, args, target="cuda")(a), a[::-1] + 1)


def test_memory_is_given_back(reversed_in_shared: tuple[Schedule, list[Tensor]]) -> None:
    s, args = reversed_in_shared
    kernel = fs.build(s, args, target="cuda")
    a = np.arange(14000, dtype="float32")
    device = open_cuda()
    free = device.free_bytes()
    for _ in range(8):
        assert kernel.bound(a)(3) > 0
    gc.collect()
    assert device.free_bytes() >= free - (8 << 20)


def test_the_tuner_finds_a_kernel_that_loads(tmp_path: Path) -> None:
    task = fs.Task("matmul", shape=(256, 256, 256))
    log = tmp_path / "log.jsonl"
    result = fs.tune(task, device="cuda", trials=6, log=log, seed=0)
    assert {record.status for record in result.records} == {"correct"}
    kernel = fs.load(log, task, target="cuda")
    rng = np.random.default_rng(0)
    a, b = (rng.random((256, 256), dtype="float32") for _ in range(2))
    np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-4)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bound_programs(), st.integers(0, 3), st.data())
def test_any_schedule_computes_what_numpy_computes(
    case: tuple[Graph, Schedule], seed: int, data: st.DataObject
) -> None:
    drawn, schedule = case
    if not is_bound(schedule):
        return
    sizes = data.draw(some_sizes(drawn)) if drawn.sizes else {}
    note(f"{drawn!r}\n{schedule.to_python()}")
    try:
        kernel = fs.build(schedule, [*drawn.inputs, *drawn.outputs], target="cuda")
    except LoweringError as refused:
        note(refused.reason)
        return
    feeds = drawn.feeds(seed, sizes)
    found = kernel(*feeds.values())
    drawn.check(list(found) if isinstance(found, tuple) else [found], feeds)
