"""The template for systolic arrays, and how its nests are read: every choice computes the operator, and every product
becomes one of tiles."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.analysis import nest_works, simulate
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import program_of
from flashsched.errors import DeviceError, Infeasible
from flashsched.hw.registry import devices
from flashsched.ops import Operator, attention, batch_matmul, conv2d, matmul, relu, softmax
from flashsched.ops.systolic import systolic
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs
from flashsched.tune.task import Task

V4, V5E, CORAL = (devices[name] for name in ("tpu-v4", "tpu-v5e", "edge-tpu"))

SMALL: list[tuple[Operator, tuple[int, ...], str, dict[str, Any]]] = [
    (matmul, (20, 18, 10), "float32", {}),
    (matmul, (17, 33, 9), "float32", {"bias": True, "activation": "gelu"}),
    (matmul, (12, 9, 16), "float16", {}),
    (matmul, (8, 24, 5), "int8", {}),
    (matmul, (1, 1, 1), "float32", {}),
    (batch_matmul, (3, 10, 20, 9), "float32", {}),
    (conv2d, (1, 3, 8, 8, 5, 3, 1, 1), "float32", {}),
    (conv2d, (2, 4, 9, 7, 6, 3, 2, 0), "float32", {"bias": True}),
    (relu, (7, 9), "float32", {}),
    (softmax, (5, 11), "float32", {}),
    (attention, (1, 2, 9, 8), "float32", {}),
]


@pytest.mark.parametrize(("op", "shape", "dtype", "options"), SMALL, ids=lambda x: str(getattr(x, "name", x)))
def test_random_candidates_compute_the_operator(
    op: Operator, shape: tuple[int, ...], dtype: str, options: dict[str, Any]
) -> None:
    for seed in range(3):
        args = op.args(shape, dtype, options)
        s, rng = te.create_schedule(args[-1]), np.random.default_rng(seed)
        knobs = RandomKnobs(random.Random(seed))
        systolic(s, args, knobs, V4)
        feeds = [rng.integers(-3, 4, tensor.shape).astype(tensor.dtype) for tensor in args[:-1]]
        sizes = dict(zip(op.shape_names, shape, strict=True)) if op is conv2d else {}
        wanted = op.reference(*feeds, **{**sizes, **options})  # type: ignore[misc]
        close = {"rtol": 1e-5, "atol": 1e-5, "err_msg": str(knobs.decisions)}
        np.testing.assert_allclose(build(s, args)(*feeds), wanted, **close)
        if seed == 0:
            np.testing.assert_allclose(interpret(program_of(s, args), feeds)[0], wanted, **close)


def test_every_operator_has_a_template_for_tpus() -> None:
    assert Task("matmul").template("tpu") is Task("softmax").template("asic") is systolic


def first(op: Operator, shape: tuple[int, ...], dtype: str, spec: Any = V5E, **options: Any) -> Schedule:
    args = op.args(shape, dtype, options)
    s = te.create_schedule(args[-1])
    systolic(s, args, FirstKnobs(), spec)
    return s


def test_a_product_is_read_as_rounds_of_tiles() -> None:
    (work,) = nest_works(first(matmul, (4096, 4096, 4096), "bfloat16"), V5E)
    rounds = 8 * 4 * 4
    assert work.product == (512, 1024, 1024)
    assert (work.products, work.steps, work.stages, work.parallel_items) == (rounds, rounds, 2, 1)
    assert work.shared_bytes_per_block == 2 * (512 + 1024) * 1024 * 2 + 512 * 1024 * 4
    assert work.dram_bytes == rounds * (512 + 1024) * 1024 * 2 + 4096 * 4096 * 2
    assert work.dram_read_bytes == work.weight_bytes * 2 == 2 * 4096 * 4096 * 2
    assert work.flops == work.useful_flops == {"bfloat16": 2.0 * 4096**3}
    assert work.vector_ops == rounds * 512 * 1024  # sums of a round before are added to


def test_what_finishes_a_product_is_done_tile_by_tile() -> None:
    (work,) = nest_works(first(matmul, (1024, 1024, 1024), "bfloat16", bias=True, activation="relu"), V5E)
    assert work.dram_write_bytes == 1024 * 1024 * 2
    assert work.vector_ops >= 2 * 1024 * 1024


def test_a_convolution_is_a_product_over_channels_and_window() -> None:
    *_, work = nest_works(first(conv2d, (1, 64, 56, 56, 128, 3, 1, 1), "float32"), V5E)
    rows, columns, depth = work.product
    assert columns * depth == 128 * 64 * 9 or rows * depth == 128 * 64 * 9  # filters are the one side or the other
    assert work.products >= 1
    assert work.flops["float32"] == 2.0 * 128 * 56 * 56 * 64 * 9


def test_both_products_of_attention_are_staged() -> None:
    s = first(attention, (2, 4, 256, 64), "float32")
    works = nest_works(s, V5E)
    assert sum(work.products > 0 for work in works) == 2
    assert simulate(s, V5E).utilization > 0.05


def test_cores_take_turns_of_a_parallel_loop() -> None:
    (work,) = nest_works(first(matmul, (4096, 4096, 1024), "bfloat16", V4), V4)
    assert work.parallel_items == 8 * 4
    assert simulate(first(matmul, (4096, 4096, 1024), "bfloat16", V4), V4).occupancy == 1.0


def test_what_is_not_staged_is_left_to_the_vector_unit() -> None:
    args = matmul.args((512, 512, 512), "float32")
    plain = te.create_schedule(args[-1])
    (work,) = nest_works(plain, V5E)
    assert work.products == 0
    assert work.vector_ops == 2 * 512**3
    said = simulate(plain, V5E)
    assert said.bound == "vector"
    assert said.time_s > 2 * simulate(first(matmul, (512, 512, 512), "float32"), V5E).time_s


def test_narrow_rows_leave_lanes_idle() -> None:
    wide, narrow = (nest_works(first(relu, shape, "float32"), V5E)[0] for shape in ((1024, 1024), (131072, 8)))
    assert narrow.vector_ops == 16 * wide.vector_ops


def tile(side: int, doubled: bool = True) -> Schedule:
    """A product of 2048 x 2048 matrices in tiles of *side*."""
    args = matmul.args((2048, 2048, 2048), "bfloat16")
    s = te.create_schedule(args[-1])

    class Sides(FirstKnobs):
        def choice(self, name, options, default=None):  # type: ignore[no-untyped-def]
            return doubled if name.startswith("double") else side

    systolic(s, args, Sides(), V5E)
    return s


def test_worse_tiles_are_never_faster() -> None:
    times = [simulate(tile(side), V5E).time_s for side in (8, 32, 128, 256, 512, 1024)]
    assert times == sorted(times, reverse=True)
    assert simulate(tile(512, doubled=False), V5E).time_s > simulate(tile(512), V5E).time_s


def test_tiles_beyond_the_core_s_memory_are_infeasible() -> None:
    with pytest.raises(Infeasible, match="bytes of vmem are asked for"):
        simulate(tile(2048), V4)


def test_a_good_product_is_near_the_roofline() -> None:
    said = simulate(first(matmul, (8192, 8192, 8192), "bfloat16"), V5E)
    assert 1 <= said.time_s / said.roofline_s < 1.2
    assert said.bound == "arrays"


def test_a_dtype_that_the_chip_lacks_is_refused() -> None:
    with pytest.raises(DeviceError, match="no peak for float32"):
        simulate(first(matmul, (64, 64, 64), "float32", CORAL), CORAL)
    assert simulate(first(matmul, (64, 64, 64), "int8", CORAL), CORAL).time_s > CORAL.launch_s


def test_operands_may_lie_either_way() -> None:
    a, b = te.placeholder((40, 24), name="A"), te.placeholder((32, 40), name="B")
    k = te.reduce_axis((0, 40), name="k")
    c = te.compute((24, 32), lambda i, j: te.sum(a[k, i] * b[j, k], axis=k), name="C")
    s, args = te.create_schedule(c), [a, b, c]
    systolic(s, args, FirstKnobs(), V4)
    rng = np.random.default_rng(0)
    feeds = [rng.integers(-3, 4, tensor.shape).astype("float32") for tensor in (a, b)]
    np.testing.assert_array_equal(build(s, args)(*feeds), feeds[0].T @ feeds[1].T)
    assert nest_works(s, V4)[0].product == (24, 32, 40)


def tensors(*shape: int) -> list[Tensor]:
    return matmul.args(shape, "float32")


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 0, 8), (8, 8, 0)])
def test_degenerate_products(shape: tuple[int, int, int]) -> None:
    args = tensors(*shape)
    s = te.create_schedule(args[-1])
    systolic(s, args, FirstKnobs(), V4)
    feeds = [np.ones(tensor.shape, "float32") for tensor in args[:-1]]  # type: ignore[arg-type]
    np.testing.assert_array_equal(build(s, args)(*feeds), feeds[0] @ feeds[1])
