"""Sizes that no tile divides: zeros fill tiles up as they are copied, so that nothing else has a condition."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu.build import build_gpu, lower_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.hw.registry import devices
from flashsched.ops import conv2d
from flashsched.ops.matmul_gpu import matmul_gpu
from flashsched.schedule.ir import For, If, Stmt, Store, walk_stmt
from flashsched.te import dtypes
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_threads import run_on_threads
from flashsched.tune.search.knobs import FirstKnobs

SM80 = GpuArch("sm_80")


class Chosen(FirstKnobs):
    """The first choice but for what is named."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._values = values

    def _pick(self, name: str, options: Any, default: int) -> int:
        return list(options).index(self._values[name]) if name in self._values else default


def product(shape: tuple[int, ...], dtype: str = "float32", **chosen: Any) -> tuple[te.Schedule, list[Tensor]]:
    op = "matmul" if len(shape) == 3 else "batch_matmul"
    args = fs.Task(op, shape, dtype=dtype).args()
    s = te.create_schedule(args[-1])
    matmul_gpu(s, args, Chosen(**chosen), devices["a100-sim"])
    return s, args


ONE_WARP = {"block_m": 32, "block_n": 32, "warp_m": 32, "warp_n": 32, "step_k": 16}
SMALL = {"block_m": 8, "block_n": 8, "thread_m": 1, "thread_n": 2, "step_k": 4}


@pytest.mark.parametrize(
    ("shape", "dtype", "chosen"),
    [
        ((9, 11, 6), "float32", {**SMALL, "stages": 2}),
        ((9, 12, 8), "float32", {**SMALL, "stages": 1}),
        ((2, 7, 9, 5), "float32", {**SMALL, "stages": 3}),
        ((20, 10, 9), "float16", {**ONE_WARP, "stages": 1}),
        ((2, 7, 8, 17), "bfloat16", {**ONE_WARP, "stages": 2}),
    ],
    ids=str,
)
def test_threads_and_a_cpu_compute_the_product(shape: tuple[int, ...], dtype: str, chosen: dict[str, Any]) -> None:
    s, args = product(shape, dtype, **chosen)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, t.known_shape).astype(dtypes.numpy_dtype(dtype)) for t in args[:2])
    wanted = a.astype("float32") @ b.astype("float32")
    kernel = build_gpu(s, args, SM80)
    assert ("mma.sync" in kernel.ptx()) is (dtype != "float32")
    np.testing.assert_array_equal(run_on_threads(kernel.plan, [a, b])[0].astype("float32"), wanted)
    np.testing.assert_array_equal(fs.build(s, args)(a, b).astype("float32"), wanted)


def guarded(s: te.Schedule, args: list[Tensor]) -> set[str]:
    """What is stored under a condition."""
    tests = (node for node in walk_stmt(lower_gpu(s, args).body) if isinstance(node, If))
    return {node.buffer.name for test in tests for node in walk_stmt(test) if isinstance(node, Store)}


@pytest.mark.parametrize("shape", [(1009, 1013, 1019), (1000, 1000, 1000), (3, 130, 70, 90)], ids=str)
def test_sums_have_no_condition(shape: tuple[int, ...], ptxas: str) -> None:
    s, args = product(shape)
    kernel = build_gpu(s, args, SM80)
    assert guarded(s, args) == {"C"}
    assert kernel.resources()["kernel"].spill_store_bytes <= 16  # of addresses; the sums are in registers
    text = kernel.ptx()
    assert re.search(r"cp\.async\.c.\.shared\.global \[.*\], \[.*\], \d+, %r\d+;", text)  # of that many, or of no bytes
    assert "ld.global" not in text
    assert text.count("bar.sync") == 2


def test_sums_of_a_convolution_have_no_condition(ptxas: str) -> None:
    """Fewer filters, channels, rows and columns than any tile has, and zeros around the image."""
    candidate = fs.Task("conv2d", (2, 10, 13, 15, 20, 3, 1, 1)).candidate(FirstKnobs(), devices["a100-sim"])
    s, args = candidate.schedule, candidate.args
    body = lower_gpu(s, args).body

    def sums(stmt: Stmt) -> set[str]:
        return {str(x.indices) for x in walk_stmt(stmt) if isinstance(x, Store) and x.buffer.name == "Y.pad"}

    tests = [sums(node) for node in walk_stmt(body) if isinstance(node, If)]
    assert sum(map(bool, tests)) <= 3  # before they are set to 0, in the loop, and after it
    assert all(made in (set(), sums(body)) for made in tests)  # a thread makes all of its sums, or rests
    kernel = build_gpu(s, args, SM80)
    text = kernel.ptx()
    assert not kernel.resources()["kernel"].spill_store_bytes
    assert "ld.global" not in text
    assert text.count("bar.sync") == 2
    x, w = (np.random.default_rng(0).integers(-3, 4, t.known_shape).astype("float32") for t in args[:2])
    np.testing.assert_array_equal(fs.build(s, args)(x, w), conv2d.reference(x, w, stride=1, padding=1))


def test_rows_of_whole_vectors_are_copied_and_written_by_vectors() -> None:
    text = build_gpu(*product((1000, 1000, 1000), stages=2, step_k=16), SM80).ptx()
    assert re.search(r"cp\.async\.cg\.shared\.global \[.*\], \[.*\], 16, %r\d+;", text)
    assert "st.global.v4" in text
    assert "st.global.b32" not in text


def test_halves_of_any_size_are_multiplied_on_tensor_cores(ptxas: str) -> None:
    for shape in ((1000, 1000, 1000), (1009, 1013, 1019), (7, 130, 70, 90)):
        kernel = build_gpu(*product(shape, "float16"), SM80)
        assert "mma.sync" in kernel.ptx()
        assert "fma.rn" not in kernel.ptx()
        assert not kernel.resources()["kernel"].spill_store_bytes


def test_what_is_no_product_of_elements_keeps_its_conditions() -> None:
    A, B = te.placeholder((9, 5), "float16", name="A"), te.placeholder((5, 7), "float16", name="B")
    k = te.reduce_axis((0, 5), name="k")
    C = te.compute((9, 7), lambda i, j: te.sum(te.abs(A[i, k] - B[k, j]).astype("float32"), axis=k), name="C")
    s = te.create_schedule(C)
    matmul_gpu(s, [A, B, C], Chosen(**SMALL, stages=2), devices["a100-sim"])
    a, b = (np.random.default_rng(0).integers(-3, 4, t.known_shape).astype("float16") for t in (A, B))
    wanted = np.abs(a[:, :, None] - b[None]).sum(1)
    np.testing.assert_array_equal(fs.build(s, [A, B, C])(a, b), wanted)
    assert "C.pad" not in str(s)
    assert any(isinstance(node, For) and node.kind.is_thread for node in walk_stmt(lower_gpu(s, [A, B, C]).body))
