"""The GPU templates: every choice is a legal schedule that computes the operator, and good choices are good."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.analysis import nest_works, simulate
from flashsched.codegen.build import build
from flashsched.codegen.emit_storage import byte_size
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import Infeasible
from flashsched.hw import DeviceSpec
from flashsched.hw.registry import devices
from flashsched.ops import Operator, add, conv2d, conv2d_gpu, matmul, relu
from flashsched.ops.gpu_tiles import require_block
from flashsched.ops.operator import KnobsLike
from flashsched.schedule.ir import Alloc, blocks, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.search.knobs import Answers, FirstKnobs, RandomKnobs

A100 = devices["a100-sim"]

SMALL: list[tuple[Operator, tuple[int, ...], str, dict[str, Any]]] = [
    (matmul, (20, 18, 10), "float32", {}),
    (matmul, (17, 33, 9), "float32", {"bias": True, "activation": "gelu"}),
    (matmul, (1, 40, 7), "float64", {"bias": True, "activation": "relu"}),
    (matmul, (12, 9, 16), "float16", {}),
    (matmul, (8, 24, 5), "int8", {}),
    (add, (7, 9), "float32", {}),
    (relu, (3, 128), "float16", {}),
    (add, (1, 1), "float32", {}),
    (conv2d, (1, 3, 8, 8, 5, 3, 1, 1), "float32", {}),
    (conv2d, (2, 4, 9, 7, 6, 3, 2, 0), "float32", {"bias": True}),
    (conv2d, (1, 4, 6, 6, 4, 1, 1, 0), "float32", {"groups": 2}),
    (conv2d, (1, 2, 9, 9, 3, 3, 1, 2), "float32", {"dilation": 2}),
]


def scheduled(
    op: Operator, shape: tuple[int, ...], knobs: Answers, dtype: str = "float32", options: dict[str, Any] | None = None
) -> tuple[Schedule, list[Tensor]]:
    args = op.args(shape, dtype, options)
    s = te.create_schedule(args[-1])
    op.templates["gpu"](s, args, knobs, A100)
    return s, args


def drawn(count: int, *what: Any, seed: int = 0) -> list[tuple[Schedule, list[Tensor], Answers]]:
    """Feasible candidates with random knobs."""
    op, shape, dtype, options = what
    rng, found = random.Random(seed), []
    for _ in range(500):
        knobs = RandomKnobs(rng)
        try:
            found.append((*scheduled(op, shape, knobs, dtype, options), knobs))
        except Infeasible:
            continue
        if len(found) == count:
            break
    assert len(found) == count, "hardly any candidate is feasible"
    return found


def inputs(args: list[Tensor], seed: int) -> list[Any]:
    """Small whole numbers, so that sums are exact in any order."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, tensor.shape).astype(tensor.dtype) for tensor in args[:-1]]


@pytest.mark.parametrize(("op", "shape", "dtype", "options"), SMALL, ids=lambda x: str(getattr(x, "name", x)))
def test_random_candidates_compute_the_operator(
    op: Operator, shape: tuple[int, ...], dtype: str, options: dict[str, Any]
) -> None:
    for seed, (s, args, knobs) in enumerate(drawn(4, op, shape, dtype, options)):
        feeds = inputs(args, seed)
        sizes = dict(zip(op.shape_names, shape, strict=True)) if op is conv2d else {}
        wanted = op.reference(*feeds, **{**sizes, **options})  # type: ignore[misc]
        close = {"rtol": 1e-5, "atol": 1e-5, "err_msg": str(knobs.decisions)}
        np.testing.assert_allclose(build(s, args)(*feeds), wanted, **close)
        if seed == 0:  # turn by turn, with races and bounds looked for
            np.testing.assert_allclose(interpret(program_of(s, args), feeds)[0], wanted, **close)
            np.testing.assert_allclose(interpret(lower(s, args), feeds)[0], wanted, **close)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        *((matmul, shape) for shape in ((5, 7, 9), (1, 1000, 1000), (33, 17, 3), (2, 2, 1), (1, 1, 1), (4096, 1, 7))),
        *((conv2d, shape) for shape in ((2, 3, 9, 9, 4, 3, 1, 1), (1, 1, 4, 4, 1, 3, 1, 0))),
        (conv2d, (1, 5, 1, 60, 33, 1, 1, 0)),
        *((add, shape) for shape in ((1, 1), (3, 5), (1, 4097))),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_the_first_candidate_is_feasible_for_any_shape(op: Operator, shape: tuple[int, ...]) -> None:
    s, _ = scheduled(op, shape, FirstKnobs())
    simulate(s, A100)


@pytest.mark.parametrize(
    "shape", [(8, 64, 56, 56, 64, 3, 1, 1), (1, 16, 14, 14, 32, 5, 2, 1), (2, 13, 17, 19, 23, 1, 1, 0)]
)
def test_a_convolution_takes_the_shared_memory_that_its_block_is_held_to(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def remember(knobs: KnobsLike, spec: DeviceSpec, threads: int, shared_bytes: int, points: int) -> None:
        require_block(knobs, spec, threads, shared_bytes, points)
        counted.append(shared_bytes)

    monkeypatch.setattr(conv2d_gpu, "require_block", remember)
    for seed in range(4):
        counted.clear()
        ((s, args, _),) = drawn(1, conv2d, shape, "float32", {}, seed=seed)
        made = [node.buffer for node in walk_stmt(lower(s, args).body) if isinstance(node, Alloc)]
        taken = sum(byte_size(buffer) or 0 for buffer in made if buffer.scope == "shared")
        gaps = (
            8 * 4 * 32 * 2
        )  # after the last row of each version of both tiles, and of a tile that ends with the image
        (work,) = nest_works(s, A100)
        assert counted[-1] - gaps <= taken <= work.shared_bytes_per_block <= counted[-1]


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 0, 8), (8, 8, 0), (1, 1, 1)])
def test_degenerate_products(shape: tuple[int, int, int]) -> None:
    s, args = scheduled(matmul, shape, FirstKnobs())
    feeds = inputs(args, 0)
    np.testing.assert_array_equal(build(s, args)(*feeds), feeds[0] @ feeds[1])


def test_a_transposed_operand_is_a_product_too() -> None:
    a, b = te.placeholder((40, 24), name="A"), te.placeholder((32, 40), name="B")
    k = te.reduce_axis((0, 40), name="k")
    c = te.compute((24, 32), lambda i, j: te.sum(a[k, i] * b[j, k], axis=k), name="C")
    rng, done = random.Random(1), 0
    while done < 3:
        s = te.create_schedule(c)
        try:
            matmul.templates["gpu"](s, [a, b, c], RandomKnobs(rng), A100)
        except Infeasible:
            continue
        done += 1
        feeds = inputs([a, b, c], done)
        np.testing.assert_array_equal(build(s, [a, b, c])(*feeds), feeds[0].T @ feeds[1].T)


def test_the_first_candidate_is_near_the_roofline() -> None:
    s, _ = scheduled(matmul, (4096, 4096, 4096), FirstKnobs())
    said = simulate(s, A100)
    assert 1 <= said.time_s / said.roofline_s < 1.3
    assert {"A.shared", "B.shared", "C.local"} <= {block.name for block in blocks(s.body)}
    for op in (add, relu):
        s, _ = scheduled(op, (8192, 8192), FirstKnobs())
        said = simulate(s, A100)
        assert said.bound == "dram"
        assert said.share_of_roofline > 0.8
    s, _ = scheduled(conv2d, (32, 64, 56, 56, 64, 3, 1, 1), FirstKnobs())
    said = simulate(s, A100)
    assert 1 <= said.time_s / said.roofline_s < 3


def test_a_fused_epilogue_is_one_kernel() -> None:
    s, _ = scheduled(matmul, (1024, 1024, 1024), FirstKnobs(), options={"bias": True, "activation": "gelu"})
    assert len(nest_works(s, A100)) == 1


@pytest.mark.parametrize(
    "what",
    [
        (conv2d, (8, 64, 28, 28, 64, 3, 1, 1), "float32", {}),
        (add, (999, 1001), "float32", {}),
        (matmul, (1000, 999, 77), "float32", {}),
    ],
    ids=("conv2d", "add", "matmul"),
)
def test_nothing_beats_the_roofline(what: tuple[Any, ...]) -> None:
    for s, _, _ in drawn(25, *what):
        said = simulate(s, A100)
        assert said.time_s >= said.roofline_s > 0


def test_what_does_not_fit_is_said() -> None:
    class Most(FirstKnobs):
        def _pick(self, name: str, options: Any, default: int) -> int:
            return len(options) - 1

    with pytest.raises(Infeasible, match="16 x 16 sums need more registers"):
        scheduled(matmul, (4096, 4096, 4096), Most())
    a = te.placeholder((4, 4), name="A")
    out = te.compute((4, 4), lambda i, j: a[i, j] + 1, name="out")
    with pytest.raises(Infeasible, match="needs one reduction, and 0 are"):
        matmul.templates["gpu"](te.create_schedule(out), [a, out], FirstKnobs(), A100)
    s = te.create_schedule(out)
    with pytest.raises(Infeasible, match="this template is for a GPU"):
        add.templates["gpu"](s, [a, out], FirstKnobs(), devices["cpu-xeon-sim"])
    vector = te.compute((4,), lambda i: a[i, i], name="vector")
    with pytest.raises(Infeasible, match="1 dimension, and this template is for matrices"):
        matmul.templates["gpu"](te.create_schedule(vector), [a, vector], FirstKnobs(), A100)
